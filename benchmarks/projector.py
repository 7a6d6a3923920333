"""Projections against Joseph's method line by line in NumPy: direct planes, and list-mode events in three dimensions.

The references take a line at a time, vectorised over its samples (and all direct planes). They run on some of the views or events,
spread over all, and their time is scaled to all of them.

`--osem` reconstructs the Biograph mMR's direct planes instead, 3 iterations of 21 subsets; its peak memory is the whole process's.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import yaml
from numpy.typing import NDArray
from timing import report, seconds

from petbench.physics.lines import lines_of_bins
from petbench.physics.listmode import ListModeProjector
from petbench.physics.operators import ForwardModel, GaussianBlur, attenuation_factors
from petbench.physics.planes import planes_of
from petbench.physics.projector import DirectProjector
from petbench.physics.reconstruction import osem
from petbench.physics.scanner import Scanner, TimeOfFlight, field_of_view, radial_positions, view_angles

Array = NDArray[np.float32]

SCANNERS = Path(__file__).parents[1] / "config" / "scanners"


def samples(scanner: Scanner, view: int, r_mm: float) -> tuple[tuple[Array, Array], Array]:
    """Pixels (two a step) and weights in cm of one line."""
    angle, edge = view_angles(scanner)[view], scanner.voxel_mm[0]
    along_y = abs(np.cos(angle)) >= abs(np.sin(angle))
    main, other = (np.cos(angle), np.sin(angle)) if along_y else (np.sin(angle), np.cos(angle))
    size, across = scanner.image_shape[1::-1] if along_y else scanner.image_shape[:2]
    steps = np.arange(size)
    position = (r_mm / edge - (steps - (size - 1) / 2) * other) / main + (across - 1) / 2
    left = np.floor(position).astype(int)
    pixel, step = np.concatenate([left, left + 1]), np.concatenate([steps, steps])
    weight = np.concatenate([1 - (position - left), position - left]) * edge / 10 / abs(main)
    i, j = (pixel, step) if along_y else (step, pixel)
    inside = (pixel >= 0) & (pixel < across)
    x, y = (index - (n - 1) / 2 for index, n in zip((i, j), scanner.image_shape[:2], strict=True))
    inside &= x**2 + y**2 <= (scanner.fov_mm / 2 / edge) ** 2
    return (i[inside], j[inside]), weight[inside].astype(np.float32)


def reference_forward(scanner: Scanner, views: NDArray[np.int64], image: Array) -> Array:
    sinogram = np.empty((scanner.radial_bins, views.size, scanner.planes), dtype=np.float32)
    for v, view in enumerate(views):
        for k, r in enumerate(radial_positions(scanner)):
            pixels, weight = samples(scanner, view, r)
            sinogram[k, v] = weight @ image[pixels]
    return sinogram


def reference_back(scanner: Scanner, views: NDArray[np.int64], sinogram: Array) -> Array:
    image = np.zeros(scanner.image_shape, dtype=np.float32)
    for v, view in enumerate(views):
        for k, r in enumerate(radial_positions(scanner)):
            pixels, weight = samples(scanner, view, r)
            image[pixels] += weight[:, None] * sinogram[k, v]
    return image


def scanner_of(entry: str) -> Scanner:
    return Scanner.from_entry(yaml.safe_load((SCANNERS / f"{entry}.yaml").read_text()))


def measure(entry: str, subsets: int) -> None:
    """Compare direct planes on one scanner, the reference on every `subsets`-th view."""
    scanner = scanner_of(entry)
    projector = DirectProjector(scanner)
    few = projector.subset(0, subsets)
    image = np.random.default_rng(0).random(scanner.image_shape, dtype=np.float32)
    sinogram = projector(image)
    some = sinogram[:, ::subsets]
    forward, back = reference_forward(scanner, few.views, image), reference_back(scanner, few.views, some)
    np.testing.assert_allclose(some, forward, atol=1e-4 * forward.max())
    np.testing.assert_allclose(few.adjoint(some), back, atol=1e-4 * back.max())
    size = f"{entry}: {'x'.join(map(str, scanner.image_shape))} to {'x'.join(map(str, scanner.sinogram_shape))}"
    scale = scanner.views / few.views.size
    for name, ours, reference in (
        ("projector forward", lambda: projector(image), lambda: reference_forward(scanner, few.views, image)),
        ("projector back", lambda: projector.adjoint(sinogram), lambda: reference_back(scanner, few.views, some)),
    ):
        report(name, size, seconds(ours), scale * seconds(reference, repeats=1), "cpu", numba.get_num_threads())


def event_samples(
    scanner: Scanner, start: NDArray[np.float64], end: NDArray[np.float64], tof_bin: int | None
) -> tuple[tuple[NDArray[np.int64], ...], Array]:
    """Voxels (four a step) and weights in cm of one line in three dimensions."""
    from scipy.special import ndtr

    shape, voxel = np.array(scanner.image_shape), np.array(scanner.voxel_mm)
    first, last = (point / voxel + (shape - 1) / 2 for point in (start, end))
    main = int(np.argmax(np.abs(last - first)[:2]))
    share = (np.arange(shape[main]) - first[main]) / (last - first)[main]
    length = np.linalg.norm(end - start)
    weight = np.full(share.size, length / abs((last - first)[main]) / 10)
    if tof_bin is not None and scanner.tof is not None:
        distance, sigma = (share - 0.5) * length, scanner.tof.sigma_mm
        below, above = scanner.tof.edges_mm[tof_bin : tof_bin + 2]
        weight *= ndtr((above - distance) / sigma) - ndtr((below - distance) / sigma)
        weight[(distance > above + 3 * sigma) | (distance < below - 3 * sigma)] = 0.0
    points = first[:, None] + share * (last - first)[:, None]
    left = np.floor(points).astype(int)
    left[main] = np.arange(shape[main])
    voxels, weights = [], []
    for step in ((0, 0), (0, 1), (1, 0), (1, 1)):
        offset = np.insert(step, main, 0)[:, None]
        corner = left + offset
        fraction = np.abs(1 - offset - (points - left))
        fraction[main] = 1.0
        inside = ((corner >= 0) & (corner < shape[:, None])).all(axis=0)
        voxels.append(corner[:, inside])
        weights.append((weight * fraction.prod(axis=0))[inside])
    return tuple(np.concatenate(voxels, axis=1)), np.concatenate(weights).astype(np.float32)


def measure_events(numbers: tuple[int, ...], with_tof: bool) -> None:
    """List-mode events on the Biograph mMR's oblique planes with 200 ps TOF and a grid of 2 mm, for numbers of events and of threads."""
    mmr = scanner_of("biograph_mmr")
    scanner = replace(mmr, image_shape=(200, 200, 127), voxel_mm=(2.0, 2.0, 2.03125), fov_mm=400.0, tof=TimeOfFlight(200.0, 41, 100.0))
    rng = np.random.default_rng(0)
    image = rng.random(scanner.image_shape, dtype=np.float32) * field_of_view(scanner)[:, :, None]
    most = max(numbers)
    planes = planes_of(scanner, "oblique").size
    radial, view, plane = rng.integers(90, 254, most), rng.integers(0, scanner.views, most), rng.integers(0, planes, most)
    tof_bin = np.clip(rng.normal(20, 5, most).round().astype(int), 0, 40)

    def projector_for(events: int, threads: int) -> ListModeProjector:
        some = slice(events)
        return ListModeProjector(
            scanner, "oblique", radial[some], view[some], plane[some], tof_bin[some] if with_tof else None, threads=threads
        )

    few = 300
    starts, ends = lines_of_bins(scanner, "oblique", radial[:few], view[:few], plane[:few])
    bins = tof_bin[:few] if with_tof else [None] * few
    values = rng.random(few, dtype=np.float32)

    def reference_forward() -> Array:
        lines = (event_samples(scanner, *line) for line in zip(starts, ends, bins, strict=True))
        return np.array([weight @ image[voxels] for voxels, weight in lines])

    def reference_back() -> Array:
        back = np.zeros(scanner.image_shape, dtype=np.float32)
        for *line, value in zip(starts, ends, bins, values, strict=True):
            voxels, weight = event_samples(scanner, *line)
            back[voxels] += value * weight
        return back * field_of_view(scanner)[:, :, None]

    own = projector_for(few, 1)
    forward, back = reference_forward(), reference_back()
    np.testing.assert_allclose(own(image), forward, atol=1e-4 * forward.max())
    np.testing.assert_allclose(own.adjoint(values), back, atol=1e-4 * back.max())
    references = seconds(reference_forward, repeats=1), seconds(reference_back, repeats=1)
    for events in numbers:
        for threads in sorted({1, numba.get_num_threads()}):
            projector = projector_for(events, threads)
            data = np.ones(events, dtype=np.float32)
            calls = (
                ("forward", lambda projector=projector: projector(image)),
                ("back", lambda projector=projector, data=data: projector.adjoint(data)),
            )
            for (direction, call), reference in zip(calls, references, strict=True):
                took = seconds(call, repeats=2)
                name = f"list-mode {direction}, " + ("TOF 200 ps" if with_tof else "no TOF")
                size = f"{events} events, 200x200x127 of 2 mm"
                report(name, size, took, reference * events / few, "cpu", threads, events_per_s=round(events / took))


