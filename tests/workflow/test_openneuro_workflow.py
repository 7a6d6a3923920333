"""The in-vivo experiments, from a server of small scans laid out as OpenNeuro to their tables."""

import gzip
import hashlib
import json

import numpy as np
import pytest
import yaml
from repo import PARALLEL, copy_of_project
from scipy.ndimage import gaussian_filter

from petbench.data.nifti import volume
from petbench.data.phantom import make_subject

FRAMES, SECONDS = 12, 16
SUBJECTS = ("01", "02")
# M2Diff's goes on from here by the same rules as MFdiff's: no second registration of the same heads.
TARGETS = ["results/invivo/tables/mfdiff_table2_invivo.tsv", "results/invivo/monash_m2diff/preflight.json"]
SCALE = ("--configfile", "invivo.yaml")
KILLED = {"fetch_openneuro", "average_frames"}
pytestmark = pytest.mark.slow


def scans():
    """Content of each file of a data set, by its path there: two heads in noisy frames, with sidecars as ds002898 has them."""
    files = {}
    for number, subject in enumerate(SUBJECTS):
        head = make_subject({"working_mm": 4.0, "t1": {"voxel_mm": 6.0}}, (32, 32, 24), (8.0, 8.0, 8.0), seed=number)
        sharp, rng = gaussian_filter(head.activity, 0.4), np.random.default_rng(number)
        frames = [gaussian_filter(rng.poisson(sharp / 100) * 100.0, 0.4) for _ in range(FRAMES)]
        pet, name = np.stack(frames, axis=3).astype(np.float32), f"sub-{subject}/pet/sub-{subject}_task-rest_pet"
        sidecar = {"FrameDuration": [SECONDS] * (FRAMES + 5), "FrameTimesStart": [86399, *range(15, 16 * (FRAMES + 4), 16)]}
        sidecar |= {"FrameDurationUnit": "s", "Unit": "Bq/ml", "TimeZero": "15:01:59", "InjectedRadioactivity": "222.264"}
        sidecar |= {"AcquisitionTime": "12:30:43.000000", "RadionuclideTotalDose": 249800000.0}
        files[f"{name}.nii.gz"] = volume(pet, head.affine).to_bytes()  # not compressed, whatever its name says
        files[f"{name}.json"] = json.dumps(sidecar).encode()
        t1w = volume(head.t1.astype(np.float32), head.t1_affine).to_bytes()
        files[f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz"] = gzip.compress(t1w, 1)
    return files


@pytest.fixture(scope="module")
def files():
    return scans()


@pytest.fixture
def repo(tmp_path, file_server, files):
    """The project, a server of the scans, and a scale of the published experiments with their trivial rows on a small grid."""
    repo = copy_of_project(tmp_path / "copy")
    rows = [(path, len(content), hashlib.md5(content).hexdigest()) for path, content in files.items()]
    text = "".join(f"{path}\t{size}\t{md5}\t1.1.0\n" for path, size, md5 in rows)
    (repo.path / "manifest.tsv").write_text("path\tsize\tmd5\tversion\n" + text)
    file_server.files |= {f"/ds002898/{path}": content for path, content in files.items()}
    scans = {"openneuro": {"url": file_server.url, "manifest": str(repo.path / "manifest.tsv"), "from_s": 31, "standard_s": 128}}
    small = scans | {"subjects": list(SUBJECTS), "preprocess": {"grid": {"shape": [24, 28, 24]}, "registration": {"transform": "rigid"}}}
    slices = {"window": [24, 28, 1], "stride": [24, 28, 1], "slices": [10, 11, 12]}
    datasets = {
        "monash_scans": small
        | {"doses": {"16s": None, "2min": {"seconds": 32}}, "evaluation": {"slices": [10, 11, 12]}, "domains": {"axial": slices}},
        "monash_m2diff": small
        | {"split": {"folds": 2}, "domains": {"axial": slices | {"slices": None}, "coronal": None, "sagittal": None, "slabs": None}},
    }
    experiments = {
        name: {"rows": ["low_dose", "gaussian"], "published_rows": None} for name in ("mfdiff_table2_invivo", "m2diff_table1_invivo")
    }
    experiments["m2diff_table1_invivo"] |= {"statistics": None}
    experiments["mfdiff_table2_invivo"] |= {"columns": [{"dataset": "monash_scans", "dose": "2min", "label": "2 min"}]}
    for entry in (datasets, experiments):
        kind = "datasets" if entry is datasets else "experiments"
        for name, changes in entry.items():
            path = repo.path / f"config/{kind}/{name}.yaml"
            own = yaml.safe_load(path.read_text())
            path.write_text(yaml.safe_dump(merged(own, changes)))
    scale = {"scale": "invivo", "note": "Small.", "run": list(experiments), "resource_factor": 0.1, "max_threads": 1}
    (repo.path / "invivo.yaml").write_text(yaml.safe_dump(scale))
    return repo


def merged(own, changes):
    """An entry with changes; None stays, as it removes what is inherited, but in an experiment, which inherits nothing."""
    for key, value in changes.items():
        own[key] = merged(own.get(key, {}), value) if isinstance(value, dict) and isinstance(own.get(key, {}), dict) else value
    return {key: value for key, value in own.items() if value is not None or key not in ("statistics", "published_rows")}


def test_a_table_in_vivo_comes_of_scans_which_are_fetched_once(repo, file_server, files, tmp_path):
    file_server.faults = ["cut", 503]
    image = "results/invivo/monash_scans/bids/sub-01/pet/sub-01_rec-2min_pet.nii.gz"
    assert repo.killed(tmp_path / "struck", *PARALLEL, *SCALE, "--", image, only=KILLED) == KILLED
    repo.snakemake(*PARALLEL, *SCALE, "--", *TARGETS)
    # Once each, once more for each fault of the server, and perhaps for the job that was struck.
    assert len(files) + 2 <= len(file_server.requests) <= len(files) + 3
    assert "gaussian" in (repo.path / TARGETS[0]).read_text()
    folder = repo.path / "results/downloads/openneuro/ds002898"
    for path, content in files.items():
        assert (folder / path).read_bytes() == content
    told = json.loads((repo.path / "results/invivo/monash_scans/bids/sub-01/pet/sub-01_rec-2min_pet.json").read_text())
    assert told["InjectedRadioactivity"] == 249.8
    assert (told["FrameTimesStart"], told["FrameDuration"], told["DoseFraction"]) == ([31.0], [32.0], 0.25)
    assert told["NotTaken"] == ["TimeZero"]
