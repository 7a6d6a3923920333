"""A lab's own BIDS data set: through the whole workflow, restored with existing weights, and refused in one line where it is bad."""

import base64
import gzip
import json
import re
import shutil

import nibabel
import numpy as np
import pytest
from repo import PARALLEL, Repo

SCALE = ("--configfile", "tests/config/lab.yaml")
T1W = "anat/sub-02_T1w.nii.gz"
LOW_DOSE = "pet/sub-02_rec-drf4_pet.nii.gz"
pytestmark = pytest.mark.slow


@pytest.fixture
def lab(features, tmp_path):
    """The project with a BIDS data set of two subjects and none of its results."""
    shutil.copytree(features.path, tmp_path / "copy", ignore=shutil.ignore_patterns("results", ".snakemake"))
    shutil.copytree(features.path / "results/features/mni/bids", tmp_path / "copy" / "lab")
    return Repo(tmp_path / "copy")


def image(lab, name):
    return lab.path / "lab" / "sub-02" / name


def rewrite(path, change):
    stored = nibabel.load(path)
    data, affine = change(np.asarray(stored.dataobj).copy(), stored.affine.copy())
    nibabel.save(nibabel.Nifti1Image(data, affine), path)


def truncate(lab):
    path = image(lab, LOW_DOSE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nan(lab):
    def change(data, affine):
        data[5, 5, 5] = np.nan
        return data, affine

    rewrite(image(lab, LOW_DOSE), change)


def zero(lab):
    rewrite(image(lab, LOW_DOSE), lambda data, affine: (data * 0, affine))


def other_grid(lab):
    rewrite(image(lab, LOW_DOSE), lambda data, affine: (data[:-1], affine))


def missing_mr(lab):
    image(lab, T1W).unlink()


def mismatched_mr(lab):
    # a slab of neck where the head should be
    def change(data, affine):
        shape = data.shape
        data[:, :, shape[2] // 6 :] = 0
        data[: shape[0] // 2] = 0
        return data, affine

    rewrite(image(lab, T1W), change)


def not_nifti(lab):
    with gzip.open(image(lab, T1W), "wb") as file:
        file.write(b"<html>404</html>")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (truncate, [LOW_DOSE, "cut short or damaged", "copy it again"]),
        (nan, [LOW_DOSE, "NaN", "replace"]),
        (zero, [LOW_DOSE, "every voxel", "supply"]),
        (other_grid, [LOW_DOSE, "grid", "resample"]),
        (missing_mr, ["sub-02", "T1w"]),
        (mismatched_mr, [T1W, "covers", "check that both show the same subject"]),
        (not_nifti, [T1W, "cannot be read as NIfTI"]),
    ],
)
def test_bad_images_stop_the_run_in_one_line_before_training(lab, spoil, words):
    spoil(lab)
    done = lab.snakemake(*PARALLEL, *SCALE, check=False)
    assert done.returncode != 0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("petbench: ")]
    assert len(lines) == 1, done.stderr
    assert all(word in lines[0] for word in words), lines[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert not list((lab.path / "results").rglob("model.safetensors"))
    assert not list((lab.path / "results").rglob(".part-*"))


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


def test_a_labs_own_data_set_runs_whole_and_tells_nobody_who_was_scanned(lab):
    plant_identifiers(lab)
    assert telling([lab.path / "lab"] * 2), "no identifier was planted"
    before = {path: path.read_bytes() for path in (lab.path / "lab").rglob("*") if path.is_file()}
    lab.snakemake(*PARALLEL, *SCALE)
    weights = "results/lab/lab/drf4/m_unet/fold-0/model.safetensors"
    lab.snakemake("restore", "--cores", "2", "--config", "bids=lab", f"weights={weights}", "rec=drf4", "subject=01")
    assert telling([lab.path / "results", lab.path / ".snakemake"]) == []
    assert "M-UNet" in (lab.path / "results/lab/tables/lab.md").read_text()
    assert {path: path.read_bytes() for path in (lab.path / "lab").rglob("*") if path.is_file()} == before


def test_restore_names_what_it_lacks(lab):
    done = lab.snakemake("restore", "--cores", "2", check=False)
    assert done.returncode != 0
    assert "--config bids=DIR weights=FILE" in done.stderr
    weights = "results/features/mni/drf4/m_unet/fold-0/model.safetensors"
    done = lab.snakemake("restore", "--cores", "2", "--config", "bids=lab", f"weights={weights}", "subject=sub-09", check=False)
    assert "has no subject '09'" in done.stderr


@pytest.mark.parametrize(("subject", "restored"), [("sub-01", ["01"]), ("02", ["02"]), (None, ["01", "02"])])
def test_scans_are_restored_with_existing_weights_and_nothing_is_trained(lab, features, subject, restored):
    weights = features.path / "results/features/mni/drf4/m_unet/fold-0/model.safetensors"
    chosen = [f"subject={subject}"] if subject else []
    lab.snakemake("restore", "--cores", "2", "--config", "bids=lab", f"weights={weights}", "rec=drf4", *chosen)
    out = lab.path / "results" / "restored"
    assert sorted(path.name for path in out.glob("sub-*")) == [f"sub-{name}" for name in restored]
    for name in restored:
        pet = nibabel.load(lab.path / f"lab/sub-{name}/pet/sub-{name}_rec-drf4_pet.nii.gz")
        made = nibabel.load(out / f"sub-{name}/pet/sub-{name}_desc-restored_pet.nii.gz")
        assert made.shape == pet.shape
        assert np.array_equal(made.affine, pet.affine)
        assert (int(made.header["qform_code"]), int(made.header["sform_code"])) == (
            int(pet.header["qform_code"]),
            int(pet.header["sform_code"]),
        )
        assert np.isfinite(made.get_fdata()).all()
        page = (out / f"sub-{name}/sub-{name}.html").read_text()
        assert "not for diagnosis" in page
        assert "http" not in page
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert not list((lab.path / "results").rglob("model.safetensors"))


def test_weights_that_are_none_are_refused_in_one_line(lab):
    (lab.path / "weights.safetensors").write_bytes(b"not weights")
    done = lab.snakemake(
        "restore", "--cores", "2", "--config", "bids=lab", "weights=weights.safetensors", "subject=01", "rec=drf4", check=False
    )
    assert done.returncode != 0
    assert "weights.safetensors: is not a weights file of petbench" in done.stderr


def test_every_missing_image_is_named_at_once(lab):
    for name in (T1W, LOW_DOSE):
        image(lab, name).unlink()
    (lab.path / "lab/sub-01/anat/sub-01_T1w.nii.gz").unlink()
    done = lab.snakemake("--dry-run", "--cores", "2", *SCALE, check=False)
    lines = [line for line in done.stderr.splitlines() if "add or rename it" in line]
    assert len(lines) == 3
    assert sum("T1w" in line for line in lines) == 2


def test_low_doses_are_simulated_from_images_alone(lab):
    made = "results/images/images/bids/sub-01/pet/sub-01_rec-{}_pet{}"
    doses = ("noisy", "short")
    lab.snakemake(*(made.format(dose, ".nii.gz") for dose in doses), "--cores", "2", "--configfile", "tests/config/images.yaml")
    reference = nibabel.load(lab.path / "lab/sub-01/pet/sub-01_rec-standard_pet.nii.gz").get_fdata()
    sidecars = {dose: json.loads((lab.path / made.format(dose, ".json")).read_text()) for dose in doses}
    for dose, sidecar in sidecars.items():
        image = nibabel.load(lab.path / made.format(dose, ".nii.gz")).get_fdata()
        psnr = 10 * np.log10(reference.max() ** 2 / np.mean((image - reference) ** 2))
        assert psnr == pytest.approx(sidecar["PSNR"], abs=0.01)
        assert image.mean() == pytest.approx(reference.mean(), rel=0.03)
    assert sidecars["noisy"]["PSNR"] == pytest.approx(16, abs=0.1)
    assert sidecars["short"]["DoseFraction"] == pytest.approx(16 / 480, rel=0.03)
