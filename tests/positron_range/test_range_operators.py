"""The operators' algebra, with networks that were never trained: it must not depend on the weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import convolve

from petbench.errors import InputError
from petbench.networks.psf_predictor import PSFPredictor
from petbench.physics.operators import ForwardModel, GaussianBlur
from petbench.physics.projector import DirectProjector
from petbench.physics.scanner import Scanner
from petbench.physics.tensors import device_operator
from petbench.positron_range.ddconv import DDConvSettings, ddconv
from petbench.positron_range.material_kernels import MaterialKernels
from petbench.positron_range.operators import NoCorrection
from petbench.positron_range.predictor import Description, Predictor
from petbench.positron_range.svtd import svtd
from petbench.positron_range.symmetries import CUBE_SYMMETRIES, turned

MATERIALS = {"lung": 0.0247, "water": 0.096, "rib_bone": 0.1716}
SIZE, SHAPE = 5, (11, 10, 9)
EXACT = DDConvSettings(heterogeneous_above=0.0, crop=0.0, storage="float32", batch=400)
AUTHORS = DDConvSettings("nearest", "difference", "lung", "replicate", "window", 0.01, "predicted", 0.0, "float32")
rng = np.random.default_rng(7)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def untrained(size: int = SIZE, tail: str = "renormalise", sharpness: float = 8.0) -> Predictor:
    """A predictor with random weights, enlarged so that its kernels differ from medium to medium and are not symmetric."""
    torch.manual_seed(3)
    network = PSFPredictor(channels=4, blocks=1, loses=tail == "lose").eval()
    with torch.no_grad():
        network.score.weight.mul_(sharpness)
    train = {"network": {"channels": 4, "blocks": 1}, "tail": tail}
    description = Description("Ga68", 2.0, size, tail, "point", MATERIALS, train, {}, "abc")
    return Predictor(network, description, torch.device("cpu"))


def test_what_air_counts_as_is_a_known_material():
    with pytest.raises(InputError, match="air: 'vacuum' is none of the materials"):
        ddconv(body(), untrained(), replace(EXACT, air="vacuum"))


def body(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Water with a lung, a rib and air, some of it at the image's edges."""
    x, y, z = np.indices(shape)
    mu = np.full(shape, MATERIALS["water"], dtype=np.float32)
    mu[(x - 3) ** 2 + (y - 5) ** 2 + (z - 4) ** 2 < 12] = MATERIALS["lung"]
    mu[shape[0] - 3 :, 2:5, :] = MATERIALS["rib_bone"]
    mu[:, shape[1] - 2 :, :] = 0.0
    return mu


