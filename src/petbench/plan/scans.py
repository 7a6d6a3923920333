"""A lab's own scans, restored with existing weights: what the command line names."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbench.data.bids import find_image, find_subjects
from petbench.errors import InputError
from petbench.plan.paths import Paths
from petbench.plan.scale import Wildcards


@dataclass(frozen=True, eq=False)
class Scans:
    """Scans of a BIDS folder, and the weights that restore them.

    Attributes:
        given: The command line's `--config`: `bids`, `weights`, and optionally `subject` and `rec`.
    """

    paths: Paths
    given: Mapping[str, Any]
    modules_folder: Path

    def pages(self, wildcards: Wildcards) -> list[str]:
        """Restored volumes of the scans that the command line names.

        Raises:
            InputError: it lacks a key, or names a subject that is not there.
        """
        for key in ("bids", "weights"):
            if key not in self.given:
                raise InputError(f"restore: give {key} on the command line: --config bids=DIR weights=FILE [subject=sub-01].")
        found = [label.removeprefix("sub-") for label in find_subjects(self.given["bids"])]
        wanted = [self._subject(str(self.given["subject"]).removeprefix("sub-"), found)] if "subject" in self.given else found
        return [self.paths.restored_description, *(self.paths.restored_scan_page.format(subject=subject) for subject in wanted)]

    def _subject(self, wanted: str, found: list[str]) -> str:
        """A subject's label; Snakemake reads subject=01 as the number 1."""
        matches = [wanted] if wanted in found else [label for label in found if label.lstrip("0") == wanted]
        if len(matches) != 1:
            raise InputError(f"restore: {self.given['bids']} has no subject {wanted!r}; its subjects are {', '.join(found)}.")
        return matches[0]

    def inputs(self, wildcards: Wildcards) -> dict[str, str]:
        """The PET and MR image of a subject, and the weights.

        Paths are made absolute, so that weights of this workflow are taken as they are and train nothing.

        Raises:
            InputError: an image is missing, or there are several.
        """
        bids, subject = self.given["bids"], f"sub-{wildcards.subject}"
        return {
            "pet": str(find_image(bids, subject, "pet", self.given.get("rec")).resolve()),
            "mr": str(find_image(bids, subject, "T1w").resolve()),
            "weights": os.path.abspath(self.given["weights"]),
        }

    def modules(self, wildcards: Wildcards) -> list[str]:
        """Every module of a method: weights from the command line may belong to any."""
        return sorted(path.stem for path in self.modules_folder.glob("*.yaml"))
