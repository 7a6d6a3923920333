"""Reliance: what swapping a method's images for another subject's does, fold by fold."""

from dataclasses import dataclass
from typing import Any

from petbench.plan.after_training import AfterTraining
from petbench.plan.evaluation import Evaluation
from petbench.plan.scale import Wildcards
from petbench.preprocess.splits import another

SWAPS = 3


@dataclass(frozen=True, eq=False)
class Reliance(AfterTraining):
    """Experiments that restore a fold's subjects with their own images and with swapped ones."""

    evaluation: Evaluation

    def values(self, experiment: str) -> list[str]:
        """What the table of an experiment is built from, fold by fold."""
        return [
            self.paths.reliance.format(experiment=experiment, dataset=dataset, dose=dose, method=row, fold=fold)
            for dataset, dose, row in self.scale.cells(experiment)
            for fold in self.subjects.folds(dataset)
        ]

    def other(self, dataset: str, subject: str) -> str:
        """The subject whose images stand in for another's."""
        return another(self.subjects.people(dataset), self.scale.datasets[dataset]["split"], subject)

    # what rules name
    def subjects_of(self, wildcards: Wildcards) -> list[str]:
        """The subjects of a fold whose images are swapped: all that it tests, or the first so many."""
        return self.subjects.folds(wildcards.dataset)[wildcards.fold][: self.scale.experiments[wildcards.experiment].get("subjects")]

    def people_of(self, wildcards: Wildcards) -> list[str]:
        """The person that each of them shows."""
        people = self.subjects.people(wildcards.dataset)
        return [people[subject] for subject in self.subjects_of(wildcards)]

    def settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """The data set's choices for its metrics, without the weights that LPIPS takes."""
        return {key: value for key, value in self.evaluation.settings(wildcards.dataset).items() if key != "lpips"}

    def minutes(self, wildcards: Wildcards) -> int:
        """Minutes of restoring each of a fold's subjects as it is and with each swap."""
        one = self.trainings.minutes_of(wildcards.dataset, wildcards.method, self.trainings.own(wildcards))
        return (1 + SWAPS) * len(self.subjects_of(wildcards)) * one

    def inputs(self, wildcards: Wildcards) -> dict[str, Any]:
        """Weights of a fold, what it restores, and whose images stand in."""
        training, dataset, subjects = self.trainings.own(wildcards), wildcards.dataset, self.subjects_of(wildcards)
        place = (dataset, wildcards.dose, self.trainings.domain(training))
        phantom = dataset in self.scale.phantoms
        known = {"labels": [self.images.truth(dataset, subject)["labels"] for subject in subjects]} if phantom else {}
        return known | {
            "weights": self.trainings.weights(training),
            "prepared": [self.images.prepared(*place, subject) for subject in subjects],
            "others": [self.images.prepared(*place, self.other(dataset, subject)) for subject in subjects],
            "low_dose": [self.images.pet(dataset, subject, wildcards.dose) for subject in subjects],
            "standard_dose": [self.images.reference(dataset, subject) for subject in subjects],
        }
