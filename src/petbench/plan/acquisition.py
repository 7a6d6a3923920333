"""What the raw data of a subject are made from: heads of phantoms, scanners, doses and the scans that they are reconstructed from."""

from dataclasses import dataclass
from typing import Any

from petbench.data.brainweb import FOLDER, hand_placed
from petbench.data.brainweb_download import URL
from petbench.errors import InputError
from petbench.physics.doses import STANDARD as STANDARD_DOSE
from petbench.physics.doses import check_doses, is_independent
from petbench.physics.scanner import Scanner
from petbench.plan.paths import Paths
from petbench.plan.scale import Entry, Scale, Wildcards
from petbench.plan.subjects import Subjects
from petbench.workflow.names import STANDARD
from petbench.workflow.schema import told_of


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Phantoms and their scans, and the low doses that are simulated from a lab's images."""

    scale: Scale
    paths: Paths
    subjects: Subjects

    def check(self) -> None:
        """Check that every scanner can record and reconstruct all doses of its data sets.

        Raises:
            InputError: one cannot.
        """
        for name, entry in self.scale.datasets.items():
            simulated = {dose: block for dose, block in entry["doses"].items() if "rec" not in block and "psnr" not in block}
            if "simulation" in entry:
                with told_of(f"data set {name}"):
                    scanner = Scanner.from_entry(self.scale.scanners[entry["scanner"]])
                    check_doses(simulated, entry["simulation"], entry["reconstruction"], scanner)

    # heads
    def head(self, wildcards: Wildcards) -> Entry:
        """The block that the head is made from, without what is said of downloads: another mirror makes no other head."""
        entry = self.scale.datasets[wildcards.dataset]
        return {key: value for key, value in entry[entry["source"]].items() if key not in ("url", "folder", "sha256")}

    def model(self, wildcards: Wildcards) -> dict[str, Any] | None:
        """Number and expected checksum of the BrainWeb model that a subject is made of; None for other phantoms."""
        entry = self.scale.datasets[wildcards.dataset]
        if entry["source"] != "brainweb":
            return None
        number = self.subjects.phantom(wildcards)
        return {"number": number, "sha256": entry["brainweb"].get("sha256", {}).get(number)}

    def model_file(self, wildcards: Wildcards) -> list[str] | str:
        """The file of that model: a lab's own, or the one to fetch, whose time does not count.

        Raises:
            InputError: a lab has several.
        """
        model = self.model(wildcards)
        if model is None:
            return []
        placed = hand_placed(self.scale.datasets[wildcards.dataset]["brainweb"].get("folder", FOLDER), model["number"])
        return str(placed) if placed else self.paths.untimed(self.paths.brainweb_model.format(model=model["number"]))

    def model_source(self, wildcards: Wildcards) -> dict[str, Any]:
        """Where a model is fetched from; one download serves all data sets and scales.

        Raises:
            InputError: data sets differ in it.
        """
        sources = [
            {"url": block.get("url", URL), "sha256": block.get("sha256", {}).get(wildcards.model), "folder": block.get("folder", FOLDER)}
            for block in (entry["brainweb"] for entry in self.scale.datasets.values() if entry["source"] == "brainweb")
        ]
        for key in ("url", "sha256"):
            if len({source[key] for source in sources}) > 1:
                raise InputError(f"brainweb/{key}: the data sets of BrainWeb models differ in it; give all of them the same.")
        return sources[0]

    def head_image(self, wildcards: Wildcards) -> Any:
        """The grid of a phantom's images, which is the scanner's."""
        return self.scanner(wildcards)["image"]

    # scans
    def scanner(self, wildcards: Wildcards) -> Entry:
        """The entry of the data set's scanner."""
        return self.scale.scanners[self.scale.datasets[wildcards.dataset]["scanner"]]

    def dose(self, wildcards: Wildcards) -> Entry:
        """What the dose is, without its differences from the data set's blocks; the standard dose has all counts."""
        block = self.scale.datasets[wildcards.dataset]["doses"].get(wildcards.dose, STANDARD_DOSE)
        return {key: value for key, value in block.items() if key not in ("simulation", "reconstruction")}

    def simulation(self, wildcards: Wildcards) -> Entry:
        """The data set's simulation with the differences of the dose."""
        return self._with_dose("simulation", wildcards)

    def reconstruction(self, wildcards: Wildcards) -> Entry:
        """The data set's reconstruction with the differences of the dose."""
        return self._with_dose("reconstruction", wildcards)

    def gpus(self, wildcards: Wildcards) -> int:
        """GPUs that a reconstruction takes."""
        return int(self.reconstruction(wildcards).get("device") == "cuda")

    def acquired(self, wildcards: Wildcards) -> str:
        """The scan that a dose is reconstructed from: its own if drawn independently, else that of the standard dose."""
        scan = wildcards.dose if is_independent(self.dose(wildcards)) else STANDARD
        return self.paths.acquisition.format(dataset=wildcards.dataset, subject=wildcards.subject, dose=scan)

    def _with_dose(self, key: str, wildcards: Wildcards) -> Entry:
        entry = self.scale.datasets[wildcards.dataset]
        block: dict[str, Any] = entry[key] | entry["doses"].get(wildcards.dose, {}).get(key, {})
        return block
