import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from petbench.data.nifti import Image, read_volume, volume
from petbench.errors import InputError
from petbench.physics.acquisition import read_acquisition, write_acquisition
from petbench.physics.scanner import Scanner, image_affine
from petbench.physics.simulate import derived_seed, dose_counts, reconstruct, simulate

Array = NDArray[np.float32]

TINY = Path(__file__).parents[2] / "config" / "scanners" / "tiny.yaml"
SIMULATION = {"counts": 3.0e6, "psf_mm": 4.5, "randoms_fraction": 0.2, "scatter_fraction": 0.3}
RECONSTRUCTION = {"iterations": 4, "subsets": 8, "psf_mm": 4.5, "post_filter_mm": 8.0}


@pytest.fixture(scope="module")
def tiny() -> Scanner:
    return Scanner.from_entry(yaml.safe_load(TINY.read_text()))


@pytest.fixture
def subject(tiny: Scanner, disc: Callable[..., Array]) -> tuple[Image, Image]:
    affine = image_affine(tiny)
    inside = disc(tiny, 90.0)
    inside[:, :, :3] = inside[:, :, -3:] = 0
    return volume(5000 * inside, affine), volume(0.096 * inside, affine)


@pytest.fixture
def scan(subject: tuple[Image, Image], tiny: Scanner, tmp_path: Path) -> Path:
    path = tmp_path / "sub-01_sinogram.npz"
    simulate(*subject, tiny, SIMULATION, seed=11, out=path)
    return path


def image_of(
    scan: Path, tiny: Scanner, dose: dict[str, Any], name: str = "pet", seed: int = 11, **changes: Any
) -> tuple[Image, dict[str, Any]]:
    image, sidecar = scan.parent / f"{name}.nii.gz", scan.parent / f"{name}.json"
    reconstruct(scan, dose, RECONSTRUCTION | changes, tiny, seed, image, sidecar)
    return read_volume(image), json.loads(sidecar.read_text())


def test_doses_share_grid_and_activity_and_say_what_they_are(scan: Path, tiny: Scanner, disc: Callable[..., Array]) -> None:
    region = disc(tiny, 70.0) == 1
    region[:, :, :6] = region[:, :, -6:] = False
    spread = []
    for fraction in (1.0, 0.25, 0.04):
        image, sidecar = image_of(scan, tiny, {"fraction": fraction})
        np.testing.assert_allclose(image.affine, image_affine(tiny), atol=1e-4)
        assert image.header.get_xyzt_units()[0] == "mm"
        data = image.get_fdata()
        assert data[region].mean() == pytest.approx(5000, rel=0.02), fraction
        spread.append(data[region].std())
        assert sidecar["Units"] == "Bq/mL"
        assert sidecar["DoseFraction"] == fraction
        assert sidecar["Counts"] == pytest.approx(3e6 * fraction, rel=0.01)
        assert sidecar["ReconMethodName"] == "PSF-OSEM"
        assert sidecar["TracerRadionuclide"] == "F18"
    assert spread[0] < spread[1] < spread[2]


def test_acquisition_reads_back_as_written(scan: Path, tiny: Scanner) -> None:
    content = read_acquisition(scan, tiny)
    assert content.prompts.dtype == np.uint32
    assert content.prompts.sum() == pytest.approx(3e6, abs=5 * np.sqrt(3e6))
    assert 0 < content.attenuation.min() < content.attenuation.max() <= 1
    assert content.metadata["seed"] == 11
    assert content.metadata["simulation"] == SIMULATION
    write_acquisition(scan.with_name("again.npz"), content)
    again = read_acquisition(scan.with_name("again.npz"), tiny)
    for name in ("prompts", "attenuation", "background", "expected"):
        np.testing.assert_array_equal(getattr(again, name), getattr(content, name))
    assert again.scale == content.scale


