"""FBSEM: what it is where nothing is learnt, against a literal form of itself, and what it learns from little."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.methods.fbsem import drawn
from petbench.physics.operators import ForwardModel
from petbench.physics.plane_scans import PlaneScans, start
from petbench.physics.projector import DirectProjector
from petbench.physics.reconstruction import osem
from petbench.training.probes import Phantoms, batches, learn

from .entries import tiny

SIDES = (16, 12)
KINDS = ("low_dose", "mr", "acquisition", "standard_dose")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def made(gamma=None, seed=0, **unrolling):
    """The method at small widths, its network awake; with gamma in place of what it starts at."""
    torch.manual_seed(seed)
    train = tiny("fbsem")
    method = build("fbsem", train | {"unrolling": train["unrolling"] | unrolling})
    torch.nn.init.constant_(method.network.layers[-1].weight, 0.3)
    if gamma is not None:
        torch.nn.init.constant_(method.log_gamma, np.log(gamma) if gamma else -np.inf)
    return method


def heads(count=3, seed=1, spatial=SIDES):
    return Phantoms(spatial, count, seed, scanned=True)


def estimated(method, batch):
    return method.estimate(batch["low_dose"], batch["mr"], batch["acquisition"])


@pytest.mark.parametrize("training", [False, True])
def test_without_gamma_it_is_osem(training):
    batch = heads().windows(0.5)
    method = made(gamma=0.0, iterations=3, subsets=4).train(training)
    found = estimated(method, batch)
    for image, plane in zip(found.detach(), batch["acquisition"].data.numpy(), strict=True):
        counts, background, factors = (np.ascontiguousarray(part.T[:, :, None]) for part in plane)
        model = ForwardModel(DirectProjector(batch["acquisition"].scanner), factors, background=background)
        np.testing.assert_allclose(image[0].numpy(), osem(model, counts, 3, 4)[:, :, 0], rtol=1e-4, atol=1e-6)


class Given(torch.nn.Module):
    """What images are drawn to, given."""

    def __init__(self, image):
        super().__init__()
        self.image = image

    def forward(self, image, beside):
        return self.image


def test_with_an_image_that_is_given_it_is_map_em():
    """At its fixed point the gradient of the Poisson log-likelihood minus gamma / 2 |x - r|^2 is zero wherever x is not."""
    batch = heads().windows(0.5)
    gamma, aim = 8.0, batch["standard_dose"]
    method = made(gamma=gamma, iterations=400, subsets=1).eval()
    method.network = Given(aim)
    with torch.no_grad():
        image = estimated(method, batch)[:, 0].permute(1, 2, 0)
    (subset,) = batch["acquisition"].subsets(1)
    likelihood = subset.model.adjoint(subset.counts / subset.model.expected(image)) - subset.sensitivity
    slope = likelihood - gamma * (image - aim[:, 0].permute(1, 2, 0))
    held, gone = ((image > 0.02) & (subset.sensitivity > 0), (image <= 1e-3) & (subset.sensitivity > 0))
    assert bool(held.any())
    assert float(slope[held].abs().max()) < 2e-3 * float(subset.sensitivity.max())
    assert float(slope[gone].max()) < 2e-3 * float(subset.sensitivity.max())


def test_what_is_drawn_minimises_its_objective():
    random = torch.Generator().manual_seed(0)
    updated, regular, weight = (factor * torch.rand(200, generator=random) for factor in (2.0, 4.0, 3.0))
    found = drawn(updated, regular, weight).double()
    u, r, w = updated.double(), regular.double(), weight.double()

    def objective(x):
        return x - u * torch.log(x) + w / 2 * (x - r).square()

    for other in (found * 1.01, found * 0.99):
        assert bool((objective(found) <= objective(other)).all())
    torch.testing.assert_close(drawn(updated, regular, torch.zeros(200)), updated, rtol=0, atol=0)


def test_what_is_drawn_from_nothing_is_not_lost():
    weight = torch.tensor([2.0, 2.0, 0.0, 2.0]).requires_grad_()
    updated, regular = torch.tensor([0.0, 0.0, 0.0, 0.0]).requires_grad_(), torch.tensor([3.0, 0.1, 1.0, 0.5])
    found = drawn(updated, regular, weight)
    torch.testing.assert_close(found, torch.tensor([2.5, 0.0, 0.0, 0.0]), rtol=1e-6, atol=1e-5)
    for gradient in torch.autograd.grad(found.sum(), (updated, weight)):
        assert bool(gradient.isfinite().all())


class Literal:
    """The same computation as it is written on paper: a matrix of all lines, one slice at a time, all features kept."""

    def __init__(self, method):
        self.method = method

    def __call__(self, batch):
        scans, method = batch["acquisition"], self.method
        x, y = scans.scanner.image_shape[:2]
        geometry = replace(scans.scanner, planes=x * y, image_shape=(x, y, x * y))
        lines = DirectProjector(geometry)(np.eye(x * y, dtype=np.float32).reshape(x, y, x * y))  # (radial bins, views, pixels)
        matrix = torch.from_numpy(lines).permute(1, 0, 2)
        visited = [subset.model.projector.view_indices for subset in scans.subsets(method.subsets)]
        counts, background, factors = scans.data.unbind(1)
        gamma = method.log_gamma.exp()
        whole = torch.einsum("bvr,vrp->bp", factors, matrix)
        images = (whole > 0) * ((counts - background).sum((1, 2)) / whole.sum(1))[:, None]
        for _ in range(method.iterations):
            for views in map(list, visited):
                regular = method.network(images.reshape(-1, 1, x, y), batch["mr"]).reshape(len(images), -1)
                rows = []
                for n, image in enumerate(images):
                    own = factors[n, views].reshape(-1, 1) * matrix[views].reshape(-1, x * y)
                    sensitivity = own.sum(0)
                    ratio = counts[n, views].reshape(-1) / (own @ image + background[n, views].reshape(-1))
                    seen = sensitivity > 0
                    em = torch.where(seen, image * (own.T @ ratio) / torch.where(seen, sensitivity, 1.0), 0.0)
                    weight = torch.where(seen, gamma / torch.where(seen, sensitivity, 1.0), 0.0)
                    below = 1 - weight * regular[n]
                    rows.append(2 * em / (below + torch.sqrt(below**2 + 4 * weight * em)))
                images = torch.stack(rows)
        return images.reshape(-1, 1, x, y)


@pytest.mark.parametrize("recompute", [False, True])
def test_image_loss_and_gradients_are_those_of_the_literal_form(recompute):
    (batch,) = batches(heads(), KINDS, 1)
    ours, theirs = (made(gamma=3.0, recompute=recompute).train() for _ in range(2))
    expected = Literal(theirs)(batch)
    torch.testing.assert_close(estimated(ours, batch), expected, rtol=1e-4, atol=1e-5)
    for layer in ours.network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
    (step,) = ours.losses(batch, Progress(0, 1))
    loss = (Literal(theirs)(batch) - batch["standard_dose"]).square().mean()
    torch.testing.assert_close(step.loss, loss, rtol=1e-4, atol=0)
    step.loss.backward()
    loss.backward()
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=2e-3, atol=2e-3 * float(other.grad.abs().max()) + 1e-6, msg=name)


def test_features_computed_anew_change_neither_gradients_nor_statistics():
    (batch,) = batches(heads(), KINDS, 1)
    kept, anew = (made(recompute=recompute).train() for recompute in (False, True))
    for method in (kept, anew):
        (step,) = method.losses(batch, Progress(0, 1))
        step.loss.backward()
    for (name, one), other in zip(kept.named_parameters(), anew.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-8, msg=name)
    for (name, one), other in zip(kept.named_buffers(), anew.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, msg=name)


def saved_bytes(method, batch):
    """Bytes that a step keeps for its gradient, each memory once."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        (step,) = method.losses(batch, Progress(0, 1))
    del step
    return sum(kept.values())


