from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.listmode import ListModeProjector
from petbench.physics.oblique import ObliqueProjector
from petbench.physics.operators import ForwardModel, GaussianBlur
from petbench.physics.projector import DirectProjector
from petbench.physics.reconstruction import listmode_osem, mlem, osem
from petbench.physics.scanner import Scanner, TimeOfFlight, field_of_view

Array = NDArray[np.float32]

pytestmark = pytest.mark.parametrize("scanner", ["arc"], indirect=True)  # bins of any width at once


@pytest.fixture
def tof_scanner(scanner: Scanner) -> Scanner:
    """The small scanner with oblique planes and time of flight; the bins reach far enough to catch every annihilation."""
    tof = TimeOfFlight(resolution_ps=300.0, bins=9, bin_ps=180.0)
    return replace(scanner, planes=5, image_shape=(28, 26, 5), rings=3, max_ring_difference=2, span=1, tof=tof)


class Scan:
    """A noisy scan of a blob, as a sinogram and as the same counts one by one, each with its model."""

    def __init__(self, scanner: Scanner, geometry: str, tof: bool, counts: float = 3e4, background: bool = True) -> None:
        rng = np.random.default_rng(1)
        projector: Any = DirectProjector(scanner) if geometry == "direct" and not tof else ObliqueProjector(scanner, tof, geometry=geometry)
        lines = DirectProjector(scanner) if geometry == "direct" else ObliqueProjector(scanner)
        factors = rng.uniform(0.4, 1.0, lines.sinogram_shape).astype(np.float32)
        self.model = ForwardModel(projector, factors, image_operators=(GaussianBlur(7.0, scanner.voxel_mm),))
        x, y, z = (np.arange(n) - (n - 1) / 2 for n in scanner.image_shape)
        self.truth = np.exp(-((x[:, None, None] - 3) ** 2 + y[:, None] ** 2 + z**2) / 40).astype(np.float32)
        trues = self.model(self.truth)
        scale = counts / float(trues.sum(dtype=float))
        mean = np.full(trues.shape, 0.3 * counts / trues.size, dtype=np.float32) if background else None
        self.model = replace(self.model, scale=scale, background=mean)
        self.counts = rng.poisson(self.model.expected(self.truth)).astype(np.uint32)
        bins = np.repeat(np.argwhere(self.counts > 0), self.counts[self.counts > 0], axis=0)
        bins = rng.permutation(bins)
        events = ListModeProjector(scanner, geometry, *bins.T)
        self.events = replace(
            self.model,
            projector=events,
            factors=factors[tuple(bins[:, :3].T)],
            background=None if mean is None else mean[tuple(bins.T)],
        )
        self.sensitivity = replace(self.model, projector=lines, background=None).sensitivity()


KINDS = [("direct", False), ("direct", True), ("oblique", False), ("oblique", True)]


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize(("geometry", "tof"), KINDS)
def test_with_one_subset_it_is_sinogram_mlem(tof_scanner: Scanner, geometry: str, tof: bool, background: bool) -> None:
    scan = Scan(tof_scanner, geometry, tof, background=background)
    likelihoods: list[list[float]] = [[], []]
    # The sinogram's own sensitivity, as the sum over TOF bins equals the lines without TOF to 4e-3 only.
    sensitivity = scan.model.sensitivity()
    start = np.ones_like(sensitivity)
    expected = mlem(scan.model, scan.counts, 4, start, callback=lambda *report: likelihoods[0].append(report[2]))
    estimate = listmode_osem(scan.events, sensitivity, 4, 1, start, callback=lambda *report: likelihoods[1].append(report[2]))
    np.testing.assert_allclose(estimate, expected, rtol=0, atol=1e-4 * expected.max())
    np.testing.assert_allclose(likelihoods[1], likelihoods[0], rtol=1e-5)
    assert (np.diff(likelihoods[1]) > -1e-6 * abs(likelihoods[1][-1])).all()


