"""Which weights restore whom, and what they are trained on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from petbench.plan.images import Images
from petbench.plan.lineage import Training, check_told, check_unseen, context_of, contexts, starting_point, training_samples, weights_of
from petbench.plan.paths import Paths
from petbench.plan.scale import Entry, Scale, Wildcards
from petbench.plan.subjects import Subjects
from petbench.workflow.experiment_entries import is_left_out, methods_of
from petbench.workflow.names import ACQUISITION, UNRESTORED
from petbench.workflow.runtime import restoring_minutes


@dataclass(frozen=True, eq=False)
class Trainings:
    """Trainings and restorations of a scale: who learns from whom is worked out in `petbench.plan.lineage`."""

    scale: Scale
    paths: Paths
    subjects: Subjects
    images: Images

    def check(self) -> None:
        """Check that no subject of any table is restored by weights that saw it, and that trainings told of groups know both.

        Raises:
            InputError: one is, or one does not.
        """
        for experiment in self.scale.experiments.values():
            for column in experiment["columns"]:
                for method in set(methods_of(experiment)).difference(UNRESTORED):
                    place = (column["dataset"], column["dose"], method)
                    if is_left_out(experiment, *place):
                        continue
                    check_unseen(self.scale.entries, method, *place[:2])
                    for training in self.with_starts(self.behind(*place)):
                        check_told(self.scale.entries, training)

    def weights_for(self, dataset: str, dose: str, method: str, subject: str) -> Training:
        """The training whose weights restore a subject: of the fold that tests it, through `weights_of`.

        Raises:
            InputError: no fold tests it.
        """
        return weights_of(self.scale.entries, Training(dataset, dose, method, self.subjects.fold_of(dataset, subject)))

    def behind(self, dataset: str, dose: str, method: str) -> list[Training]:
        """The trainings behind a method's restored volumes, by fold; an ensemble's are those of its parts."""
        entry = self.scale.methods[method]
        if "ensemble" in entry:
            return [training for part in entry["ensemble"] for training in self.behind(dataset, dose, part)]
        return [weights_of(self.scale.entries, Training(dataset, dose, method, fold)) for fold in self.subjects.folds(dataset)]

    def with_starts(self, trainings: Iterable[Training]) -> set[Training]:
        """Trainings, and all that they start from or take contexts of, in training and in restoring."""
        entries = self.scale.entries
        waiting, found = list(trainings), set[Training]()
        while waiting:
            training = waiting.pop()
            if training not in found:
                found.add(training)
                makers = {context_of(entries, training), *contexts(entries, training).values()} - {None}
                waiting += [weights_of(entries, maker) for maker in makers if maker is not None]
                start = starting_point(entries, training)
                waiting += [] if start is None else [start]
        return found

    def weights(self, training: Training) -> str:
        """Path of a training's weights."""
        return self.paths.weights.format(**vars(training))

    def history(self, training: Training) -> str:
        """Path of a training's losses."""
        return self.paths.history.format(**vars(training))

    def cost(self, training: Training) -> str:
        """Path of what a training cost."""
        return self.paths.cost.format(**vars(training))

    def context(self, maker: Training, subject: str) -> str:
        """Path of what a method restored of a subject by the weights of a fold, scaled, on the working grid."""
        return self.paths.context.format(**vars(maker), subject=subject)

    def domain(self, training: Training) -> str:
        """The domain of a data set that a training reads."""
        return str(self.scale.methods[training.method]["train"]["domain"])

    def module(self, training: Training) -> str:
        """The module of a training's method."""
        return str(self.scale.methods[training.method]["module"])

    # what rules name
    def own(self, wildcards: Wildcards) -> Training:
        """The training that a job makes, or whose weights it takes."""
        return weights_of(self.scale.entries, Training(wildcards.dataset, wildcards.dose, wildcards.method, wildcards.fold))

    def seen_domain(self, wildcards: Wildcards) -> Entry:
        """The domain of its data set that a job's training sees."""
        training = self.own(wildcards)
        domain: Entry = self.scale.datasets[training.dataset]["domains"][self.domain(training)]
        return domain

    def data(self, wildcards: Wildcards) -> list[str]:
        """Parameters of each training subject's normalised volumes."""
        training = self.own(wildcards)
        domain, samples = self.domain(training), training_samples(self.scale.entries, training)
        return [self.images.prepared(sample.dataset, sample.dose, domain, sample.subject) for sample in samples]

    def contexts(self, wildcards: Wildcards) -> list[str]:
        """The context of each training subject, restored by weights that saw neither it nor anybody tested; none where there is none.

        Raises:
            InputError: the split has no fold for it.
        """
        return [self.context(maker, sample.subject) for sample, maker in contexts(self.scale.entries, self.own(wildcards)).items()]

    def acquisitions(self, wildcards: Wildcards) -> list[str]:
        """The scan of each training subject, plane by plane; none where the method takes none."""
        training = self.own(wildcards)
        if not self.takes_acquisition(training.method):
            return []
        domain, samples = self.domain(training), training_samples(self.scale.entries, training)
        return [self.acquisition(sample.dataset, sample.dose, domain, sample.subject) for sample in samples]

    def takes_acquisition(self, method: str) -> bool:
        """Whether a method reconstructs a scan."""
        return ACQUISITION in self.scale.methods[method]["restore"].get("inputs", [])

    def acquisition(self, dataset: str, dose: str, domain: str, subject: str) -> str:
        """Path of what is said of a subject's scan beside its planes."""
        return self.paths.plane_scans_parameters.format(dataset=dataset, dose=dose, domain=domain, subject=subject)

    def inputs(self, wildcards: Wildcards) -> list[str]:
        """What the method of a job's training is given."""
        return list(self.scale.methods[self.own(wildcards).method]["restore"]["inputs"])

    def start(self, wildcards: Wildcards) -> list[str]:
        """Weights that a training begins with: none or one."""
        start = starting_point(self.scale.entries, self.own(wildcards))
        return [] if start is None else [self.weights(start)]

    def part(self, wildcards: Wildcards) -> str | None:
        """The part of a method that begins with those weights; none for all of it."""
        name: str | None = self.scale.methods[self.own(wildcards).method].get("init_from", {}).get("part")
        return name

    def kinds(self, wildcards: Wildcards) -> list[str]:
        """What a training reads of each subject: its method's inputs, the standard dose, and what its supervision names."""
        entry = self.scale.methods[self.own(wildcards).method]
        return [*entry["restore"]["inputs"], "standard_dose", *entry["train"].get("supervision", [])]

    def own_module(self, wildcards: Wildcards) -> str:
        """The module of the method that a job trains."""
        return self.module(self.own(wildcards))

    def restoring(self, wildcards: Wildcards) -> Training:
        """The training whose weights restore a job's subject."""
        return self.weights_for(wildcards.dataset, wildcards.dose, wildcards.method, wildcards.subject)

    def restoring_module(self, wildcards: Wildcards) -> str:
        """The module of the method that restores a job's subject."""
        return self.module(self.restoring(wildcards))

    def minutes(self, wildcards: Wildcards) -> int:
        """Minutes of restoring a subject, as they follow from its windows and the steps of the sampler."""
        return self.minutes_of(wildcards.dataset, wildcards.method, self.restoring(wildcards))

    def minutes_of_context(self, wildcards: Wildcards) -> int:
        """The same of restoring a context."""
        return self.minutes_of(wildcards.dataset, wildcards.method, self.own(wildcards))

    def minutes_of(self, dataset: str, method: str, training: Training) -> int:
        """Minutes of restoring one subject of a data set by the weights of a training."""
        entry = self.scale.datasets[dataset]
        return restoring_minutes(entry, entry["domains"][self.domain(training)], self.scale.methods[method]["restore"])

    def to_restore(self, wildcards: Wildcards) -> dict[str, Any]:
        """What restores a subject: its prepared volumes, its low dose, the weights of the fold that did not see it.

        Raises:
            InputError: no fold tests it.
        """
        dataset, subject = wildcards.dataset, wildcards.subject
        wanted = Training(dataset, wildcards.dose, wildcards.method, self.subjects.fold_of(dataset, subject))
        return self._by(wanted, subject) | {"image": self.images.source(dataset, subject, wildcards.dose)}

    def to_give_context(self, wildcards: Wildcards) -> dict[str, Any]:
        """What restores a subject as another method's context: its prepared volumes and the weights of a fold that did not see it."""
        wanted = Training(wildcards.dataset, wildcards.dose, wildcards.method, wildcards.fold)
        return self._by(wanted, wildcards.subject)

    def _by(self, wanted: Training, subject: str) -> dict[str, Any]:
        """What a subject is restored from by the weights of a fold, its own context included."""
        training, context = weights_of(self.scale.entries, wanted), context_of(self.scale.entries, wanted)
        given = {
            "prepared": self.images.prepared(wanted.dataset, wanted.dose, self.domain(training), subject),
            "weights": self.weights(training),
        }
        if self.takes_acquisition(wanted.method):
            given["acquisition"] = self.acquisition(wanted.dataset, wanted.dose, self.domain(training), subject)
        if context is None:
            return given
        sidecar = self.paths.context_sidecar.format(**vars(context), subject=subject)
        return given | {"context": self.context(context, subject), "context_sidecar": sidecar}

    def to_fuse(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """The restored images that an ensemble fuses, and what is said of them."""
        place, subject = (wildcards.dataset, wildcards.dose), wildcards.subject
        parts = self.scale.methods[wildcards.method]["ensemble"]
        return {
            "images": [self.images.restored(*place, part, subject) for part in parts],
            "sidecars": [self.images.sidecar(*place, part, subject) for part in parts],
        }
