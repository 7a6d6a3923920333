"""Images of a subject: the workflow's own, a lab's where they lie, and what methods read of them."""

from dataclasses import dataclass
from typing import Any

from petbench.data.openneuro import URL, image_of, read_manifest
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
        missing += self._not_listed()
        if missing:
            raise InputError("\n".join(dict.fromkeys(missing)))

    def _not_listed(self) -> list[str]:
        """Images of subjects of a fetched data set that its manifest has not, a line each."""
        missing = []
        for dataset in self.scale.fetched:
            entry = self.scale.datasets[dataset]
            for subject in entry["subjects"]:
                try:
                    self.remote(dataset, subject, "pet"), self.remote(dataset, subject, "T1w")
                except InputError as error:
                    missing.append(f"data set {dataset}: {error}")
        return missing

    def left_out(self) -> list[str]:
        """Who of a lab's data sets lacks an image and is left out, a line each."""
        return [f"data set {dataset}: {line}" for dataset in self.scale.labs for line in self.scale.datasets[dataset].get("left_out", [])]

    # raw
    def taken(self, dataset: str) -> list[str]:
        """Doses that a data set of people has images of."""
        entry = self.scale.datasets[dataset]
        return [STANDARD, *entry["doses"]] if dataset in self.scale.fetched else taken(entry)

    def simulated(self, dataset: str) -> list[str]:
        """Low doses that are simulated: all of a phantom's, and those that a lab's data set has no images of."""
        doses = {} if dataset in self.scale.fetched else self.scale.datasets[dataset]["doses"]
        return [dose for dose, block in doses.items() if "rec" not in block]

    def pet(self, dataset: str, subject: str, dose: str) -> str:
        """Path of a subject's PET image at a dose."""
        if dataset not in self.scale.labs or dose in self.simulated(dataset):
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
        if dataset in self.scale.fetched:
            return self.remote(dataset, subject, "T1w")
        if "images" in entry:
            return str(entry["images"][subject]["t1w"])
        return str(image_of_lab(entry, subject, None))

    def remote(self, dataset: str, subject: str, kind: str) -> str:
        """Path of the dynamic PET image (`pet`) or the MR (`T1w`) of a subject of a fetched data set, here.

        Raises:
            InputError: its manifest has none, or several.
        """
        block = self.scale.datasets[dataset]["openneuro"]
        file = image_of(block, subject, kind)
        return self.paths.untimed(self.paths.openneuro.format(accession=block["accession"], file=file))

    def dynamic(self, wildcards: Wildcards) -> dict[str, str]:
        """The dynamic image that a subject's doses are means of, and its sidecar."""
        image = self.remote(wildcards.dataset, wildcards.subject, "pet")
        return {"frames": image, "sidecar": self.paths.untimed(str(image).removesuffix(".nii.gz") + ".json")}

    def seconds(self, wildcards: Wildcards) -> dict[str, Any]:
        """Which frames of a dynamic image a dose is the mean of: from which second on, how many seconds, and how many the standard has."""
        entry = self.scale.datasets[wildcards.dataset]
        standard = entry["openneuro"]["standard_s"]
        low = entry["doses"].get(wildcards.dose, {}).get("seconds", standard)
        return {"from_s": entry["openneuro"].get("from_s", 0), "seconds": low, "standard_s": standard}

    def remote_source(self, wildcards: Wildcards) -> dict[str, Any]:
        """Where a file of a data set comes from, and what its manifest says of it; one download serves all data sets and scales.

        Raises:
            InputError: data sets differ in it.
        """
        blocks = [self.scale.datasets[dataset]["openneuro"] for dataset in self.scale.fetched]
        blocks = [block for block in blocks if block["accession"] == wildcards.accession]
        for key in ("url", "manifest"):
            if len({block.get(key) for block in blocks}) != 1:
                raise InputError(f"openneuro/{key}: data sets of {wildcards.accession} differ in it; give all of them the same.")
        files = read_manifest(blocks[0]["manifest"])
        if wildcards.file not in files:
            raise InputError(f"{blocks[0]['manifest']}: does not list {wildcards.file}; add its row.")
        return {"url": blocks[0].get("url", URL), "remote": tuple(files[wildcards.file])}

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
