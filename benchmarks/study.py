"""What a paper's study takes at full scale: jobs from Snakemake's own plan, operations counted on the networks, seconds of a measured run.

    python benchmarks/study.py [SCALE] [--subjects DATASET=N] [--tflops RATE] [--measured RESULTS --of SCALE]

Jobs are Snakemake's, from a dry run of each paper's target. Operations are counted by running each network once on a window of its own
size; a training step is taken for three passes, which leaves out discriminators and losses, and a sampled image for as many passes as its
sampler has steps. GPU-hours are those operations at `--tflops`, a rate that is assumed: no GPU has been measured. Core-hours, of the jobs
that take no GPU, are the processor's seconds that each rule took in a finished run, in proportion to what those seconds grow with
(`Study.work`). Bytes of acquisitions follow from the bytes a bin of a run on the smallest scanner.
"""

import argparse
import math
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from timing import job_times

from petbench.evaluation.complexity import complexity
from petbench.evaluation.definitions import TRIVIAL
from petbench.methods.base import blank
from petbench.methods.build import build
from petbench.physics.scanner import Scanner
from petbench.plan.lineage import Training, training_samples, weights_of
from petbench.preprocess.splits import folds, people_of
from petbench.preprocess.windows import spatial_shape, window_starts
from petbench.workflow.entries import load
from petbench.workflow.runtime import evaluations, restored_windows

ROOT = Path(__file__).parents[1]
BYTES_PER_BIN = 6.1
NORMALISE_MR_SECONDS = 108.0 * 2**3  # one head at 1 mm, from one at the 2 mm of the paper; the rigid alignment of a demo does not tell
PASSES_OF_A_STEP = 3
GIGA = 1e9


