"""Methods that are given PET alone look at no MR, in training or restoring, though one lies beside."""

import pytest
import torch

from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.training.probes import Phantoms, draw, short_sampler

from .test_contract import METHODS, WINDOWS, trained_as

ALONE = [
    name
    for name, entry in METHODS.items()
    if "ensemble" not in entry and entry["restore"]["inputs"] == ["low_dose"] and trained_as(name)["restore"]["inputs"] == ["low_dose"]
]


def test_there_are_such_methods():
    assert {"ea_gan", "ea_gan-g", "iddpm"} <= set(ALONE)


@pytest.mark.parametrize("name", ALONE)
def test_a_planted_mr_changes_nothing(name):
    entry = trained_as(name)
    torch.manual_seed(0)
    method = build(entry["module"], entry["train"])
    given = Phantoms(WINDOWS[entry["train"]["domain"]], 2 * method.batches, seed=1).windows()
    alone = {kind: image for kind, image in given.items() if kind != "mr"}
    losses = []
    for batch in (given, alone):
        torch.manual_seed(1)
        losses.append([step.loss.detach() for step in method.train().losses(batch, Progress(9, 10))])
    assert all(torch.equal(*pair) for pair in zip(*losses, strict=True))
    sampler = short_sampler(METHODS[name]["restore"])
    with_mr, without = (draw(method, images, inputs, sampler) for images, inputs in ((given, ["low_dose", "mr"]), (alone, ["low_dose"])))
    assert torch.equal(with_mr, without)