def test_features_computed_anew_need_not_be_kept():
    (batch,) = batches(heads(), KINDS, 1)
    kept, anew = (saved_bytes(made(recompute=recompute, iterations=4).train(), batch) for recompute in (False, True))
    assert anew < 0.7 * kept


def test_gradients_can_leave_the_em_steps_out():
    (batch,) = batches(heads(), KINDS, 1)
    through, beside = (made(em_gradient=flow).train() for flow in (True, False))
    losses = []
    for method in (through, beside):
        (step,) = method.losses(batch, Progress(0, 1))
        step.loss.backward()
        losses.append(float(step.loss.detach()))
    assert losses[0] == losses[1]
    assert not torch.allclose(through.log_gamma.grad, beside.log_gamma.grad, rtol=1e-3)


def test_it_can_start_from_the_low_dose():
    batch = heads().windows(0.5)
    method = made(start="low_dose").eval()
    first = method.restore(batch["low_dose"], batch["mr"], acquisition=batch["acquisition"])
    other = method.restore(batch["low_dose"].roll(1, 0), batch["mr"], acquisition=batch["acquisition"])
    assert not torch.allclose(first, other)
    uniform = made().eval()
    plain = uniform.restore(batch["low_dose"], batch["mr"], acquisition=batch["acquisition"])
    torch.testing.assert_close(plain, uniform.restore(batch["low_dose"].roll(1, 0), batch["mr"], acquisition=batch["acquisition"]))


