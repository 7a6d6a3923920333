"""What the record of a table says it was made from: images, configuration, and the code of each stage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from petbench.plan.after_training import AfterTraining
from petbench.plan.diagnosis import Diagnosis
from petbench.plan.lineage import Training, training_samples
from petbench.plan.positron_range import PositronRange
from petbench.plan.reliance import Reliance
from petbench.report.provenance import numbered
from petbench.workflow.experiment_entries import methods_of
from petbench.workflow.names import NO_DOSE, STANDARD, UNRESTORED

# Stages that run methods, where it is not `restore_subject`.
RESTORING = {"diagnosis": "classify", "roc": "classify", "reliance": "reliance"}
RANGE_STAGES = ("media", "gate", "train_predictor", "annihilate")
OWN_RANGE_STAGES = {
    "range_accuracy": ("compare_kernels", "compare_torso", "truncation", "acceleration"),
    "range_reconstruction": ("scan_torso", "predict_kernels", "reconstruct_torso", "measure_torso", "summarise_torso"),
    "range_scan": ("scan_torso", "correct_scan", "profile_scan"),
}


@dataclass(frozen=True, eq=False)
class Records(AfterTraining):
    """What each experiment's table depends on; `code` hashes a stage's script and modules of methods."""

    diagnosis: Diagnosis
    reliance: Reliance
    positron_range: PositronRange
    code: Callable[..., str]

    @cache
    def trainings_behind(self, experiment: str) -> list[Training]:
        """Every training that an experiment's table depends on, starting points too."""
        found = [training for _, study in self.diagnosis.behind(experiment) for training in self.diagnosis.generators(study)]
        if experiment not in self.scale.diagnoses:
            found = [training for place in self.scale.restorations(experiment) for training in self.trainings.behind(*place)]
        return sorted(self.trainings.with_starts(found))

    @cache
    def samples_behind(self, experiment: str) -> list[tuple[str, str, str]]:
        """Data set, subject and kind of each image that an experiment's table depends on."""
        samples = {
            (sample.dataset, sample.dose, sample.subject)
            for training in self.trainings_behind(experiment)
            for sample in training_samples(self.scale.entries, training)
        }
        for dataset, study in self.diagnosis.behind(experiment):
            samples |= {(dataset, NO_DOSE, subject) for subject in [*study.train, *study.test]}
        if experiment not in self.scale.diagnoses:
            for dataset, dose in self.scale.columns(experiment):
                samples |= {(dataset, dose, subject) for subject in self.subjects.tested(dataset)}
        if experiment in self.scale.reliances:
            samples |= {
                (dataset, dose, self.reliance.other(dataset, subject))
                for dataset, dose, subject in samples
                if subject in self.subjects.tested(dataset)
            }
        return sorted({(dataset, subject, kind) for dataset, dose, subject in samples for kind in self._kinds(dataset, dose, subject)})

    def _kinds(self, dataset: str, dose: str, subject: str) -> list[str]:
        """The images of a subject at a dose: MR, and PET if it has some."""
        if subject in self.subjects.mr_only(dataset):
            return ["T1w"]
        return ["T1w", STANDARD] if dose == NO_DOSE else ["T1w", STANDARD, dose]

    # what rules name
    def images_behind(self, experiment: str) -> list[str]:
        """The images that an experiment's table depends on."""
        return [
            self.images.t1w(dataset, subject) if kind == "T1w" else self.images.pet(dataset, subject, kind)
            for dataset, subject, kind in self.samples_behind(experiment)
        ]

    def names_behind(self, experiment: str) -> list[str]:
        """What a record calls those images, in the same order: no path."""
        return ["/".join(sample) for sample in self.samples_behind(experiment)]

    def configuration(self, experiment: str) -> dict[str, Any]:
        """The resolved entries that an experiment's table depends on."""
        scale, entry = self.scale, self.scale.experiments[experiment]
        datasets = {dataset for dataset, _, _ in self.samples_behind(experiment)}
        methods = {training.method for training in self.trainings_behind(experiment)} | set(methods_of(entry)).difference(UNRESTORED)
        scanners = {scale.datasets[dataset]["scanner"] for dataset in datasets if "scanner" in scale.datasets[dataset]}
        classifiers = [entry["classifier"]] if experiment in scale.diagnoses else []
        return {
            "experiment": entry,
            "datasets": {dataset: scale.datasets[dataset] for dataset in sorted(datasets)},
            "methods": {method: scale.methods[method] for method in sorted(methods)},
            "scanners": {scanner: scale.scanners[scanner] for scanner in sorted(scanners)},
            "classifiers": {classifier: scale.classifiers[classifier] for classifier in classifiers},
        }

    def stages(self, experiment: str) -> dict[str, str]:
        """Hash of the code of each stage that an experiment's table depends on."""
        trainings = self.trainings_behind(experiment)
        modules = sorted({self.trainings.module(training) for training in trainings})
        taken = [stage for stage, users in self._users(experiment).items() if users]
        of_methods = ["train", RESTORING.get(self.scale.experiments[experiment]["kind"], "restore_subject")]
        of_methods += ["restore_context"] if any("context" in self.scale.methods[training.method] for training in trainings) else []
        return {stage: self.code(stage) for stage in taken} | {stage: self.code(stage, *modules) for stage in of_methods}

    def _users(self, experiment: str) -> dict[str, Any]:
        """Stages that are of no method, and what of an experiment's data sets or methods went through each."""
        scale, samples = self.scale, self.samples_behind(experiment)
        datasets = {dataset for dataset, _, _ in samples}
        phantoms, synthetic = datasets & set(scale.phantoms), datasets & set(scale.synthetic)
        low_doses = {dataset for dataset, _, kind in samples if kind not in ("T1w", STANDARD)}
        return {
            "acquire": phantoms,
            "simulate": phantoms,
            "reconstruct": phantoms,
            "average_frames": datasets & set(scale.fetched),
            "simulate_from_image": [dataset for dataset in low_doses - phantoms if self.images.simulated(dataset)],
            "register": datasets,
            "prepare": datasets - synthetic,
            "prepare_acquisition": [
                training for training in self.trainings_behind(experiment) if self.trainings.takes_acquisition(training.method)
            ],
            "normalise_mr": synthetic,
            "normalise_pet": synthetic,
            "prepare_maps": synthetic,
            "fuse": set(scale.experiments[experiment]["rows"]) & set(scale.fused),
            "evaluate": experiment not in [*scale.diagnoses, *scale.reliances],
        }

    def range_configuration(self, experiment: str) -> dict[str, Any]:
        """The resolved entries that an experiment on positron range depends on."""
        scale, entry = self.scale, self.scale.ranges[experiment]
        predictors = {name: scale.predictors[name] for name in self.positron_range.predictors(experiment)}
        sets = {name for predictor in predictors.values() for name in [*predictor.get("psf_sets", []), predictor["kernels"]]}
        sets |= {*entry.get("runs", []), *([entry["fast"]] if "fast" in entry else [])}
        torso = self.positron_range.scanned(experiment).get("torso")
        simulated = [*(scale.psf_sets[name] for name in sets), *([scale.torsos[torso]] if torso else [])]
        calibrations = {block["gate"]["calibration"] for block in simulated if "calibration" in block["gate"]}
        return {
            "experiment": entry,
            "predictors": predictors,
            "psf_sets": {name: scale.psf_sets[name] for name in sorted(sets)},
            "calibrations": {name: scale.calibrations[name] for name in sorted(calibrations)},
            "torsos": {torso: scale.torsos[torso]} if torso else {},
            "scanner": self.positron_range.scanner(experiment),
        }

    def range_stages(self, experiment: str) -> dict[str, str]:
        """Hash of the code of each stage of positron range."""
        kind = self.scale.ranges[experiment]["kind"]
        return {stage: self.code(stage) for stage in (*RANGE_STAGES, *OWN_RANGE_STAGES[kind])}

    def recorded(self, experiment: str, files: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """What the record of a table is made from, the code aside; of one on positron range, `files` are its data."""
        if experiment in self.scale.ranges:
            data = numbered(files)
            return {"configuration": self.range_configuration(experiment), "names": list(data), "files": list(data.values())}
        return {
            "configuration": self.configuration(experiment),
            "names": self.names_behind(experiment),
            "files": self.images_behind(experiment),
        }
