"""Who is who: which person a subject shows, which fold tests it, and what it is drawn from."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from petbench.files import digest
from petbench.plan.lineage import is_ill
from petbench.plan.scale import Entry, Scale, Wildcards
from petbench.preprocess.splits import ALL, fold_testing, folds, people_of, subjects_tested, validation_subjects
from petbench.workflow.schema import told_of


@dataclass(frozen=True, eq=False)
class Subjects:
    """The subjects of a scale's data sets."""

    scale: Scale

    def people(self, dataset: str) -> dict[str, str]:
        """The person that each subject with PET shows."""
        return people_of(self.scale.datasets[dataset])

    def mr_only(self, dataset: str) -> list[str]:
        """Subjects that have no PET."""
        return list(self.scale.datasets[dataset].get("mr_only", []))

    @cache  # splits are drawn from the seed again and again otherwise
    def folds(self, dataset: str) -> dict[str, list[str]]:
        """Subjects that each fold of a data set tests."""
        return folds(self.people(dataset), self.scale.datasets[dataset]["split"])

    @cache
    def tested(self, dataset: str) -> list[str]:
        """Subjects of a data set that some fold tests: those that are restored, measured and shown."""
        return subjects_tested(self.people(dataset), self.scale.datasets[dataset]["split"])

    @cache
    def fold_of(self, dataset: str, subject: str) -> str:
        """The fold that tests a subject, `all` for one with MR only.

        Raises:
            InputError: none does.
        """
        if subject in self.mr_only(dataset):
            return ALL
        with told_of(f"data set {dataset}"):
            return fold_testing(self.people(dataset), self.scale.datasets[dataset]["split"], subject)

    def registered(self, dataset: str) -> list[str]:
        """Subjects that are trained on or tested."""
        kept = validation_subjects(self.people(dataset), self.scale.datasets[dataset]["split"])
        return [subject for subject in self.scale.datasets[dataset]["subjects"] if subject not in kept]

    def people_tested(self, dataset: str) -> list[str]:
        """The person that each tested subject shows, in their order."""
        people = self.people(dataset)
        return [people[subject] for subject in self.tested(dataset)]

    def folds_tested(self, dataset: str) -> list[str]:
        """The fold that tests each tested subject, in their order."""
        return [self.fold_of(dataset, subject) for subject in self.tested(dataset)]

    # what rules name
    def everybody(self, wildcards: Wildcards) -> list[str]:
        """All subjects of a data set, those with MR only last."""
        return [*self.scale.datasets[wildcards.dataset]["subjects"], *self.mr_only(wildcards.dataset)]

    def group(self, wildcards: Wildcards) -> str:
        """Whether a phantom is a patient or a control."""
        ill = "labels" in self.scale.datasets[wildcards.dataset] and self.diagnosis(wildcards)
        return "patient" if ill else "control"

    def diagnosis(self, wildcards: Wildcards) -> int:
        """Whether somebody in a data set with labels is a patient, 1, or a control, 0."""
        return is_ill(self.scale.datasets[wildcards.dataset], wildcards.subject)

    def _copy(self, wildcards: Wildcards) -> Entry:
        """The phantom that a subject is, and how far its head is turned."""
        whole = {"phantom": wildcards.subject, "rotation_deg": 0.0}
        copies: Entry = self.scale.datasets[wildcards.dataset].get("phantoms", {})
        return dict(copies.get(wildcards.subject, whole))

    def phantom(self, wildcards: Wildcards) -> str:
        """The phantom that a subject is."""
        return str(self._copy(wildcards)["phantom"])

    def rotation_deg(self, wildcards: Wildcards) -> Any:
        """How far the head of a subject's phantom is turned."""
        return self._copy(wildcards)["rotation_deg"]

    def scan_seed(self, wildcards: Wildcards) -> int:
        """A seed of its own for each subject of each data set."""
        return self._seed(wildcards.dataset, wildcards.subject)

    def head_seed(self, wildcards: Wildcards) -> int:
        """The seed of a subject's anatomy and MR: rotated copies of a phantom share it."""
        return self._seed(wildcards.dataset, self.phantom(wildcards))

    def _seed(self, dataset: str, name: str) -> int:
        return int(digest([self.scale.datasets[dataset]["seed"], dataset, name])[:8], 16)
