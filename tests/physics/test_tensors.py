import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from petbench.physics import device_samples
from petbench.physics.linear import LinearOperator
from petbench.physics.listmode import ListModeProjector
from petbench.physics.oblique import ObliqueProjector
from petbench.physics.operators import ForwardModel, GaussianBlur
from petbench.physics.projector import DirectProjector
from petbench.physics.scanner import Scanner, TimeOfFlight
from petbench.physics.tensors import device_operator

Array = NDArray[np.float32]

pytestmark = pytest.mark.parametrize("scanner", ["arc"], indirect=True)  # bins of any width at once

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
OPERATORS = ["direct", "direct subset", "oblique", "oblique span 1", "oblique tof", "direct tof", "list-mode", "list-mode tof", "blur"]


@pytest.fixture
def full_scanner(scanner: Scanner) -> Scanner:
    """The small scanner with rings enough for oblique planes, and time of flight."""
    tof = TimeOfFlight(resolution_ps=200.0, bins=5, bin_ps=180.0)
    return replace(scanner, planes=7, image_shape=(28, 26, 7), rings=4, max_ring_difference=3, span=3, tof=tof)


def operator_of(name: str, scanner: Scanner) -> tuple[LinearOperator, tuple[int, ...]]:
    """An operator and the shape of its data."""
    kind, _, variant = name.partition(" ")
    tof = variant == "tof"
    projector: Any
    if kind == "blur":
        return GaussianBlur(9.0, scanner.voxel_mm), scanner.image_shape
    if kind == "list-mode":
        rng = np.random.default_rng(5)
        shape = ObliqueProjector(scanner).sinogram_shape
        radial, view, plane, tof_bin = (rng.integers(size, size=300) for size in (*shape, 5))
        projector = ListModeProjector(scanner, "oblique", radial, view, plane, tof_bin if tof else None)
    elif kind == "direct" and not tof:
        projector = DirectProjector(scanner)
    else:
        scanner = replace(scanner, span=1) if variant == "span 1" else scanner
        projector = ObliqueProjector(scanner, tof=tof, geometry=kind)
    projector = projector.subset(1, 4) if variant == "subset" else projector
    return projector, projector.sinogram_shape


def random(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Not positive everywhere, so that errors cannot hide behind a large sum."""
    return np.random.default_rng(seed).normal(0.3, 1.0, shape).astype(np.float32)


@pytest.mark.parametrize("name", OPERATORS)
def test_tensors_on_the_cpu_are_the_arrays_and_their_gradient_is_the_adjoint(name: str, full_scanner: Scanner) -> None:
    operator, shape = operator_of(name, full_scanner)
    image, data = random(full_scanner.image_shape), random(shape, 1)
    for apply, back, x, y in ((operator, operator.adjoint, image, data), (operator.adjoint, operator, data, image)):
        argument = torch.from_numpy(x).requires_grad_()
        result = apply(argument)
        expected = apply(x)
        np.testing.assert_array_equal(result.detach().numpy(), expected)
        assert result.stride() == torch.from_numpy(expected).stride()
        result.backward(torch.from_numpy(y))
        assert argument.grad is not None
        np.testing.assert_array_equal(argument.grad.numpy(), back(y))


def test_gradients_of_gradients_flow(full_scanner: Scanner) -> None:
    """Half the squared norm of A x has the gradient A^T A x, whose product with v has the gradient A^T A v."""
    projector = DirectProjector(full_scanner)
    x, v = (torch.from_numpy(random(full_scanner.image_shape, seed)) for seed in (0, 1))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(0.5 * (projector(x) ** 2).sum(), x, create_graph=True)
    (again,) = torch.autograd.grad((gradient * v).sum(), x)
    torch.testing.assert_close(again, projector.adjoint(projector(v)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("elements", [1 << 26, 1 << 13])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", OPERATORS)
def test_torch_counterparts_equal_the_compiled_loops(
    name: str, device: str, elements: int, full_scanner: Scanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece and in many."""
    monkeypatch.setattr(device_samples, "ELEMENTS", elements)
    operator, shape = operator_of(name, full_scanner)
    counterpart = device_operator(operator, torch.device(device))
    image, data = random(full_scanner.image_shape), random(shape, 1)
    for ours, loops, argument in ((counterpart, operator, image), (counterpart.adjoint, operator.adjoint, data)):
        result, expected = ours(torch.from_numpy(argument).to(device)), loops(argument)
        assert result.device.type == device
        np.testing.assert_allclose(result.cpu().numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        assert result.stride() == torch.from_numpy(expected).stride()


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in ("direct", "direct subset")])
def test_accelerators_are_served_without_waiting_for_the_host(name: str, full_scanner: Scanner) -> None:
    """Tensors of the meta device have no values: code that took one to the host would fail. (It has no sparse products.)"""
    operator, shape = operator_of(name, full_scanner)
    image = torch.empty(full_scanner.image_shape, device="meta", requires_grad=True)
    result = operator(image)
    assert (result.device.type, tuple(result.shape)) == ("meta", shape)
    result.sum().backward()
    assert image.grad is not None
    assert image.grad.shape == image.shape


@pytest.mark.parametrize("name", ["oblique", "list-mode tof"])
def test_models_without_image_operators_have_gradients_there_too(name: str, full_scanner: Scanner) -> None:
    projector, shape = operator_of(name, full_scanner)
    data = torch.empty(shape, device="meta", requires_grad=True)
    ForwardModel(projector).adjoint(data).sum().backward()
    assert data.grad is not None


