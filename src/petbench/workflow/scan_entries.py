"""Which data sets have scans for methods that reconstruct, and which cells of a table read n/a for want of them."""

from collections.abc import Mapping
from typing import Any

from petbench.errors import InputError
from petbench.workflow.library import Entry, Library
from petbench.workflow.method_entries import trained
from petbench.workflow.names import ACQUISITION


def takes_scans(methods: Mapping[str, Entry], row: str) -> bool:
    """Whether a row is a method that reconstructs scans."""
    return ACQUISITION in methods.get(row, {}).get("restore", {}).get("inputs", [])


def left_out(
    library: Library, experiment: Entry, methods: Mapping[str, Entry], datasets: Mapping[str, Entry], where: str
) -> list[list[str]]:
    """Cells of a table that read n/a: data set, dose and row, of rows that are shown `where_possible`.

    Raises:
        InputError: a row that is to be shown everywhere lacks a scan, one that is trained lacks those that it is trained on, or a row that
            takes no scan is named.
    """
    possible = experiment.get("where_possible", [])
    if wrong := [row for row in possible if row not in experiment["rows"] or not takes_scans(methods, row)]:
        raise InputError(f"{where}: where_possible: {wrong[0]!r} is no row that reconstructs scans; take it out.")
    cells = []
    for row in (row for row in experiment["rows"] if takes_scans(methods, row)):
        shown = False
        for column in experiment["columns"]:
            dataset, dose = column["dataset"], column["dose"]
            lack = _lack(library, trained(methods, methods[row]), datasets[dataset], dose)
            if lack is None:
                shown = True
            elif row in possible:
                cells.append([dataset, dose, row])
            else:
                raise InputError(
                    f"{where}: rows: {row} reconstructs scans, and data set {dataset!r} {lack}; name the row under where_possible."
                )
        if shown:
            _check_training(library, row, methods, datasets)
    return cells


def _check_training(library: Library, row: str, methods: Mapping[str, Entry], datasets: Mapping[str, Entry]) -> None:
    """Check that what a row is trained on, or begins with, has scans too."""
    entry = methods[row]
    references = [entry[key] for key in ("init_from", "weights_of") if key in entry]
    for reference in [*references, *entry.get("also_train_on", [])]:
        if "dataset" in reference:
            dose = reference.get("dose", next(iter(datasets[reference["dataset"]]["doses"])))
            if lack := _lack(library, trained(methods, entry), datasets[reference["dataset"]], dose):
                path = library.files["methods"][row]
                raise InputError(f"{path}: is trained on scans, and data set {reference['dataset']!r} {lack}; train on another.")
    for reference in references:
        if (other := reference.get("method", row)) != row:
            _check_training(library, other, methods, datasets)


def _lack(library: Library, method: Entry, dataset: Entry, dose: str) -> str | None:
    """Why a method cannot reconstruct the scans of a data set at a dose; none where it can."""
    if dataset["source"] not in ("phantom", "brainweb") or "structural" in dataset["preprocess"]:
        return "comes as images only"
    simulation: dict[str, Any] = dataset["simulation"] | dataset["doses"].get(dose, {}).get("simulation", {})
    if simulation.get("geometry", "direct") != "direct" or simulation.get("format", "sinogram") != "sinogram" or simulation.get("tof"):
        return "has no sinograms of direct planes without time of flight (simulation)"
    grid, domain = dataset["preprocess"]["grid"], method["train"]["domain"]
    image, shape = library.resolve_whole("scanners", dataset["scanner"])["image"]["shape"], grid["shape"]
    if "voxel_mm" in grid:
        return "is seen on other voxels than its scanner's (preprocess/grid/voxel_mm)"
    if any((size - seen) % 2 for size, seen in zip(image[:2], shape[:2], strict=True)):
        return f"has a grid of {shape}, of another axis than its scanner's image, {image} (preprocess/grid/shape)"
    if dataset["preprocess"]["scaling"]["mode"] != "low_dose":
        return "scales the standard dose by itself, where counts have the level of the low dose (preprocess/scaling/mode)"
    if dataset["domains"].get(domain, {}).get("window") not in ([*shape[:2], 1], shape):
        return f"has no domain {domain!r} of whole axial slices, {[*shape[:2], 1]}, or of whole volumes"
    return None
