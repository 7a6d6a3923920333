from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from petbench.data.nifti import Image, volume
from petbench.errors import InputError
from petbench.physics.acquisition import Acquisition, read_acquisition
from petbench.physics.doses import STANDARD, resolve_dose
from petbench.physics.events import Events, Sinogram, sinogram_from_events
from petbench.physics.operators import ForwardModel
from petbench.physics.planes import planes_of
from petbench.physics.projectors import projector_of
from petbench.physics.scanner import Scanner, image_affine
from petbench.physics.simulate import acquire, resolution, simulate

Array = NDArray[np.float32]

TINY = yaml.safe_load((Path(__file__).parents[2] / "config" / "scanners" / "tiny.yaml").read_text())
SIMULATION = {"counts": 3.0e6, "psf_mm": 4.5, "randoms_fraction": 0.2, "scatter_fraction": 0.3, "seconds": 600.0, "activity": 200.0}


@pytest.fixture(scope="module")
def tiny() -> Scanner:
    return Scanner.from_entry(TINY)


@pytest.fixture(scope="module")
def rings() -> Scanner:
    """A short scanner with oblique planes and time of flight."""
    image = {"shape": [32, 32, 7], "voxel_mm": [8.0, 8.0, 8.0]}
    oblique, tof = {"rings": 4, "max_ring_difference": 2, "span": 1}, {"resolution_ps": 400.0, "bins": 9, "bin_ps": 310.0}
    return Scanner.from_entry(TINY | {"name": "rings", "planes": 7, "views": 12, "image": image, "oblique": oblique, "tof": tof})


@pytest.fixture
def head(disc: Callable[..., Array]) -> Callable[[Scanner], tuple[Array, Array]]:
    """Activity and attenuation of a short cylinder."""

    def make(scanner: Scanner) -> tuple[Array, Array]:
        inside = disc(scanner, 90.0)
        inside[:, :, :2] = inside[:, :, -2:] = 0
        return 5000 * inside, np.float32(0.096) * inside

    return make


def scan_of(truth: Array, mu: Array, scanner: Scanner, block: dict[str, Any], name: str, seed: int = 11, **changes: Any) -> Acquisition:
    simulation = SIMULATION | changes
    return acquire(truth, mu, scanner, simulation, resolve_dose(block, simulation, seed), seed, name)


def expected_of(scan: Acquisition, truth: Array, scanner: Scanner, psf_mm: float = 4.5) -> Array:
    """What the acquisition's own model expects of the true activity."""
    assert isinstance(scan.data, Sinogram)
    projector = projector_of(scanner, scan.geometry, tof=scan.tof)
    model = ForwardModel(projector, scan.factors, scan.scale, resolution(psf_mm, scanner), scan.data.background)
    return np.asarray(model.expected(truth))


@pytest.mark.parametrize(
    ("geometry", "tof", "scope"),
    [
        ("direct", False, "volume"),
        ("direct", False, "slice"),
        ("direct", True, "slice"),
        ("oblique", False, "volume"),
        ("oblique", True, "volume"),
    ],
)
def test_counts_follow_the_model_on_file(head, rings: Scanner, geometry: str, tof: bool, scope: str) -> None:
    truth, mu = head(rings)
    counts = 3e6 if scope == "volume" else 3e6 / rings.planes
    scan = scan_of(truth, mu, rings, STANDARD, "standard", geometry=geometry, tof=tof, counts_scope=scope, counts=counts)
    assert isinstance(scan.data, Sinogram)
    assert scan.tof == tof
    expected = expected_of(scan, truth, rings).astype(float)
    planes = planes_of(rings, geometry).size
    assert expected.shape == (44, 12, planes, 9)[: 4 if tof else 3]
    assert sum(scan.metadata["expected"].values()) == pytest.approx(expected.sum(), rel=1e-4)
    prompts = scan.data.prompts
    assert abs(prompts.sum(dtype=float) - expected.sum()) < 5 * np.sqrt(expected.sum())
    seen = expected > 0.5
    chi_squared = ((prompts - expected) ** 2 / np.where(seen, expected, 1))[seen]
    spread = np.sqrt((2 + (1 / expected[seen]).mean()) / seen.sum())
    assert abs(chi_squared.mean() - 1) < 5 * spread
    if scope == "volume":
        assert expected.sum() == pytest.approx(3e6, rel=1e-4)
    else:
        by_plane = expected.sum(axis=(0, 1, 3) if tof else (0, 1))
        np.testing.assert_allclose(by_plane[2:-2], counts, rtol=1e-3)


def test_ring_pairs_belong_to_the_factors(head, rings: Scanner) -> None:
    rings = replace(rings, span=3)
    truth, mu = head(rings)
    scan = scan_of(truth, 0 * mu, rings, STANDARD, "standard", geometry="oblique")
    np.testing.assert_array_equal(scan.factors[0, 0], planes_of(rings, "oblique").ring_pairs)
    assert scan.factors.max() == 2


def test_noise_is_independent_between_independent_scans(head, tiny: Scanner) -> None:
    truth, mu = head(tiny)
    blocks = {"standard": STANDARD, "a": {"drf": 2, "draw": "independent"}, "b": {"drf": 2, "draw": "independent"}, "c": {"activity": 100}}
    noise = {}
    for name, block in blocks.items():
        scan = scan_of(truth, mu, tiny, block, name)
        assert isinstance(scan.data, Sinogram)
        expected = expected_of(scan, truth, tiny)
        noise[name] = ((scan.data.prompts - expected) / np.sqrt(expected)).ravel()
    correlation = np.corrcoef(list(noise.values()))
    limit = 5 / np.sqrt(noise["a"].size)
    assert np.abs(correlation - np.eye(4)).max() < limit


