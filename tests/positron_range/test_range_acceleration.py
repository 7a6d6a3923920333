"""What makes the operators quick: homogeneous regions, stored kernels, convolutions; each against its plain definition."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import convolve, correlate

from petbench.errors import InputError
from petbench.positron_range.convolution import Convolution
from petbench.positron_range.ddconv import DDConvSettings, box_of, ddconv
from petbench.positron_range.homogeneity import NO_MATERIAL, homogeneous_labels, material_labels, medium_of, training_materials
from petbench.positron_range.predictor import Description, Predictor
from petbench.positron_range.stored_kernels import cropped_margins, gather_blocks, make_blocks, merged, middle, scatter_blocks, stored

MATERIALS = {"lung": 0.0247, "water": 0.096, "rib_bone": 0.1716}
SIZE = 7
rng = np.random.default_rng(5)


class StraightPaths(torch.nn.Module):
    """Kernels that fall off steeply with the mass crossed on the straight way from the middle; counts the media it was asked for."""

    def __init__(self, size: int = SIZE):
        super().__init__()
        ends = np.indices((size,) * 3).reshape(3, -1).T
        steps = (np.arange(8) + 0.5) / 8
        path = np.rint(size // 2 + steps[:, None, None] * (ends - size // 2)).astype(int)
        self.path = torch.from_numpy(np.ravel_multi_index(tuple(np.moveaxis(path, 2, 0)), (size,) * 3))
        self.length = torch.from_numpy(np.linalg.norm(ends - size // 2, axis=1)).float()
        self.asked = 0

    def forward(self, mu):
        self.asked += len(mu)
        mass = mu.flatten(1)[:, self.path].mean(dim=1) * self.length
        return (-4 * mass).softmax(dim=1).reshape(mu.shape)


def predictor() -> Predictor:
    description = Description("Ga68", 2.0, SIZE, "renormalise", "point", MATERIALS, {}, {}, "abc")
    return Predictor(StraightPaths(), description, torch.device("cpu"))


def body() -> np.ndarray:
    x, y, z = np.indices((18, 20, 22))
    mu = np.full(x.shape, MATERIALS["water"], dtype=np.float32)
    mu[(x - 8) ** 2 + (y - 8) ** 2 + (z - 9) ** 2 < 40] = MATERIALS["lung"]
    mu[:, 16:19, :] = MATERIALS["rib_bone"]
    return mu


def with_own_kernels(operator) -> int:
    """How many voxels share their kernel with no other."""
    return sum(block.voxels.size for block in operator.blocks if len(block.roots) > 1)


EXACT = DDConvSettings(heterogeneous_above=0.0, crop=0.0, storage="float32")


@pytest.fixture(scope="module")
def exact():
    return ddconv(body(), predictor(), EXACT)


@pytest.mark.parametrize("threshold", [1e-3, 1e-2])
def test_sharing_kernels_errs_by_no_more_than_what_falls_into_other_materials(exact, threshold):
    quick = ddconv(body(), predictor(), replace(EXACT, heterogeneous_above=threshold))
    point = np.zeros(body().shape, dtype=np.float32)
    worst = 0.0
    for place in ((8, 8, 9), (8, 8, 14), (8, 8, 13), (2, 8, 9), (9, 14, 9), (9, 17, 9)):
        point[:] = 0
        point[place] = 1
        worst = max(worst, float(np.abs(quick(point) - exact(point)).sum()))
    assert worst < 4 * threshold
    assert with_own_kernels(quick) < 0.7 * with_own_kernels(exact)


def test_homogeneous_voxels_are_those_whose_blurred_material_is_one():
    labels = material_labels(body(), MATERIALS)
    kernels = np.stack([kernel.numpy() for kernel in predictor().homogeneous().values()])
    found = homogeneous_labels(labels, kernels, outside=1, threshold=0.02)
    expected = np.full(labels.shape, NO_MATERIAL)
    padded = np.pad(labels, SIZE // 2, constant_values=1)
    for material, kernel in enumerate(kernels):
        blurred = convolve((padded == material).astype(float), kernel, mode="valid")
        expected[(blurred >= 0.98) & (labels == material)] = material
    np.testing.assert_array_equal(found, expected)
    assert set(np.unique(found)) == {NO_MATERIAL, 0, 1, 2}


def test_what_lies_beyond_the_image_is_water():
    water, lung = (np.full((9, 9, 9), MATERIALS[name], dtype=np.float32) for name in ("water", "lung"))
    assert with_own_kernels(ddconv(water, predictor(), EXACT)) == 0
    assert with_own_kernels(ddconv(lung, predictor(), EXACT)) == 9**3 - 3**3


def test_nearest_is_meant_in_ratio():
    """Range goes with the inverse of density: a skull of 0.13 per cm is bone, and air is what water stands for."""
    mu = np.array([0.0, 0.005, 0.02, 0.04, 0.06, 0.1, 0.13, 0.18], dtype=np.float32).reshape(2, 2, 2)
    labels = material_labels(mu, MATERIALS).ravel()
    assert [list(MATERIALS)[label] for label in labels] == ["water", "water", "lung", "lung", "water", "water", "rib_bone", "rib_bone"]


def test_continuous_attenuation_is_kept_between_the_materials():
    mu = np.array([0.0, 0.02, 0.0247, 0.05, 0.0961, 0.13, 0.17, 0.2], dtype=np.float32).reshape(2, 2, 2)
    medium, labels = medium_of(mu, MATERIALS, "continuous")
    np.testing.assert_allclose(medium.ravel(), [0.096, 0.0247, 0.0247, 0.05, 0.0961, 0.13, 0.17, 0.1716], rtol=1e-6)
    assert labels.ravel().tolist() == [1, 0, 0, NO_MATERIAL, 1, NO_MATERIAL, 2, 2]


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.3, "outside the known materials"), (-0.1, "outside the known materials"), (np.nan, "not finite"), (9.6e-3, "all is air")],
)
def test_attenuation_of_no_material_is_refused(value, said):
    """Among them water in 1/mm."""
    with pytest.raises(InputError, match=said):
        ddconv(np.full((4, 4, 4), value), predictor())


def test_a_slice_is_no_map():
    with pytest.raises(InputError, match="not three-dimensional"):
        ddconv(np.full((4, 4), 0.096), predictor())


def test_training_media_must_hold_water_and_known_materials():
    assert training_materials(np.float32([0.0247, 0.096])) == {"lung": 0.0247, "water": 0.096}
    with pytest.raises(InputError, match=r"0\.5 per cm is no material's"):
        training_materials(np.array([0.096, 0.5]))
    with pytest.raises(InputError, match="no medium holds water"):
        training_materials(np.array([0.0247]))


@pytest.mark.parametrize("shape", [(9, 8, 12), (3, 20, 2)])
@pytest.mark.parametrize("threads", [None, 2])
def test_convolution_by_transform(shape, threads):
    """A kernel without symmetry, also one larger than the image."""
    image, kernel = rng.random(shape, dtype=np.float32), rng.random((5, 5, 5), dtype=np.float32)
    convolution = Convolution.of(shape, kernel, threads)
    beyond = np.pad(image, 2)
    np.testing.assert_allclose(convolution.forward(image), convolve(beyond, kernel, "same")[(slice(2, -2),) * 3], rtol=1e-4)
    np.testing.assert_allclose(convolution.transpose(image), correlate(beyond, kernel, "same")[(slice(2, -2),) * 3], rtol=1e-4)


def kernels(count: int, size: int = 11, width: float = 0.7) -> torch.Tensor:
    places = np.arange(size) - size // 2
    radius = np.sqrt(places[:, None, None] ** 2 + places[None, :, None] ** 2 + places[None, None, :] ** 2)
    made = np.exp(-radius / width) * rng.uniform(0.2, 1.0, (count, size, size, size))
    return torch.from_numpy((made / made.sum(axis=(1, 2, 3), keepdims=True)).astype(np.float32))


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
def test_sixteen_bits_err_less_than_half_precision(width):
    exact = kernels(20, width=width)
    roots, scales = stored(exact, torch.ones(20), "uint16")
    assert roots.dtype == np.uint16
    values = roots.astype(np.float32) ** 2 * scales[:, None, None, None]
    half = exact.half().float()
    half /= half.sum(dim=(1, 2, 3), keepdim=True)
    error = float(np.abs(values - exact.numpy()).sum(axis=(1, 2, 3)).mean())
    assert error < 1e-4
    assert error < 0.5 * float((half - exact).abs().sum(dim=(1, 2, 3)).mean())


@pytest.mark.parametrize("storage", ["uint16", "float32"])
@pytest.mark.parametrize("total", [1.0, 0.8])
def test_stored_kernels_keep_their_sum(storage, total):
    exact = total * kernels(20)
    roots, scales = stored(exact, exact.sum(dim=(1, 2, 3), dtype=torch.float64), storage)
    sums = (roots.astype(float) ** 2).sum(axis=(1, 2, 3)) * scales
    np.testing.assert_allclose(sums, total, rtol=3e-7)


def test_cropping_cuts_off_no_more_than_it_may():
    exact = torch.cat([kernels(10, width=width) for width in (0.3, 0.7, 2.0)])
    margins = cropped_margins(exact, 1e-3)
    assert len(margins.unique()) > 1
    for kernel, margin in zip(exact.double(), margins.tolist(), strict=True):
        assert middle(kernel[None], margin).sum() >= (1 - 1e-3) * kernel.sum()
        assert middle(kernel[None], margin - 1).sum() < (1 - 1e-3) * kernel.sum()
    assert cropped_margins(exact, 0.0).unique().tolist() == [5]


@pytest.mark.parametrize("crop", [0.0, 1e-2])
def test_blocks_joined_in_any_order_scatter_and_gather(crop):
    """Voxels that share kernels, at the edges too, against sums one kernel at a time."""
    shape, exact = (14, 9, 12), torch.cat([kernels(6, width=width) for width in (0.3, 1.0)])
    voxels = np.sort(rng.choice(np.prod(shape), 300, replace=False))
    which = rng.integers(0, len(exact), 300)
    halves = [make_blocks(exact, which[part], voxels[part], "float32", crop) for part in (slice(150, None), slice(150))]
    blocks = merged(block for half in halves for block in half)
    assert all(np.all(np.diff(block.voxels) > 0) for block in blocks)
    assert len(blocks) == len(cropped_margins(exact, crop).unique())

    image, spread, gathered = rng.random(shape, dtype=np.float32), np.zeros(np.add(shape, 10)), np.zeros(shape)
    beyond = np.pad(image, 5)
    for voxel, number in zip(voxels, which, strict=True):
        margin = int(cropped_margins(exact[number][None], crop))
        kernel = middle(exact[number][None], margin)[0].double().numpy()
        kernel = kernel / kernel.sum()
        place = np.unravel_index(voxel, shape)
        window = tuple(slice(p + 5 - margin, p + 5 + margin + 1) for p in place)
        spread[window] += image[place] * kernel
        gathered[place] = (kernel * beyond[window]).sum()
    np.testing.assert_allclose(scatter_blocks(image, blocks, 5, None), spread[(slice(5, -5),) * 3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gather_blocks(image, blocks, 5, None), gathered, rtol=1e-5, atol=1e-6)


def test_kernels_are_predicted_once_a_subject():
    predicts = predictor()
    operator = ddconv(body(), predicts)
    asked, image = predicts.network.asked, rng.random(body().shape, dtype=np.float32)
    for _ in range(3):
        image = operator.adjoint(operator(image))
    assert predicts.network.asked == asked < body().size


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_without_memory_kernels_are_predicted_at_every_application(share, capsys):
    settings = replace(EXACT, heterogeneous_above=1e-3, batch=200)
    whole, predicts = ddconv(body(), predictor(), settings), predictor()
    short = ddconv(body(), predicts, replace(settings, memory_mb=share * whole.memory_mb))
    assert f"memory_mb is {share * whole.memory_mb:g}" in capsys.readouterr().out
    assert short.memory_mb < max(share, 0.15) * whole.memory_mb + 0.1
    asked, image = predicts.network.asked, rng.random(body().shape, dtype=np.float32)
    np.testing.assert_allclose(short(image), whole(image), rtol=1e-5, atol=1e-6)
    assert predicts.network.asked - asked == short.unstored.voxels.size
    np.testing.assert_allclose(short.adjoint(image), whole.adjoint(image), rtol=1e-5, atol=1e-6)


def test_how_voxels_share_kernels_is_said(capsys):
    operator = ddconv(body(), predictor())
    said = capsys.readouterr().out
    assert f"heterogeneous {with_own_kernels(operator)}" in said


def test_the_box_of_a_region_is_dilated_within_the_image():
    mask = np.zeros((9, 10, 11), dtype=bool)
    mask[1:3, 4, 8:] = True
    assert box_of(mask, 2) == (slice(0, 5), slice(2, 7), slice(6, 11))
