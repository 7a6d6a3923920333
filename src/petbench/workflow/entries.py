"""Entries: the YAML files that say what to run, resolved for one scale and checked against each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.evaluation.definitions import STUDIES
from petbench.preprocess.windows import thin_axis
from petbench.workflow.dataset_entries import add_dataset, check_dose
from petbench.workflow.experiment_entries import (
    check_context_shown,
    check_diagnosis,
    check_distinct,
    check_experiment,
    check_known,
    check_reliance,
    check_time_step,
    is_left_out,
    methods_of,
)
from petbench.workflow.library import Entry, Library, check_length
from petbench.workflow.method_entries import add_method
from petbench.workflow.range_entries import OWN, RANGE_KINDS, add_range_experiment
from petbench.workflow.scan_entries import left_out
from petbench.workflow.schema import check, check_size, read_yaml


def load(config: Mapping[str, Any], basedir: str | Path) -> Entry:
    """Resolve all that a scale runs.

    Args:
        config: A scale: `scale`, `run`, `override`, and optionally `entries` (more folders of entries).
        basedir: The folder that holds `config/`.

    Returns:
        `scale`, `run`, and the resolved `experiments`, `datasets`, `methods`, `scanners`, `psf_sets`, `predictors`, `torsos` and
        `calibrations` that they need, keys sorted.

    Raises:
        InputError: anything a user can mend, in one line.
    """
    basedir = Path(basedir).resolve()
    if basedir.is_relative_to(Path.cwd()):  # so that messages name files as a user does
        basedir = basedir.relative_to(Path.cwd())
    name = f"scale {config.get('scale')!r}"
    check_size(dict(config), name)
    check(dict(config), read_yaml(basedir / "config/schemas/scale.yaml"), name)
    folders = (basedir / "config", *(basedir / folder for folder in config.get("entries", [])))
    library = Library(folders, config.get("override", {}), name)
    for kind, overrides in library.overrides.items():
        for entry in overrides:
            if entry != "*":
                library.path(kind, entry, f"{name}: override/{kind}")

    experiments = {run: library.resolve_whole("experiments", run, f"{name}: run") for run in config["run"]}
    methods: dict[str, Entry] = {}
    datasets: dict[str, Entry] = {}
    classifiers: dict[str, Entry] = {}
    ranges: dict[str, dict[str, Entry]] = {kind: {} for kind in (*OWN, "scanners")}
    for run, experiment in experiments.items():
        where = f"{library.files['experiments'][run]}"
        if experiment["kind"] in RANGE_KINDS:
            add_range_experiment(library, experiment, where, ranges)
            continue
        check_experiment(experiment, basedir, where)
        if experiment["kind"] in STUDIES:
            _add_classifier(library, experiment["classifier"], f"{where}: classifier", classifiers)
        for method in methods_of(experiment):
            add_method(library, method, f"{where}: rows", methods, datasets)
        for column in experiment["columns"]:
            add_dataset(library, column["dataset"], f"{where}: columns", datasets)
            check_dose(datasets, column["dataset"], column["dose"], f"{where}: columns")
            if experiment["kind"] in STUDIES:
                check_diagnosis(classifiers[experiment["classifier"]], datasets[column["dataset"]], column, f"{where}: columns")
            check_known(experiment, datasets[column["dataset"]], column["dataset"], where)
        if cells := left_out(library, experiment, methods, datasets, where):
            experiment["left_out"] = cells
        for column in experiment["columns"]:
            rows = [row for row in methods_of(experiment) if not is_left_out(experiment, column["dataset"], column["dose"], row)]
            _check_windows(library, rows, methods, datasets[column["dataset"]], column["dataset"])
        check_distinct(methods_of(experiment), methods, where)
        check_context_shown(experiment, methods, where)
        if experiment["kind"] == "reliance":
            check_reliance(experiment, methods, datasets, where)
        if "similarity" in experiment:
            check_time_step(experiment, methods, where)
    scanners: dict[str, Entry] = {}
    for dataset, content in datasets.items():
        if "scanner" in content:
            path = library.files["datasets"][dataset]
            scanner = scanners[content["scanner"]] = library.resolve_whole("scanners", content["scanner"], f"{path}: scanner")
            subsets, views = content["reconstruction"]["subsets"], scanner["views"]
            if subsets > views:
                raise InputError(f"{path}: reconstruction/subsets: {subsets} subsets exceed the scanner's {views} views; lower it.")
    return {
        "scale": config["scale"],
        "run": list(config["run"]),
        "experiments": experiments,
        "datasets": datasets,
        "methods": methods,
        **ranges,
        "scanners": scanners | ranges["scanners"],
        "classifiers": classifiers,
        "report": config.get("report", {}),
    }


def _add_classifier(library: Library, name: str, where: str, classifiers: dict[str, Entry]) -> None:
    entry = library.resolve_whole("classifiers", name, where)
    check_length(entry["train"], library.files["classifiers"][name])
    classifiers[name] = entry


def _check_windows(library: Library, rows: Sequence[str], methods: Mapping[str, Entry], dataset: Entry, name: str) -> None:
    """Check that the domain of each row, and of what makes its context, exists in the data set, and that restoring leaves no voxel out."""
    first = [methods[row]["context"]["method"] for row in rows if "context" in methods.get(row, {})]
    if first:
        _check_windows(library, first, methods, dataset, name)
    for row in rows:
        method = methods.get(row, {})
        if "train" not in method:
            continue
        path, domain = library.files["methods"][row], method["train"]["domain"]
        if domain not in dataset["domains"]:
            known = ", ".join(dataset["domains"])
            raise InputError(
                f"{path}: train/domain: data set {name!r} has no domain {domain!r}; its domains are {known}: take one of them, or add"
                f" domains/{domain} to {library.files['datasets'][name]}."
            )
        needs_dose = "low_dose" in method["restore"].get("inputs", [])
        if needs_dose and not dataset["doses"]:
            raise InputError(f"{path}: restore/inputs: data set {name!r} has no low dose; choose a method that makes PET of MR.")
        window = dataset["domains"][domain]["window"]
        if "stride" in method["restore"] and any(step > size for step, size in zip(method["restore"]["stride"], window, strict=True)):
            raise InputError(
                f"{path}: restore/stride: {method['restore']['stride']} steps over voxels of {name!r}'s windows, {window}; shorten it."
            )
        if "slices" in method["restore"] and thin_axis(window) is None:
            raise InputError(f"{path}: restore/slices: {name!r}'s windows {window} are no slices; remove it.")
        _check_network(library, method, window, f"{path}: train/network", f"{name!r}'s domain {domain!r}")
        _check_fusion(method["train"].get("fusion"), window, f"{path}: train/fusion", f"{name!r}'s domain {domain!r}")


def _check_network(library: Library, method: Entry, window: Sequence[int], where: str, domain: str) -> None:
    """Check that a network takes windows of this size: their dimensions, and that they halve as often as it asks (schema: `halvings`)."""
    network, sides = method["train"].get("network", {}), [size for size in window if size > 1]
    if network.get("spatial_dims", len(sides)) != len(sides):
        raise InputError(f"{where}/spatial_dims: {network['spatial_dims']}, and {domain} has windows {window}; choose another domain.")
    halvings = library.module_schema(method["module"]).get("halvings")
    if halvings is not None:
        levels = network[halvings["levels"]]
        factor = 2 ** ((levels if isinstance(levels, int) else len(levels)) - halvings["less"])
        if any(side % factor for side in sides):
            raise InputError(
                f"{where}/{halvings['levels']}: the sides of {domain}'s windows {window} must be divisible by {factor};"
                " take fewer levels or another window."
            )


def _check_fusion(fusion: Entry | None, window: Sequence[int], where: str, domain: str) -> None:
    """Check that a fusion of modalities takes windows of this size: their dimensions, and that windows of its attention tile them."""
    sides = [size for size in window if size > 1]
    if fusion is None:
        return
    if fusion["spatial_dims"] != len(sides):
        raise InputError(f"{where}/spatial_dims: {fusion['spatial_dims']}, and {domain} has windows {window}; choose another domain.")
    if fusion["attention"] == "window" and any(side % fusion["window"] for side in sides):
        raise InputError(
            f"{where}/window: {fusion['window']} does not divide the sides of {domain}'s windows {window}; choose a divisor of all of them."
        )
