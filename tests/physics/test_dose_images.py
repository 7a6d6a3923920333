import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from petbench.data.nifti import read_volume, volume
from petbench.errors import InputError
from petbench.physics.acquisition import read_acquisition, write_acquisition
from petbench.physics.dose_images import at_dose, image_of, reconstruct
from petbench.physics.doses import is_independent, resolve_dose
from petbench.physics.scanner import Scanner, image_affine
from petbench.physics.simulate import acquire, simulate

Array = NDArray[np.float32]

TINY = yaml.safe_load((Path(__file__).parents[2] / "config" / "scanners" / "tiny.yaml").read_text())
SIMULATION = {"counts": 3.0e6, "psf_mm": 4.5, "randoms_fraction": 0.2, "scatter_fraction": 0.3, "seconds": 600.0, "activity": 200.0}
SIMULATION |= {"isotope": "C11"}
RECONSTRUCTION = {"iterations": 4, "subsets": 8, "psf_mm": 4.5, "post_filter_mm": 8.0}
SEED = 11


@pytest.fixture(scope="module")
def tiny() -> Scanner:
    """The tiny scanner, shorter and with oblique planes and time of flight."""
    image = {"shape": [32, 32, 11], "voxel_mm": [8.0, 8.0, 8.0]}
    oblique, tof = {"rings": 6, "max_ring_difference": 2, "span": 1}, {"resolution_ps": 400.0, "bins": 9, "bin_ps": 310.0}
    return Scanner.from_entry(TINY | {"planes": 11, "views": 24, "image": image, "oblique": oblique, "tof": tof})


@pytest.fixture
def subject(tiny: Scanner, disc: Callable[..., Array]) -> tuple[Array, Array]:
    inside = disc(tiny, 90.0)
    inside[:, :, :1] = inside[:, :, -1:] = 0
    return 5000 * inside, np.float32(0.096) * inside


@pytest.fixture
def image(subject: tuple[Array, Array], tiny: Scanner, tmp_path: Path) -> Callable[..., tuple[Array, dict[str, Any]]]:
    """Simulate a subject at a dose, write the files and read the image and its sidecar."""

    def make(block: dict[str, Any], name: str = "low", seed: int = SEED, **changes: Any) -> tuple[Array, dict[str, Any]]:
        images = [volume(data, image_affine(tiny)) for data in subject]
        scan, out, sidecar = (tmp_path / f"{name}{suffix}" for suffix in (".h5", ".nii.gz", ".json"))
        own = {"dose": block, "name": name} if is_independent(block) else {}
        simulate(*images, tiny, SIMULATION | changes, seed, scan, **own)
        reconstruct(scan, block, RECONSTRUCTION, tiny, seed, out, sidecar)
        return np.asarray(read_volume(out).dataobj), json.loads(sidecar.read_text())

    return make


def region(tiny: Scanner, disc: Callable[..., Array]) -> NDArray[np.bool_]:
    """Well inside the cylinder."""
    inside: NDArray[np.bool_] = disc(tiny, 70.0) == 1
    inside[:, :, :3] = inside[:, :, -3:] = False
    return inside


DOSES = {
    "standard": ({"fraction": 1.0}, {}),
    "fraction": ({"fraction": 0.25}, {}),
    "drf": ({"drf": 20}, {}),
    "seconds": ({"seconds": 60}, {}),
    "activity": ({"activity": 50}, {}),
    "counts": ({"counts": [3e5, 5e5]}, {}),
    "independent": ({"counts": 4e5, "draw": "independent"}, {}),
    "more": ({"counts": 9e6, "draw": "independent"}, {}),
    "slice": ({"drf": 4}, {"counts_scope": "slice", "counts": 3e5}),
    "oblique": ({"drf": 4}, {"geometry": "oblique"}),
    "tof": ({"drf": 4}, {"tof": True}),
    "list": ({"drf": 10}, {"format": "list_mode"}),
    "list_seconds": ({"seconds": 60}, {"format": "list_mode"}),
    "list_activity": ({"activity": 20}, {"format": "list_mode", "geometry": "oblique", "tof": True}),
}


