import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from petbench.data.nifti import Image, read_volume, volume
from petbench.errors import InputError
from petbench.evaluation.metrics import psnr as evaluated_psnr
from petbench.physics.from_image import from_image, psnr
from petbench.physics.scanner import Scanner, image_affine

Array = NDArray[np.float32]

TINY = yaml.safe_load((Path(__file__).parents[2] / "config" / "scanners" / "tiny.yaml").read_text())
SIMULATION = {"counts": 2.0e7, "psf_mm": 0.0, "randoms_fraction": 0.0, "scatter_fraction": 0.0}
RECONSTRUCTION = {"iterations": 4, "subsets": 6, "psf_mm": 0.0, "post_filter_mm": 0.0}


@pytest.fixture(scope="module")
def tiny() -> Scanner:
    image = {"shape": [32, 32, 9], "voxel_mm": [8.0, 8.0, 8.0]}
    return Scanner.from_entry(TINY | {"planes": 9, "views": 24, "image": image})


def ball(shape: tuple[int, ...], affine: NDArray[np.float64], centre: tuple[float, ...]) -> Image:
    """A smooth ball around a point in mm, off its own middle in intensity so that flips are seen."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = grid @ affine[:3, :3].T + affine[:3, 3] - centre
    distance = np.sqrt((world**2 * [1, 1, 3]).sum(axis=-1))
    return volume((1 / (1 + np.exp((distance - 55) / 6)) * (1 + world[..., 0] / 100)).clip(0).astype(np.float32), affine)


@pytest.fixture
def on_grid(tiny: Scanner) -> Image:
    """A PET image on the scanner's own grid."""
    return ball(tiny.image_shape, image_affine(tiny), (0, 0, 0))


@pytest.fixture
def low(tiny: Scanner, tmp_path: Path) -> Callable[..., tuple[Image, dict[str, Any]]]:
    def make(
        image: Image,
        dose: dict[str, Any],
        seed: int = 5,
        attenuation: Image | None = None,
        name: str = "low",
        device: str = "cpu",
        **changes: Any,
    ) -> tuple[Image, dict]:
        out, sidecar = tmp_path / "low.nii.gz", tmp_path / "low.json"
        from_image(image, tiny, SIMULATION | changes, dose, name, RECONSTRUCTION, seed, out, sidecar, attenuation, device=device)
        return read_volume(out), json.loads(sidecar.read_text())

    return make


def test_a_dose_of_an_image_keeps_its_units_and_grid(on_grid: Image, low) -> None:
    image, sidecar = low(on_grid, {"drf": 10})
    assert image.shape == on_grid.shape
    np.testing.assert_allclose(image.affine, on_grid.affine, atol=1e-3)
    data, reference = np.asarray(image.dataobj), np.asarray(on_grid.dataobj)
    assert data.sum() == pytest.approx(reference.sum(), rel=0.01)
    assert data[16, 16, 3:6].mean() == pytest.approx(reference[16, 16, 3:6].mean(), rel=0.1)
    assert sidecar["DoseFraction"] == pytest.approx(0.1)
    assert sidecar["Counts"] == pytest.approx(2e6, rel=0.01)
    assert sidecar["StandardDoseCounts"] == pytest.approx(2e7, rel=0.01)
    assert sidecar["PSNR"] == pytest.approx(psnr(data, reference), abs=1e-3)
    assert sidecar["AttenuationCorrection"].startswith("none")


def test_psnr_is_that_of_the_tables(on_grid: Image) -> None:
    reference = np.asarray(on_grid.dataobj)
    noisy = reference + np.random.default_rng(1).normal(0, 0.1, reference.shape).astype(np.float32)
    assert psnr(noisy, reference) == pytest.approx(evaluated_psnr(noisy, reference, data_range=float(reference.max())), abs=1e-4)


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("target", [22.0, 27.0])
def test_psnr_asked_for_is_met(on_grid: Image, low, target: float, seed: int) -> None:
    image, sidecar = low(on_grid, {"psnr": target, "tolerance_db": 0.01}, seed=seed)
    assert psnr(np.asarray(image.dataobj), np.asarray(on_grid.dataobj)) == pytest.approx(target, abs=0.01)
    assert 0 < sidecar["DoseFraction"] < 1
    assert (sidecar["DoseDraw"], sidecar["TargetPSNR"], sidecar["TargetPSNRTolerance"]) == ("thinning", target, 0.01)
    assert sidecar["Counts"] == pytest.approx(2e7 * sidecar["DoseFraction"], rel=0.05)


def test_more_decibels_take_more_counts(on_grid: Image, low) -> None:
    fractions = [low(on_grid, {"psnr": target})[1]["DoseFraction"] for target in (20.0, 24.0, 28.0)]
    assert fractions[0] < fractions[1] < fractions[2]