def test_counterparts_are_made_once_and_go_with_their_operator(full_scanner: Scanner) -> None:
    projector, device = DirectProjector(full_scanner), torch.device("cpu")
    made = device_operator(projector, device)
    assert device_operator(projector, device) is made
    assert device_operator(DirectProjector(full_scanner), device) is not made
    ghost = weakref.ref(projector)
    del projector
    gc.collect()
    assert ghost() is None


def test_operators_without_a_counterpart_say_so(scanner: Scanner) -> None:
    class Doubling(LinearOperator):
        def _forward(self, array: NDArray[np.floating], /) -> Array:
            return np.asarray(2 * array, dtype=np.float32)

        _transpose = _forward

    image = torch.ones(scanner.image_shape)
    assert (Doubling()(image) == 2).all()
    with pytest.raises(TypeError, match="Doubling has no torch counterpart"):
        Doubling()(image.to("meta"))


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_of_the_wrong_shape_are_refused(device: str, full_scanner: Scanner) -> None:
    for name in ("direct", "oblique", "list-mode"):
        operator, shape = operator_of(name, full_scanner)
        counterpart = device_operator(operator, torch.device(device))
        with pytest.raises(ValueError, match="expected a tensor of shape"):
            counterpart(torch.zeros(3, 4, 5, device=device))
        with pytest.raises(ValueError, match="expected a tensor of shape"):
            counterpart.adjoint(torch.zeros((*shape, 2), device=device))


def scan_of(scanner: Scanner, device: str) -> tuple[ForwardModel, Tensor, Tensor]:
    """A model with every part, on a device, with a positive image and the counts of another."""
    projector = ObliqueProjector(scanner, tof=True)
    rng = np.random.default_rng(2)
    factors = rng.uniform(0.3, 1.0, projector.sinogram_shape[:3]).astype(np.float32)
    background = rng.uniform(0.5, 1.0, projector.sinogram_shape).astype(np.float32)
    model = ForwardModel(projector, factors, 0.6, (GaussianBlur(6.0, scanner.voxel_mm),), background).to(device)
    image, other = (torch.from_numpy(rng.uniform(0.5, 2.0, scanner.image_shape).astype(np.float32)).to(device) for _ in range(2))
    return model, image, model.expected(other)


@pytest.mark.parametrize("device", DEVICES)
def test_gradient_of_the_likelihood_is_the_back_projected_excess(device: str, full_scanner: Scanner) -> None:
    """d/dx sum(y log ybar - ybar) = A^T (y / ybar - 1)."""
    model, image, counts = scan_of(full_scanner, device)
    image.requires_grad_()
    expected = model.expected(image)
    (counts * torch.log(expected) - expected).sum().backward()
    assert image.grad is not None
    by_hand = model.adjoint(counts / expected.detach() - 1.0)
    torch.testing.assert_close(image.grad, by_hand, rtol=1e-4, atol=1e-4 * float(by_hand.abs().max()))


class UnrolledEM(torch.nn.Module):
    """Two EM steps, each followed by a learnt correction of a learnt weight, as in FBSEM-Net (Mehranian and Reader, IEEE TRPMS 2021)."""

    def __init__(self, model: ForwardModel) -> None:
        super().__init__()
        self.model, self.sensitivity = model, model.sensitivity()
        self.correct = torch.nn.Conv3d(1, 1, 3, padding=1)
        self.weight = torch.nn.Parameter(torch.tensor(0.4))

    def forward(self, counts: Tensor) -> Tensor:
        image = torch.ones_like(self.sensitivity)
        seen = self.sensitivity > 0
        for _ in range(2):
            update = self.model.adjoint(counts / self.model.expected(image))
            step = image * torch.where(seen, update / torch.where(seen, self.sensitivity, 1.0), 0.0)
            image = torch.nn.functional.softplus(step + self.weight * torch.tanh(self.correct(step[None])[0]))
        return image


@pytest.mark.parametrize("device", DEVICES)
def test_unrolled_reconstruction_learns_through_the_projector(device: str, full_scanner: Scanner, finite_difference: Callable) -> None:
    torch.manual_seed(0)
    model, _, counts = scan_of(full_scanner, device)
    network = UnrolledEM(model).to(device)
    target = torch.rand(full_scanner.image_shape, device=device)

    def loss() -> Tensor:
        return ((network(counts).double() - target) ** 2).mean()

    loss().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        direction = torch.randn_like(parameter)
        slope = float((parameter.grad * direction).sum())
        assert finite_difference(loss, parameter, direction) == pytest.approx(slope, rel=0.01, abs=1e-5)
        assert abs(slope) > 1e-4


@pytest.fixture
def finite_difference() -> Callable[[Callable[[], Tensor], Tensor, Tensor], float]:
    """Central difference of fourth order: float32 wants a wide step."""

    @torch.no_grad()
    def measure(loss: Callable[[], Tensor], parameter: Tensor, direction: Tensor, step: float = 0.02) -> float:
        start = parameter.clone()
        values = {}
        for n in (-2, -1, 1, 2):
            parameter.copy_(start + n * step * direction)
            values[n] = float(loss())
        parameter.copy_(start)
        return (values[-2] - 8 * values[-1] + 8 * values[1] - values[2]) / (12 * step)

    return measure