@pytest.mark.parametrize("kind", DOSES)
def test_every_dose_estimates_the_same_activity(image, tiny: Scanner, disc: Callable[..., Array], kind: str) -> None:
    block, changes = DOSES[kind]
    data, sidecar = image(block, **changes)
    inside = data[region(tiny, disc)]
    # Noise of the mean: that of the head's counts, doubled for its background and the region's smaller part.
    assert abs(inside.mean() / 5000 - 1) < 0.01 + 10 / np.sqrt(sidecar["Counts"])
    assert sidecar["Units"] == "Bq/mL"


def test_mean_over_realisations_is_the_same_at_every_dose(subject: tuple[Array, Array], tiny: Scanner, disc: Callable[..., Array]) -> None:
    inside = region(tiny, disc)
    simulation = SIMULATION | {"counts": 1e6}
    means: dict[str, list[float]] = {"whole": [], "thinned": [], "activity": []}
    for seed in range(6):
        for name, block in {"whole": {"fraction": 1.0}, "thinned": {"drf": 5}, "activity": {"activity": 40}}.items():
            dose = resolve_dose(block, simulation, seed)
            own = dose if is_independent(block) else resolve_dose({"fraction": 1.0}, simulation, seed)
            scan = at_dose(acquire(*subject, tiny, simulation, own, seed, name), dose, seed)
            means[name].append(float(image_of(scan, RECONSTRUCTION, tiny)[inside].mean()))
    whole = np.mean(means["whole"])
    for name in ("thinned", "activity"):
        error = np.std(means[name], ddof=1) / np.sqrt(6)
        assert abs(np.mean(means[name]) - whole) < 5 * error
        assert error < 0.01 * whole


def test_noise_grows_as_the_dose_falls(image, tiny: Scanner, disc: Callable[..., Array]) -> None:
    inside = region(tiny, disc)
    spread = [image({"fraction": fraction})[0][inside].std() for fraction in (1.0, 0.25, 0.04)]
    assert spread[0] < spread[1] < spread[2]


def test_list_mode_and_sinogram_of_the_same_counts_agree(image) -> None:
    block = {"fraction": 1.0}
    binned, _ = image(block, geometry="oblique", counts=6e5)
    listed, sidecar = image(block, geometry="oblique", counts=6e5, format="list_mode")
    assert sidecar["AcquisitionMode"] == "list mode"
    # The subsets are others, of events and not of views, so the images differ by what four iterations leave open.
    assert np.sqrt(np.mean((binned - listed) ** 2)) < 0.05 * binned.max()
    assert listed.sum() == pytest.approx(binned.sum(), rel=0.01)


def test_sidecars_say_what_the_dose_is(image) -> None:
    _, whole = image({"fraction": 1.0}, "standard")
    assert (whole["DoseDraw"], whole["DoseFraction"], whole["InjectedRadioactivity"]) == ("standard", 1.0, 200.0)
    assert whole["TracerRadionuclide"] == "C11"
    assert whole["Counts"] == whole["StandardDoseCounts"] == pytest.approx(3e6, abs=5 * np.sqrt(3e6))
    assert whole["ExpectedTrues"] + whole["ExpectedScatter"] + whole["ExpectedRandoms"] == pytest.approx(3e6, rel=1e-4)
    assert whole["ExpectedRandoms"] == pytest.approx(0.6e6, rel=1e-4)
    assert (whole["FrameDuration"], whole["ImageDecayCorrected"], whole["ImageDecayCorrectionTime"]) == ([600.0], True, 0.0)
    assert (whole["AcquisitionGeometry"], whole["TimeOfFlight"], whole["AcquisitionMode"]) == ("direct", False, "sinogram")
    assert whole["SimulatedPSF"] == 4.5
    assert whole["ReconMethodName"] == "PSF-OSEM"
    assert whole["ReconMethodParameterValues"] == [4, 8, 4.5]
    assert whole["AcquisitionSeed"] == SEED
    assert whole["SoftwareVersions"].startswith("petbench ")

    _, short = image({"seconds": 60})
    share = (1 - 2 ** (-60 / (20.36 * 60))) / (1 - 2 ** (-600 / (20.36 * 60)))
    assert (short["DoseKind"], short["DoseValue"], short["DoseDraw"]) == ("seconds", 60, "thinning")
    assert short["DoseFraction"] == pytest.approx(share)
    assert short["FrameDuration"] == [60]
    assert short["Counts"] == pytest.approx(3e6 * share, rel=0.02)
    assert short["ExpectedTrues"] == pytest.approx(whole["ExpectedTrues"] * share, rel=1e-6)
    assert short["StandardDoseExpectedCounts"] == pytest.approx(3e6, rel=1e-4)

    _, weak = image({"activity": 50})
    assert (weak["DoseDraw"], weak["InjectedRadioactivity"], weak["InjectedRadioactivityUnits"]) == ("independent", 50, "MBq")
    assert (weak["DoseFraction"], weak["DoseRandomsRatio"]) == (0.25, 0.0625)
    assert weak["ExpectedRandoms"] == pytest.approx(0.6e6 / 16, rel=1e-4)
    assert weak["Counts"] == pytest.approx(2.4e6 / 4 + 0.6e6 / 16, rel=0.01)
    assert weak["StandardDoseExpectedCounts"] == pytest.approx(3e6, rel=1e-4)
    assert "StandardDoseCounts" not in weak


