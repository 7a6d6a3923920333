"""Experiment 2 without Geant4: annihilations are those of a known operator, so that what each strategy must recover is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from petbench.errors import InputError
from petbench.files import read_json
from petbench.physics.acquisition import Acquisition, read_acquisition
from petbench.physics.events import Sinogram, events_from_sinogram
from petbench.physics.linear import LinearOperator
from petbench.positron_range.annihilation_images import AnnihilationImage, write_annihilations
from petbench.positron_range.corrected_reconstruction import reconstructed
from petbench.positron_range.experiment_reconstruction import (
    lesion_regions,
    measure_realisation,
    read_series,
    reconstruct_realisations,
    scan_of,
    simulate_realisation,
    summarise_realisations,
)
from petbench.positron_range.measures import lesion_measures
from petbench.positron_range.strategies import strategy_operator
from petbench.positron_range.study import check_reconstruction, check_study

DIRECT = {"counts": 1e6, "psf_mm": 4.4, "randoms_fraction": 0.2, "scatter_fraction": 0.2}
OBLIQUE = {**DIRECT, "geometry": "oblique", "tof": True}
SETTINGS = {"batch": 64, "crop": 0.01}
LESIONS = ("1", "2", "3", "4")


@pytest.fixture(scope="module")
def operator(small_torso, weights_file, kernel_file) -> Callable[[str], LinearOperator]:
    """B(mu) of a strategy, made once."""
    made: dict[str, LinearOperator] = {}

    def make(strategy: str) -> LinearOperator:
        if strategy not in made:
            files = {"weights": weights_file, "kernels": kernel_file}
            made[strategy] = strategy_operator(strategy, small_torso.mu, small_torso.voxel_mm, "Ga68", files, SETTINGS, threads=1)
        return made[strategy]

    return make


@pytest.fixture(scope="module")
def scan(small_torso, small_scanner, operator) -> Callable[..., Acquisition]:
    """Scan the annihilations that an operator makes of the torso's activity."""

    def make(strategy: str, simulation: dict[str, Any], realisation: int = 1, noise: bool = True) -> Acquisition:
        annihilations = operator(strategy)(small_torso.activity).clip(0)
        return scan_of(small_torso, annihilations, small_scanner, simulation, "Ga68", 3, realisation, noise, threads=1)

    return make


def recoveries(image: np.ndarray, torso, part: str = "whole") -> np.ndarray:
    rows = lesion_measures(image, torso.activity, lesion_regions(torso, (2.0, 8.0)))
    found = {row["lesion"]: row["value"] for row in rows if (row["part"], row["quantity"]) == (part, "recovery")}
    return np.array([found[lesion] for lesion in LESIONS])


@pytest.fixture(scope="module")
def matched(small_scanner, operator, scan) -> dict[str, dict[int, np.ndarray]]:
    """Images without noise of annihilations as SVTD places them: with that operator in the model, and with none."""
    given = scan("svtd", {**DIRECT, "psf_mm": 0.0}, noise=False)
    block = {"iterations": 100, "subsets": 4, "at": [10], "psf_mm": 0.0}
    return {strategy: reconstructed(given, operator(strategy), block, small_scanner, threads=1) for strategy in ("none", "svtd")}


def test_the_true_operator_recovers_lesions_that_none_loses(matched, small_torso) -> None:
    """Positron range is all that blurs; lesions of two voxels' radius are nearly all edge, where convergence is slowest."""
    images = matched["svtd"]
    assert list(images) == [10, 100]
    early, late = (recoveries(images[iteration], small_torso) for iteration in (10, 100))
    assert (early < late).all()
    assert ((late > 0.78) & (late < 1)).all()
    without = recoveries(matched["none"][100], small_torso)
    assert (without < 0.6).all()
    # In lung, where positrons go further, more is lost, and more of it into the background.
    assert without[:2].max() < without[2:].min()
    assert (recoveries(matched["none"][100], small_torso, "background") > recoveries(images[100], small_torso, "background") + 0.1).all()
    errors = {strategy: np.square(found[100] - small_torso.activity).sum() for strategy, found in matched.items()}
    assert errors["svtd"] < 0.5 * errors["none"]


