"""What each method is measured by: the images and references of everybody tested, and weights that a metric takes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.evaluation.definitions import STANDARD_ROW
from petbench.files import checksum
from petbench.plan.after_training import AfterTraining
from petbench.plan.lineage import Training, weights_of
from petbench.plan.scale import Wildcards
from petbench.workflow.names import UNRESTORED
from petbench.workflow.runtime import evaluated_slices


@dataclass(frozen=True, eq=False)
class Evaluation(AfterTraining):
    """Metrics of restored images and the similarity of a network's layers."""

    def measured(self, dataset: str, dose: str, method: str) -> dict[str, list[str]]:
        """What a method's values are taken from, by kind."""
        subjects = self.subjects.tested(dataset)
        files = {
            "restored": [self.images.restored(dataset, dose, method, subject) for subject in subjects],
            "standard_dose": [self.images.reference(dataset, subject) for subject in subjects],
        }
        if self.images.has_truth(dataset):
            truths = [self.images.truth(dataset, subject) for subject in subjects]
            files |= {kind: [truth[kind] for truth in truths] for kind in ("activity", "labels", "truth")}
        if method not in UNRESTORED:
            files["restore_costs"] = [self.images.sidecar(dataset, dose, method, subject) for subject in subjects]
            files["train_costs"] = [self.trainings.cost(training) for training in self.trainings.behind(dataset, dose, method)]
        return files

    def metrics(self, experiments: Iterable[str]) -> dict[str, tuple[str, str, str]]:
        """Metric tables of some experiments, sorted, with the data set, dose and method that each is of; other kinds have none."""
        cells = {cell for name in experiments if name in self.scale.measured for cell in self.scale.cells(name)}
        return dict(sorted((self.paths.metrics.format(dataset=cell[0], dose=cell[1], method=cell[2]), cell) for cell in cells))

    def shown(self) -> dict[str, tuple[str, str, str]]:
        """Those of all experiments, and the standard dose's where lesions are known: what methods recover is held against what it does."""
        found = self.metrics(self.scale.run)
        places = {
            (dataset, dose) for dataset, dose, _ in found.values() if self.images.has_truth(dataset) and dataset not in self.scale.synthetic
        }
        own = [(dataset, dose, STANDARD_ROW) for dataset, dose in places]
        return dict(
            sorted((found | {self.paths.metrics.format(dataset=cell[0], dose=cell[1], method=cell[2]): cell for cell in own}).items())
        )

    def lpips(self, dataset: str) -> dict[str, str]:
        """The weights that LPIPS takes, where the data set names some: a lab's own files, or those to fetch.

        Raises:
            InputError: a lab's own file is not there.
        """
        files = {}
        for name, source in self._lpips(dataset).items():
            if not isinstance(source, str):
                files[name] = self.paths.lpips_weights.format(sha256=source["sha256"])
            elif Path(source).is_file():
                files[name] = source
            else:
                where = f"data set {dataset}: evaluation/lpips/{name}: {source}"
                raise InputError(f"{where}: no such file; correct the path, or remove lpips.")
        return files

    def _lpips(self, dataset: str) -> dict[str, Any]:
        block: dict[str, Any] = self.scale.datasets[dataset].get("evaluation", {}).get("lpips", {})
        return block

    # what rules name
    def to_measure(self, wildcards: Wildcards) -> dict[str, Any]:
        """Everything a method is measured by on a data set at a dose; the times of records and of weights do not count."""
        return self.measured(wildcards.dataset, wildcards.dose, wildcards.method) | {
            "preflight": self.images.preflight(wildcards.dataset),
            "lpips": [self.paths.untimed(path) for path in self.lpips(wildcards.dataset).values()],
        }

    def settings(self, dataset: str) -> dict[str, Any]:
        """The data set's choices for its metrics, with the files of weights that it names."""
        files = self.lpips(dataset)
        return dict(self.scale.datasets[dataset].get("evaluation", {})) | ({"lpips": files} if files else {})

    def lpips_checksums(self, wildcards: Wildcards) -> list[str]:
        """Checksums of the weights that LPIPS takes: what a value depends on, wherever they came from."""
        self.lpips(wildcards.dataset)
        sources = self._lpips(wildcards.dataset).values()
        return [checksum(source) if isinstance(source, str) else source["sha256"] for source in sources]

    def lpips_address(self, wildcards: Wildcards) -> str:
        """Where weights of a checksum are fetched from: the first address that a data set gives."""
        sources = [source for dataset in self.scale.datasets for source in self._lpips(dataset).values()]
        fetched = [source for source in sources if not isinstance(source, str)]
        return next(str(source["url"]) for source in fetched if source["sha256"] == wildcards.sha256)

    def slices(self, wildcards: Wildcards) -> dict[str, Any] | None:
        """The slices of a data set that are evaluated; none where all are."""
        return evaluated_slices(self.scale.datasets[wildcards.dataset])

    def compared(self, wildcards: Wildcards) -> Training:
        """The training whose layers a map of similarity compares: that of the first fold."""
        dataset, dose, row = self.scale.cells(wildcards.experiment)[0]
        return weights_of(self.scale.entries, Training(dataset, dose, row, next(iter(self.subjects.folds(dataset)))))

    def to_compare(self, wildcards: Wildcards) -> dict[str, Any]:
        """What a map of similarity takes: weights, and the prepared volumes of subjects that they have not seen."""
        training, (dataset, dose) = self.compared(wildcards), self.scale.columns(wildcards.experiment)[0]
        domain, subjects = self.trainings.domain(training), next(iter(self.subjects.folds(dataset).values()))
        return {
            "weights": self.trainings.weights(training),
            "prepared": [self.images.prepared(dataset, dose, domain, subject) for subject in subjects],
        }

    def compared_module(self, wildcards: Wildcards) -> str:
        """The module of the method that a map of similarity looks into."""
        return self.trainings.module(self.compared(wildcards))