def test_an_independent_scan_with_its_own_randoms_tells_its_expected_counts(image) -> None:
    _, sidecar = image({"counts": 1e6, "draw": "independent"}, randoms_fraction=0.4)
    assert sidecar["DoseFraction"] == pytest.approx(1 / 3)  # of the standard dose's prompts
    assert sidecar["ExpectedRandoms"] == pytest.approx(0.4e6, rel=1e-4)
    assert sidecar["ExpectedTrues"] + sidecar["ExpectedScatter"] == pytest.approx(0.6e6, rel=1e-4)
    assert sidecar["StandardDoseExpectedCounts"] == pytest.approx(3e6, rel=1e-4)
    assert "DoseRandomsRatio" not in sidecar


@pytest.mark.parametrize("form", ["sinogram", "list_mode"])
def test_no_counts_at_all_give_an_image_of_zeros(subject: tuple[Array, Array], tiny: Scanner, form: str) -> None:
    simulation = SIMULATION | {"counts": 1e-9, "format": form}
    scan = acquire(*subject, tiny, simulation, resolve_dose({"fraction": 1.0}, simulation, 1), 1)
    assert scan.data.counts == 0
    estimate = image_of(scan, RECONSTRUCTION, tiny)
    assert estimate.shape == tiny.image_shape
    assert not estimate.any()


def test_fewer_events_than_subsets_are_refused(subject: tuple[Array, Array], tiny: Scanner) -> None:
    simulation = SIMULATION | {"counts": 3, "format": "list_mode"}
    scan = acquire(*subject, tiny, simulation, resolve_dose({"fraction": 1.0}, simulation, 1), 1)
    assert 0 < scan.data.counts < 8
    with pytest.raises(InputError, match=r"reconstruction/subsets: 8 subsets of \d events"):
        image_of(scan, RECONSTRUCTION, tiny)


@pytest.mark.parametrize("psf_mm", [-1.0, float("nan")])
def test_a_resolution_that_is_none_is_refused(subject: tuple[Array, Array], tiny: Scanner, psf_mm: float) -> None:
    scan = acquire(*subject, tiny, SIMULATION, resolve_dose({"fraction": 1.0}, SIMULATION, 1), 1)
    with pytest.raises(InputError, match=r"psf_mm: .* is negative or not finite"):
        image_of(scan, RECONSTRUCTION | {"psf_mm": psf_mm}, tiny)


def test_a_scan_without_times_is_not_decay_corrected(subject: tuple[Array, Array], tiny: Scanner, tmp_path: Path) -> None:
    simulation = {key: value for key, value in SIMULATION.items() if key not in ("seconds", "activity")}
    simulate(*(volume(data, image_affine(tiny)) for data in subject), tiny, simulation, 1, tmp_path / "scan.h5")
    reconstruct(tmp_path / "scan.h5", {"drf": 2}, RECONSTRUCTION, tiny, 1, tmp_path / "pet.nii.gz", tmp_path / "pet.json")
    sidecar = json.loads((tmp_path / "pet.json").read_text())
    assert sidecar["ImageDecayCorrected"] is False
    assert sidecar["NotSimulated"] == ["InjectedRadioactivity", "FrameDuration"]
    assert (sidecar["InjectedRadioactivity"], sidecar["FrameDuration"]) == (0, [0])