def planned(scale: Path, target: str) -> list[tuple[str, dict[str, str]]]:
    """Rule and wildcards of each job of a target, in a dry run in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "snakemake",
            target,
            "--dry-run",
            "--cores",
            "1",
            "--directory",
            folder,
            "--configfile",
            str(scale),
        ]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    jobs = []
    for block in re.split(r"\n\n|\n\[", done.stdout):
        if found := re.search(r"^(?:local)?rule (\w+):$", block, re.MULTILINE):
            named = re.search(r"^ +wildcards: (.*)$", block, re.MULTILINE)
            jobs.append((found[1], dict(pair.split("=", 1) for pair in named[1].split(", ")) if named else {}))
    return jobs


class Study:
    """What jobs of a scale compute and write."""

    def __init__(self, scale: Path) -> None:
        self.entries = load(yaml.safe_load(scale.read_text()), ROOT)
        self.counted: dict[tuple[Any, ...], float] = {}

    def of(self, dataset: str, method: str) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.entries["datasets"][dataset], self.entries["methods"][method]

    def pass_tflop(self, method: str, window: tuple[int, ...], inputs: tuple[str, ...]) -> float:
        """Operations of one window through a method's network, counted once."""
        if self.entries["methods"][method]["module"] in TRIVIAL:
            return 0.0  # has no network
        key = (method, window, inputs)
        if key not in self.counted:
            entry = self.entries["methods"][method]
            given, more = blank(inputs, spatial_shape(window))
            self.counted[key] = complexity(build(entry["module"], entry["train"]).eval(), given, **more)["gflop"] / 1e3
        return self.counted[key]

    def windows(self, dataset: dict[str, Any], domain: str) -> int:
        block = dataset["domains"][domain]
        return len(window_starts(dataset["preprocess"]["grid"]["shape"], block["window"], block["stride"], block.get("slices")))

    def job(self, wildcards: dict[str, str], restoring: bool) -> float:
        """TFLOP of one training, or of restoring one subject."""
        dataset, method = self.of(wildcards["dataset"], wildcards["method"])
        training = Training(wildcards["dataset"], wildcards["dose"], wildcards["method"], wildcards.get("fold", "0"))
        trained = weights_of(self.entries, training).method
        entry = self.entries["methods"][trained]
        train, domain = entry["train"], entry["train"]["domain"]
        inputs = tuple((method if restoring else entry).get("restore", {}).get("inputs", ("low_dose", "mr")))
        once = self.pass_tflop(trained, tuple(dataset["domains"][domain]["window"]), inputs)
        if restoring:
            return once * evaluations(method["restore"]) * restored_windows(dataset, dataset["domains"][domain], method["restore"])
        steps = train.get("steps")
        if steps is None:
            windows = sum(
                self.windows(self.entries["datasets"][sample.dataset], domain) for sample in training_samples(self.entries, training)
            )
            steps = train["epochs"] * math.ceil(windows / train["batch_size"])
        return once * PASSES_OF_A_STEP * steps * train["batch_size"]

    def swaps(self, wildcards: dict[str, str]) -> float:
        """TFLOP of restoring a fold's subjects with their own images and with swapped ones."""
        dataset, method = self.of(wildcards["dataset"], wildcards["method"])
        tests = folds(people_of(dataset), dataset["split"])[wildcards["fold"]]
        subjects = tests[: self.entries["experiments"][wildcards["experiment"]].get("subjects")]
        cases = 4 if "mr" in method["restore"]["inputs"] else 2
        return cases * len(subjects) * self.job(wildcards, restoring=True)

    def work(self, rule: str, wildcards: dict[str, str]) -> float:
        """What the seconds of a job without a GPU grow with; 1 where they do not grow, or nobody knows."""
        if rule == "gate":
            entry = self.entries["psf_sets"][wildcards["psf_set"]]
            media = sum(self.media(block, entry) for block in entry["media"])
            return float(entry["gate"]["positrons"]) * media / entry["chunks"]
        if rule == "annihilate":
            entry = self.entries["torsos"][wildcards["torso"]]
            return float(entry["gate"]["positrons"]) / entry["chunks"]
        dataset = self.entries["datasets"].get(wildcards.get("dataset", ""))
        if dataset is None or "scanner" not in dataset:
            return 1.0
        scanner = Scanner.from_entry(self.entries["scanners"][dataset["scanner"]])
        bins = float(math.prod(scanner.sinogram_shape))
        head = dataset.get("phantom") or dataset.get("brainweb") or {}
        settings = dataset.get("reconstruction", {}) | dataset["doses"].get(wildcards.get("dose", ""), {}).get("reconstruction", {})
        return {
            "acquire": head.get("working_mm", 1.0) ** -3,
            "simulate": bins,
            "reconstruct": bins * settings.get("iterations", 1),
            "normalise_mr": dataset["preprocess"].get("structural", {}).get("working_mm", 1.0) ** -3,
            "register": float(math.prod(scanner.image_shape)),
            "prepare": float(math.prod(dataset["preprocess"]["grid"]["shape"])),
            "evaluate": float(math.prod(scanner.image_shape)) * len(dataset["subjects"]),
        }.get(rule, 1.0)

    def media(self, block: dict[str, Any], entry: dict[str, Any]) -> int:
        """Media that a block of a PSF set describes."""
        if block["kind"] == "homogeneous":
            return len(entry["materials"])
        return int(block["count"]) if "count" in block else len(block.get("phantoms", ["i", "ii", "iii", "iv", "v"]))

    def bytes(self, rule: str, wildcards: dict[str, str]) -> float:
        """Bytes that a job leaves, where they grow with the volume."""
        dataset = self.entries["datasets"].get(wildcards.get("dataset", ""))
        if dataset is None or "scanner" not in dataset:
            return 0.0
        scanner = Scanner.from_entry(self.entries["scanners"][dataset["scanner"]])
        image = 4.0 * math.prod(scanner.image_shape)
        return {
            "simulate": BYTES_PER_BIN * math.prod(scanner.sinogram_shape),
            "acquire": 2 * image,
            "reconstruct": image,
            "register": image,
            "restore_subject": image,
            "fuse": image,
            "restore_context": 4.0 * math.prod(dataset["preprocess"]["grid"]["shape"]),
            "prepare": 3 * 4.0 * math.prod(dataset["preprocess"]["grid"]["shape"]),
        }.get(rule, 0.0)


