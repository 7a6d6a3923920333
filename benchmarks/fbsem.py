"""FBSEM: an iteration of training, its memory and how both grow, against the literal form that keeps the features of all blocks.

The literal form runs slice by slice and stores what its gradient needs; ours projects a batch at once, all slices sharing the weights
of their lines, and computes a block's features anew. Bytes are those that a step keeps for its gradient.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from timing import report, seconds

from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.physics.plane_scans import PlaneScans, of_plane
from petbench.physics.scanner import Scanner

CONFIG = Path(__file__).parents[1] / "config"


def kept_mb(method: Any, batch: Any) -> float:
    """Megabytes that a training step keeps for its gradient, each memory once."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        (step,) = method.losses(batch, Progress(0, 1))
    del step
    return sum(kept.values()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scanner", default="demo")
    parser.add_argument("--side", type=int, nargs=2, default=[48, 56], help="voxels of a slice; 192 192 of the mMR as published")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--iterations", type=int, nargs="+", default=[1, 2], help="passes through six subsets; 10 as published")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    scanner = of_plane(Scanner.from_entry(yaml.safe_load((CONFIG / "scanners" / f"{given.scanner}.yaml").read_text())), given.side)
    train = yaml.safe_load((CONFIG / "methods" / "fbsem.yaml").read_text())["train"]
    torch.manual_seed(0)
    scans = PlaneScans(1 + 10 * torch.rand(given.batch, 3, scanner.views, scanner.radial_bins), scanner, 4.0).to(given.device)
    images = {kind: torch.rand(given.batch, 1, *given.side, device=given.device) for kind in ("low_dose", "mr", "standard_dose")}
    batch = images | {"acquisition": scans}
    for iterations in given.iterations:

        def make(recompute: bool, iterations: int = iterations) -> Any:
            unrolling = train["unrolling"] | {"iterations": iterations, "recompute": recompute}
            return build("fbsem", train | {"unrolling": unrolling}).to(given.device).train()

        def step(method: Any, pieces: int) -> None:
            method.zero_grad(set_to_none=True)
            for first in range(0, given.batch, given.batch // pieces):
                part = {kind: data[first : first + given.batch // pieces] for kind, data in batch.items()}
                (update,) = method.losses(part, Progress(0, 1))
                (update.loss / pieces).backward()
            if given.device == "cuda":
                torch.cuda.synchronize()

        ours, literal = make(True), make(False)
        slow = seconds(partial(step, literal, given.batch), repeats=1)
        fast = seconds(partial(step, ours, 1), repeats=1)
        memory = {"kept_mb": round(kept_mb(ours, batch), 1), "literal_kept_mb": round(kept_mb(literal, batch), 1)}
        size = f"{given.batch} slices {given.side[0]}x{given.side[1]}, {iterations} x {train['unrolling']['subsets']} blocks"
        report("FBSEM training step", size, fast, slow, given.device, torch.get_num_threads(), **memory)


if __name__ == "__main__":
    main()
