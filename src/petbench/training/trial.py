"""Tries a method on synthetic windows, before any data are there: does it build, what does it cost, does it keep the contract?"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.training.probes import Phantoms, batches, contract, learn, restores, seen, size

STEPS = 5
"""Steps that are timed."""
SMALL = {2: (16, 16), 3: (32, 16, 16)}
"""Windows that the contract is tried on, by dimensions; a slab keeps its thickness."""


def try_method(name: str, module: str, train: Mapping[str, Any], restore: Mapping[str, Any], window: Sequence[int]) -> Iterator[str]:
    """Build a method and train it on made-up heads; a line a finding, the first within a second.

    Args:
        name: Its entry.
        module: The entry's `module`.
        train: The entry's block `train`.
        restore: The entry's block `restore`.
        window: Window of its domain in voxels, three sides; a side of one makes it a slice.
    """
    spatial = [side for side in window if side > 1]
    cost = size(module, train, restore["inputs"], spatial)
    yield f"{name}: takes {' and '.join(restore['inputs'])} in windows of {' x '.join(map(str, spatial))} voxels"
    yield f"{name}: {cost['parameters']:,.0f} parameters, {cost['gmac_modules']:.3f} GMAC and {cost['gflop']:.3f} GFLOP a window"
    torch.manual_seed(train["seed"])
    method, phantoms = build(module, train), Phantoms(spatial, train["batch_size"], seed=1)
    if method.optimised():
        given = batches(phantoms, seen(train, restore), STEPS, method.batches)
        learn(method, given[:1], rate=1e-4)
        start = time.perf_counter()
        learn(method, given, rate=1e-4)
        seconds = (time.perf_counter() - start) / STEPS
        yield f"{name}: {seconds:.2f} s a step of {train['batch_size']} windows here"
        losses = {key: float(value) for step in method.losses(given[0], Progress(0, STEPS)) for key, value in step.logs.items()}
        yield f"{name}: losses {', '.join(f'{key} {value:.3g}' for key, value in losses.items())}"
    small = SMALL[len(spatial)] if min(spatial) >= 16 else [*SMALL[2], min(spatial)]
    with tempfile.TemporaryDirectory() as scratch:
        trained, heads, findings = contract(module, train, restore, small, Path(scratch))
        findings += restores(trained, restore, heads)
    yield f"{name}: the contract, on windows of {' x '.join(map(str, small))}:"
    yield from (f"  {'holds' if finding.holds else 'FAILS'}  {finding.law} ({finding.measured})" for finding in findings)
