"""Tables and figures: which files each is made of, and what is said with it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbench.evaluation.definitions import STANDARD_ROW, TIMED
from petbench.files import checksum
from petbench.plan.after_training import AfterTraining
from petbench.plan.evaluation import Evaluation
from petbench.plan.positron_range import PositronRange
from petbench.plan.reliance import Reliance
from petbench.plan.scale import Wildcards
from petbench.report.notes import scale_notes
from petbench.report.places import places_of, through_lesions
from petbench.workflow.experiment_entries import methods_of
from petbench.workflow.names import UNRESTORED


@dataclass(frozen=True, eq=False)
class Report(AfterTraining):
    """The tables and figures of a scale's experiments.

    Attributes:
        printed: The folder of the papers' printed values.
        note: What the scale's file says of it.
    """

    evaluation: Evaluation
    reliance: Reliance
    positron_range: PositronRange
    printed: Path
    note: str

    def files(self, experiments: Iterable[str]) -> list[str]:
        """Tables of some experiments, and the figures of those that have some."""
        scale, paths, tables, figures = self.scale, self.paths, list[str](), list[str]()
        for name in experiments:
            kinds = [paths.table] if name in scale.maps else [paths.table, paths.table_markdown, paths.table_latex]
            tables += [kind.format(experiment=name) for kind in kinds]
        for name in experiments:
            if name in scale.figures:
                figures += [kind.format(experiment=name) for kind in (paths.figure, paths.figure_svg)]
            if name in scale.ranges:
                kinds = [paths.range_figure, paths.range_figure_svg]
                figures += [kind.format(experiment=name, figure=own) for own in self.positron_range.figures(name) for kind in kinds]
        return tables + figures

    def printed_values(self, name: str) -> str:
        """Path of a file of printed values; its checksum decides what reruns, as a fresh checkout has new times and the same content."""
        path = self.printed / f"{name}.tsv"
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)

    # what rules name
    def published(self, wildcards: Wildcards) -> list[str]:
        """The paper's printed values, where it has some."""
        return [self.paths.untimed(path) for path in self._published(wildcards)]

    def published_checksum(self, wildcards: Wildcards) -> list[str]:
        """Checksum of the paper's printed values."""
        return [checksum(path) for path in self._published(wildcards)]

    def _published(self, wildcards: Wildcards) -> list[str]:
        entry = self.scale.experiments[wildcards.experiment]
        return [self.printed_values(entry["published"])] if "published" in entry else []

    def titles(self, experiment: str) -> dict[str, str]:
        """Titles of an experiment's methods."""
        names = methods_of(self.scale.experiments[experiment])
        return {name: self.scale.methods[name]["title"] for name in names if name not in UNRESTORED}

    def values(self, experiment: str) -> list[str]:
        """What the table of an experiment is built from: metric tables, or what swapping a method's inputs does, fold by fold."""
        return self.reliance.values(experiment) if experiment in self.scale.reliances else list(self.evaluation.metrics([experiment]))

    def pictured(self, wildcards: Wildcards) -> dict[str, Any]:
        """What pictures take of each data set: its title, where it comes from and how it is scaled, and the slices that are evaluated."""
        entries = {dataset: self.scale.datasets[dataset] for dataset, _ in self.scale.columns(wildcards.experiment)}
        return {
            name: {
                "title": entry["title"],
                "source": entry["source"],
                "preprocess": {"scaling": {"mode": entry["preprocess"]["scaling"]["mode"]}},
                "evaluation": {key: value for key, value in entry.get("evaluation", {}).items() if key in ("slice_axis", "slices")},
            }
            for name, entry in entries.items()
        }

    def notes(self, wildcards: Wildcards) -> list[str]:
        """What a reader of an experiment's table must know of the scale and its data sets."""
        return list(scale_notes(self.scale.entries, self.scale.experiments[wildcards.experiment], self.note))

    def costs(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """Sidecars of restored images and costs of trainings behind a table that shows time or memory: they name the devices."""
        if not set(self.scale.experiments[wildcards.experiment].get("cost", [])) & set(TIMED):
            return {"restore_costs": [], "train_costs": []}
        places = self.scale.restorations(wildcards.experiment)
        trainings = dict.fromkeys(training for place in places for training in self.trainings.behind(*place))
        return {
            "restore_costs": [self.images.sidecar(*place, subject) for place in places for subject in self.subjects.tested(place[0])],
            "train_costs": [self.trainings.cost(training) for training in trainings],
        }

    def drawn(self, wildcards: Wildcards) -> dict[str, Any]:
        """What a figure is drawn from: a map of similarity, images of the first subject tested of each place, or metrics."""
        name, experiment = wildcards.experiment, self.scale.experiments[wildcards.experiment]
        if name in self.scale.maps:
            return {"similarity": self.paths.table.format(experiment=name)}
        if "panels" in experiment or "leaderboard" in experiment:
            return {"metrics": self.values(name)}
        shown = [(dataset, dose, self.subjects.tested(dataset)[0]) for dataset, dose in places_of(experiment)]
        rows = [STANDARD_ROW, *(row for row in experiment["rows"] if row != STANDARD_ROW)]
        images = []
        for dataset, dose, subject in shown:
            images += [self.images.known_mr(dataset, subject)] if experiment["views"].get("mr") else []
            images += [self.images.restored(dataset, dose, row, subject) for row in rows]
        if not through_lesions(experiment):
            return {"images": images}
        truths = [self.images.truth(dataset, subject) for dataset, _, subject in shown]
        return {"images": images} | {kind: [truth[kind] for truth in truths] for kind in ("labels", "truth")}
