"""Images of a subject: the workflow's own, a lab's where they lie, and what methods read of them."""

from dataclasses import dataclass
from typing import Any

from petbench.errors import InputError
from petbench.evaluation.definitions import STANDARD_ROW
from petbench.plan.paths import Paths
from petbench.plan.scale import Scale, Wildcards
from petbench.plan.subjects import Subjects
from petbench.workflow.names import LOW_DOSE, STANDARD
from petbench.workflow.subjects import image_of_lab, missing_images, taken


@dataclass(frozen=True, eq=False)
class Images:
    """Where the images of data sets are, raw, registered and prepared."""

    scale: Scale
    paths: Paths
    subjects: Subjects

    def check(self) -> None:
        """Check that every image of a lab's data sets is there, and one only; those of a cohort were found with its labels.

        Raises:
            InputError: some are not; a line each.
        """
        missing = [
            line
            for dataset in self.scale.labs
            if "images" not in self.scale.datasets[dataset]
            for subject in self.scale.datasets[dataset]["subjects"]
            for line in missing_images(self.scale.datasets[dataset], subject)
        ]
        if missing:
            raise InputError("\n".join(dict.fromkeys(missing)))

    def left_out(self) -> list[str]:
        """Who of a lab's data sets lacks an image and is left out, a line each."""
        return [f"data set {dataset}: {line}" for dataset in self.scale.labs for line in self.scale.datasets[dataset].get("left_out", [])]

    # raw
    def taken(self, dataset: str) -> list[str]:
        """Doses that a lab's data set has images of."""
        return taken(self.scale.datasets[dataset])

    def simulated(self, dataset: str) -> list[str]:
        """Low doses that are simulated: all of a phantom's, and those that a lab's data set has no images of."""
        return [dose for dose, block in self.scale.datasets[dataset]["doses"].items() if "rec" not in block]

    def pet(self, dataset: str, subject: str, dose: str) -> str:
        """Path of a subject's PET image at a dose."""
        if dataset in self.scale.phantoms or dose in self.simulated(dataset):
            return self.paths.pet.format(dataset=dataset, subject=subject, dose=dose)
        entry = self.scale.datasets[dataset]
        if "images" in entry:
            return str(entry["images"][subject]["pet"])
        return str(image_of_lab(entry, subject, dose))

    def t1w(self, dataset: str, subject: str) -> str:
        """Path of a subject's T1-weighted image in its own space."""
        if dataset in self.scale.phantoms:
            return self.paths.t1w.format(dataset=dataset, subject=subject)
        entry = self.scale.datasets[dataset]
        if "images" in entry:
            return str(entry["images"][subject]["t1w"])
        return str(image_of_lab(entry, subject, None))

    def truth(self, dataset: str, subject: str) -> dict[str, str]:
        """Paths of what is known of a phantom subject, by kind."""
        known = {"activity": self.paths.activity, "labels": self.paths.labels, "truth": self.paths.truth}
        return {kind: path.format(dataset=dataset, subject=subject) for kind, path in known.items()}

    def has_truth(self, dataset: str) -> bool:
        """Whether restored images can be compared with what is known of a phantom."""
        return dataset in self.scale.phantoms and dataset not in self.scale.synthetic

    # derived
    def preflight(self, dataset: str) -> list[str] | str:
        """The record that a lab's own images were checked; phantoms need none."""
        return [] if dataset in self.scale.phantoms else self.paths.untimed(self.paths.preflight.format(dataset=dataset))

    def known_mr(self, dataset: str, subject: str) -> str:
        """Path of what MR shows on the grid of restored images: itself, or grey matter where PET is made of MR."""
        path = self.paths.grey_matter if dataset in self.scale.synthetic else self.paths.registered_mr
        return path.format(dataset=dataset, subject=subject)

    def source(self, dataset: str, subject: str, dose: str) -> str:
        """Path of the image that restoring starts from: the low dose, or grey matter where PET is made of MR."""
        return self.known_mr(dataset, subject) if dataset in self.scale.synthetic else self.pet(dataset, subject, dose)

    def reference(self, dataset: str, subject: str) -> str:
        """Path of the image that restored ones are compared with: the standard dose, in MNI space where PET is made of MR."""
        if dataset in self.scale.synthetic:
            return self.paths.mni_pet.format(dataset=dataset, subject=subject)
        return self.pet(dataset, subject, STANDARD)

    def prepared(self, dataset: str, dose: str, domain: str, subject: str) -> str:
        """Path of the parameters beside a subject's normalised volumes."""
        path = self.paths.mr_only if subject in self.subjects.mr_only(dataset) else self.paths.prepared
        return path.format(dataset=dataset, dose=dose, domain=domain, subject=subject)

    def restored(self, dataset: str, dose: str, method: str, subject: str) -> str:
        """Path of a restored image; the low or the standard dose itself for the row of that name."""
        if method == LOW_DOSE:
            return self.pet(dataset, subject, dose)
        if method == STANDARD_ROW:
            return self.reference(dataset, subject)
        return self.paths.restored.format(dataset=dataset, dose=dose, method=method, subject=subject)

    def sidecar(self, dataset: str, dose: str, method: str, subject: str) -> str:
        """Path of what is said of a restored image."""
        return self.paths.restored_sidecar.format(dataset=dataset, dose=dose, method=method, subject=subject)

    # what rules name
    def descriptions(self) -> list[str]:
        """What makes the phantom data sets that BIDS asks for."""
        files = (self.paths.description, self.paths.participants)
        return [path.format(dataset=dataset) for dataset in self.scale.phantoms for path in files]

    def to_check(self, wildcards: Wildcards) -> list[str]:
        """All images of a BIDS data set, by subject and kind."""
        dataset = wildcards.dataset
        return [
            image
            for subject in self.scale.datasets[dataset]["subjects"]
            for image in [self.t1w(dataset, subject), *(self.pet(dataset, subject, dose) for dose in self.taken(dataset))]
        ]

    def alone(self, wildcards: Wildcards) -> list[str]:
        """MR of the subjects of a cohort that have no PET."""
        return [self.t1w(wildcards.dataset, subject) for subject in self.subjects.mr_only(wildcards.dataset)]

    def standard_dose(self, wildcards: Wildcards) -> str:
        """A subject's image at the standard dose."""
        return self.pet(wildcards.dataset, wildcards.subject, STANDARD)

    def fixed(self, wildcards: Wildcards) -> str:
        """The PET image that a subject's MR is registered to."""
        dose = self.scale.datasets[wildcards.dataset]["preprocess"]["registration"]["fixed"]
        return self.pet(wildcards.dataset, wildcards.subject, dose)

    def registered(self, wildcards: Wildcards) -> list[str]:
        """Registered MR of every subject that is trained on or tested; a newer one changes no split."""
        dataset, path = wildcards.dataset, self.paths.registered_mr
        return [self.paths.untimed(path.format(dataset=dataset, subject=subject)) for subject in self.subjects.registered(dataset)]

    def to_normalise(self, wildcards: Wildcards) -> dict[str, Any]:
        """A subject's MR; of a phantom also what is known of it."""
        dataset, subject = wildcards.dataset, wildcards.subject
        inputs = {"t1w": self.t1w(dataset, subject), "preflight": self.preflight(dataset)}
        known = self.truth(dataset, subject) if dataset in self.scale.phantoms else {}
        return inputs | {kind: path for kind, path in known.items() if kind in ("labels", "truth")}