def test_a_scan_whose_simulation_is_unknown_can_be_thinned(subject: tuple[Array, Array], tiny: Scanner, tmp_path: Path) -> None:
    scan = acquire(*subject, tiny, SIMULATION, resolve_dose({"fraction": 1.0}, SIMULATION, 1), 1)
    scan.metadata.clear()
    write_acquisition(tmp_path / "lab.h5", scan, tiny)
    half = {"counts": scan.data.counts / 2}
    for name, block in {"half": half, "short": {"seconds": 60}}.items():
        reconstruct(tmp_path / "lab.h5", block, RECONSTRUCTION, tiny, 1, tmp_path / f"{name}.nii.gz", tmp_path / f"{name}.json")
    sidecar = json.loads((tmp_path / "half.json").read_text())
    assert sidecar["DoseFraction"] == pytest.approx(0.5)
    assert not {"ExpectedTrues", "SimulatedPSF", "AcquisitionSeed"} & sidecar.keys()
    with pytest.raises(InputError, match="simulation/activity: is missing"):
        reconstruct(tmp_path / "lab.h5", {"activity": 3}, RECONSTRUCTION, tiny, 1, tmp_path / "x.nii.gz", tmp_path / "x.json")


def test_same_seed_same_image_and_another_seed_another(image) -> None:
    first, same, other = (image({"drf": 4}, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_doses_are_not_made_of_scans_of_other_doses(image, tiny: Scanner, tmp_path: Path) -> None:
    image({"fraction": 1.0}, "standard")
    image({"activity": 50}, "weak")
    out = (tmp_path / "x.nii.gz", tmp_path / "x.json")
    for name, block, message in [
        ("standard", {"activity": 50}, "standard.h5: is not the scan of the dose activity 50"),
        ("weak", {"activity": 40}, "weak.h5: is not the scan of the dose activity 40"),
        ("weak", {"drf": 4}, "weak.h5: is the scan of one dose alone"),
        ("standard", {"fraction": 1.5}, "doses/fraction"),
    ]:
        with pytest.raises(InputError, match=message):
            reconstruct(tmp_path / f"{name}.h5", block, RECONSTRUCTION, tiny, SEED, *out)
    with pytest.raises(InputError, match="reconstruction/subsets"):
        reconstruct(tmp_path / "standard.h5", {"drf": 4}, RECONSTRUCTION | {"subsets": 25}, tiny, SEED, *out)
    assert not out[0].exists()


def test_images_and_likelihood_of_chosen_iterations(subject: tuple[Array, Array], tiny: Scanner) -> None:
    scan = acquire(*subject, tiny, SIMULATION, resolve_dose({"fraction": 1.0}, SIMULATION, 1), 1)
    seen: list[tuple[int, float]] = []
    image_of(scan, RECONSTRUCTION, tiny, callback=lambda iteration, _, likelihood: seen.append((iteration, likelihood)), at=[1, 3])
    assert [iteration for iteration, _ in seen] == [1, 3]
    assert seen[1][1] > seen[0][1]


def test_torch_on_the_cpu_gives_the_same_image(subject: tuple[Array, Array], tiny: Scanner, tmp_path: Path) -> None:
    simulation = SIMULATION | {"counts": 2e5}
    simulate(*(volume(data, image_affine(tiny)) for data in subject), tiny, simulation, 1, tmp_path / "scan.h5")
    scan = read_acquisition(tmp_path / "scan.h5", tiny)
    plain, moved = (image_of(scan, RECONSTRUCTION, tiny, device=device) for device in ("cpu", "cpu:0"))
    np.testing.assert_allclose(plain, moved, rtol=1e-3, atol=1e-2 * plain.mean())
