"""A lab's own scans, restored with existing weights: what the command line names."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from petbench.data.bids import ENTITIES, entities, find_image, find_subject, find_subjects, images_of, read_sidecar
from petbench.errors import InputError
from petbench.files import checksum, digest
from petbench.plan.paths import Paths
from petbench.plan.scale import Wildcards

PET_KEYS = {"session": "ses", "tracer": "trc", "rec": "rec", "scan_run": "run"}
"""Keys of the command line, and the labels of PET images that they give."""
T1W_KEYS = {"t1w_session": "ses", "t1w_acq": "acq", "t1w_rec": "rec", "t1w_run": "run"}
TYPED = ("bids", "weights", "out", "subject", *PET_KEYS, *T1W_KEYS)
"""Keys whose values are text as it was typed, whatever YAML would read in them."""


@dataclass(frozen=True, eq=False)
class Scans:
    """Scans of a BIDS folder, and the weights that restore them.

    Attributes:
        given: The command line's `--config`: `bids`, `weights`, and optionally `subject` (a label or several) and the keys of `PET_KEYS`
            and `T1W_KEYS`.
    """

    paths: Paths
    given: Mapping[str, Any]
    modules_folder: Path

    def pages(self, wildcards: Wildcards) -> list[str]:
        """Pages of the scans that the command line names, and what describes them.

        A subject that lacks an image is left out and named, unless it was asked for.

        Raises:
            InputError: a key, a file, or an image of a subject that was asked for is missing, or no subject has all.
        """
        left_out = self._found[1]
        for line in left_out:
            print(f"petbench: left out: {line}", file=sys.stderr)
        return [*self.paths.restored_descriptions, *(self.paths.restored_scan_page.format(**scan) for scan in self._found[0])]

    @cached_property
    def _found(self) -> tuple[list[dict[str, str]], list[str]]:
        """Wildcards of each scan to restore, and a line for each that is left out."""
        for key in ("bids", "weights"):
            if not self.given.get(key):
                raise InputError(f"restore: give {key} on the command line: --config bids=DIR weights=FILE [subject=01 session=02 ...].")
        for key in ("bids", "weights", "out"):
            if set("{}") & set(str(self.given.get(key, ""))):
                raise InputError(f"{self.given[key]}: braces stand for wildcards in paths; rename the folder, or name a link to it.")
        if not os.path.isfile(self.given["weights"]):  # Path.is_file raises on a name that is too long
            raise InputError(f"{self.given['weights']}: no such file; give the path of a model.safetensors.")
        bids, asked = self.given["bids"], self.given.get("subject")
        labels = [asked] if isinstance(asked, str) else asked
        subjects = [find_subject(bids, label) for label in labels] if labels else find_subjects(bids)
        scans, left_out = [], []
        for subject in subjects:
            for session in self._sessions(subject):
                try:
                    pet = find_image(bids, subject, "pet", self._wanted(PET_KEYS) | session)
                    self._t1w(subject, pet)
                except InputError as error:
                    if labels:
                        raise
                    left_out.append(str(error))
                else:
                    scans.append(_wildcards(pet))
        if not scans:
            raise InputError("\n".join(["restore: no scan has all that it takes:", *left_out]))
        return scans, left_out

    def _sessions(self, subject: str) -> list[dict[str, str]]:
        """The sessions in which a subject has PET of the labels that are wanted, each as a label of its own; one without where none has."""
        wanted = self._wanted(PET_KEYS)
        fitting = [entities(path) for path in images_of(self.given["bids"], subject, "pet")]
        sessions = dict.fromkeys(labels["ses"] for labels in fitting if "ses" in labels and wanted.items() <= labels.items())
        apart = any("ses" not in labels and wanted.items() <= labels.items() for labels in fitting)
        return [{"ses": session} for session in sessions] if sessions and not apart else [{}]

    def _wanted(self, keys: Mapping[str, str]) -> dict[str, str]:
        return {
            label: str(self.given[key]).removeprefix(f"{label}-") for key, label in keys.items() if self.given.get(key) not in (None, "")
        }

    def _t1w(self, subject: str, pet: Path) -> Path:
        return find_image(self.given["bids"], subject, "T1w", self._wanted(T1W_KEYS), beside=entities(pet).get("ses"))

    def inputs(self, wildcards: Wildcards) -> dict[str, str]:
        """The PET and MR image of a scan, and the weights.

        Images are named as the data set names them: of a link nobody is to read where it leads. Weights of this workflow become absolute,
        so that they are taken as they are and nothing is trained.

        Raises:
            InputError: an image is missing, or there are several.
        """
        labels = entities(wildcards.scan)
        pet = find_image(self.given["bids"], f"sub-{labels.pop('sub')}", "pet", labels)
        weights = self.given["weights"]
        return {
            "pet": str(pet),
            "mr": str(self._t1w(wildcards.scan.partition("_")[0], pet)),
            "weights": os.path.abspath(weights) if Path(weights).parts[0] == "results" else weights,
        }

    @cache
    def checksums(self, folder: str, scan: str) -> dict[str, str]:
        """Of all that a scan is restored from: another file of an older time is another scan all the same."""
        files = self.inputs(Wildcards(folder=folder, scan=scan))
        return {kind: checksum(path) for kind, path in files.items()} | {"sidecar": digest(read_sidecar(files["pet"]))}

    def modules(self, wildcards: Wildcards) -> list[str]:
        """Every module of a method: weights from the command line may belong to any."""
        return sorted(path.stem for path in self.modules_folder.glob("*.yaml"))


def _wildcards(pet: Path) -> dict[str, str]:
    """Folder and name of a restored scan: the labels that tell scans apart, and nothing else of the image's own name."""
    labels = entities(pet)
    kept = [f"{key}-{labels[key]}" for key in ("sub", *ENTITIES["pet"]) if key in labels]
    return {"folder": "/".join(part for part in kept if part.startswith(("sub-", "ses-"))), "scan": "_".join(kept)}