def test_an_independent_dose_has_its_own_counts_and_resolution(head, tiny: Scanner) -> None:
    truth, mu = head(tiny)
    standard = scan_of(truth, mu, tiny, STANDARD, "standard")
    counts = scan_of(truth, mu, tiny, {"counts": [1e5, 2e5], "draw": "independent"}, "low", psf_mm=8.0)
    value = counts.metadata["dose"]["value"]
    assert 1e5 < value < 2e5
    assert sum(counts.metadata["expected"].values()) == pytest.approx(value, rel=1e-4)
    assert counts.scale == pytest.approx(standard.scale * value / 3e6, rel=0.05)  # a wider blur reaches lines with less attenuation
    low = scan_of(truth, mu, tiny, {"activity": 50}, "low")
    assert low.scale == pytest.approx(standard.scale / 4, rel=1e-6)
    before, after = standard.metadata["expected"], low.metadata["expected"]
    assert after["randoms"] == pytest.approx(before["randoms"] / 16, rel=1e-5)
    assert after["scatter"] == pytest.approx(before["scatter"] / 4, rel=1e-5)
    assert low.data.counts == pytest.approx(sum(after.values()), abs=5 * np.sqrt(sum(after.values())))


@pytest.mark.parametrize(("geometry", "tof"), [("direct", False), ("oblique", True)])
def test_list_mode_holds_the_counts_of_the_sinogram(head, rings: Scanner, geometry: str, tof: bool) -> None:
    truth, mu = head(rings)
    choice = {"geometry": geometry, "tof": tof, "counts": 2e5, "isotope": "O15"}
    sinogram = scan_of(truth, mu, rings, STANDARD, "standard", **choice)
    listed = scan_of(truth, mu, rings, STANDARD, "standard", **choice, format="list_mode")
    assert isinstance(listed.data, Events)
    assert isinstance(sinogram.data, Sinogram)
    assert listed.tof == tof
    np.testing.assert_array_equal(sinogram_from_events(listed.data, sinogram.data.prompts.shape), sinogram.data.prompts)
    np.testing.assert_array_equal(listed.data.background, sinogram.data.background[listed.data.bins])
    assert listed.scale == sinogram.scale
    early = np.mean(listed.data.time_ms < 122_270)  # one half-life of oxygen-15
    assert early == pytest.approx(0.5 / (1 - 2 ** (-600 / 122.27)), abs=5 * 0.5 / np.sqrt(2e5))


def test_same_seed_same_counts_and_another_seed_or_name_others(head, tiny: Scanner) -> None:
    truth, mu = head(tiny)
    first, same, other, named = (
        scan_of(truth, mu, tiny, STANDARD, name, seed).data for name, seed in (("a", 1), ("a", 1), ("a", 2), ("b", 1))
    )
    np.testing.assert_array_equal(first.prompts, same.prompts)
    assert (first.prompts != other.prompts).any()
    assert (first.prompts != named.prompts).any()


def test_a_dose_to_be_thinned_has_no_scan_of_its_own(head, tiny: Scanner, tmp_path: Path) -> None:
    images = [volume(data, image_affine(tiny)) for data in head(tiny)]
    simulate(*images, tiny, SIMULATION, 3, tmp_path / "whole.h5")
    assert read_acquisition(tmp_path / "whole.h5", tiny).metadata["name"] == "standard"
    with pytest.raises(InputError, match="doses/low: is thinned"):
        simulate(*images, tiny, SIMULATION, 3, tmp_path / "low.h5", {"drf": 4}, "low")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.h5"]


def test_images_that_do_not_fit_are_refused(head, tiny: Scanner, tmp_path: Path) -> None:
    affine = image_affine(tiny)
    activity, mu = (volume(data, affine) for data in head(tiny))
    shifted = affine.copy()
    shifted[0, 3] += 3.0
    data, density = np.asarray(activity.dataobj), np.asarray(mu.dataobj)
    corner = data.copy()
    corner[0, 0] = 5000
    broken: dict[str, tuple[Image, Image]] = {
        "activity: is not on the image grid": (volume(data, shifted), mu),
        "attenuation: is not on the image grid": (activity, volume(density[1:], affine)),
        "activity: holds values that are negative": (volume(data - 1, affine), mu),
        "attenuation: holds values that are negative": (activity, volume(density - np.float32(0.01), affine)),
        "attenuation: holds values that are negative or not finite": (activity, nibabel.Nifti1Image(np.full_like(data, np.nan), affine)),
        "activity: is zero everywhere": (volume(0 * data, affine), mu),
        "activity: .* % of it lies outside the field of view": (volume(corner, affine), mu),
        "attenuation: rises to": (activity, volume(data, affine)),
    }
    for message, images in broken.items():
        with pytest.raises(InputError, match=message):
            simulate(*images, tiny, SIMULATION, seed=1, out=tmp_path / "never.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": 0}, "simulation/counts"),
        ({"tof": True}, "simulation/tof"),
        ({"geometry": "oblique"}, "simulation/geometry"),
        ({"isotope": "F19"}, "isotope: 'F19' is unknown"),
        ({"psf_mm": float("nan")}, "simulation/psf_mm"),
        ({"format": "listmode"}, "simulation/format"),
        ({"counts": 1e15}, "simulation/counts: a bin expects"),
    ],
)
def test_simulations_that_cannot_be_are_refused(head, tiny: Scanner, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        acquire(*head(tiny), tiny, SIMULATION | changes, resolve_dose(STANDARD, SIMULATION, 1), 1)


def test_slices_of_oblique_planes_are_refused(head, rings: Scanner) -> None:
    with pytest.raises(InputError, match="simulation/counts_scope"):
        scan_of(*head(rings), rings, STANDARD, "standard", geometry="oblique", counts_scope="slice")
