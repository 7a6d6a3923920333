"""A lab's own BIDS data set: through the whole workflow, restored with existing weights, and refused in one line where it is bad."""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import takewhile

import nibabel
import numpy as np
import pytest
from bids_validator import issues
from repo import PARALLEL, Repo

from petbench.files import checksum

SCALE = ("--configfile", "tests/config/lab.yaml")
T1W = "anat/sub-02_T1w.nii.gz"
LOW_DOSE, STANDARD = (f"pet/sub-02_rec-{rec}_pet.nii.gz" for rec in ("drf4", "standard"))
KILLED = {"restore_scan", "describe_restored", "simulate_from_image"}
pytestmark = pytest.mark.slow


@pytest.fixture
def lab(features, tmp_path):
    """The project with a BIDS data set of two subjects and none of its results."""
    shutil.copytree(features.path, tmp_path / "copy", ignore=shutil.ignore_patterns("results", ".snakemake"))
    shutil.copytree(features.path / "results/features/mni/bids", tmp_path / "copy" / "lab")
    return Repo(tmp_path / "copy")


def image(lab, name, subject="02"):
    return lab.path / "lab" / f"sub-{subject}" / name.replace("sub-02", f"sub-{subject}")


def rewrite(path, change):
    stored = nibabel.load(path)
    data, affine = change(np.asarray(stored.dataobj).copy(), stored.affine.copy())
    nibabel.save(nibabel.Nifti1Image(data, affine), path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nan(path):
    def change(data, affine):
        data[5, 5, 5] = np.nan
        return data, affine

    rewrite(path, change)


def zero(path):
    rewrite(path, lambda data, affine: (data * 0, affine))


def other_grid(path):
    rewrite(path, lambda data, affine: (data[:-1], affine))


def mismatched(path):
    # a slab of neck where the head should be
    def change(data, affine):
        shape = data.shape
        data[:, :, shape[2] // 6 :] = 0
        data[: shape[0] // 2] = 0
        return data, affine

    rewrite(path, change)


def not_nifti(path):
    with gzip.open(path, "wb") as file:
        file.write(b"<html>404</html>")


def lines_of(done, lab):
    """The lines in which a run was refused, before any training."""
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    assert not list((lab.path / "results").rglob("model.safetensors"))
    assert not list((lab.path / "results").rglob(".part-*"))
    told = (done.stdout + done.stderr).partition("petbench: ")[2]
    return list(takewhile(lambda line: ".nii.gz: " in line, told.splitlines()))


def test_bad_images_are_all_named_before_any_work(lab):
    """Each in one line with the mend; what can only be seen in registration is named there."""
    spoilt = {
        image(lab, LOW_DOSE): (truncate, "cut short or damaged, copy it again"),
        image(lab, T1W): (not_nifti, "cannot be read as NIfTI"),
        image(lab, LOW_DOSE, "01"): (other_grid, "resample"),
        image(lab, T1W, "01"): (zero, "supply"),
        image(lab, STANDARD, "02"): (nan, "replace"),
    }
    whole = {path: path.read_bytes() for path in spoilt}
    for path, (spoil, _) in spoilt.items():
        spoil(path)
    lines = lines_of(lab.snakemake(*PARALLEL, *SCALE, check=False), lab)
    for path, (_, words) in spoilt.items():
        (line,) = [line for line in lines if line.split(": ")[0].endswith(path.name)]
        assert words in line
    assert not list((lab.path / "results/lab/lab").rglob("*.nii.gz"))
    for path, content in whole.items():
        path.write_bytes(content)

    mismatched(image(lab, T1W))
    lines = lines_of(lab.snakemake(*PARALLEL, *SCALE, check=False), lab)
    (line,) = lines
    assert T1W in line
    assert "covers" in line
    assert "check that both show the same subject" in line


IDENTIFIER = "Q7Z9X"  # occurs nowhere by chance, in text or in base64


def plant_identifiers(lab):
    """Put a person's name, number and dates wherever a header or sidecar has room for text."""
    for number, path in enumerate(sorted((lab.path / "lab").rglob("*.nii.gz"))):
        stored = nibabel.load(path)
        named = nibabel.Nifti1Image(np.asarray(stored.dataobj), stored.affine, stored.header)
        for field in ("descrip", "aux_file", "db_name", "intent_name"):
            named.header[field] = f"{IDENTIFIER}{field}"[: named.header[field].dtype.itemsize]
        for code in ("comment", "dicom", "afni"):
            named.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, f"{IDENTIFIER}^{code}".encode()))
        with open(path, "wb") as file, gzip.GzipFile(f"{IDENTIFIER}_{number}.nii", "wb", fileobj=file) as zipped:
            zipped.write(named.to_bytes())
        sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
        content = json.loads(sidecar.read_text())
        names = (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "AcquisitionDateTime",
            "AcquisitionTime",
            "InstitutionName",
            "OperatorsName",
        )
        sidecar.write_text(json.dumps(content | {name: f"{IDENTIFIER}-{name}" for name in names}))
    (lab.path / "lab/participants.tsv").write_text(f"participant_id\tname\nsub-01\t{IDENTIFIER}\nsub-02\t{IDENTIFIER}\n")
    (lab.path / "lab/sub-01/sub-01_scans.tsv").write_text(f"filename\tacq_time\npet/x.nii.gz\t{IDENTIFIER}\n")


def readable(content):
    """The bytes of a file as they are, unpacked, and decoded where a page carries a file."""
    yield content
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    for packed in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", content) if b"<html" in content[:200] else ():
        yield base64.b64decode(packed[: len(packed) // 4 * 4])


def telling(folders):
    """Files below some folders that hold an identifier."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 20
    return [str(path) for path in files if any(IDENTIFIER.encode() in part for part in readable(path.read_bytes()))]


def move_away(lab):
    """Put every image, and a whole folder, elsewhere under telling names, with links in their places, as DataLad and careful people do."""
    away = lab.path / f"{IDENTIFIER}_elsewhere"
    away.mkdir()
    for number, path in enumerate(sorted((lab.path / "lab").rglob("*.nii.gz"))):
        path.rename(away / f"{IDENTIFIER}_19500101_{number}.nii.gz")
        path.symlink_to(away / f"{IDENTIFIER}_19500101_{number}.nii.gz")
    folder = lab.path / "lab/sub-01/anat"
    folder.rename(away / "anat")
    folder.symlink_to(away / "anat")


def make_longitudinal(lab):
    """Sessions and tracers of the same people: MR in the first session alone, a third person without any, and a link that leads nowhere."""
    root = lab.path / "longitudinal"

    def put(name, source=None, rolled=0):
        path = root / f"sub-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if source is None:
            path.symlink_to(root / f".git/annex/objects/{IDENTIFIER}.nii.gz")
            return
        path.symlink_to(source) if not rolled else rewrite_to(path, source, rolled)

    for who in ("01", "02"):
        put(f"{who}/ses-1/anat/sub-{who}_ses-1_T1w.nii.gz", image(lab, T1W, who))
        for session in "12":
            for rec in ("standard", "drf4"):
                source = image(lab, f"pet/sub-02_rec-{rec}_pet.nii.gz", who)
                name = f"{who}/ses-{session}/pet/sub-{who}_ses-{session}_trc-FDG_rec-{rec}_pet.nii.gz"
                put(name, None if (who, session, rec) == ("02", "2", "drf4") else source, rolled=int(session) - 1)
        put(f"{who}/ses-1/pet/sub-{who}_ses-1_trc-PIB_rec-standard_pet.nii.gz", image(lab, STANDARD, who))
    for rec in ("standard", "drf4"):
        put(f"03/ses-1/pet/sub-03_ses-1_trc-FDG_rec-{rec}_pet.nii.gz", image(lab, f"pet/sub-02_rec-{rec}_pet.nii.gz", "02"))
    (root / "pet.json").write_text(json.dumps({"Units": "Bq/mL", "TracerName": "FDG", "PatientName": IDENTIFIER}))


def rewrite_to(path, source, rolled):
    stored = nibabel.load(source)
    nibabel.save(nibabel.Nifti1Image(np.roll(np.asarray(stored.dataobj), rolled, axis=1), stored.affine), path)


def petbench(lab, *arguments):
    """The command, as a lab types it."""
    command = [sys.executable, "-m", "petbench.restore_command", *arguments]
    return subprocess.run(command, cwd=lab.path, env=lab.environment, capture_output=True, text=True)


def test_a_labs_own_longitudinal_data_set_runs_whole_and_tells_nobody_who_was_scanned(lab):
    """Trained on and restored with one data set file, by Snakemake and by the command, on links to files of telling names."""
    plant_identifiers(lab)
    move_away(lab)
    make_longitudinal(lab)
    assert telling([lab.path / "lab", lab.path / f"{IDENTIFIER}_elsewhere"] * 2), "no identifier was planted"
    before = {path: path.read_bytes() for path in (lab.path / "lab").rglob("*") if path.is_file()}
    done = lab.snakemake(*PARALLEL, "--configfile", "tests/config/longitudinal.yaml")
    left_out = [line for line in done.stderr.splitlines() if "is left out" in line]
    assert [re.search(r"longitudinal: (\w+) is left out: .*?(T1w|datalad|pet image)", line).groups() for line in left_out] == [
        ("02ses2", "datalad"),
        ("03ses1", "T1w"),
        ("03ses2", "pet image"),
    ]
    assert "M-UNet" in (lab.path / "results/longitudinal/tables/longitudinal.md").read_text()
    split = json.loads((lab.path / "results/longitudinal/longitudinal/split.json").read_text())
    assert split["test_subjects"] == {"0": ["01ses1", "01ses2"], "1": ["02ses1"]}

    weights = "results/longitudinal/longitudinal/drf4/m_unet/fold-0/model.safetensors"
    chosen = ("--participant-label", "01", "--session-label", "2", "--tracer", "FDG", "--rec", "drf4", "--weights", weights)
    assert petbench(lab, "restore", "longitudinal", "made here", "participant", *chosen, "--allow-unlike").returncode == 0
    restored = lab.path / "made here/sub-01/ses-2/pet/sub-01_ses-2_trc-FDG_rec-drf4_desc-restored_pet.nii.gz"
    low_dose = lab.path / "longitudinal/sub-01/ses-2/pet/sub-01_ses-2_trc-FDG_rec-drf4_pet.nii.gz"
    assert np.array_equal(nibabel.load(restored).affine, nibabel.load(low_dose).affine)
    sidecar = json.loads(restored.with_name(restored.name.replace(".nii.gz", ".json")).read_text())
    assert (sidecar["Units"], sidecar["PETSHA256"]) == ("Bq/mL", checksum(low_dose))
    assert "with MR of session 1" in sidecar["Description"]

    assert telling([lab.path / "results", lab.path / ".snakemake", lab.path / "made here"]) == []
    assert {path: path.read_bytes() for path in (lab.path / "lab").rglob("*") if path.is_file()} == before
    rewrite_to(low_dose, image(lab, LOW_DOSE, "01"), rolled=2)
    os.utime(low_dose, (0, 0))
    again = petbench(lab, "restore", "longitudinal", "made here", "participant", *chosen, "--allow-unlike", "--dry-run")
    assert "restore_scan" in again.stdout + again.stderr, "another scan of an older time went unnoticed"


@pytest.mark.bids
def test_what_is_written_is_valid_bids(features):
    """Phantoms had 60 errors, restored volumes one each."""
    results = features.path / "results/features"
    raw = [path.parent for path in results.glob("*/bids/dataset_description.json")]
    derived = [path.parent for path in results.glob("*/*/*/restored/dataset_description.json")]
    assert raw
    assert len(derived) == len([*results.glob("*/*/*/restored")]) > 3
    for folder in [*raw, *derived]:
        assert issues(folder) == [], folder


@pytest.mark.bids
def test_restored_scans_are_valid_bids(lab, features):
    weights = features.path / "results/features/mni/drf4/m_unet/fold-0/model.safetensors"
    done = petbench(lab, "restore", "lab", "made", "participant", "--weights", str(weights), "--rec", "drf4", "--allow-unlike")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (lab.path / "made").glob("sub-*/pet/*.nii.gz")} == {
        f"sub-{subject}_rec-drf4_desc-restored_pet.nii.gz" for subject in ("01", "02")
    }
    assert issues(lab.path / "made") == []


def test_the_command_names_what_is_missing(lab):
    for arguments, words in [
        (("nowhere", "out", "participant", "--weights", "w"), "petbench: nowhere: no such folder"),
        (("lab", "out", "participant", "--weights", "w"), "petbench: w: no such file"),
        (("lab", "lab", "participant", "--weights", "Makefile"), "petbench: lab: is the data set itself"),
        (("lab", "out", "group", "--weights", "w"), "invalid choice: 'group'"),
        (("lab", "out", "participant"), "required: --weights"),
    ]:
        done = petbench(lab, "restore", *arguments)
        assert done.returncode == 2
        assert words in done.stderr
    assert not (lab.path / "out").exists()


def test_restore_names_what_it_lacks(lab, features):
    done = lab.snakemake("restore", *PARALLEL, check=False)
    assert done.returncode != 0
    assert "--config bids=DIR weights=FILE" in done.stderr
    weights = features.path / "results/features/mni/drf4/m_unet/fold-0/model.safetensors"
    done = lab.snakemake("restore", *PARALLEL, "--config", "bids=lab", f"weights={weights}", "subject=sub-09", check=False)
    assert "has no subject sub-09" in done.stderr


def test_scans_are_restored_with_existing_weights_and_nothing_is_trained(lab, features, tmp_path):
    weights = features.path / "results/features/mni/drf4/m_unet/fold-0/model.safetensors"
    given = ("--config", "bids=lab", f"weights={weights}", "rec=drf4")
    planned = lab.planned("restore", *given)
    assert {wildcards["folder"].removeprefix("sub-") for rule, wildcards in planned if rule == "restore_scan"} == {"01", "02"}
    # which Snakemake reads as the number 2, as it does `#` as the end of a name
    (lab.path / "lab").rename(lab.path / "lab #2")
    given = ("--config", "bids=lab #2", f"weights={weights}", "rec=drf4")
    assert lab.killed(tmp_path / "struck", "restore", *PARALLEL, *given, "subject=02") == KILLED - {"simulate_from_image"}
    out = lab.path / "results" / "restored"
    restored = ["02"]
    assert sorted(path.name for path in out.glob("sub-*")) == [f"sub-{name}" for name in restored]
    for name in restored:
        pet = nibabel.load(lab.path / f"lab #2/sub-{name}/pet/sub-{name}_rec-drf4_pet.nii.gz")
        made = nibabel.load(out / f"sub-{name}/pet/sub-{name}_rec-drf4_desc-restored_pet.nii.gz")
        assert made.shape == pet.shape
        assert np.array_equal(made.affine, pet.affine)
        assert (int(made.header["qform_code"]), int(made.header["sform_code"])) == (
            int(pet.header["qform_code"]),
            int(pet.header["sform_code"]),
        )
        assert np.isfinite(made.get_fdata()).all()
        page = (out / f"sub-{name}/sub-{name}_rec-drf4.html").read_text()
        assert "not for diagnosis" in page
        assert "http" not in page
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert not list((lab.path / "results").rglob("model.safetensors"))


def test_weights_that_are_none_are_refused_in_one_line(lab):
    (lab.path / "weights.safetensors").write_bytes(b"not weights")
    done = lab.snakemake("restore", *PARALLEL, "--config", "bids=lab", "weights=weights.safetensors", "subject=01", "rec=drf4", check=False)
    assert done.returncode != 0
    assert "weights.safetensors: is not a weights file of petbench" in done.stderr


def test_every_missing_image_is_named_at_once(lab):
    for name in (T1W, LOW_DOSE):
        image(lab, name).unlink()
    (lab.path / "lab/sub-01/anat/sub-01_T1w.nii.gz").unlink()
    done = lab.snakemake("--dry-run", *PARALLEL, *SCALE, check=False)
    lines = [line for line in done.stderr.splitlines() if "add or rename it" in line]
    assert len(lines) == 3
    assert sum("T1w" in line for line in lines) == 2


def test_low_doses_are_simulated_from_images_alone(lab, tmp_path):
    made = "results/images/images/bids/sub-01/pet/sub-01_rec-{}_pet{}"
    doses = ("noisy", "short")
    targets = [made.format(dose, ".nii.gz") for dose in doses]
    scale = ("--configfile", "tests/config/images.yaml")
    assert "simulate_from_image" in lab.killed(tmp_path / "struck", *PARALLEL, *scale, "--", *targets, only=KILLED)
    reference = nibabel.load(lab.path / "lab/sub-01/pet/sub-01_rec-standard_pet.nii.gz").get_fdata()
    sidecars = {dose: json.loads((lab.path / made.format(dose, ".json")).read_text()) for dose in doses}
    for dose, sidecar in sidecars.items():
        image = nibabel.load(lab.path / made.format(dose, ".nii.gz")).get_fdata()
        psnr = 10 * np.log10(reference.max() ** 2 / np.mean((image - reference) ** 2))
        assert psnr == pytest.approx(sidecar["PSNR"], abs=0.01)
        assert image.mean() == pytest.approx(reference.mean(), rel=0.03)
    assert sidecars["noisy"]["PSNR"] == pytest.approx(16, abs=0.1)
    assert sidecars["short"]["DoseFraction"] == pytest.approx(16 / 480, rel=0.03)
