"""Forward and back projection against Joseph's method line by line in NumPy, for the demo scanner and the Biograph mMR.

The reference takes a line at a time, vectorised over its samples and all planes. On the mMR it runs on a few views, spread over
all angles, and its time is scaled to all of them.
"""

from pathlib import Path

import numba
import numpy as np
import yaml
from numpy.typing import NDArray
from timing import report, seconds

from petbench.physics.projector import DirectProjector
from petbench.physics.scanner import Scanner, radial_positions, view_angles

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


def measure(entry: str, subsets: int) -> None:
    """Compare on one scanner, the reference on every `subsets`-th view."""
    scanner = Scanner.from_entry(yaml.safe_load((SCANNERS / f"{entry}.yaml").read_text()))
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


if __name__ == "__main__":
    measure("demo", subsets=4)
    measure("biograph_mmr", subsets=84)
