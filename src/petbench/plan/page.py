"""What the page shows, and the files that it is made of."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from petbench.files import checksum
from petbench.plan.diagnosis import Diagnosis
from petbench.plan.lineage import Training
from petbench.plan.report import Report
from petbench.plan.scale import Wildcards
from petbench.workflow.code import PACKAGE
from petbench.workflow.names import LOW_DOSE, UNRESTORED


@dataclass(frozen=True, eq=False)
class Page:
    """The one page of a run."""

    report: Report
    diagnosis: Diagnosis

    @cached_property
    def columns(self) -> dict[tuple[str, str], list[str]]:
        """Methods of all experiments by data set and dose, each once and in order."""
        shown: dict[tuple[str, str], dict[str, None]] = {}
        for dataset, dose, row in (cell for name in self.report.scale.measured for cell in self.report.scale.cells(name)):
            shown.setdefault((dataset, dose), {})[row] = None
        return {column: list(rows) for column, rows in shown.items()}

    @cached_property
    def behind(self) -> dict[tuple[str, str, str], list[Training]]:
        """The trainings behind each method, by data set and dose."""
        return {
            (dataset, dose, method): self.report.trainings.behind(dataset, dose, method)
            for (dataset, dose), methods in self.columns.items()
            for method in methods
            if method not in UNRESTORED
        }

    @property
    def most(self) -> int:
        """How many subjects of a column the viewer shows."""
        return int(self.report.scale.entries["report"].get("viewer_subjects", 2))

    @cached_property
    def trainings(self) -> list[Training]:
        """Every training whose losses are shown."""
        return list(dict.fromkeys(training for several in self.behind.values() for training in several))

    @cached_property
    def registrations(self) -> list[tuple[str, str]]:
        """Data set and subject of each registration."""
        datasets = dict.fromkeys(dataset for dataset, _ in self.columns)
        return [(dataset, subject) for dataset in datasets for subject in self.report.subjects.tested(dataset)]

    @cached_property
    def restorations(self) -> list[tuple[str, str, str, str]]:
        """Data set, dose, method and subject of each restored image."""
        return [(*row, subject) for row in self.behind for subject in self.report.subjects.tested(row[0])]

    @cached_property
    def volumes(self) -> list[tuple[str, str, str, str]]:
        """Data set, dose, subject and kind of each volume in the viewer."""
        volumes = []
        for (dataset, dose), methods in self.columns.items():
            known = ["true_activity", "labels", "truth"] if self.report.images.has_truth(dataset) else []
            low = [] if dataset in self.report.scale.synthetic else [LOW_DOSE]
            kinds = ["standard_dose", *low, *(method for method in methods if method not in UNRESTORED), *known]
            volumes += [(dataset, dose, subject, kind) for subject in self.report.subjects.tested(dataset)[: self.most] for kind in kinds]
        return volumes

    def _volume(self, dataset: str, dose: str, subject: str, kind: str) -> str:
        if kind == "standard_dose":
            return self.report.images.reference(dataset, subject)
        if kind in ("true_activity", "labels", "truth"):
            return self.report.images.truth(dataset, subject)[kind.removeprefix("true_")]
        return self.report.images.restored(dataset, dose, kind, subject)

    @cached_property
    def range_files(self) -> list[tuple[str, str, str]]:
        """Experiment and kind of each file on positron range, and its path."""
        of_range = self.report.positron_range
        results = {name: of_range.results(name) for name in self.report.scale.ranges}
        return [(name, kind, path) for name, kinds in results.items() for kind, files in kinds.items() for path in files]

    @cached_property
    def range_figures(self) -> list[tuple[str, str]]:
        """Experiment and name of each figure on positron range."""
        return [(name, figure) for name in self.report.scale.ranges for figure in self.report.positron_range.figures(name)]

    @cached_property
    def published(self) -> list[str]:
        """The files of printed values."""
        entries = [*self.report.scale.experiments.values(), *self.report.scale.ranges.values()]
        names = dict.fromkeys(entry["published"] for entry in entries if "published" in entry)
        names |= dict.fromkeys(order["published"] for entry in entries for order in entry.get("leaderboard", {}).get("orders", []))
        return [self.report.printed_values(name) for name in names]

    # what the rule names
    def content(self) -> dict[str, Any]:
        """What the page shows, in the order of `inputs`: which training, subject or volume each file is (see `report.collect`)."""
        place = {training: number for number, training in enumerate(self.trainings)}
        tested = self.report.subjects.tested
        return {
            "trainings": [[training.dataset, training.dose, training.method, training.fold] for training in self.trainings],
            "registrations": [list(picture) for picture in self.registrations],
            "volumes": [list(volume) for volume in self.volumes],
            "restorations": [list(restoration) for restoration in self.restorations],
            "behind": [[*row, [place[training] for training in several]] for row, several in self.behind.items()],
            "left_out": sum(max(0, len(tested(dataset)) - self.most) for dataset, _ in self.columns),
            "range_files": [[name, kind] for name, kind, _ in self.range_files],
            "range_figures": [list(figure) for figure in self.range_figures],
        }

    def inputs(self, wildcards: Wildcards) -> dict[str, Any]:
        """Every file that the page shows."""
        report, scale, paths = self.report, self.report.scale, self.report.paths
        figures = {name: paths.figure if "views" in scale.experiments[name] else paths.figure_svg for name in scale.figures}
        return {
            "metrics": list(report.evaluation.shown()),
            "reliance": [path for name in scale.reliances for path in report.reliance.values(name)],
            "scores": self.diagnosis.scores(scale.run),
            "histories": [report.trainings.history(training) for training in self.trainings],
            "costs": [report.trainings.cost(training) for training in self.trainings],
            "registrations": [paths.registration_picture.format(dataset=dataset, subject=one) for dataset, one in self.registrations],
            "images": [report.images.reference(dataset, subject) for dataset, subject in self.registrations],
            "volumes": [self._volume(*volume) for volume in self.volumes],
            "sidecars": [report.images.sidecar(*restoration) for restoration in self.restorations],
            "range_files": [path for _, _, path in self.range_files],
            "range_figures": [paths.range_figure_svg.format(experiment=name, figure=figure) for name, figure in self.range_figures],
            "published": [paths.untimed(path) for path in self.published],
            "papers": paths.untimed(report.printed_values("papers")),
            "records": [paths.record.format(experiment=name) for name in scale.run if name not in scale.maps],
            "figures": [path.format(experiment=name) for name, path in figures.items()],
        }

    def parts(self) -> list[str]:
        """Checksums of what the page takes from the code's own files: template, style, script and printed values."""
        assets = map(str, sorted((PACKAGE / "report" / "assets").iterdir()))
        return [checksum(path) for path in (*assets, *self.published, self.report.printed_values("papers"))]