def test_the_true_operator_is_exact_away_from_edges(matched, small_torso) -> None:
    liver = ndimage.binary_erosion(small_torso.activity == 12_500, iterations=3)
    assert liver.sum() > 200
    assert matched["svtd"][100][liver].mean() == pytest.approx(12_500, rel=0.005)
    assert matched["svtd"][100][liver].std() < 0.03 * 12_500


def test_predicted_kernels_recover_as_far_as_they_are_true(small_torso, small_scanner, operator, scan) -> None:
    """Annihilations as an untrained predictor, whose kernels are wide and uneven, places them."""
    given = scan("ddconv", {**DIRECT, "psf_mm": 0.0}, noise=False)
    block = {"iterations": 15, "subsets": 6, "psf_mm": 0.0}
    images = {strategy: reconstructed(given, operator(strategy), block, small_scanner, threads=1)[15] for strategy in ("none", "ddconv")}
    found = {strategy: recoveries(image, small_torso) for strategy, image in images.items()}
    assert (found["ddconv"] > found["none"] + 0.05).all()
    errors = {strategy: np.square(image - small_torso.activity).sum() for strategy, image in images.items()}
    assert errors["ddconv"] < 0.8 * errors["none"]


def test_oblique_planes_with_time_of_flight_recover_as_well(small_torso, small_scanner, operator, scan) -> None:
    given = scan("svtd", OBLIQUE, noise=False)
    assert given.data.prompts.ndim == 4
    block = {"iterations": 8, "subsets": 6}
    images = {strategy: reconstructed(given, operator(strategy), block, small_scanner, threads=1)[8] for strategy in ("none", "svtd")}
    whole = {strategy: recoveries(image, small_torso) for strategy, image in images.items()}
    assert (whole["svtd"] > whole["none"] + 0.05).all()


def test_expected_counts_are_the_mean_of_the_noisy_ones(scan) -> None:
    expected = scan("none", DIRECT, noise=False)
    assert expected.data.prompts.sum(dtype=float) == pytest.approx(1e6, rel=1e-3)
    drawn = [scan("none", DIRECT, realisation) for realisation in (1, 2)]
    for noisy in drawn:
        spread = (noisy.data.prompts - expected.data.prompts) / np.sqrt(expected.data.prompts)
        assert spread.std() == pytest.approx(1, abs=0.02)
        assert abs(spread.mean()) < 0.02
    assert not np.array_equal(drawn[0].data.prompts, drawn[1].data.prompts)
    np.testing.assert_array_equal(scan("none", DIRECT, 1).data.prompts, drawn[0].data.prompts)
    with pytest.raises(InputError, match="simulation/format"):
        scan("none", {**DIRECT, "format": "list_mode", "seconds": 60}, noise=False)


def test_list_mode_is_the_sinogram_event_by_event(small_scanner, operator, scan) -> None:
    given = scan("svtd", {**OBLIQUE, "counts": 2e4})
    events = events_from_sinogram(given.data, 60.0, "Ga68", 1)
    reconstruction = {"iterations": 2}
    of_bins = reconstructed(given, operator("svtd"), reconstruction, small_scanner, threads=1)[2]
    of_events = reconstructed(replace(given, data=events), operator("svtd"), reconstruction, small_scanner, threads=1)[2]
    # The starts differ: in list mode the background of bins without events is not known.
    seen = of_bins > 0.05 * of_bins.max()
    np.testing.assert_allclose(of_events[seen].mean(), of_bins[seen].mean(), rtol=0.05)
    assert np.corrcoef(of_events[seen], of_bins[seen])[0, 1] > 0.98


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ({"iterations": 5, "at": [2, 9]}, "reconstruction/at"),
        ({"iterations": 5, "at": [0]}, "reconstruction/at"),
        ({"subsets": 2}, "no iterations"),
        ({"iterations": 5, "post_filter_mm": 3}, "unknown key 'post_filter_mm'"),
    ],
)
def test_a_reconstruction_that_cannot_be_run_is_refused(block, named: str) -> None:
    with pytest.raises(InputError, match=r"^reconstruction") as error:
        check_reconstruction(block)
    assert named in str(error.value)