def psnr(image, truth):
    return float(10 * torch.log10(truth.square().amax((1, 2, 3)) / (image - truth).square().mean((1, 2, 3))).mean())


@pytest.fixture(scope="module")
def taught():
    """Trained for seconds on eight heads, with others that it never saw."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train = tiny("fbsem")
    method = build("fbsem", train | {"network": train["network"] | {"channels": 8}, "unrolling": train["unrolling"] | {"iterations": 3}})
    learn(method, batches(heads(8, 3, (24, 24)), KINDS, 60), 1e-2)
    return method.eval(), heads(8, 4, (24, 24)).windows(0.5)


def restored(method, batch, **other):
    given = batch | other
    return method.restore(given["low_dose"], given["mr"], acquisition=given["acquisition"])


def test_it_beats_filtered_osem_on_heads_it_never_saw(taught):
    method, batch = taught
    truth = batch["standard_dose"]
    subsets = batch["acquisition"].subsets(2)
    image = start(subsets)
    for _ in range(3):
        for subset in subsets:
            image = subset.step(image)
    plain = image.permute(2, 0, 1)[:, None].numpy()
    filtered = max(psnr(torch.from_numpy(gaussian_filter(plain, (0, 0, width, width))), truth) for width in (0.3, 0.5, 0.7, 0.9, 1.2, 1.6))
    assert psnr(restored(method, batch), truth) > filtered + 0.5


def test_it_reads_counts_and_mr(taught):
    method, batch = taught
    truth, scans = batch["standard_dose"], batch["acquisition"]
    own = psnr(restored(method, batch), truth)
    assert psnr(restored(method, batch, mr=batch["mr"].roll(1, 0)), truth) < own - 0.2
    others = PlaneScans(scans.data.roll(1, 0), scans.scanner, scans.psf_mm)
    assert psnr(restored(method, batch, acquisition=others), truth) < own - 2


def test_its_level_follows_the_counts(taught):
    method, batch = taught
    once = restored(method, batch)
    twice = restored(method, batch, acquisition=2.0 * batch["acquisition"])
    assert float(twice.sum() / once.sum()) == pytest.approx(2.0, rel=0.1)
    assert float(once.sum() / batch["standard_dose"].sum()) == pytest.approx(1.0, rel=0.1)
