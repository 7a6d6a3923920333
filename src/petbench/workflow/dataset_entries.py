"""Entries of data sets: resolved with their subjects and folds, and checked by themselves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from petbench.errors import InputError
from petbench.evaluation.settings import LPIPS_EDGE
from petbench.preprocess.splits import folds, people_of
from petbench.preprocess.windows import slice_positions, thin_axis
from petbench.workflow.library import Entry, Library
from petbench.workflow.names import NO_DOSE, STANDARD, VOLUMES
from petbench.workflow.schema import told_of
from petbench.workflow.subjects import with_subjects


def add_dataset(library: Library, name: str, where: str, datasets: dict[str, Entry]) -> None:
    """Resolve a data set into `datasets`, unless it is there.

    Raises:
        InputError: it is missing or cannot be used.
    """
    if name in datasets:
        return
    entry = library.resolve_whole("datasets", name, where)
    path = library.files["datasets"][name]
    with told_of(path):
        entry = with_subjects(entry)
        people = people_of(entry)
        if len(set(people.values())) < 2:
            raise InputError("subjects: one alone cannot be split into training and test; give at least two.")
        folds(people, entry["split"])
    entry.setdefault("doses", {})
    if STANDARD in entry["doses"]:
        raise InputError(f"{path}: doses: {STANDARD!r} is the reserved name of the standard dose; give the low dose another name.")
    fixed = entry["preprocess"]["registration"]["fixed"]
    if fixed not in (STANDARD, *entry["doses"]):
        known = ", ".join([STANDARD, *entry["doses"]])
        raise InputError(f"{path}: preprocess/registration/fixed: there is no dose {fixed!r}; give one of {known}.")
    if "lpips" in entry.get("evaluation", {}):
        _check_lpips(entry, path)
    shape = entry["preprocess"]["grid"]["shape"]
    entry["domains"].setdefault(VOLUMES, {"window": shape, "stride": shape})
    for domain, spec in entry["domains"].items():
        _check_domain(spec, shape, f"{path}: domains/{domain}")
    datasets[name] = entry


def _check_lpips(entry: Entry, path: Path) -> None:
    """Check that AlexNet can see the slices; where the grid has voxels of its own, only the evaluation knows how many they are."""
    grid, axis = entry["preprocess"]["grid"], entry["evaluation"].get("slice_axis", 2)
    edges = [size for number, size in enumerate(grid["shape"]) if number != axis]
    if "voxel_mm" not in grid and min(edges) < LPIPS_EDGE:
        raise InputError(
            f"{path}: evaluation/lpips: slices of {edges} pixels are too small for AlexNet, which takes {LPIPS_EDGE}; remove it."
        )


def _check_domain(domain: Entry, shape: Sequence[int], where: str) -> None:
    for axis, (window, size) in enumerate(zip(domain["window"], shape, strict=True)):
        if window > size:
            raise InputError(
                f"{where}/window: {window} voxels along axis {axis} exceed the volume's {size} (preprocess/grid/shape);"
                " make the window smaller."
            )
    if "slices" in domain:
        try:
            slice_positions(shape, domain["window"], domain["slices"])
        except InputError as error:
            raise InputError(f"{where}/{error}") from None
    if "empty_below" in domain and thin_axis(domain["window"]) is None:
        raise InputError(f"{where}/empty_below: only windows one voxel thick along one axis are slices; remove it.")


def check_dose(datasets: Mapping[str, Entry], dataset: str, dose: str, where: str) -> None:
    """Check that a data set has a dose."""
    doses = datasets[dataset]["doses"] or {NO_DOSE: {}}
    if dose not in doses:
        raise InputError(f"{where}: data set {dataset!r} has no dose {dose!r}; its doses are {', '.join(sorted(doses))}.")
