"""Diffusion: training and restoring M2Diff as the workflow does, against the plain form of the same computation in one process.

Plain: every slice by itself, attention by an explicit softmax, contiguous memory, 32-bit floats. Restoring is compared with the same
number of steps after a check that both forms give the same image; a last figure sets the respaced sampler against every step of the
process.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from timing import report, seconds
from torch import Tensor, nn

from petbench.device import place
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.methods.diffusion import Sampler
from petbench.methods.m2diff import M2Diff
from petbench.restoration.restore import stitch

ENTRY = Path(__file__).parents[1] / "config" / "methods" / "m2diff.yaml"


def softmax_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, dim=-1)
    return weights @ value


def plain() -> Any:
    return patch.object(nn.functional, "scaled_dot_product_attention", softmax_attention)


def make(train: dict[str, Any], device: str, ours: bool) -> M2Diff:
    """The method with its silent layers woken, as if it had been trained."""
    torch.manual_seed(0)
    method = build("m2diff", train)
    for parameter in method.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return place(method, device) if ours else method.to(device)


def compare_training(train: dict[str, Any], batch: dict[str, Tensor], device: str, size: str) -> None:
    """One step of gradient descent on a batch: at once, or slice by slice."""

    def step(method: M2Diff, pieces: int, fast: bool) -> None:
        method.zero_grad(set_to_none=True)
        for piece in zip(*(images.chunk(pieces) for images in batch.values()), strict=True):
            with torch.autocast(device, torch.bfloat16, enabled=fast and device == "cuda"):
                (update,) = method.losses(dict(zip(batch, piece, strict=True)), Progress(0, 1))
            (update.loss / pieces).backward()
        if device == "cuda":
            torch.cuda.synchronize()

    count = len(batch["mr"])
    ours, reference = (make(train, device, fast).train() for fast in (True, False))
    with plain():
        slow = seconds(lambda: step(reference, count, False), repeats=2)
    report("M2Diff training step", size, seconds(lambda: step(ours, 1, True)), slow, device, torch.get_num_threads())


def compare_restoring(
    train: dict[str, Any], volumes: dict[str, np.ndarray], samplers: dict[str, Sampler], at_once: int, device: str, size: str
) -> None:
    """A subject: slices together or one by one; DDIM or all steps of the process."""
    window = [*volumes["low_dose"].shape[:2], 1]

    def restore(method: M2Diff, batch: int, sampler: Sampler) -> np.ndarray:
        return stitch(method, volumes["low_dose"], volumes["mr"], window, window, batch, device, sampler, "sub-01")

    ours, reference = (make(train, device, fast).eval() for fast in (True, False))
    threads, ddim = torch.get_num_threads(), samplers["ddim"]
    with ExitStack() as stack:
        stack.enter_context(plain())
        expected = restore(reference, 1, ddim)
        slow = seconds(lambda: restore(reference, 1, ddim), repeats=1)
    np.testing.assert_allclose(restore(ours, at_once, ddim), expected, atol=2e-2 if device == "cuda" else 1e-3)
    fast = seconds(lambda: restore(ours, at_once, ddim), repeats=2)
    report("M2Diff restoring a subject", f"{size}, DDIM {ddim.steps} steps", fast, slow, device, threads, sampling_steps=ddim.steps)
    whole = seconds(lambda: restore(ours, at_once, samplers["ancestral"]), repeats=1)
    name = f"DDIM {ddim.steps} steps against ancestral {samplers['ancestral'].steps}"
    report(name, size, fast, whole, device, threads, sampling_steps=ddim.steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--multipliers", type=int, nargs="+", default=[1, 2, 2])
    parser.add_argument("--attention", type=int, nargs="*", default=[2, 4], help="factors of reduction with attention")
    parser.add_argument("--side", type=int, default=32, help="voxels a side of a slice")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--ddim", type=int, default=50)
    parser.add_argument("--timesteps", type=int, default=1000)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    train = yaml.safe_load(ENTRY.read_text())["train"]
    train["network"] |= {"width": given.width, "multipliers": given.multipliers, "attention": given.attention}
    train["network"]["dropout"] = dict.fromkeys(train["network"]["dropout"], 0.0)
    train["diffusion"]["timesteps"] = given.timesteps
    shape = (given.side, given.side, given.slices)
    rng = np.random.default_rng(0)
    volumes = {kind: rng.random(shape, dtype=np.float32) for kind in ("low_dose", "mr", "standard_dose")}
    batch = {kind: torch.from_numpy(volume).permute(2, 0, 1)[:, None].contiguous().to(given.device) for kind, volume in volumes.items()}
    size = f"{given.slices} slices {given.side}x{given.side}, width {given.width}"
    compare_training(train, batch, given.device, size)
    samplers = {
        "ddim": Sampler("ddim", given.ddim, seed=0, clip=[0.0, 2.0]),
        "ancestral": Sampler("ancestral", given.timesteps, seed=0, clip=[0.0, 2.0]),
    }
    compare_restoring(train, volumes, samplers, given.slices, given.device, size)


if __name__ == "__main__":
    main()