def test_same_seed_same_bytes_and_another_seed_another_image(subject: tuple[Image, Image], scan: Path, tiny: Scanner) -> None:
    simulate(*subject, tiny, SIMULATION, seed=11, out=scan.with_name("same.npz"))
    simulate(*subject, tiny, SIMULATION, seed=12, out=scan.with_name("other.npz"))
    first = read_acquisition(scan, tiny).prompts
    np.testing.assert_array_equal(read_acquisition(scan.with_name("same.npz"), tiny).prompts, first)
    assert (read_acquisition(scan.with_name("other.npz"), tiny).prompts != first).any()
    low, _ = image_of(scan, tiny, {"fraction": 0.25}, "a")
    same, _ = image_of(scan, tiny, {"fraction": 0.25}, "b")
    other, _ = image_of(scan, tiny, {"fraction": 0.25}, "c", seed=12)
    np.testing.assert_array_equal(low.get_fdata(), same.get_fdata())
    assert (low.get_fdata() != other.get_fdata()).any()


def test_thinned_doses_are_part_of_the_standard_dose_and_independent_ones_are_not(scan: Path, tiny: Scanner) -> None:
    content = read_acquisition(scan, tiny)
    assert content.expected is not None
    np.testing.assert_array_equal(dose_counts(content, 1.0, "independent", 11), content.prompts)
    correlations = {}
    for draw in ("thinning", "independent"):
        counts = dose_counts(content, 0.25, draw, 11)
        assert counts.sum() == pytest.approx(0.25 * content.expected.sum(), rel=0.01)
        seen = content.expected > 1
        noise = [(a - e)[seen] / np.sqrt(e[seen]) for a, e in ((counts, 0.25 * content.expected), (content.prompts, content.expected))]
        correlations[draw] = float(np.mean(noise[0] * noise[1]))
    # Thinning: covariance p ybar over standard deviations sqrt(p ybar) and sqrt(ybar) is sqrt(p).
    assert correlations["thinning"] == pytest.approx(0.5, abs=0.04)
    assert correlations["independent"] == pytest.approx(0.0, abs=0.04)


def test_derived_seeds_differ_by_subject_and_purpose() -> None:
    seeds = {derived_seed(seed, purpose) for seed in range(20) for purpose in ("standard", "thinning 0.25", "thinning 0.04")}
    assert len(seeds) == 60


def test_images_that_do_not_fit_are_refused(subject: tuple[Image, Image], tiny: Scanner, tmp_path: Path) -> None:
    activity, mu = subject
    affine = image_affine(tiny)
    shifted = affine.copy()
    shifted[0, 3] += 3.0
    data = np.asarray(activity.dataobj)
    broken = {
        "activity: is not on the image grid": (volume(data, shifted), mu),
        "attenuation: is not on the image grid": (activity, volume(np.asarray(mu.dataobj)[1:], affine)),
        "activity: holds values that are negative": (volume(data - 1, affine), mu),
        "attenuation: holds values that are negative": (activity, nibabel.Nifti1Image(np.full_like(data, np.nan), affine)),
        "activity: is zero everywhere": (volume(0 * data, affine), mu),
        "attenuation: rises to": (activity, volume(data, affine)),
    }
    for message, images in broken.items():
        with pytest.raises(InputError, match=message):
            simulate(*images, tiny, SIMULATION, seed=1, out=tmp_path / "never.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dose", "message"),
    [({"fraction": 0.0}, "fraction"), ({"fraction": 1.5}, "fraction"), ({"fraction": 0.5, "draw": "guess"}, "dose.draw")],
)
def test_impossible_doses_are_refused(scan: Path, tiny: Scanner, dose: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        image_of(scan, tiny, dose)
    assert not (scan.parent / "pet.nii.gz").exists()


def test_broken_acquisitions_are_refused_by_name(scan: Path, tiny: Scanner, tmp_path: Path) -> None:
    cut = tmp_path / "cut.npz"
    cut.write_bytes(scan.read_bytes()[:5000])
    bare = tmp_path / "bare.npz"
    np.savez(bare, metadata=np.str_("{}"), scale=1.0)
    unmarked = tmp_path / "unmarked.npz"
    np.savez(unmarked, prompts=np.zeros(3))
    small = Scanner.from_entry(yaml.safe_load(TINY.read_text()) | {"views": 24})
    for path, scanner, message in [
        (tmp_path / "none.npz", tiny, "no such file"),
        (cut, tiny, "cannot be read"),
        (bare, tiny, "has no prompts"),
        (unmarked, tiny, "has no metadata"),
        (scan, small, "prompts has shape"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            read_acquisition(path, scanner)
        assert path.name in str(caught.value)