def seconds_of_work(results: Path, scale: Path) -> dict[str, float]:
    """Processor seconds of each rule for each unit of what they grow with."""
    study, done = Study(scale), Counter[str]()
    for rule, named in planned(scale, "all"):
        done[rule] += study.work(rule, named)
    seconds = Counter[str]()
    for job in job_times(results):
        seconds[job.rule] += job.processors
    return {rule: spent / done[rule] for rule, spent in seconds.items() if done[rule]} | {"normalise_mr": NORMALISE_MR_SECONDS}


ON_A_GPU = (
    "train",
    "restore_subject",
    "restore_context",
    "train_predictor",
    "predict_kernels",
    "reconstruct_torso",
    "correct_scan",
    "similarity",
    "reliance",
    "classify",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scale", nargs="?", type=Path, default=ROOT / "config/paper.yaml")
    parser.add_argument("--tflops", type=float, default=20.0, help="what a GPU sustains, in 10^12 operations a second (assumed)")
    parser.add_argument("--subjects", metavar="DATASET=N", help="another number of subjects, to see how the study grows")
    parser.add_argument("--measured", metavar="RESULTS", type=Path, help="results/<scale> of a finished run, to count core-hours from")
    parser.add_argument("--of", metavar="SCALE", type=Path, default=ROOT / "config/config.yaml", help="the scale of that run")
    given = parser.parse_args()
    rates = seconds_of_work(given.measured, given.of) if given.measured else {}
    config = yaml.safe_load(given.scale.read_text())
    if given.subjects:
        name, _, count = given.subjects.partition("=")
        config.setdefault("override", {}).setdefault("datasets", {}).setdefault(name, {})["subjects"] = int(count)
    with tempfile.TemporaryDirectory() as folder:
        scale = Path(folder, "scale.yaml")
        scale.write_text(yaml.safe_dump(config))
        study = Study(scale)
        papers = dict.fromkeys(study.entries["experiments"][name]["paper"] for name in config["run"])
        print(
            "| paper | subjects | jobs | of these trainings | EFLOP | GPU-hours at the assumed rate | core-hours beside | GB |\n"
            "|---|--:|--:|--:|--:|--:|--:|--:|"
        )
        for paper in papers:
            jobs = planned(scale, paper)
            counts = Counter(rule for rule, _ in jobs)
            tflop = sum(
                study.job(named, rule != "train") for rule, named in jobs if rule in ("train", "restore_subject", "restore_context")
            )
            tflop += sum(study.swaps(named) for rule, named in jobs if rule == "reliance")
            size = sum(study.bytes(rule, named) for rule, named in jobs)
            datasets = {named["dataset"] for _, named in jobs if "dataset" in named}
            people = sum(len(set(people_of(study.entries["datasets"][name]).values())) for name in datasets)
            trainings = counts["train"] + counts["train_predictor"]
            hours = tflop / given.tflops / 3600
            work = Counter[str]()
            for rule, named in jobs:
                work[rule] += study.work(rule, named)
            core = {rule: amount * rates[rule] / 3600 for rule, amount in work.items() if rule in rates and rule not in ON_A_GPU}
            cores = f"{sum(core.values()):,.0f}" if core else "not measured"
            row = [
                f"{people}",
                f"{counts.total():,}",
                f"{trainings:,}",
                f"{tflop / 1e6:,.2f}",
                f"{hours:,.0f}",
                cores,
                f"{size / GIGA:,.1f}",
            ]
            print(f"| {paper} | {' | '.join(row)} |", flush=True)
            most = sorted(core, key=lambda rule: -core[rule])[:6]
            missing = sorted(rule for rule in work if rule not in rates and rule not in (*ON_A_GPU, paper))
            print(f"  core-hours: {', '.join(f'{rule} {core[rule]:.1f}' for rule in most)}; not measured: {missing}", file=sys.stderr)
            print(f"  {', '.join(f'{rule} {count}' for rule, count in sorted(counts.items()))}", file=sys.stderr)


if __name__ == "__main__":
    main()