def test_strategies_that_lack_their_files_are_refused(small_torso, kernel_file, weights_file, untrained, tmp_path) -> None:
    def make(strategy: str, files: dict[str, Path], isotope: str = "Ga68", **settings: Any) -> None:
        strategy_operator(strategy, small_torso.mu, small_torso.voxel_mm, isotope, files, settings)

    for strategy, files, named in (
        ("svtd", {"weights": weights_file}, "positron_range/kernels"),
        ("ddconv", {"kernels": kernel_file}, "positron_range/weights"),
        ("magic", {}, "'magic' is unknown"),
        ("ddconv", {"weights": untrained(tmp_path / "f18.safetensors", isotope="F18")}, "trained for F18"),
        ("ddconv", {"weights": untrained(tmp_path / "coarse.safetensors", voxel_mm=4.0)}, "made for voxels of 4 mm"),
    ):
        with pytest.raises(InputError, match=named):
            make(strategy, files)
    with pytest.raises(InputError, match="simulated for Ga68"):
        make("svtd", {"kernels": kernel_file}, "Rb82")
    with pytest.raises(InputError, match="unknown key 'speed'"):
        make("ddconv", {"weights": weights_file}, speed=9)


@pytest.fixture(scope="module")
def annihilation_file(small_torso, operator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three million annihilations as SVTD places them."""
    image = operator("svtd")(small_torso.activity).clip(0).astype(float)
    total = float(small_torso.activity.sum(dtype=float))
    counts = np.rint(image * 3e6 / total).astype(np.uint32)
    inside = int(counts.sum(dtype=np.int64))
    path = tmp_path_factory.mktemp("annihilations") / "all.h5"
    write_annihilations(
        path, AnnihilationImage(counts, 3_000_000 - inside, 3_000_000, total, "Ga68", (2.0, 2.0, 2.0), "embedded", "", "", ("made up",))
    )
    return path


@pytest.fixture(scope="module")
def study(torso_paths, small_scanner, annihilation_file, kernel_file, weights_file, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages as the workflow runs them: two realisations, two strategies."""
    folder = tmp_path_factory.mktemp("study")
    simulation = {**OBLIQUE, "counts": 2e5}
    reconstruction = {"iterations": 3, "subsets": 4, "at": [1]}
    files = {"kernels": kernel_file, "weights": weights_file}
    acquisitions = [folder / "1.h5", folder / "2.h5"]
    for realisation, acquisition in enumerate(acquisitions, start=1):
        simulate_realisation(torso_paths, annihilation_file, small_scanner, simulation, 7, realisation, acquisition)
    for strategy in ("none", "svtd"):
        stems = [folder / f"{strategy}-{realisation}" for realisation in (1, 2)]
        out = [
            {"images": f"{stem}.nii.gz", "sidecar": f"{stem}.json", "measures": f"{stem}.tsv", "profiles": f"{stem}-profiles.tsv"}
            for stem in stems
        ]
        reconstruct_realisations(acquisitions, torso_paths, small_scanner, strategy, files, reconstruction, out, threads=1)
        for realisation, written in enumerate(out, start=1):
            measure_realisation(written["images"], written["sidecar"], torso_paths, strategy, realisation, written)
    return folder


def test_the_stages_leave_images_with_sidecars(study: Path, small_scanner) -> None:
    scan = read_acquisition(study / "1.h5", small_scanner)
    assert isinstance(scan.data, Sinogram)
    assert scan.tof
    assert scan.isotope == "Ga68"
    assert scan.data.counts == pytest.approx(2e5, rel=0.01)
    image, sidecar = nibabel.load(study / "svtd-1.nii.gz"), read_json(study / "svtd-1.json")
    assert image.shape == (45, 45, 31, 2)
    assert sidecar["Iterations"] == [1, 3]
    assert (sidecar["PositronRangeCorrection"], sidecar["ReconMethodName"]) == ("svtd", "PSF-TOF-OSEM")
    assert set(sidecar["PositronRangeFiles"]) == {"kernels", "weights"}
    assert sidecar["SecondsReconstruction"] > 0
    assert read_json(study / "none-1.json")["PositronRangeFiles"] == {}
    with pytest.raises(InputError, match="has shape"):
        read_series(study / "svtd-1.nii.gz", 3, (45, 45, 31))
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        read_series(study / "svtd-1.json", 2, (45, 45, 31))


def test_every_lesion_is_measured_in_every_image(study: Path, small_torso) -> None:
    table = pd.read_csv(study / "svtd-2.tsv", sep="\t", dtype={"lesion": str})
    assert list(table.columns) == ["model", "realisation", "iteration", "lesion", "part", "quantity", "value"]
    assert set(table.iteration) == {1, 3}
    parts = table[table.lesion == "4"].part.unique()
    assert set(parts) == {"whole", "lung", "water", "background"}
    assert set(table[table.lesion == "1"].part) == {"whole", "background"}
    last = np.asarray(nibabel.load(study / "svtd-2.nii.gz").dataobj)[..., 1]
    own = small_torso.lesions == 1
    row = table[(table.lesion == "1") & (table.part == "whole") & (table.quantity == "recovery") & (table.iteration == 3)]
    assert row.value.item() == pytest.approx(last[own].mean() / small_torso.activity[own].mean(), rel=1e-5)
    profiles = pd.read_csv(study / "svtd-2-profiles.tsv", sep="\t", dtype={"lesion": str})
    assert set(profiles.lesion) == {"4"}
    along_z = profiles[(profiles.axis == "z") & (profiles.iteration == 3)].set_index("position_mm")
    # From the liver through the lesion into the lung.
    assert along_z.material[-8.0] == "water"
    assert along_z.material[8.0] == "lung"
    assert along_z.true[0.0] == along_z.true.max() == small_torso.activity[own].max()


def test_realisations_are_summarised_with_their_spread(study: Path, tmp_path) -> None:
    paths = [study / f"{strategy}-{realisation}.tsv" for strategy in ("none", "svtd") for realisation in (1, 2)]
    summarise_realisations(paths, tmp_path / "summary.tsv")
    summary = pd.read_csv(tmp_path / "summary.tsv", sep="\t", dtype={"lesion": str}, keep_default_na=False)
    key = {"model": "none", "iteration": 3, "lesion": "2", "part": "whole", "quantity": "recovery"}
    row = summary[np.logical_and.reduce([summary[name] == value for name, value in key.items()])].iloc[0]
    tables = [pd.read_csv(path, sep="\t", dtype={"lesion": str}, keep_default_na=False) for path in paths[:2]]
    values = [table[np.logical_and.reduce([table[name] == value for name, value in key.items()])].value.item() for table in tables]
    assert values[0] != values[1]
    assert row["mean"] == pytest.approx(np.mean(values))
    assert row["sd"] == pytest.approx(np.std(values, ddof=1))
    assert row["sem"] == pytest.approx(np.std(values, ddof=1) / np.sqrt(2))
    assert row["realisations"] == 2
    with pytest.raises(InputError, match="realisation 1 of none was given twice"):
        summarise_realisations([paths[0], paths[0]], tmp_path / "twice.tsv")
    with pytest.raises(InputError, match="lacks the column part"):
        summarise_realisations([study / "svtd-1-profiles.tsv"], tmp_path / "wrong.tsv")
    with pytest.raises(InputError, match="no such file"):
        summarise_realisations([tmp_path / "absent.tsv"], tmp_path / "wrong.tsv")


def test_too_few_annihilations_for_the_counts_are_refused(torso_paths, small_scanner, annihilation_file, tmp_path) -> None:
    with pytest.raises(InputError, match=r"add noise of their own; give at least 1e\+07 positrons"):
        simulate_realisation(torso_paths, annihilation_file, small_scanner, DIRECT, 7, 1, tmp_path / "scan.h5")
    assert not (tmp_path / "scan.h5").exists()
    with pytest.raises(InputError, match="gate/positrons"):
        check_study(DIRECT, {"iterations": 3}, 9_999_999)
    check_study(DIRECT, {"iterations": 3}, 10_000_000)
