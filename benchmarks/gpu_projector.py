"""The projectors and the reconstruction on a CUDA device against the compiled loops on the CPU, for the Biograph mMR.

Each figure is first checked: both give the same numbers. List-mode events are drawn uniformly over the bins.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
import yaml
from timing import report, seconds

from petbench.physics.listmode import ListModeProjector
from petbench.physics.oblique import ObliqueProjector
from petbench.physics.operators import ForwardModel, GaussianBlur
from petbench.physics.projector import DirectProjector
from petbench.physics.reconstruction import osem
from petbench.physics.scanner import Scanner, TimeOfFlight

SCANNERS = Path(__file__).parents[1] / "config" / "scanners"
EVENTS = 5_000_000
OBLIQUE_SUBSETS = 21  # only one subset of the oblique planes is projected: its sinogram is a twenty-first of 290 MB
DEVICE = "cuda"


def compare(name: str, size: str, operation: Callable[[Any], Any], argument: np.ndarray, repeats: int = 3) -> None:
    """Time one operation on the device and on the CPU."""
    moved = torch.from_numpy(argument).to(DEVICE)

    def on_device() -> None:
        operation(moved)
        torch.cuda.synchronize()

    expected, result = operation(argument), operation(moved).cpu().numpy()
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    reference = seconds(lambda: operation(argument), repeats=1)
    report(f"{name} on {torch.cuda.get_device_name()}", size, seconds(on_device, repeats), reference, DEVICE, numba.get_num_threads())


def compare_both(name: str, operator: Any, image: np.ndarray) -> None:
    """Time an operator and its adjoint."""
    size = f"{'x'.join(map(str, image.shape))} to {'x'.join(map(str, operator.sinogram_shape))}"
    data = np.random.default_rng(1).random(operator.sinogram_shape, dtype=np.float32)
    compare(f"{name} forward", size, operator, image)
    compare(f"{name} back", size, operator.adjoint, data)


def compare_osem(scanner: Scanner, image: np.ndarray) -> None:
    """Time 3 iterations of 21 subsets with resolution, attenuation and background, all constants on the device."""
    projector = DirectProjector(scanner)
    factors = np.full(projector.sinogram_shape, 0.3, dtype=np.float32)
    model = ForwardModel(projector, factors, 0.01, (GaussianBlur(4.5, scanner.voxel_mm),), factors)
    counts = np.random.default_rng(2).poisson(model.expected(image)).astype(np.float32)
    moved = model.to(DEVICE)
    compare("osem 3x21", scanner.name, lambda data: osem(moved if torch.is_tensor(data) else model, data, 3, 21), counts, repeats=1)


def main() -> None:
    entry = yaml.safe_load((SCANNERS / "biograph_mmr.yaml").read_text())
    scanner = replace(Scanner.from_entry(entry), tof=TimeOfFlight(resolution_ps=200.0, bins=13, bin_ps=300.0))
    rng = np.random.default_rng(0)
    image = rng.random(scanner.image_shape, dtype=np.float32)
    compare("blur", "x".join(map(str, image.shape)), GaussianBlur(4.5, scanner.voxel_mm), image)
    compare_both("direct", DirectProjector(scanner), image)
    for tof in (False, True):
        name = "TOF" if tof else "non-TOF"
        compare_both(f"oblique {name}", ObliqueProjector(scanner, tof).subset(0, OBLIQUE_SUBSETS), image)
        bins = [rng.integers(size, size=EVENTS) for size in ObliqueProjector(scanner, tof).sinogram_shape]
        compare_both(f"list-mode {name}", ListModeProjector(scanner, "oblique", *bins), image)
    compare_osem(scanner, image)


if __name__ == "__main__":
    if torch.cuda.is_available():
        main()
    else:
        print("no CUDA device: nothing to compare with the CPU")