def test_noise_of_an_attenuating_head_is_larger(on_grid: Image, low) -> None:
    mu = volume(np.float32(0.096) * (np.asarray(on_grid.dataobj) > 0.3), on_grid.affine)
    plain, attenuated = (low(on_grid, {"drf": 10}, attenuation=extra, counts=counts) for extra, counts in ((None, 2e7), (mu, 2e7)))
    assert attenuated[1]["AttenuationCorrection"] == "known attenuation map at 511 keV"
    # The counts are the same, and the middle gets the fewest of them.
    assert attenuated[1]["Counts"] == pytest.approx(plain[1]["Counts"], rel=0.01)
    middle = (slice(13, 19), slice(13, 19), slice(3, 6))
    spread = [np.std(np.asarray(image.dataobj)[middle] - np.asarray(on_grid.dataobj)[middle]) for image, _ in (plain, attenuated)]
    assert spread[1] > spread[0]
    assert np.asarray(attenuated[0].dataobj).sum() == pytest.approx(np.asarray(plain[0].dataobj).sum(), rel=0.02)


@pytest.mark.parametrize("flip", [False, True])
def test_images_on_other_grids_come_back_on_their_own(low, flip: bool) -> None:
    """Smaller voxels, another place in the world, and axes the other way round or swapped."""
    steps = np.array([[-4.0, 0, 0], [0, 0, 4.0], [0, 5.0, 0]]) if flip else np.diag([4.0, 4.0, 5.0])
    shape = (50, 14, 50) if flip else (50, 50, 14)
    affine = np.eye(4)
    affine[:3, :3] = steps
    middle = np.array([30.0, -80.0, 400.0])
    affine[:3, 3] = middle - steps @ ((np.array(shape) - 1) / 2)
    image = ball(shape, affine, tuple(middle))
    result, _ = low(image, {"fraction": 1.0}, counts=2e8)
    assert result.shape == shape
    np.testing.assert_allclose(result.affine, affine, atol=1e-3)
    data, reference = np.asarray(result.dataobj), np.asarray(image.dataobj)
    assert data.sum() == pytest.approx(reference.sum(), rel=0.02)
    assert psnr(data, reference) > 25
    # the brighter side stays the brighter one
    assert np.corrcoef(data[reference > 0.5], reference[reference > 0.5])[0, 1] > 0.9


def test_a_smaller_injected_activity_is_a_scan_of_its_own(on_grid: Image, low) -> None:
    _, sidecar = low(on_grid, {"activity": 20}, activity=200.0, randoms_fraction=0.2)
    assert sidecar["DoseDraw"] == "independent"
    assert sidecar["ExpectedRandoms"] == pytest.approx(0.2 * 2e7 / 100, rel=1e-4)


def test_independent_scans_have_noise_of_their_own_and_thinned_ones_share_the_standard_dose(on_grid: Image, low) -> None:
    whole = {"fraction": 1.0, "draw": "independent"}
    chosen = {"a": (whole, "a"), "b": (whole, "b"), "thinned": ({"fraction": 1.0}, "c"), "standard": ({"fraction": 1.0}, "standard")}
    images = {key: np.asarray(low(on_grid, dose, name=name, counts=2e5)[0].dataobj) for key, (dose, name) in chosen.items()}
    np.testing.assert_array_equal(images["thinned"], images["standard"])
    noise = [(images[key] - np.asarray(on_grid.dataobj))[12:20, 12:20, 3:6].ravel() for key in ("a", "b", "standard")]
    # scans of the same noise correlate fully; the error that all share is small against that of so few counts
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 0.5


def test_images_are_reconstructed_where_asked(on_grid: Image, low) -> None:
    plain, moved = (low(on_grid, {"drf": 4}, device=device) for device in ("cpu", "cpu:0"))
    assert [sidecar["ReconDevice"] for _, sidecar in (plain, moved)] == ["cpu", "cpu:0"]
    first, second = (np.asarray(image.dataobj) for image, _ in (plain, moved))
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-2 * first.mean())


@pytest.mark.parametrize(
    ("dose", "message"),
    [
        ({"psnr": 90.0}, "doses/psnr: all counts reach"),
        ({"psnr": -40.0}, "doses/psnr: no fraction"),
        ({"psnr": 20.0, "tolerance_db": 0.0}, "doses/tolerance_db"),
        ({"psnr": float("nan")}, "doses/psnr: nan is not finite"),
        ({"psnr": 20.0, "draw": "independent"}, "doses/draw: a PSNR is met by thinning"),
        ({"fraction": 2.0}, "doses/fraction"),
        ({"drf": 4, "fraction": 0.25}, "exactly one of"),
    ],
)
def test_doses_that_cannot_be_met_are_refused(on_grid: Image, low, dose: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        low(on_grid, dose, counts=2e5)


def test_images_that_do_not_fit_are_refused(on_grid: Image, tiny: Scanner, low) -> None:
    data = np.asarray(on_grid.dataobj)
    long = np.pad(data, ((0, 0), (0, 0), (6, 6)), mode="edge")
    corner = data.copy()
    corner[:3, :3] = 1
    for image, message in [
        (volume(data - 1, on_grid.affine), "activity: holds values that are negative"),
        (volume(0 * data, on_grid.affine), "activity: is zero everywhere"),
        (volume(long, on_grid.affine), "% of it lies outside what"),
        (volume(corner, on_grid.affine), "% of it lies outside what"),
    ]:
        with pytest.raises(InputError, match=message):
            low(image, {"drf": 4})
    with pytest.raises(InputError, match="attenuation: rises to"):
        low(on_grid, {"drf": 4}, attenuation=volume(5 * data, on_grid.affine))
