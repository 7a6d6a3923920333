"""Diagnosis: who trains and tests each classifier, and which weights make whose PET."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from petbench.evaluation.definitions import MR_ALONE
from petbench.plan.after_training import AfterTraining
from petbench.plan.lineage import Study, Training, check_study, check_told, is_ill, study_of
from petbench.plan.scale import Entry, Wildcards
from petbench.preprocess.splits import ALL
from petbench.workflow.names import NO_DOSE


@dataclass(frozen=True, eq=False)
class Diagnosis(AfterTraining):
    """The diagnosis studies of a scale, a job a data set, classifier and fold."""

    def check(self) -> None:
        """Check that nobody tested was seen by a classifier or by any generator behind it, and that generators told groups know both.

        Raises:
            InputError: somebody was, or one does not.
        """
        for dataset, classifier, fold in dict.fromkeys(fold for name in self.scale.diagnoses for fold in self._folds(name)):
            study = self.study(dataset, classifier, fold)
            check_study(self.scale.entries, dataset, NO_DOSE, study)
            for training in self.trainings.with_starts(self.generators(study)):
                check_told(self.scale.entries, training)

    def _folds(self, experiment: str) -> Iterator[tuple[str, str, str]]:
        """Data set, classifier and fold of each classification that an experiment shows: trained on everybody for those with MR only.

        An experiment that is no diagnosis shows none.
        """
        entry = self.scale.experiments.get(experiment, {})
        for column in entry["columns"] if experiment in self.scale.diagnoses else []:
            dataset = column["dataset"]
            for fold in [ALL] if column["study"] == "mr_only" else self.subjects.folds(dataset):
                yield dataset, entry["classifier"], fold

    @cache
    def rows(self, dataset: str, classifier: str) -> list[str]:
        """Rows of all experiments that a data set is studied in with a classifier, so that one job serves them all."""
        rows: set[str] = set()
        for entry in (self.scale.experiments[name] for name in self.scale.diagnoses):
            if entry["classifier"] == classifier and any(column["dataset"] == dataset for column in entry["columns"]):
                rows |= set(entry["rows"])
        return sorted(rows)

    @cache
    def study(self, dataset: str, classifier: str, fold: str) -> Study:
        """One fold of a diagnosis study."""
        train_pet = self.scale.classifiers[classifier]["train_pet"]
        return study_of(self.scale.entries, dataset, NO_DOSE, self.rows(dataset, classifier), train_pet, fold)

    def behind(self, experiment: str) -> list[tuple[str, Study]]:
        """Data set and study of each classification that an experiment shows."""
        return [(dataset, self.study(dataset, classifier, fold)) for dataset, classifier, fold in self._folds(experiment)]

    def generators(self, study: Study) -> list[Training]:
        """The trainings behind the generated PET of one fold, each once, in order."""
        return sorted({maker for makers in study.pet.values() for maker in makers.values() if maker is not None})

    def scores(self, experiments: Iterable[str]) -> list[str]:
        """Scores of all folds of some experiments, each once; those that are no diagnosis have none."""
        wanted = {
            self.paths.scores.format(dataset=dataset, dose=NO_DOSE, classifier=classifier, fold=fold): None
            for name in experiments
            for dataset, classifier, fold in self._folds(name)
        }
        return list(wanted)

    # what rules name
    def classified(self, wildcards: Wildcards) -> Study:
        """The fold of the study that a job classifies."""
        return self.study(wildcards.dataset, wildcards.classifier, wildcards.fold)

    def to_classify(self, wildcards: Wildcards) -> dict[str, Any]:
        """Volumes of those who train and test a classifier, and the weights that make their PET."""
        study, domain = self.classified(wildcards), self.scale.classifiers[wildcards.classifier]["domain"]
        place = (wildcards.dataset, wildcards.dose, domain)
        return {
            "split": self.paths.untimed(self.paths.split.format(dataset=wildcards.dataset)),
            "train": [self.images.prepared(*place, subject) for subject in study.train],
            "test": [self.images.prepared(*place, subject) for subject in study.test],
            "generators": [self.trainings.weights(training) for training in self.generators(study)],
        }

    def roles(self, wildcards: Wildcards) -> dict[str, Any]:
        """Who trains and tests a classifier, who is ill, and which weights make whose PET (see `petbench.diagnosis.classify.classify`)."""
        study, entry = self.classified(wildcards), self.scale.datasets[wildcards.dataset]
        place = {training: number for number, training in enumerate(self.generators(study))}
        rows: dict[str, Any] = {row: None for row in self.rows(wildcards.dataset, wildcards.classifier) if row == MR_ALONE}
        rows |= {
            row: {subject: None if maker is None else place[maker] for subject, maker in makers.items()}
            for row, makers in study.pet.items()
        }
        return {
            "dataset": wildcards.dataset,
            "dose": wildcards.dose,
            "classifier": wildcards.classifier,
            "study": "mr_only" if wildcards.fold == ALL else "paired",
            "fold": wildcards.fold,
            "train": study.train,
            "test": study.test,
            "ill": {subject: is_ill(entry, subject) for subject in [*study.train, *study.test]},
            "rows": rows,
        }

    def classifier(self, wildcards: Wildcards) -> Entry:
        """What the classifier's weights depend on."""
        entry = self.scale.classifiers[wildcards.classifier]
        return {key: entry[key] for key in ("domain", "inputs", "network", "train", "repeats") if key in entry}

    def modules(self, wildcards: Wildcards) -> list[str]:
        """Modules of the methods whose PET a classifier sees."""
        return sorted({self.trainings.module(training) for training in self.generators(self.classified(wildcards))})

    def scored(self, wildcards: Wildcards) -> list[str]:
        """Scores that an experiment shows."""
        return self.scores([wildcards.experiment])

    def bootstrap(self, experiment: str) -> int:
        """Resamplings behind the intervals of an experiment."""
        return int(self.scale.classifiers[self.scale.experiments[experiment]["classifier"]]["bootstrap"])
