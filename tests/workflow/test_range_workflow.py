"""The experiments on positron range through the whole workflow, on the real Geant4."""

import re
import shutil
import subprocess

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from repo import PARALLEL, copy_of_project, copy_of_results

from petbench.positron_range.predictor import load_predictor
from petbench.positron_range.psf_set import read_psf_set

pytestmark = pytest.mark.slow

SCALE = ("--configfile", "config/tiny.yaml")
RANGE = "results/tiny/positron_range"


@pytest.fixture(scope="module")
def own(tiny, tmp_path_factory):
    """The project with the finished experiments on positron range and nothing else, to change."""
    repo = copy_of_project(tmp_path_factory.mktemp("own") / "copy")
    (repo.path / "results/tiny").mkdir(parents=True)
    # with their times, and with what Snakemake remembers of them
    copied = {"results/tiny/positron_range": "results/tiny/", ".snakemake": "."}
    for source, target in copied.items():
        subprocess.run(["cp", "-a", str(tiny.path / source), str(repo.path / target)], check=True)
    shutil.rmtree(repo.path / ".snakemake/locks", ignore_errors=True)
    return repo


def test_tables_are_what_was_measured(tiny):
    summary = pd.read_csv(tiny.path / RANGE / "ddconv_experiment2/summary.tsv", sep="\t", dtype={"lesion": str}, keep_default_na=False)
    table = pd.read_csv(tiny.path / "results/tiny/tables/ddconv_experiment2.tsv", sep="\t", keep_default_na=False)
    last = summary[(summary["iteration"] == 2) & (summary["part"] == "whole") & (summary["quantity"] == "recovery")]
    shown = table[table["table"].str.startswith("Whole lesions after iteration 2") & (table["metric"] == "recovery")]
    titles = {"none": "No correction", "ddconv": "DDConv", "ddconv-bowsher": "DDConv, Bowsher"}
    for row in last.itertuples():
        (found,) = shown.loc[(shown["row"] == titles[row.model]) & (shown["column"] == f"lesion {row.lesion}"), "mean"]
        assert float(found) == pytest.approx(float(row.mean))
    assert len(shown) == len(last) == 12
    page = (tiny.path / "results/tiny/report/index.html").read_text()
    for experiment in (1, 2, 3):
        assert f'id="ddconv_experiment{experiment}"' in page


def test_chunks_join_to_every_medium_once(tiny):
    folder = tiny.path / RANGE / "psf_sets/ga68_training"
    whole, parts = read_psf_set(folder / "psf.h5"), [read_psf_set(folder / f"chunk-{chunk}.h5") for chunk in (0, 1)]
    assert whole.names == parts[0].names + parts[1].names
    assert len(set(whole.names)) == 6
    np.testing.assert_array_equal(whole.counts, np.concatenate([part.counts for part in parts]))


def test_a_lost_chunk_costs_that_chunk_and_what_is_made_of_it(own):
    target = f"{RANGE}/psf_sets/ga68_training/psf.h5"
    assert own.planned(*SCALE, "--", target) == []
    for name in ("chunk-1.h5", "psf.h5"):
        (own.path / RANGE / "psf_sets/ga68_training" / name).unlink()
    jobs = own.planned(*SCALE, "--", target)
    assert sorted(rule for rule, _ in jobs) == ["gate", "merge_psf"]
    assert {wildcards.get("chunk") for rule, wildcards in jobs if rule == "gate"} == {"1"}


OF_TABLE = {
    "gate",
    "merge_psf",
    "train_predictor",
    "predict_kernels",
    "scan_torso",
    "reconstruct_torso",
    "measure_torso",
    "summarise_torso",
    "range_table",
}
KILLED = OF_TABLE | {"import_predictor", "acceleration"}


def test_a_job_of_each_kind_is_killed_and_the_numbers_are_the_same(own, tiny, tmp_path):
    """What was lost before, a scan, and all that follows from both is made again."""
    lost = [f"{RANGE}/psf_sets/ga68_training/psf.h5", f"{RANGE}/ddconv_experiment2/realisation-1.h5"]
    for path in lost:
        (own.path / path).unlink(missing_ok=True)
    table = "results/tiny/tables/ddconv_experiment2.tsv"
    assert own.killed(tmp_path / "struck", *PARALLEL, *SCALE, "--", table, *lost) == OF_TABLE
    for path in [table, *lost, f"{RANGE}/predictors/ddconv_ga68/model.safetensors", f"{RANGE}/ddconv_experiment2/summary.tsv"]:
        assert (own.path / path).read_bytes() == (tiny.path / path).read_bytes(), path


