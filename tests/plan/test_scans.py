"""A lab's own scans: which are meant, what is said where none or several are, and what tells that a scan is another."""

import os
from types import SimpleNamespace

import pytest

from petbench.errors import InputError
from petbench.workflow.typed import keep_typed

from .entries import job, plan


def lay(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def scans(folder, *names, **given):
    lay(folder, *names, "model.safetensors")
    return plan({}, given={"bids": str(folder), "weights": str(folder / "model.safetensors"), **given}).scans


def whole(*subjects):
    return [name for one in subjects for name in (f"sub-{one}/pet/sub-{one}_pet.nii.gz", f"sub-{one}/anat/sub-{one}_T1w.nii.gz")]


LONGITUDINAL = [
    *(
        f"sub-01/ses-{session}/pet/sub-01_ses-{session}_trc-{tracer}_{label}_pet.nii.gz"
        for session in ("1", "2")
        for tracer, label in (("FDG", "rec-low"), ("FDG", "rec-full"), ("PIB", "run-1"), ("PIB", "run-2"))
    ),
    "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
]


def pages(own):
    """Names of the scans that are restored."""
    return [path.rpartition("/")[2].removesuffix(".html") for path in own.pages(job()) if path.endswith(".html")]


@pytest.mark.parametrize("subject", ["sub-01", "01", ["01"]])
def test_scans_are_restored_by_subject_or_all(tmp_path, subject):
    own = scans(tmp_path, *whole("01", "12"), subject=subject)
    assert own.pages(job()) == [
        *(f"results/restored/{name}" for name in ("dataset_description.json", "README.md", ".bidsignore")),
        "results/restored/sub-01/sub-01.html",
    ]
    assert pages(scans(tmp_path)) == ["sub-01", "sub-12"]
    assert own.inputs(job(scan="sub-12"))["pet"] == str(tmp_path / "sub-12/pet/sub-12_pet.nii.gz")


def test_a_label_is_taken_as_it_was_typed(tmp_path):
    """sub-1 was restored for 01 where both were there."""
    assert pages(scans(tmp_path, *whole("1", "01", "1e5"), subject="01")) == ["sub-01"]
    assert pages(scans(tmp_path, subject="1")) == ["sub-1"]
    assert pages(scans(tmp_path, subject="1e5")) == ["sub-1e5"]
    with pytest.raises(InputError, match="has no subject sub-001; it has sub-01, sub-1, sub-1e5"):
        pages(scans(tmp_path, subject="001"))


def test_values_of_the_command_line_stay_text():
    settings = SimpleNamespace(overwrite_config={"rec": 1, "cores": 2}, config_args=["rec=1", "bids='/data/PET'", "other=3"])
    config = {"rec": 1, "bids": "/data/PET", "other": 3}
    keep_typed(["rec=01", "bids=/data/PET #2", "weights=it's=a", "other=3"], ("rec", "bids", "weights"), config, settings)
    assert config == {"rec": "01", "bids": "/data/PET #2", "weights": "it's=a", "other": 3}
    assert settings.overwrite_config == {"rec": "01", "cores": 2, "bids": "/data/PET #2", "weights": "it's=a"}
    assert settings.config_args == ["other=3", "rec='01'", "bids='/data/PET #2'", "weights='it''s=a'"]


def test_labels_choose_among_sessions_tracers_reconstructions_and_runs(tmp_path):
    lay(tmp_path, *LONGITUDINAL)
    assert pages(scans(tmp_path, tracer="FDG", rec="low")) == ["sub-01_ses-1_trc-FDG_rec-low", "sub-01_ses-2_trc-FDG_rec-low"]
    assert pages(scans(tmp_path, tracer="PIB", scan_run="2", session="2")) == ["sub-01_ses-2_trc-PIB_run-2"]
    assert pages(scans(tmp_path, tracer="trc-PIB", scan_run="run-2", session="ses-2")) == ["sub-01_ses-2_trc-PIB_run-2"]
    own = scans(tmp_path, tracer="FDG", rec="low", session="2")
    (page,) = own.pages(job())[3:]
    assert page == "results/restored/sub-01/ses-2/sub-01_ses-2_trc-FDG_rec-low.html"
    inputs = own.inputs(job(scan="sub-01_ses-2_trc-FDG_rec-low"))
    assert inputs["pet"].endswith("sub-01_ses-2_trc-FDG_rec-low_pet.nii.gz")
    assert inputs["mr"].endswith("sub-01_ses-1_T1w.nii.gz")  # the only one there is
    with pytest.raises(InputError, match="say which by its rec label"):
        pages(scans(tmp_path, tracer="FDG", subject="01"))
    with pytest.raises(InputError, match="say which by its trc or rec or run label"):
        pages(scans(tmp_path, subject="01"))


def test_mr_of_the_same_session_is_taken_and_another_where_it_is_named(tmp_path):
    lay(tmp_path, *LONGITUDINAL, "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz")
    wanted = {"tracer": "FDG", "rec": "low"}
    mr = {session: scans(tmp_path, **wanted).inputs(job(scan=f"sub-01_ses-{session}_trc-FDG_rec-low"))["mr"] for session in "12"}
    assert [path.rpartition("/")[2] for path in mr.values()] == ["sub-01_ses-1_T1w.nii.gz", "sub-01_ses-2_T1w.nii.gz"]
    other = scans(tmp_path, **wanted, t1w_session="1").inputs(job(scan="sub-01_ses-2_trc-FDG_rec-low"))
    assert other["mr"] == mr["1"]


def test_who_lacks_an_image_is_named_and_does_not_stop_the_others(tmp_path, capsys):
    lay(tmp_path, *whole("01", "02", "03"), "sub-04/anat/sub-04_T1w.nii.gz")
    (tmp_path / "sub-02/anat/sub-02_T1w.nii.gz").unlink()
    pet = tmp_path / "sub-03/pet/sub-03_pet.nii.gz"
    pet.unlink()
    pet.symlink_to(tmp_path / ".git/annex/DOE_19500101_FDG.nii.gz")
    assert pages(scans(tmp_path)) == ["sub-01"]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    assert all("left out" in line for line in told)
    assert "sub-02: has no T1w image" in told[0]
    assert "datalad get" in told[1]
    assert "DOE" not in told[1]
    assert "sub-04: has no pet image" in told[2]
    with pytest.raises(InputError, match="sub-04: has no pet image"):
        pages(scans(tmp_path, subject="04"))


def test_what_git_annex_left_in_place_of_a_file_is_no_image(tmp_path):
    lay(tmp_path, *whole("01"))
    (tmp_path / "sub-01/pet/sub-01_pet.nii.gz").write_text("/annex/objects/MD5E-s1--d41d8cd98f00b204e9800998ecf8427e.nii.gz\n")
    with pytest.raises(InputError, match="datalad get"):
        pages(scans(tmp_path))


def test_a_link_is_named_by_its_own_name(tmp_path):
    lay(tmp_path, *whole("01"), "DOE/DOE_19500101_FDG.nii.gz")
    pet = tmp_path / "sub-01/pet/sub-01_pet.nii.gz"
    pet.unlink()
    pet.symlink_to(tmp_path / "DOE/DOE_19500101_FDG.nii.gz")
    own = scans(tmp_path)
    assert pages(own) == ["sub-01"]
    assert own.inputs(job(scan="sub-01"))["pet"] == str(pet)


def test_another_scan_of_an_older_time_is_another_scan(tmp_path):
    """`rsync -a` keeps the time of what it brings: nothing was to be done."""
    names = [*whole("01"), "pet.json"]
    lay(tmp_path, *names)
    (tmp_path / "pet.json").write_text('{"Units": "Bq/mL"}')
    before = scans(tmp_path).checksums("sub-01", "sub-01")
    assert scans(tmp_path).checksums("sub-01", "sub-01") == before
    for name, kind in zip(names, ("pet", "mr", "sidecar"), strict=True):
        path = tmp_path / name
        path.write_text(path.read_text().replace("Bq", "kBq").replace("sub", "bus"))
        os.utime(path, (0, 0))
        now = scans(tmp_path).checksums("sub-01", "sub-01")
        assert {key for key, value in now.items() if before[key] != value} == {kind}
        before = now


def test_what_a_command_line_lacks_is_named(tmp_path):
    with pytest.raises(InputError, match="give bids on the command line"):
        plan({}).scans.pages(job())
    lay(tmp_path, *whole("01"))
    with pytest.raises(InputError, match="has no subject sub-99; it has sub-01"):
        pages(scans(tmp_path, subject="sub-99"))
    with pytest.raises(InputError, match=r"gone\.safetensors: no such file"):
        pages(scans(tmp_path, weights=str(tmp_path / "gone.safetensors")))
    (tmp_path / "sub-a-b").mkdir()
    with pytest.raises(InputError, match="'sub-a-b' names no subject"):
        pages(scans(tmp_path))