def random_image(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return rng.random(shape, dtype=np.float32)


def far_from_edges(image: np.ndarray, margin: int) -> np.ndarray:
    inside = np.zeros_like(image)
    cut = (slice(margin, -margin),) * image.ndim
    inside[cut] = image[cut]
    return inside


def kernels_of_materials(size: int = SIZE) -> MaterialKernels:
    """Wide in lung, narrow in bone."""
    places = np.arange(size) - size // 2
    squares = places[:, None, None] ** 2 + places[None, :, None] ** 2 + places[None, None, :] ** 2
    kernels = np.stack([np.exp(-np.sqrt(squares) * mu * 12) for mu in MATERIALS.values()])
    return MaterialKernels("Ga68", 2.0, "point", MATERIALS, (kernels / kernels.sum(axis=(1, 2, 3), keepdims=True)).astype(np.float32))


def inner(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(np.asarray(a, dtype=float), np.asarray(b, dtype=float)))


def literal_kernels(mu: np.ndarray, predictor: Predictor) -> tuple[np.ndarray, int]:
    """One network pass a voxel; all voxels are one batch."""
    margin = predictor.description.kernel_size // 2
    known = np.pad(np.where(mu < 0.01, MATERIALS["water"], mu), margin, constant_values=MATERIALS["water"]).astype(np.float32)
    windows = [known[tuple(slice(place, place + 2 * margin + 1) for place in j)] for j in np.ndindex(mu.shape)]
    return predictor.kernels(torch.from_numpy(np.stack(windows))).numpy(), margin


def algorithm_1(x: np.ndarray, mu: np.ndarray, predictor: Predictor) -> np.ndarray:
    """DDConv, algorithm 1: spread each voxel's activity with its kernel."""
    kernels, margin = literal_kernels(mu, predictor)
    z = np.zeros([side + 2 * margin for side in x.shape])
    for w, j in zip(kernels, np.ndindex(x.shape), strict=True):
        z[tuple(slice(place, place + 2 * margin + 1) for place in j)] += x[j] * w
    return z[(slice(margin, -margin),) * 3]


def algorithm_2(z: np.ndarray, mu: np.ndarray, predictor: Predictor) -> np.ndarray:
    """DDConv, algorithm 2: gather with the same kernels."""
    kernels, margin = literal_kernels(mu, predictor)
    padded, x = np.pad(z, margin), np.zeros(z.shape)
    for w, j in zip(kernels, np.ndindex(z.shape), strict=True):
        x[j] = (w * padded[tuple(slice(place, place + 2 * margin + 1) for place in j)]).sum()
    return x


@pytest.mark.parametrize(("storage", "l1"), [("float32", 1e-6), ("uint16", 1e-4)])
@pytest.mark.parametrize("tail", ["renormalise", "lose"])
def test_ddconv_is_the_literal_algorithm(storage, l1, tail):
    predictor, mu, image = untrained(tail=tail), body(), random_image()
    operator = ddconv(mu, predictor, replace(EXACT, storage=storage))
    assert operator.shared or operator.blocks
    forward, transpose = algorithm_1(image, mu, predictor), algorithm_2(image, mu, predictor)
    assert np.abs(operator(image) - forward).sum() < l1 * np.abs(forward).sum()
    assert np.abs(operator.adjoint(image) - transpose).sum() < l1 * np.abs(transpose).sum()


def authors_code(x: np.ndarray, mu: np.ndarray, predictor: Predictor, transposed: bool) -> np.ndarray:
    """The authors' operators: indices clamped to the image, a voxel homogeneous where 99 % of its window, cut at the image, is of it."""
    values, margin = np.array(list(MATERIALS.values()), dtype=np.float32), SIZE // 2
    snapped = values[np.abs(np.maximum(mu, values[0])[..., None] - values).argmin(axis=-1)]
    known, beyond = np.pad(snapped, margin, mode="edge"), np.pad(snapped, margin)
    index = [np.pad(axis, margin, mode="edge") for axis in np.indices(mu.shape)]
    out, shared = np.zeros(x.shape), dict(zip(values, predictor.homogeneous().values(), strict=True))
    for j in np.ndindex(x.shape):
        window = tuple(slice(place, place + SIZE) for place in j)
        even = (beyond[window] == snapped[j]).mean() >= 0.99
        w = (shared[snapped[j]] if even else predictor.kernels(torch.from_numpy(known[window])[None])[0]).numpy()
        to = tuple(axis[window] for axis in index)
        if transposed:
            out[j] = (w * x[to]).sum()
        else:
            np.add.at(out, to, w * x[j])
    return out


def test_the_authors_settings_are_their_operators():
    predictor, image, shape = untrained(), random_image((10, 9, 8)), (10, 9, 8)
    mu = np.clip(body(shape), 0.0, 0.15)  # the rib nearer to bone in difference, air counted as lung
    mu[:6, :6, :6] = MATERIALS["water"]
    operator = ddconv(mu, predictor, AUTHORS)
    np.testing.assert_allclose(operator(image), authors_code(image, mu, predictor, transposed=False), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(operator.adjoint(image), authors_code(image, mu, predictor, transposed=True), rtol=1e-5, atol=1e-6)
    assert operator(image).sum(dtype=float) == pytest.approx(image.sum(dtype=float), rel=1e-6)


def literal_svtd(x: np.ndarray, mu: np.ndarray, kernels: MaterialKernels, transposed: bool) -> np.ndarray:
    """w(j to k) = h(k - j) with the kernel of k's material, divided by its sum over all k."""
    known = np.pad(np.where(mu < 0.01, MATERIALS["water"], mu), 2 * (SIZE // 2), constant_values=MATERIALS["water"])
    labels = np.array([np.abs(np.array(list(MATERIALS.values())) - value).argmin() for value in known.ravel()]).reshape(known.shape)
    margin = SIZE // 2
    out = np.zeros(known.shape)
    image = np.pad(x, 2 * margin).astype(float)
    inside = np.pad(np.ones(x.shape), 2 * margin)
    for j in np.ndindex(x.shape):
        centre = tuple(place + 2 * margin for place in j)
        window = tuple(slice(place - margin, place + margin + 1) for place in centre)
        w = np.take_along_axis(kernels.kernels.astype(float), labels[window][None], axis=0)[0]
        w = w / w.sum()
        if transposed:
            out[centre] = (w * image[window]).sum()
        else:
            out[window] += w * image[centre]
    return (out * inside)[(slice(2 * margin, -2 * margin),) * 3]


@pytest.mark.parametrize("transposed", [False, True])
def test_svtd_is_its_voxelwise_definition(transposed):
    mu, image, kernels = body(), random_image(), kernels_of_materials()
    operator = svtd(mu, (2.0, 2.0, 2.0), kernels, "Ga68")
    applied = operator.adjoint(image) if transposed else operator(image)
    np.testing.assert_allclose(applied, literal_svtd(image, mu, kernels, transposed), rtol=1e-5, atol=1e-5)


OPERATORS = {
    "none": lambda mu: NoCorrection(),
    "svtd": lambda mu: svtd(mu, (2.0, 2.0, 2.0), kernels_of_materials(), "Ga68"),
    "ddconv, exact": lambda mu: ddconv(mu, untrained(), EXACT),
    "ddconv, 16 bits": lambda mu: ddconv(mu, untrained(), replace(EXACT, storage="uint16")),
    "ddconv, as it comes": lambda mu: ddconv(mu, untrained()),
    "ddconv, cropped": lambda mu: ddconv(mu, untrained(), replace(EXACT, crop=0.3)),
    "ddconv, simulated kernels": lambda mu: ddconv(mu, untrained(), DDConvSettings(heterogeneous_above=0.1), kernels_of_materials()),
    "ddconv, continuous": lambda mu: ddconv(mu * 0.98, untrained(), replace(EXACT, materials="continuous")),
    "ddconv, as its authors": lambda mu: ddconv(mu, untrained(), AUTHORS),
    "ddconv, keeping at the edges": lambda mu: ddconv(mu, untrained(), DDConvSettings(edges="replicate"), kernels_of_materials()),
    "ddconv, without memory": lambda mu: ddconv(mu, untrained(), replace(EXACT, memory_mb=0.0)),
}


@pytest.fixture(params=OPERATORS)
def operator(request):
    return OPERATORS[request.param](body())


def test_the_transpose_is_exact_up_to_the_edges(operator):
    x, z = random_image(), random_image()
    assert inner(operator(x), z) == pytest.approx(inner(x, operator.adjoint(z)), rel=1e-5)
    corner = np.zeros(SHAPE, dtype=np.float32)
    corner[0, 0, -1] = 1.0
    assert inner(operator(corner), z) == pytest.approx(inner(corner, operator.adjoint(z)), rel=1e-5)


def test_activity_away_from_the_edges_is_conserved(operator):
    x = far_from_edges(random_image(), SIZE // 2)
    assert operator(x).sum(dtype=float) == pytest.approx(x.sum(dtype=float), rel=1e-5)


def test_every_single_voxel_conserves_its_activity(operator):
    """The transpose of ones says where each voxel's activity went."""
    kept = operator.adjoint(np.ones(SHAPE, dtype=np.float32))
    margin = SIZE // 2
    np.testing.assert_allclose(kept[(slice(margin, -margin),) * 3], 1.0, atol=1e-5)


def test_it_is_linear_and_keeps_images_nonnegative(operator):
    """Expectation maximisation relies on the latter; transforms round to either side of zero."""
    x, point = random_image(), np.zeros(SHAPE, dtype=np.float32)
    point[5, 5, 4] = 100.0
    on_tensors = device_operator(operator, torch.device("cpu"))
    for apply in (operator, operator.adjoint, on_tensors, on_tensors.adjoint):
        applied = apply(torch.from_numpy(point)).numpy()
        assert applied.min() >= 0
        both = apply(torch.from_numpy(x - point)).numpy()
        np.testing.assert_allclose(both, apply(torch.from_numpy(x)).numpy() - applied, rtol=1e-5, atol=1e-4)


def test_an_image_of_another_shape_is_refused(operator):
    if isinstance(operator, NoCorrection):
        assert operator(np.ones((2, 2, 2), dtype=np.float32)).shape == (2, 2, 2)
        return
    with pytest.raises(ValueError, match="expected an array of shape"):
        operator(np.ones((5, 5, 5), dtype=np.float32))


def test_the_same_operator_on_tensors(operator):
    """The code for an accelerator, run on the CPU."""
    x = random_image()
    on_tensors = device_operator(operator, torch.device("cpu"))
    np.testing.assert_allclose(on_tensors(torch.from_numpy(x)).numpy(), operator(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(on_tensors.adjoint(torch.from_numpy(x)).numpy(), operator.adjoint(x), rtol=1e-5, atol=1e-5)


def test_gradients_are_the_transpose(operator):
    x, z = torch.from_numpy(random_image()).requires_grad_(), random_image()
    (operator(x) * torch.from_numpy(z)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), operator.adjoint(z), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("kind", ["ddconv", "svtd"])
def test_in_a_homogeneous_medium_it_is_a_convolution(kind, material):
    """Except near the image's edge, where other materials see the water beyond it."""
    shape = (15, 14, 13)
    mu, x = np.full(shape, MATERIALS[material], dtype=np.float32), far_from_edges(random_image(shape), 4)
    if kind == "ddconv":
        predictor = untrained()
        operator, kernel = ddconv(mu, predictor, EXACT), predictor.homogeneous()[material].numpy()
    else:
        kernels = kernels_of_materials()
        operator, kernel = svtd(mu, (2.0, 2.0, 2.0), kernels, "Ga68"), kernels.kernels[list(MATERIALS).index(material)]
    np.testing.assert_allclose(operator(x), convolve(x, kernel, mode="same"), rtol=1e-4, atol=1e-6)


class Symmetrised(torch.nn.Module):
    """A network's prediction averaged over the cube's symmetries."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, mu):
        total = torch.zeros_like(mu)
        for order, flips in CUBE_SYMMETRIES:
            axes = [0, *(axis + 1 for axis in order)]
            flipped = [axis + 1 for axis in flips]
            back = np.argsort(axes).tolist()
            total += self.network(mu.permute(axes).flip(flipped)).flip(flipped).permute(back)
        return total / len(CUBE_SYMMETRIES)


@pytest.mark.parametrize("symmetry", [CUBE_SYMMETRIES[n] for n in (4, 9, 22)], ids=["flip", "quarter turn", "both"])
def test_flips_and_quarter_turns_commute_with_symmetrised_weights(symmetry):
    predictor = untrained(size=3)
    even = replace(predictor, network=Symmetrised(predictor.network))
    mu, x = body(), random_image()
    turned_mu, turned_x = (np.ascontiguousarray(turned(image, symmetry)) for image in (mu, x))
    applied = ddconv(turned_mu, even, EXACT)(turned_x)
    np.testing.assert_allclose(applied, turned(ddconv(mu, even, EXACT)(x), symmetry), rtol=1e-4, atol=1e-5)
    uneven = np.abs(ddconv(turned_mu, predictor, EXACT)(turned_x) - turned(ddconv(mu, predictor, EXACT)(x), symmetry)).max()
    assert uneven > 1e-3


def test_threads_do_not_change_the_result():
    mu, x = body(), random_image()
    one, two = (ddconv(mu, untrained(), threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one(x), two(x))
    np.testing.assert_array_equal(one.adjoint(x), two.adjoint(x))


@pytest.fixture
def scanner():
    entry = {
        "name": "small",
        "ring_radius_mm": 80.0,
        "crystals_per_ring": 60,
        "radial": "uniform",
        "radial_bins": 20,
        "radial_spacing_mm": 2.0,
        "views": 9,
        "planes": 11,
        "plane_spacing_mm": 2.0,
        "image": {"shape": [14, 14, 11], "voxel_mm": [2.0, 2.0, 2.0]},
        "fov_mm": 26.0,
    }
    return Scanner.from_entry(entry)


@pytest.mark.parametrize("kind", ["svtd", "ddconv, as it comes"])
def test_composes_with_the_projector_in_both_directions(scanner, kind):
    """Range before resolution, as annihilations are what the scanner sees; a correction applied forward only would fail this."""
    mu = body(scanner.image_shape)
    operator, blur = OPERATORS[kind](mu), GaussianBlur(4.4, scanner.voxel_mm)
    projector = DirectProjector(scanner)
    model = ForwardModel(projector, scale=0.7, image_operators=(operator, blur))
    image, sinogram = random_image(scanner.image_shape), random_image(projector.sinogram_shape)
    expected = 0.7 * projector(blur(operator(image * projector.field_of_view)))
    np.testing.assert_allclose(model(image), expected, rtol=1e-4, atol=1e-4)
    assert inner(model(image), sinogram) == pytest.approx(inner(image, model.adjoint(sinogram)), rel=1e-5)


def test_kernels_of_another_isotope_or_voxel_are_refused():
    with pytest.raises(InputError, match="simulated for Ga68, but F18"):
        svtd(body(), (2.0, 2.0, 2.0), kernels_of_materials(), "F18")
    with pytest.raises(InputError, match=r"2\.1 x 2 x 2 mm"):
        svtd(body(), (2.1, 2.0, 2.0), kernels_of_materials(), "Ga68")


def test_simulated_kernels_must_fit_the_predictor():
    with pytest.raises(InputError, match="of 7 voxels, but the predictor's have 5"):
        ddconv(body(), untrained(), homogeneous=kernels_of_materials(7))
    water = MaterialKernels("Ga68", 2.0, "point", {"water": 0.096}, kernels_of_materials().kernels[1:2])
    with pytest.raises(InputError, match="there is none of lung"):
        ddconv(body(), untrained(), homogeneous=water)


@pytest.mark.parametrize(("key", "value"), [("storage", "int4"), ("materials", "guess"), ("nearest", "far"), ("edges", "open")])
def test_unknown_settings_are_refused(key, value):
    with pytest.raises(InputError, match=f"{key}: '{value}' is unknown"):
        ddconv(body(), untrained(), replace(EXACT, **{key: value}))
