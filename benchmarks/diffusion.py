"""Diffusion: training and restoring M2Diff as the workflow does, against the way of its authors' code, the same slices at once.

Their code evaluates both heads twice in a training step, for the errors and for a variational bound that its loss leaves out, and both
heads at every step of a chain that goes on from the PET head alone. It multiplies SiLU's factors, holds the scores of attention, and copies
every skip for each decoder. The parts of that are here written out on our own networks, so that both forms have the same weights; a check
before each figure shows that they give the same loss and the same image. A last figure sets the respaced sampler against every step of the
process.
"""

import argparse
from collections.abc import Sequence
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
from petbench.methods.m2diff import Condition, M2Diff
from petbench.networks.two_branch_unet import TwoBranchUNet
from petbench.restoration.restore import stitch

ENTRY = Path(__file__).parents[1] / "config" / "methods" / "m2diff.yaml"


def softmax_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, dim=-1)
    return weights @ value


def silu(layer: nn.SiLU, features: Tensor) -> Tensor:
    return features * torch.sigmoid(features)


def copied(network: TwoBranchUNet, own: Sequence[Tensor], other: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    return [(one.clone(), another.clone()) for one, another in zip(own, other, strict=True)]


def both_heads(method: M2Diff, noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
    output: Tensor = method.network(noisy, time, *condition)[0]
    return output


def as_published() -> ExitStack:
    """What one evaluation and one step of the authors' chain compute."""
    stack = ExitStack()
    stack.enter_context(patch.object(nn.functional, "scaled_dot_product_attention", softmax_attention))
    stack.enter_context(patch.object(nn.SiLU, "forward", silu))
    stack.enter_context(patch.object(TwoBranchUNet, "_fuse", copied))
    stack.enter_context(patch.object(M2Diff, "predict_pet", both_heads))
    return stack


def make(train: dict[str, Any], device: str, ours: bool) -> M2Diff:
    """The method with its silent layers woken, as if it had been trained."""
    torch.manual_seed(0)
    method = build("m2diff", train)
    for parameter in method.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return place(method, device) if ours else method.to(device)


def compare_training(train: dict[str, Any], batch: dict[str, Tensor], device: str, size: str) -> None:
    """One step of gradient descent on a batch."""

    def step(method: M2Diff, ours: bool) -> float:
        torch.manual_seed(0)
        method.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=ours and device == "cuda"):
            (update,) = method.losses(batch, Progress(0, 1))
            if not ours:
                again = method.process.noised(batch["standard_dose"])
                bound = method.network(again.noisy, again.time.to(device), batch["low_dose"], batch["mr"])
        update.loss.backward()
        if not ours:
            del bound
        return float(update.loss.detach())

    ours, reference = (make(train, device, fast).train() for fast in (True, False))
    with as_published():
        expected = step(reference, False)
        slow = seconds(lambda: step(reference, False), repeats=3)
    np.testing.assert_allclose(step(ours, True), expected, rtol=2e-2 if device == "cuda" else 1e-4)
    report("M2Diff training step", size, seconds(lambda: step(ours, True)), slow, device, torch.get_num_threads())


def compare_restoring(
    train: dict[str, Any], volumes: dict[str, np.ndarray], samplers: dict[str, Sampler], at_once: int, device: str, size: str
) -> None:
    """A subject: the authors' chain, the mean of both heads at every step, and DDIM or all steps of the process."""
    window = [*volumes["low_dose"].shape[:2], 1]
    threads = torch.get_num_threads()

    def restore(method: M2Diff, sampler: Sampler) -> np.ndarray:
        return stitch(method, volumes["low_dose"], volumes["mr"], window, window, at_once, device, sampler, "sub-01")

    ours, reference = (make(train, device, fast).eval() for fast in (True, False))
    fast = {}
    for name in ("chain of the PET head", "mean of both heads"):
        sampler = samplers[name]
        with as_published():
            expected = restore(reference, sampler)
            slow = seconds(lambda sampler=sampler: restore(reference, sampler), repeats=2)
        np.testing.assert_allclose(restore(ours, sampler), expected, atol=2e-2 if device == "cuda" else 1e-3)
        fast[name] = seconds(lambda sampler=sampler: restore(ours, sampler), repeats=2)
        about = f"{size}, DDIM {sampler.steps} steps, {name}"
        report("M2Diff restoring a subject", about, fast[name], slow, device, threads, sampling_steps=sampler.steps)
    few, all_steps = samplers["mean of both heads"], samplers["all steps"]
    whole = seconds(lambda: restore(ours, all_steps), repeats=1)
    name = f"DDIM {few.steps} steps against ancestral {all_steps.steps}"
    report(name, size, fast["mean of both heads"], whole, device, threads, sampling_steps=few.steps)


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
        "chain of the PET head": Sampler("ddim", given.ddim, seed=0, clip=[0.0, 2.0], chain="pet"),
        "mean of both heads": Sampler("ddim", given.ddim, seed=0, clip=[0.0, 2.0]),
        "all steps": Sampler("ancestral", given.timesteps, seed=0, clip=[0.0, 2.0]),
    }
    compare_restoring(train, volumes, samplers, given.slices, given.device, size)


if __name__ == "__main__":
    main()