def measure_osem() -> None:
    """OSEM of a cylinder of water with randoms, attenuation and 5e7 counts, without and with resolution modelling."""
    scanner = scanner_of("biograph_mmr")
    projector = DirectProjector(scanner)
    x, y = ((np.arange(n) - (n - 1) / 2) * scanner.voxel_mm[0] for n in scanner.image_shape[:2])
    cylinder = np.repeat((np.hypot(x[:, None], y) < 100.0)[:, :, None], scanner.planes, axis=2).astype(np.float32)
    factors = attenuation_factors(projector, 0.096 * cylinder)
    trues = ForwardModel(projector, factors)(cylinder)
    scale = float(4e7 / trues.sum(dtype=float))
    background = np.full(trues.shape, 1e7 / trues.size, dtype=np.float32)
    counts = np.random.default_rng(0).poisson(scale * trues + background).astype(np.float32)
    for operators, name in (((), "OSEM"), ((GaussianBlur(4.5, scanner.voxel_mm),), "PSF-OSEM")):
        model = ForwardModel(projector, factors, scale=scale, image_operators=operators, background=background)
        start = time.perf_counter()
        osem(model, counts, 3, 21)
        took = time.perf_counter() - start
        report(f"{name}, 3 iterations x 21 subsets", "biograph_mmr, direct planes", took, None, "cpu", numba.get_num_threads())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--osem", action="store_true", help="time OSEM of the Biograph mMR instead, about two minutes")
    if parser.parse_args().osem:
        measure_osem()
    else:
        measure("demo", subsets=4)
        measure("biograph_mmr", subsets=84)
        for with_tof in (True, False):
            measure_events((250_000, 1_000_000), with_tof)
