"""What one scale runs: its resolved entries, and the groups of them that stages are about."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from petbench.evaluation.definitions import STUDIES
from petbench.workflow.experiment_entries import is_left_out
from petbench.workflow.names import NO_DOSE, STANDARD, UNRESTORED
from petbench.workflow.range_entries import RANGE_KINDS

Entry = dict[str, Any]
DRAWN_KINDS = ("figure", "leaderboard", "roc", "similarity")
"""Kinds of experiments that are a figure, or have one whatever else they hold."""


class Wildcards(SimpleNamespace):
    """The names that one job's files have in the places of wildcards, as attributes; Snakemake's own serve as well."""


class Scale:
    """The resolved entries of one scale.

    Attributes:
        entries: All of them, as `petbench.workflow.entries.load` returns them; the other attributes are parts or names of parts.
        ranges: Experiments on positron range; `experiments` are all others.
        phantoms: Data sets that the workflow makes; `fetched` are downloaded and their frames averaged; `labs` are read where they lie.
        synthetic: Data sets whose PET is made of MR.
        trained: Methods with a training of their own.
        fused: Methods that are an ensemble of others.
        staged: Methods whose restored volumes others take as context.
        figures: Experiments with a figure.
        diagnoses: Experiments that show a diagnosis; `maps` the similarity of layers; `tabulated`, all others, metrics of images,
            of those restored (`measured`) or of what swapped images do to them (`reliances`).
    """

    def __init__(self, entries: Entry) -> None:
        self.entries = entries
        self.name: str = entries["scale"]
        self.run: list[str] = entries["run"]
        self.datasets: Mapping[str, Entry] = entries["datasets"]
        self.methods: Mapping[str, Entry] = entries["methods"]
        self.classifiers: Mapping[str, Entry] = entries["classifiers"]
        self.scanners: Mapping[str, Entry] = entries["scanners"]
        self.psf_sets: Mapping[str, Entry] = entries["psf_sets"]
        self.predictors: Mapping[str, Entry] = entries["predictors"]
        self.torsos: Mapping[str, Entry] = entries["torsos"]
        self.calibrations: Mapping[str, Entry] = entries["calibrations"]
        self.ranges, self.experiments = _parted(entries["experiments"], lambda entry: entry["kind"] in RANGE_KINDS)
        phantoms, labs = _parted(self.datasets, lambda entry: entry["source"] in ("phantom", "brainweb"))
        self.phantoms, self.fetched = list(phantoms), _named(labs, lambda entry: entry["source"] == "openneuro")
        self.labs = [name for name in labs if name not in self.fetched]
        self.synthetic = _named(self.datasets, lambda entry: "structural" in entry["preprocess"])
        self.trained = _named(self.methods, lambda entry: "train" in entry)
        self.fused = _named(self.methods, lambda entry: "ensemble" in entry)
        self.staged = {entry["context"]["method"] for entry in self.methods.values() if "context" in entry}
        self.figures = _named(self.experiments, lambda entry: entry["kind"] in DRAWN_KINDS or "views" in entry)
        self.diagnoses = _named(self.experiments, lambda entry: entry["kind"] in STUDIES)
        self.maps = _named(self.experiments, lambda entry: entry["kind"] == "similarity")
        self.reliances = _named(self.experiments, lambda entry: entry["kind"] == "reliance")
        self.tabulated = [name for name in self.experiments if name not in (*self.diagnoses, *self.maps)]
        self.measured = [name for name in self.tabulated if name not in self.reliances]

    @property
    def doses(self) -> set[str]:
        """Every dose of some data set."""
        return {STANDARD, NO_DOSE, *(dose for entry in self.datasets.values() for dose in entry["doses"])}

    def of(self, kind: str, *keys: str, default: Any = None) -> Callable[[Wildcards], Any]:
        """A function of wildcards that takes a block of the entry of a kind, such as `torso`, down to a key, or a default."""

        def block(wildcards: Wildcards) -> Any:
            found = self.entries[f"{kind}s"][getattr(wildcards, kind)]
            for key in keys:
                found = found[key] if default is None else found.get(key, default)
            return found

        return block

    def domain_of(self, wildcards: Wildcards) -> Entry:
        """The domain of the data set that a job prepares."""
        domain: Entry = self.datasets[wildcards.dataset]["domains"][wildcards.domain]
        return domain

    def columns(self, experiment: str) -> list[tuple[str, str]]:
        """Data set and dose of each column of an experiment's table."""
        return [(column["dataset"], column["dose"]) for column in self.experiments[experiment]["columns"]]

    def cells(self, experiment: str) -> list[tuple[str, str, str]]:
        """Data set, dose and row of each cell of an experiment's table that is worked out, columns first."""
        entry = self.experiments[experiment]
        cells = [(*column, row) for column in self.columns(experiment) for row in entry["rows"]]
        return [cell for cell in cells if not is_left_out(entry, *cell)]

    def restorations(self, experiment: str) -> list[tuple[str, str, str]]:
        """Those cells whose rows are methods."""
        return [cell for cell in self.cells(experiment) if cell[2] not in UNRESTORED]


def _parted(entries: Mapping[str, Entry], test: Callable[[Entry], bool]) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Entries that pass a test, and the others."""
    passed = {name: entry for name, entry in entries.items() if test(entry)}
    return passed, {name: entry for name, entry in entries.items() if name not in passed}


def _named(entries: Mapping[str, Entry], test: Callable[[Entry], bool]) -> list[str]:
    return [name for name, entry in entries.items() if test(entry)]