@pytest.mark.parametrize("tof", [False, True])
def test_the_sensitivity_needs_no_time_of_flight(tof_scanner: Scanner, tof: bool) -> None:
    scan = Scan(tof_scanner, "oblique", tof)
    seen = scan.sensitivity > 0.05 * scan.sensitivity.max()
    np.testing.assert_allclose(scan.model.sensitivity()[seen], scan.sensitivity[seen], rtol=4e-3 if tof else 1e-5)
    start = np.ones_like(scan.truth)
    expected = mlem(scan.model, scan.counts, 8, start)
    estimate = listmode_osem(scan.events, scan.sensitivity, 8, 1, start)
    np.testing.assert_allclose(estimate[seen], expected[seen], rtol=0, atol=(0.01 if tof else 1e-4) * expected.max())
    inside = scan.truth > 0.5
    assert estimate[inside].mean() == pytest.approx(scan.truth[inside].mean(), rel=0.05)


def test_counts_are_preserved_without_background(tof_scanner: Scanner) -> None:
    """Every estimate is expected to give as many counts as there are events."""
    scan = Scan(tof_scanner, "oblique", tof=False, background=False)
    totals: list[float] = []
    listmode_osem(scan.events, scan.sensitivity, 3, 1, callback=lambda _, image, __: totals.append(float((image * scan.sensitivity).sum())))
    np.testing.assert_allclose(totals, scan.counts.sum(), rtol=1e-4)


def test_subsets_reach_the_same_image_sooner(tof_scanner: Scanner) -> None:
    scan = Scan(tof_scanner, "oblique", tof=True, counts=1e5)
    slow = listmode_osem(scan.events, scan.sensitivity, 12, 1)
    fast = listmode_osem(scan.events, scan.sensitivity, 3, 4)
    few = listmode_osem(scan.events, scan.sensitivity, 3, 1)
    assert np.abs(fast - slow).mean() < 0.05 * slow.mean()
    assert np.abs(few - slow).mean() > 0.1 * slow.mean()


def test_it_continues_from_an_initial_image_and_reports_when_asked(tof_scanner: Scanner) -> None:
    scan = Scan(tof_scanner, "direct", tof=False)
    seen: dict[int, Array] = {}
    halfway = listmode_osem(scan.events, scan.sensitivity, 2, 3)
    final = listmode_osem(scan.events, scan.sensitivity, 4, 3, callback=lambda n, image, _: seen.update({n: image}), at=[2])
    np.testing.assert_array_equal(listmode_osem(scan.events, scan.sensitivity, 2, 3, initial=halfway), final)
    np.testing.assert_array_equal(seen.pop(2), halfway)
    assert not seen
    assert not final[~field_of_view(tof_scanner)].any()


def test_tensors_reconstruct_as_arrays_do(tof_scanner: Scanner) -> None:
    scan = Scan(tof_scanner, "oblique", tof=True)
    expected = listmode_osem(scan.events, scan.sensitivity, 2, 2)
    estimate = listmode_osem(scan.events.to("cpu"), scan.sensitivity, 2, 2)
    assert isinstance(estimate, torch.Tensor)
    np.testing.assert_allclose(estimate.numpy(), expected, rtol=0, atol=1e-5 * expected.max())


def test_impossible_reconstructions_are_refused(tof_scanner: Scanner) -> None:
    scan = Scan(tof_scanner, "direct", tof=False, counts=20)
    events, sensitivity = scan.events, scan.sensitivity
    number = events.projector.sinogram_shape[0]
    assert events.background is not None
    for model, image, iterations, subsets, message in [
        (events, sensitivity, 0, 1, "reconstruction: 0 iterations"),
        (events, sensitivity, 1, number + 1, f"reconstruction/subsets: {number + 1} subsets of {number} events"),
        (events, sensitivity[1:], 1, 1, "reconstruction/sensitivity: shape"),
        (events, -sensitivity, 1, 1, "reconstruction/sensitivity: holds values that are negative"),
        (replace(events, background=-events.background), sensitivity, 1, 1, "reconstruction/background: holds values"),
        (replace(events, background=events.background[1:]), sensitivity, 1, 1, "reconstruction/background: shape"),
    ]:
        with pytest.raises(InputError, match=message):
            listmode_osem(model, image, iterations, subsets)


def test_sinogram_subsets_of_tof_data(tof_scanner: Scanner) -> None:
    """Views are axis 1 whatever follows, and the factors have no TOF axis."""
    scan = Scan(tof_scanner, "oblique", tof=True, counts=1e5)
    slow, fast = mlem(scan.model, scan.counts, 12), osem(scan.model, scan.counts, 2, 6)
    assert np.abs(fast - slow).mean() < 0.1 * slow.mean()