def test_published_weights_take_the_place_of_a_training(own, tmp_path):
    """A file of the authors' layout, with other numbers; the job is killed once."""
    torch.manual_seed(0)
    shapes = {"initial_conv.0.weight": (4, 2, 3, 3, 3), "initial_conv.0.bias": (4,), "initial_conv.1.weight": (1,)}
    shapes |= {f"residual_blocks.0.conv{number}.weight": (4, 4, 3, 3, 3) for number in (1, 2)} | {"residual_blocks.0.act.weight": (1,)}
    shapes |= {"final_conv.weight": (1, 4, 1, 1, 1), "final_conv.bias": (1,)}
    torch.save({name: torch.randn(shape) for name, shape in shapes.items()}, own.path / "theirs.pth")
    scale = yaml.safe_load((own.path / "config/tiny.yaml").read_text())
    weights = {"file": "theirs.pth", "isotope": "Ga68", "voxel_mm": 2.0, "kernel_size": 7, "source": "voxel"}
    scale["override"]["predictors"] = {"ddconv_ga68": {"train": None, "psf_sets": None, "weights": weights}}
    (own.path / "imported.yaml").write_text(yaml.safe_dump(scale | {"scale": "imported", "run": ["ddconv_experiment3"]}))
    target = "results/imported/positron_range/predictors/ddconv_ga68/model.safetensors"
    assert own.killed(tmp_path / "struck", "--cores", "1", "--configfile", "imported.yaml", "--", target) == {"import_predictor"}
    assert load_predictor(own.path / target).description.simulation["weights"] == "theirs.pth"


def test_the_accelerated_operator_is_timed_again_when_killed(own, tmp_path):
    table = f"{RANGE}/ddconv_experiment1/acceleration.tsv"
    (own.path / table).unlink()
    assert own.killed(tmp_path / "struck", "--cores", "1", *SCALE, "--", table) == {"acceleration"}
    found = pd.read_csv(own.path / table, sep="\t").pivot(index="model", columns="quantity", values="value")
    assert found.loc["literal", ["l1", "own_kernels"]].to_list() == [0, 1]
    # What is stored is what was predicted; a network of two steps is not yet near the simulated kernels that the others share.
    assert found.loc["stored", "l1"] == pytest.approx(found.loc["shared", "l1"], abs=1e-4)
    assert (found.filter(like="seconds") > 0).all(axis=None)


def test_a_labs_own_scan_is_reconstructed_as_the_simulated_one(own):
    simulated = own.path / RANGE / "ddconv_experiment3"
    shutil.copy2(simulated / "realisation-1.h5", own.path / "scan.h5")
    shutil.copy2(own.path / RANGE / "torsos/ga68_torso/mu.nii.gz", own.path / "mu.nii.gz")
    expected = np.asarray(nibabel.load(simulated / "svtd/scan.nii.gz").dataobj)
    scale = yaml.safe_load((own.path / "config/tiny.yaml").read_text())
    scan = {"torso": None, "simulation": None, "seed": None, "acquisition": "scan.h5", "mu": "mu.nii.gz", "scanner": "torso_demo"}
    scale["override"]["experiments"]["ddconv_experiment3"] |= {"scan": scan, "strategies": ["svtd"]}
    (own.path / "own.yaml").write_text(yaml.safe_dump(scale | {"run": ["ddconv_experiment3"]}))
    own.snakemake("--cores", "1", "--configfile", "own.yaml", "--", f"{RANGE}/ddconv_experiment3/svtd/scan.nii.gz")
    np.testing.assert_array_equal(np.asarray(nibabel.load(simulated / "svtd/scan.nii.gz").dataobj), expected)


def test_verify_measures_images_and_builds_tables_again(tiny, tmp_path):
    """Two realisations that changed places and a score that changed its value are told; all other numbers are those that were stored."""
    repo = copy_of_results(tiny, tmp_path / "copy")
    folder, study = repo.path / RANGE / "ddconv_experiment2/none", repo.path / "results/tiny/tables/pcsa_gan_table3.tsv"
    one, two = (folder / f"realisation-{number}.nii.gz" for number in (1, 2))
    one.write_bytes(two.read_bytes())
    study.write_text(re.sub(r"(\taccuracy\t)[\d.]+", r"\g<1>0.99", study.read_text(), count=1))
    chosen = "run=[ddconv_experiment1,ddconv_experiment2,mfdiff_table5,mak_gan_table2,pcsa_gan_table3]"
    done = repo.snakemake("verify", "--cores", "1", "--configfile", "config/tiny.yaml", "--config", chosen, check=False)
    assert done.returncode != 0
    lines = (repo.path / "results/tiny/logs/verify.log").read_text().splitlines()
    parts = [re.search(r"results/tiny/(\S+\.(?:tsv|json)): (.*)", line) for line in lines]
    told = {part[1] for part in parts}
    of_range = {"positron_range/ddconv_experiment2/none/measures-1.tsv", "positron_range/ddconv_experiment2/summary.tsv"}
    assert told == of_range | {"tables/ddconv_experiment2.tsv", "tables/ddconv_experiment2.json", "tables/pcsa_gan_table3.tsv"}
    assert all(" is stored as " in line for line in lines)
    assert [line for line in lines if "accuracy" in line and "is stored as 0.99, recomputed as" in line]
    assert all("ddconv" not in part[2].lower() for part in parts)
