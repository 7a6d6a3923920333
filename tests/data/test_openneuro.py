"""Files of OpenNeuro data sets: manifests, downloads held to them, and the fields of sidecars that can be trusted."""

import hashlib

import pytest

from petbench.data.openneuro import ROOT, Remote, fetch_file, image_of, read_manifest, trusted
from petbench.errors import InputError

FILE = "sub-01/pet/sub-01_task-rest_pet.nii.gz"
BODY = bytes(range(256)) * 40
SIZE = len(BODY)
MD5 = hashlib.md5(BODY).hexdigest()
QUICK = {"wait_s": 0.01, "timeout_s": 5.0}


@pytest.fixture
def get(file_server, tmp_path):
    file_server.files[f"/ds002898/{FILE}"] = BODY

    def fetched(size=SIZE, md5=MD5):
        fetch_file(Remote(FILE, size, md5), "ds002898", fetched.path, file_server.url, **QUICK)

    fetched.path = tmp_path / FILE
    return fetched


def refused(get, words, **known):
    with pytest.raises(InputError, match=words) as error:
        get(**known)
    assert "\n" not in str(error.value)
    assert not get.path.exists()


def test_a_file_is_fetched_once_and_resumed_after_a_cut(get, file_server):
    file_server.faults = ["cut", 503]
    get()
    get()
    assert get.path.read_bytes() == BODY
    assert [("Range" in request) for request in file_server.requests] == [False, True, True]
    assert sorted(path.name for path in get.path.parent.iterdir() if path.suffix != ".lock") == [get.path.name]


def test_what_the_manifest_does_not_say_is_refused(get, file_server):
    refused(get, "10,239 are expected", size=len(BODY) - 1)
    refused(get, "MD5 is", md5="0" * 32)
    file_server.files[f"/ds002898/{FILE}"] = BODY[::-1]  # as long, another version
    refused(get, "may have a new version")
    file_server.files[f"/ds002898/{FILE}"] = BODY[:-7]
    refused(get, "are expected")
    file_server.faults = ["html"]
    refused(get, "web page")
    del file_server.files[f"/ds002898/{FILE}"]
    refused(get, "404")


def test_a_checksum_that_is_not_known_is_recorded_and_held_to(get, file_server):
    get(size=None, md5=None)
    record = get.path.with_name(get.path.name + ".sha256.json")
    assert hashlib.sha256(BODY).hexdigest() in record.read_text()
    get.path.unlink()
    file_server.files[f"/ds002898/{FILE}"] = BODY[::-1]
    refused(get, "SHA-256", size=None, md5=None)
    file_server.files[f"/ds002898/{FILE}"] = BODY
    get(size=None, md5=None)


@pytest.mark.parametrize(
    ("accession", "people", "pet"), [("ds002898", 27, {}), ("ds003397", 15, {"run": "2"}), ("ds003382", 10, {"rec": "acdyn"})]
)
def test_every_subject_of_the_shipped_manifests_has_its_images_and_sidecars(accession, people, pet):
    manifest = f"resources/openneuro/{accession}.tsv"
    files = read_manifest(manifest)
    subjects = sorted({path[4:6] for path in files})
    assert len(subjects) == people
    for subject in subjects:
        for kind in ("pet", "T1w"):
            image = image_of({"manifest": manifest, "pet": pet}, subject, kind)
            assert files[image].md5
            assert image.removesuffix(".nii.gz") + ".json" in files
    assert all(remote.size for remote in files.values())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("../a.nii.gz\t1\tn/a\t1", "row"),
        ("sub-01/a\tx\tn/a\t1", "row"),
        ("sub-01/a\t1\tzz\t1", "row"),
        ("sub-01/a\t1\tn/a\t1\n" * 2, "twice"),
        ("", "no rows"),
    ],
)
def test_a_bad_manifest_is_one_line(tmp_path, line, words):
    (tmp_path / "m.tsv").write_text(f"path\tsize\tmd5\tversion\n{line}")
    with pytest.raises(InputError, match=words) as error:
        read_manifest(tmp_path / "m.tsv")
    assert "\n" not in str(error.value)


def test_of_several_images_or_none_it_is_said_which(tmp_path):
    block = {"manifest": ROOT / "resources/openneuro/ds003397.tsv"}
    with pytest.raises(InputError, match="4 pet images"):
        image_of(block, "01", "pet")
    with pytest.raises(InputError, match="0 T1w images of sub-99"):
        image_of(block, "99", "T1w")


def test_the_scanners_own_fields_are_taken_before_curated_ones():
    run = {"TimeZero": "12:05:44", "ScanStart": 1600, "AcquisitionTime": "12:32:24.000000", "InjectedRadioactivity": 252.91}
    told, wrong = trusted(run | {"InjectedRadioactivityUnits": "Mbq", "RadionuclideTotalDose": 252900000.0, "Units": "Bq/ml"})
    assert (told["TimeZero"], told["InjectedRadioactivity"], told["Units"], wrong) == ("12:32:24", 252.9, "Bq/mL", [])
    told, wrong = trusted({"InjectedRadioactivity": 39.0, "InjectedRadioactivityUnits": "Mbq", "AcquisitionTime": "105057.000000"})
    assert (told["TimeZero"], told["InjectedRadioactivity"], wrong) == ("10:50:57", 39.0, [])
    told, wrong = trusted({"InjectedRadioactivity": "n/a", "AcquisitionTime": "n/a", "RadionuclideTotalDose": True})
    assert "InjectedRadioactivity" not in told
    assert "TimeZero" not in told
    assert wrong == []
