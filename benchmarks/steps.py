"""How many steps each method of a scale makes in the same processor minutes: `config/overnight_steps.yaml`, from a step measured here.

    python benchmarks/steps.py config/overnight.yaml --minutes 12 > config/overnight_steps.yaml

A step is that of `snakemake try`: on made-up heads in the windows of the method's domain, with its own batch, on one core. Reading windows
from disk is not in it. A training that starts from another shares the minutes with it.
"""

import argparse
import os
import resource
import sys
from pathlib import Path

import torch
import yaml

from petbench.evaluation.definitions import TRIVIAL
from petbench.methods.base import ACQUISITION
from petbench.methods.build import build
from petbench.plan.plan import Plan
from petbench.training.probes import Phantoms, batches, learn, seen
from petbench.workflow.entries import load

ROOT = Path(__file__).parents[1]
MEASURED, ROUNDS = 4, 5


def processor_seconds() -> float:
    """Of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def step_seconds(entry: dict, window: list[int]) -> float:
    """Processor seconds of a training step."""
    spatial = [side for side in window if side > 1]
    train, restore = entry["train"], entry["restore"]
    torch.manual_seed(train["seed"])
    method = build(entry["module"], train)
    phantoms = Phantoms(spatial, train["batch_size"], seed=1, scanned=ACQUISITION in restore["inputs"])
    given = batches(phantoms, seen(train, restore), MEASURED, method.batches)
    learn(method, given[:2], rate=1e-4)

    def once() -> float:
        start = processor_seconds()
        learn(method, given, rate=1e-4)
        return (processor_seconds() - start) / MEASURED

    return min(once() for _ in range(ROUNDS))  # what else runs on a machine only adds


def main() -> None:
    """Print the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scale", type=Path)
    parser.add_argument("--minutes", type=float, required=True, help="processor minutes of a training on one fold")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load(asked.scale.read_text())
    config["override"]["methods"]["*"]["train"]["steps"] = 1  # what is looked for
    entries = load(config, ROOT)
    trainings = {training for name in Plan(entries, {}, ROOT, untimed=str).scale.measured for training in trained(entries, name)}
    parents = {entries["methods"][method]["init_from"]["method"] for _, method in trainings if "init_from" in entries["methods"][method]}
    steps, text = {}, []
    for dataset, method in sorted(trainings, key=lambda pair: pair[1]):
        entry = entries["methods"][method]
        if entry["module"] in TRIVIAL:
            continue
        seconds = step_seconds(entry, entries["datasets"][dataset]["domains"][entry["train"]["domain"]]["window"])
        shared = 2 if "init_from" in entry or method in parents else 1
        steps[method] = {"train": {"steps": max(10, round(60 * asked.minutes / shared / seconds))}}
        text.append(f"    {method}: {{train: {{steps: {steps[method]['train']['steps']}}}}}   # {1000 * seconds:.0f} ms a step")
        print(text[-1], file=sys.stderr)
    said = f"{asked.minutes:g} processor minutes a training, by a step measured on one of {os.cpu_count()} cores"
    print(f"# {said}; written by benchmarks/steps.py.")
    print("override:\n  methods:\n" + "\n".join(text))


def trained(entries: dict, experiment: str) -> set[tuple[str, str]]:
    """Data set and method of each training behind an experiment's rows."""
    plan = Plan(entries, {}, ROOT, untimed=str)
    places = plan.scale.restorations(experiment)
    found = {(training.dataset, training.method) for place in places for training in plan.trainings.behind(*place)}
    started = {
        (dataset, entries["methods"][method]["init_from"]["method"])
        for dataset, method in found
        if "init_from" in entries["methods"][method]
    }
    return found | started


if __name__ == "__main__":
    main()
