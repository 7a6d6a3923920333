"""Scans plane by plane: what is written of an acquisition, read again, and reconstructed by steps that gradients flow through."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.files import write_json
from petbench.physics.acquisition import read_acquisition
from petbench.physics.dose_images import at_dose, dose_of_scan
from petbench.physics.operators import ForwardModel, GaussianBlur
from petbench.physics.plane_files import write_planes
from petbench.physics.plane_scans import PlaneScans, PlaneSubset, of_plane, open_scan, start
from petbench.physics.projector import DirectProjector
from petbench.physics.reconstruction import em_step, osem, subset_sensitivities
from petbench.physics.scanner import Scanner, image_affine
from petbench.physics.simulate import simulate

Array = NDArray[np.float32]
ENTRY = {
    "name": "plane scanner",
    "ring_radius_mm": 300.0,
    "crystals_per_ring": 200,
    "radial": "uniform",
    "radial_bins": 26,
    "radial_spacing_mm": 7.5,
    "views": 12,
    "planes": 5,
    "plane_spacing_mm": 8.0,
    "image": {"shape": [24, 22, 5], "voxel_mm": [8.0, 8.0, 8.0]},
    "fov_mm": 170.0,
}
SCANNER = Scanner.from_entry(ENTRY)
SIMULATION = {"counts": 4.0e5, "psf_mm": 0.0, "randoms_fraction": 0.2, "scatter_fraction": 0.2}
RECONSTRUCTION = {"iterations": 3, "subsets": 4, "psf_mm": 0.0, "post_filter_mm": 0.0}
DOSE, SEED, SCALE = {"drf": 4.0}, 5, 2000.0


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[dict[str, str], Array]]:
    """Simulate a scan of an image and write it for a working grid; the files, and the image."""

    def write(
        shape: tuple[int, int, int], first: int = 0, edge: float = 1.0, simulation: dict[str, Any] | None = None, aside: int = 0
    ) -> tuple[dict[str, str], Array]:
        x, y, _ = np.meshgrid(*(np.arange(size) - (size - 1) / 2 for size in SCANNER.image_shape), indexing="ij")
        activity = (4000.0 * ((x / 7) ** 2 + (y / 8) ** 2 < 1)).astype(np.float32)
        affine = image_affine(SCANNER)
        images = [volume(data, affine) for data in (activity, np.float32(2e-5) * activity)]
        simulate(*images, SCANNER, SIMULATION | (simulation or {}), SEED, tmp_path / "scan.h5")
        write_volume(tmp_path / "low.nii.gz", activity, like=images[0])
        corner = [aside + (full - own) / 2 for full, own in zip(SCANNER.image_shape[:2], shape[:2], strict=True)]
        grid = affine @ np.block([[edge * np.eye(3), np.array([[*corner, first]]).T], [np.zeros((1, 3)), np.ones((1, 1))]])
        write_json(tmp_path / "prepared.json", {"affine": grid.tolist(), "shape": list(shape), "scales": {"low_dose": SCALE}})
        paths = {"acquisition": "scan.h5", "image": "low.nii.gz", "prepared": "prepared.json"}
        out = {"data": str(tmp_path / "acquisition.npy"), "parameters": str(tmp_path / "acquisition.json")}
        given = {kind: str(tmp_path / name) for kind, name in paths.items()}
        write_planes(given, DOSE, RECONSTRUCTION, ENTRY, SEED, out)
        return out | given, activity

    return write


def low_dose(path: str) -> Any:
    scan = read_acquisition(path, SCANNER)
    return at_dose(scan, dose_of_scan(scan, DOSE, SEED, path), SEED)


@pytest.mark.parametrize("shape", [(24, 22, 5), (20, 22, 5), (26, 26, 5)], ids=["as seen", "narrower", "wider"])
def test_planes_expect_what_the_whole_model_expects(written: Callable[..., Any], shape: tuple[int, int, int]) -> None:
    files, activity = written(shape)
    low = low_dose(files["acquisition"])
    whole = ForwardModel(DirectProjector(SCANNER), low.factors, low.scale, background=low.data.background).expected(activity)
    pad = [max(0, (own - full) // 2) for full, own in zip(SCANNER.image_shape[:2], shape[:2], strict=True)]
    cut = [max(0, (full - own) // 2) for full, own in zip(SCANNER.image_shape[:2], shape[:2], strict=True)]
    image = np.pad(activity, [(pad[0],) * 2, (pad[1],) * 2, (0, 0)])[cut[0] :][: shape[0], cut[1] :][:, : shape[1]]
    (subset,) = open_scan(files["parameters"]).windows(range(5), 1).subsets(1)
    expected = subset.model.expected(torch.from_numpy(image / np.float32(SCALE)))
    np.testing.assert_allclose(expected.numpy(), whole, rtol=2e-5, atol=1e-4)
    np.testing.assert_array_equal(subset.counts.numpy(), low.data.prompts)


def test_planes_are_those_of_the_grid_and_stay_on_disk(written: Callable[..., Any]) -> None:
    files, _ = written((24, 22, 3), first=1)
    scan = open_scan(files["parameters"])
    assert isinstance(scan.data, np.memmap)
    assert scan.data.shape == (3, 3, SCANNER.views, SCANNER.radial_bins)
    planes = scan.windows([2, 0], 1)
    np.testing.assert_array_equal(planes.data[:, 0].permute(2, 1, 0).numpy(), low_dose(files["acquisition"]).data.prompts[:, :, [3, 1]])
    assert json.loads(Path(files["parameters"]).read_text())["counts"] == scan.data[:, 0].sum()


@pytest.mark.parametrize(
    ("shape", "first", "edge", "simulation", "words"),
    [
        ((12, 12, 3), 0, 2.0, {}, "its voxels are not the scanner's, on which scans are reconstructed; remove preprocess/grid/voxel_mm"),
        ((21, 22, 5), 0, 1.0, {}, "its voxels are not the scanner's"),
        ((24, 22, 5), 0, 1.0, {"format": "list_mode", "seconds": 600.0}, "is no sinogram of direct planes"),
    ],
)
def test_what_does_not_fit_is_refused(
    written: Callable[..., Any], shape: tuple[int, int, int], first: int, edge: float, simulation: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        written(shape, first, edge, simulation)


def test_a_grid_about_another_axis_is_refused(written: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="has another axis than the scanner's"):
        written((20, 18, 5), aside=1)


@pytest.mark.parametrize(("first", "size"), [(-1, 7), (3, 5), (-4, 6)])
def test_planes_of_a_grid_beyond_the_scanners_hold_nothing(written: Callable[..., Any], first: int, size: int) -> None:
    files, _ = written((24, 22, size), first=first)
    scan, prompts = open_scan(files["parameters"]), low_dose(files["acquisition"]).data.prompts
    for own in range(size):
        if 0 <= first + own < SCANNER.planes:
            np.testing.assert_array_equal(scan.data[own, 0].T, prompts[:, :, first + own])
            assert (scan.data[own, 2] > 0).all()
        else:
            assert not scan.data[own].any()


def test_a_stack_is_the_scan_of_a_volume_and_blurs_across_its_planes(written: Callable[..., Any]) -> None:
    files, _ = written((20, 22, 4), first=1)
    scan = replace(open_scan(files["parameters"]), psf_mm=12.0)
    stacks = scan.windows([0, 1], 3)
    assert (len(stacks), stacks.data.shape[1]) == (2, 3)
    image = np.random.default_rng(0).random((20, 22, 3), dtype=np.float32)
    for first, (model, counts) in enumerate(stacks.stacks()):
        own = scan.data[first : first + 3]
        np.testing.assert_array_equal(counts, own[:, 0].T)
        plain = DirectProjector(replace(of_plane(SCANNER, (20, 22)), planes=3, image_shape=(20, 22, 3)))
        blurred = GaussianBlur(12.0, SCANNER.voxel_mm)(image * plain.field_of_view)
        np.testing.assert_allclose(model.expected(image), own[:, 2].T * plain(blurred) + own[:, 1].T, rtol=1e-5)
    doubled = 2.0 * stacks
    assert torch.equal(doubled.data[:, :, :2], 2 * stacks.data[:, :, :2])
    assert torch.equal(doubled.data[:, :, 2], stacks.data[:, :, 2])
    (model, counts), *_ = scan.windows([2], 1).stacks()
    np.testing.assert_array_equal(counts[:, :, 0], scan.data[2, 0].T)


def planes(count: int = 3, psf_mm: float = 0.0, seed: int = 0, faint: bool = False) -> tuple[PlaneScans, torch.Tensor]:
    """Scans of random discs with their images, (x, y, B); faint ones count next to nothing."""
    random = torch.Generator().manual_seed(seed)
    scanner = of_plane(SCANNER, (20, 18))
    x, y = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 18), indexing="ij")
    images = ((x**2 + y**2)[..., None] < 0.7) * (0.5 + torch.rand(20, 18, count, generator=random))
    project = DirectProjector(replace(scanner, planes=count, image_shape=(20, 18, count)))
    factors = (0.1 if faint else 5.0) * (1 + torch.rand(project.sinogram_shape, generator=random))
    background = torch.full(project.sinogram_shape, 0.0 if faint else 0.5)
    counts = torch.poisson(factors * project(images) + background, random)
    return PlaneScans(torch.stack([counts, background, factors]).permute(3, 0, 2, 1).contiguous(), scanner, psf_mm), images


def unrolled(subsets: list[PlaneSubset], image: torch.Tensor, iterations: int) -> torch.Tensor:
    for _ in range(iterations):
        for subset in subsets:
            image = subset.step(image)
    return image


@pytest.mark.parametrize("psf_mm", [0.0, 9.0])
def test_its_steps_from_its_start_are_osem_of_each_plane_alone(psf_mm: float) -> None:
    scans, _ = planes(psf_mm=psf_mm)
    subsets = scans.subsets(4)
    found = unrolled(subsets, start(subsets), 3)
    blur = (GaussianBlur(psf_mm, (8.0, 8.0, 1e6)),) if psf_mm else ()
    for number, plane in enumerate(scans.data.numpy()):
        counts, background, factors = (np.ascontiguousarray(part.T[:, :, None]) for part in plane)
        model = ForwardModel(DirectProjector(scans.scanner), factors, image_operators=blur, background=background)
        np.testing.assert_allclose(found[:, :, number].numpy(), osem(model, counts, 3, 4)[:, :, 0], rtol=1e-4, atol=1e-6)


def test_sensitivities_are_the_models_own_and_add_up() -> None:
    scans, _ = planes(1)
    model = ForwardModel(DirectProjector(scans.scanner), np.ascontiguousarray(scans.data[0, 2].numpy().T[:, :, None]))
    subsets = scans.subsets(4)
    by_subset = subset_sensitivities(model, 4)
    assert sorted(float(subset.sensitivity.sum()) for subset in subsets) == pytest.approx(sorted(map(np.sum, by_subset)), rel=1e-5)
    np.testing.assert_allclose(sum(subset.sensitivity for subset in subsets), model.sensitivity(), rtol=1e-5)


def test_twice_the_activity_is_twice_the_image() -> None:
    scans, _ = planes()
    subsets, doubled = scans.subsets(4), (2.0 * scans).subsets(4)
    once, twice = (unrolled(given, start(given), 2) for given in (subsets, doubled))
    torch.testing.assert_close(twice, 2 * once, rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_are_the_batch() -> None:
    scans, _ = planes(4)
    for parts in (scans.chunk(2), [scans[:3], scans[3:]]):
        torch.testing.assert_close(PlaneScans.cat(parts).data, scans.data)
    assert len(scans[1:2]) == 1


def test_the_gradient_of_a_step_is_what_differences_say() -> None:
    scans, images = planes(2)
    subset = scans.subsets(3)[1]
    random = torch.Generator().manual_seed(1)
    image = (images + 0.1).clamp(min=0.2).requires_grad_()
    weights, direction = (torch.randn(image.shape, generator=random) for _ in range(2))
    (gradient,) = torch.autograd.grad((weights * subset.step(image)).sum(), image)
    with torch.no_grad():
        ahead, behind = ((weights.double() * subset.step(image + sign * 1e-2 * direction)).sum() for sign in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / 2e-2, rel=1e-2)


def test_gradients_are_finite_where_nothing_is_counted_or_seen() -> None:
    scans, _ = planes(2, faint=True)
    subset = scans.subsets(4)[0]
    assert bool((subset.counts == 0).any())
    assert bool((subset.sensitivity == 0).any())
    image = start(scans.subsets(4)).requires_grad_()
    image.data[:4] = 0  # lines that expect nothing, as there is no background either
    (gradient,) = torch.autograd.grad(subset.step(image).square().sum(), image)
    assert bool(gradient.isfinite().all())


def test_a_step_is_the_same_on_arrays_and_tensors() -> None:
    scans, images = planes(1)
    (subset,) = scans.subsets(1)
    counts, background, factors = (np.ascontiguousarray(part.T[:, :, None]) for part in scans.data[0].numpy())
    model = ForwardModel(DirectProjector(scans.scanner), factors, background=background)
    image = images.numpy() + np.float32(0.1)
    np.testing.assert_allclose(
        subset.step(torch.from_numpy(image)), em_step(model, counts, model.sensitivity(), image), rtol=1e-5, atol=1e-7
    )


def test_more_subsets_than_views_are_refused() -> None:
    with pytest.raises(InputError, match="13 subsets exceed the scanner's 12 views"):
        planes()[0].subsets(13)


def test_shapes_are_known_where_nothing_is_held() -> None:
    scans, images = planes()
    subsets = replace(scans, data=scans.data.to("meta")).subsets(3)
    assert unrolled(subsets, start(subsets), 1).shape == images.shape
