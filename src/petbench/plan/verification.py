"""What `verify` measures and builds again: each table of a run by its path, with what it was made from."""

from dataclasses import dataclass
from typing import Any

from petbench.plan.diagnosis import Diagnosis
from petbench.plan.evaluation import Evaluation
from petbench.plan.positron_range import PositronRange
from petbench.plan.records import Records
from petbench.plan.report import Report
from petbench.plan.scale import Scale, Wildcards


@dataclass(frozen=True, eq=False)
class Verification:
    """The arguments of `petbench.report.verify.verify`."""

    scale: Scale
    evaluation: Evaluation
    diagnosis: Diagnosis
    positron_range: PositronRange
    records: Records
    report: Report

    def measured(self, wildcards: Wildcards) -> dict[str, Any]:
        """What each metrics table of the run was measured from, by its path."""
        subjects, plan = self.evaluation.subjects, {}
        for path, (dataset, dose, method) in self.evaluation.shown().items():
            plan[path] = {
                **self.evaluation.measured(dataset, dose, method),
                "dataset": dataset,
                "dose": dose,
                "method": method,
                "subjects": subjects.tested(dataset),
                "people": subjects.people_tested(dataset),
                "folds": subjects.folds_tested(dataset),
                "grid": self.scale.datasets[dataset]["preprocess"]["grid"],
                "settings": self.evaluation.settings(dataset),
            }
        return plan

    def reconstructed(self, wildcards: Wildcards) -> dict[str, Any]:
        """What the measures of each corrected reconstruction of a torso were taken from, by their path."""
        names = self.positron_range.of_kind("range_reconstruction")
        return {path: given for name in names for path, given in self.positron_range.measured(name).items()}

    def summarised(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """The measures behind each summary of corrected reconstructions, by its path."""
        names = self.positron_range.of_kind("range_reconstruction")
        return {self.positron_range.paths.summary.format(experiment=name): self.positron_range.measures(name) for name in names}

    def tables(self, wildcards: Wildcards) -> dict[str, Any]:
        """What each table of the run was built from, by its path."""
        names = [*self.scale.tabulated, *self.scale.diagnoses, *self.scale.ranges]
        return {self.report.paths.table.format(experiment=name): self._table(name) for name in names}

    def _table(self, name: str) -> dict[str, Any]:
        entry = self.scale.entries["experiments"][name]
        if name in self.scale.ranges:
            files, titles = self.positron_range.results(name), self.positron_range.titles(name)
        else:
            titles = self.report.titles(name)
            scores = name in self.scale.diagnoses
            files = {"scores": self.diagnosis.scores([name])} if scores else {"metrics": self.report.values(name)}
        return {
            "experiment": entry,
            "titles": titles,
            "published": self.report.printed_values(entry["published"]) if "published" in entry else None,
            "files": files,
            "bootstrap": self.diagnosis.bootstrap(name) if name in self.scale.diagnoses else None,
            "record": self.records.recorded(name, files),
        }
