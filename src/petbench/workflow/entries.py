"""Entries: the YAML files that say what to run, resolved for one scale and checked against each other."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.evaluation.definitions import (
    COSTS,
    DEFINITIONS,
    DIAGNOSTIC,
    MR_ALONE,
    REAL_PET,
    REGIONS,
    RELIANCE,
    STANDARD_ROW,
    STUDIES,
    VIEWS,
    shown_in,
)
from petbench.evaluation.settings import LPIPS_EDGE
from petbench.files import digest
from petbench.preprocess.splits import folds, people_of, subjects_tested, train_subjects
from petbench.preprocess.windows import slice_positions, thin_axis
from petbench.workflow.library import MEASURED, NOT_INHERITED, Entry, Library
from petbench.workflow.modules import check_module
from petbench.workflow.range_entries import OWN, RANGE_KINDS, add_range_experiment
from petbench.workflow.schema import check, read_yaml
from petbench.workflow.subjects import with_subjects

LOW_DOSE = "low_dose"
MORE_INPUTS = ("context",)
"""What `restore/inputs` may name beside the low dose and MR, as in `petbench.methods.base`; a module takes what its schema names."""
UNRESTORED = (LOW_DOSE, STANDARD_ROW)
"""Rows of a table that are images of the data set, not a method's."""
STANDARD = "standard"
NO_DOSE = "none"
"""The dose of data sets whose PET is made of MR alone."""
VOLUMES = "volumes"
"""The domain that every data set has: the whole working grid as one window."""


def load(config: Mapping[str, Any], basedir: str | Path) -> Entry:
    """Resolve all that a scale runs.

    Args:
        config: A scale: `scale`, `run`, `override`, and optionally `entries` (more folders of entries).
        basedir: The folder that holds `config/`.

    Returns:
        `scale`, `run`, and the resolved `experiments`, `datasets`, `methods`, `scanners`, `psf_sets`, `predictors` and `torsos` that they
        need, keys sorted.

    Raises:
        InputError: anything a user can mend, in one line.
    """
    basedir = Path(basedir).resolve()
    if basedir.is_relative_to(Path.cwd()):  # so that messages name files as a user does
        basedir = basedir.relative_to(Path.cwd())
    name = f"scale {config.get('scale')!r}"
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
        _check_experiment(experiment, basedir, where)
        if experiment["kind"] in STUDIES:
            _add_classifier(library, experiment["classifier"], f"{where}: classifier", classifiers)
        for method in methods_of(experiment):
            _add_method(library, method, f"{where}: rows", methods, datasets)
        for column in experiment["columns"]:
            _add_dataset(library, column["dataset"], f"{where}: columns", datasets)
            _check_dose(datasets, column["dataset"], column["dose"], f"{where}: columns")
            _check_windows(library, methods_of(experiment), methods, datasets[column["dataset"]], column["dataset"])
            if experiment["kind"] in STUDIES:
                _check_study(classifiers[experiment["classifier"]], datasets[column["dataset"]], column, f"{where}: columns")
            _check_known(experiment, datasets[column["dataset"]], column["dataset"], where)
        _check_distinct(methods_of(experiment), methods, where)
        _check_context_shown(experiment, methods, where)
        if experiment["kind"] == "reliance":
            _check_reliance(experiment, methods, datasets, where)
        if "similarity" in experiment:
            _check_time_step(experiment, methods, where)
    scanners = {
        entry["scanner"]: library.resolve_whole("scanners", entry["scanner"], f"{library.files['datasets'][dataset]}: scanner")
        for dataset, entry in datasets.items()
        if "scanner" in entry
    }
    for dataset, content in datasets.items():
        if "scanner" in content:
            subsets, views = content["reconstruction"]["subsets"], scanners[content["scanner"]]["views"]
            if subsets > views:
                path = library.files["datasets"][dataset]
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


def _check_experiment(experiment: Entry, basedir: Path, where: str) -> None:
    """Check what an experiment names, so that a slip of the pen is not found after the training."""

    def one_of(key: str, name: str, known: Iterable[str]) -> None:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1)
            raise InputError(
                f"{where}: {key}: there is no {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"give one of {', '.join(known)}.")
            )

    rows = experiment["rows"]
    is_study = experiment["kind"] in STUDIES
    known = {"diagnosis": DIAGNOSTIC, "roc": DIAGNOSTIC, "reliance": RELIANCE}
    of_images = [name for name in DEFINITIONS if name not in (*COSTS, *DIAGNOSTIC, *RELIANCE)]
    for metric in experiment.get("metrics", []):
        one_of("metrics", metric, known.get(experiment["kind"], of_images))
    for row in UNRESTORED:
        if is_study and row in rows:
            raise InputError(f"{where}: rows: {row!r} is no row of a diagnosis; its rows are {MR_ALONE}, {REAL_PET} and methods.")
    for metric in experiment.get("cost", []):
        one_of("cost", metric, COSTS)
    if "region" in experiment:
        one_of("region", experiment["region"], REGIONS)
        _check_regions(experiment, where)
    if "statistics" in experiment:
        tested = experiment["statistics"]["metric"]
        for metric in [tested] if isinstance(tested, str) else tested:
            one_of("statistics/metric", metric, experiment["metrics"])
        one_of("statistics/against", experiment["statistics"]["against"], [row for row in rows if row != STANDARD_ROW])
    for panel in experiment.get("panels", []):
        for tick in panel["ticks"]:
            one_of("panels/ticks", tick["method"], rows)
    for method in experiment.get("published_rows", {}):
        one_of("published_rows", method, rows)
    for metric in experiment.get("published_metrics", {}):
        one_of("published_metrics", metric, [*experiment.get("metrics", []), *experiment.get("cost", [])])
    if "published" in experiment:
        one_of("published", experiment["published"], sorted(path.stem for path in (basedir / "resources" / "published").glob("*.tsv")))


def _check_regions(experiment: Entry, where: str) -> None:
    """Check that each column has a place of its own and shows some metric, and that each metric is shown."""
    metrics, seen = experiment["metrics"], set()
    for column in experiment["columns"]:
        region = column.get("region", experiment["region"])
        if region not in REGIONS:
            raise InputError(f"{where}: columns/region: there is no {region!r}; give one of {', '.join(REGIONS)}.")
        if not shown_in(metrics, region):
            known = ", ".join(DEFINITIONS[metrics[0]].regions) or "single lesions only"
            raise InputError(
                f"{where}: region: {metrics[0]!r} is measured in {known}, not in {region!r}; name one of those, or other metrics."
            )
        place = (column["dataset"], column["dose"], region)
        if place in seen:
            raise InputError(f"{where}: columns: {'/'.join(place[:2])} stands twice in region {region!r}; keep one.")
        seen.add(place)
    shown = {name for *_, region in seen for name in shown_in(metrics, region)}
    if lost := [name for name in metrics if name not in shown]:
        known = ", ".join(DEFINITIONS[lost[0]].regions) or "single lesions only"
        raise InputError(f"{where}: metrics: {lost[0]!r} is measured in {known}, in the region of no column; name one, or take it out.")
    against_truth = [name for name in metrics if DEFINITIONS[name].truth]
    if against_truth and experiment["reference"] != "true_activity":
        raise InputError(f"{where}: reference: {against_truth[0]!r} is measured against true_activity alone; name that.")


def _check_known(experiment: Entry, dataset: Entry, name: str, where: str) -> None:
    """Check that a data set has what an experiment measures against and shows: the truth, lesions, the slices of its planes."""
    phantom = dataset["source"] in ("phantom", "brainweb") and "structural" not in dataset["preprocess"]
    if experiment.get("reference") == "true_activity" and not phantom:
        raise InputError(f"{where}: reference: the true activity of data set {name!r} is not known; take standard_dose.")
    views = experiment.get("views", {})
    if not phantom and any("lesion" in place for place in views.get("through", [])):
        raise InputError(f"{where}: views/through: lesions of data set {name!r} are not known; take head, or a place in mm.")
    evaluation = dataset.get("evaluation", {})
    axis = evaluation.get("slice_axis", 2)
    if "slices" in evaluation and (beside := [plane for plane in views.get("planes", []) if VIEWS[plane] != axis]):
        raise InputError(
            f"{where}: views/planes: data set {name!r} evaluates some slices only, which {beside[0]} planes cut across; remove it."
        )


def _add_dataset(library: Library, name: str, where: str, datasets: dict[str, Entry]) -> None:
    if name not in datasets:
        entry = library.resolve_whole("datasets", name, where)
        path = library.files["datasets"][name]
        try:
            entry = with_subjects(entry)
            people = people_of(entry)
            if len(set(people.values())) < 2:
                raise InputError("subjects: one alone cannot be split into training and test; give at least two.")
            folds(people, entry["split"])
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
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


def _check_dose(datasets: Mapping[str, Entry], dataset: str, dose: str, where: str) -> None:
    doses = datasets[dataset]["doses"] or {NO_DOSE: {}}
    if dose not in doses:
        raise InputError(f"{where}: data set {dataset!r} has no dose {dose!r}; its doses are {', '.join(sorted(doses))}.")


def methods_of(experiment: Mapping[str, Any]) -> list[str]:
    """Method entries among an experiment's rows: of a diagnosis, not MR alone and not real PET."""
    return [row for row in experiment["rows"] if experiment["kind"] not in STUDIES or row not in (MR_ALONE, REAL_PET)]


def _add_classifier(library: Library, name: str, where: str, classifiers: dict[str, Entry]) -> None:
    entry = library.resolve_whole("classifiers", name, where)
    if ("steps" in entry["train"]) == ("epochs" in entry["train"]):
        path = library.files["classifiers"][name]
        raise InputError(f"{path}: train: give either steps or epochs, not both or neither (null removes an inherited key).")
    classifiers[name] = entry


def _check_study(classifier: Entry, dataset: Entry, column: Entry, where: str) -> None:
    """Check that a data set can be studied: it has labels, volumes in one window, and folds with both groups on either side."""
    name, domain = column["dataset"], classifier["domain"]
    if "labels" not in dataset:
        raise InputError(f"{where}: data set {name!r} has no diagnosis; choose one that has.")
    if dataset["domains"].get(domain, {}).get("window") != dataset["preprocess"]["grid"]["shape"]:
        raise InputError(f"{where}: data set {name!r} has no domain {domain!r} with one window as large as preprocess/grid/shape; add it.")
    pool = classifier.get("inputs", {}).get("pool", 1)
    if any(side % pool for side in dataset["preprocess"]["grid"]["shape"]):
        raise InputError(f"{where}: inputs/pool {pool} of the classifier does not divide the grid of data set {name!r}; choose another.")
    if column["study"] == "mr_only" and not dataset["mr_only"]:
        raise InputError(f"{where}: everybody in data set {name!r} has PET; leave the study mr_only out.")
    if column["study"] == "paired":
        people = people_of(dataset)
        if len({dataset["labels"][subject] for subject in subjects_tested(people, dataset["split"])}) < 2:
            raise InputError(f"{where}: the split of data set {name!r} tests one group alone; test more subjects, or take another seed.")
        for fold in folds(people, dataset["split"]):
            if len({dataset["labels"][subject] for subject in train_subjects(people, dataset["split"], fold)}) < 2:
                raise InputError(f"{where}: fold {fold} of data set {name!r} trains on one group alone; give fewer folds or more subjects.")


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
        factor = 2 ** (len(network[halvings["levels"]]) - halvings["less"])
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


def _add_method(
    library: Library, name: str, where: str, methods: dict[str, Entry], datasets: dict[str, Entry], above: Sequence[str] = ()
) -> None:
    if name in above:
        raise InputError(f"{where}: methods refer to each other in a circle ({' -> '.join([*above, name])}); cut it.")
    if name in methods or name in UNRESTORED:
        return
    entry = library.resolve_whole("methods", name, where)
    path = library.files["methods"][name]
    for key in ("init_from", "weights_of"):
        if key in entry:
            reference = entry[key]
            _add_method(library, reference.get("method", name), f"{path}: {key}", methods, datasets, (*above, name))
            if "dataset" in reference:
                _add_dataset(library, reference["dataset"], f"{path}: {key}", datasets)
                if "dose" in reference:
                    _check_dose(datasets, reference["dataset"], reference["dose"], f"{path}: {key}")
    if "context" in entry:
        context = entry["context"]["method"]
        _add_method(library, context, f"{path}: context", methods, datasets, (*above, name))
        if "ensemble" in methods[context]:
            raise InputError(f"{path}: context: {context!r} is an ensemble, which has no weights of its own; name one of its methods.")
    for part in entry.get("ensemble", []):
        _add_method(library, part, f"{path}: ensemble", methods, datasets, (*above, name))
    for other in entry.get("also_train_on", []):
        _add_dataset(library, other["dataset"], f"{path}: also_train_on", datasets)
        _check_dose(datasets, other["dataset"], other["dose"], f"{path}: also_train_on")
    kinds = [key for key in ("train", "weights_of", "ensemble") if key in entry]
    if len(kinds) != 1:
        have = " and ".join(kinds) or "none"
        raise InputError(f"{path}: an entry has exactly one of train, weights_of and ensemble (here: {have}); keep one.")
    needed = {"fuse"} if "ensemble" in entry else {"inputs", "batch_size"}
    if missing := sorted(needed - entry["restore"].keys()):
        raise InputError(f"{path}: restore: key {missing[0]!r} is missing; add it.")
    if "train" in entry and ("steps" in entry["train"]) == ("epochs" in entry["train"]):
        raise InputError(f"{path}: train: give either steps or epochs, not both or neither (null removes an inherited key).")
    if "train" in entry:
        _check_module(library, entry, path)
    if ("context" in entry) != ("context" in entry["restore"].get("inputs", [])):
        raise InputError(f"{path}: restore/inputs name context where the entry has a `context`, and only there; give both, or neither.")
    if "wavelet" in entry["restore"]:
        _check_wavelet(entry["restore"]["wavelet"], path)
    _check_restoring(library, entry["restore"], _trained(methods, entry), str(path))
    if "train" in entry and "init_from" in entry:
        _check_start(entry, _trained(methods, methods[entry["init_from"]["method"]]), str(path))
    methods[name] = entry


def _check_module(library: Library, entry: Entry, path: Path) -> None:
    try:
        check_module(entry["module"], entry["train"], library.module_schema(entry["module"]))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _trained(methods: Mapping[str, Entry], entry: Entry) -> Entry:
    """The entry whose training makes the weights that one runs with; references to an entry itself were refused as circles."""
    return _trained(methods, methods[entry["weights_of"]["method"]]) if "weights_of" in entry else entry


def _check_start(entry: Entry, start: Entry, where: str) -> None:
    """Check that a training can begin with another's weights; what an entry does not tell, and whether a part fits, is found on loading."""

    def shape(of: Entry, key: str) -> Any:
        block = of.get("module") if key == "module" else of.get("train", {}).get(key)
        return {name: value for name, value in block.items() if name != "dropout"} if isinstance(block, dict) else block

    if "part" in entry["init_from"]:
        return
    for key in ("module", "network", "discriminator", "conditions"):
        if shape(entry, key) != shape(start, key):
            named = key if key == "module" else f"train/{key}"
            raise InputError(f"{where}: init_from: those weights are of another {named} ({start['title']}); give both the same.")


def _check_restoring(library: Library, restore: Entry, source: Entry, where: str) -> None:
    """Check that a `restore` block fits the `train` block of the weights that it runs with (none: an ensemble)."""
    diffusion = source.get("train", {}).get("diffusion", {})
    timesteps, bounds = diffusion.get("timesteps"), diffusion.get("range")
    if bounds is not None and bounds[0] >= bounds[1]:
        raise InputError(f"{where}: train/diffusion/range: {bounds[0]} is not below {bounds[1]}; give a lower value and then a higher one.")
    sampler = restore.get("sampler")
    if timesteps is None and sampler is not None:
        raise InputError(f"{where}: restore/sampler: this method does not sample; remove it.")
    if timesteps is not None and sampler is None:
        raise InputError(f"{where}: restore: this method samples and has no sampler; add restore/sampler.")
    if sampler is not None and sampler["steps"] > timesteps:
        raise InputError(
            f"{where}: restore/sampler/steps: {sampler['steps']} exceed the {timesteps} that the method is trained with"
            " (train/diffusion/timesteps); take fewer."
        )
    if "module" in source:
        further = library.module_schema(source["module"]).get("more", [])
        if unknown := [kind for kind in restore["inputs"] if kind in MORE_INPUTS and kind not in further]:
            raise InputError(f"{where}: restore/inputs: the module {source['module']} takes no {unknown[0]}; take it out.")
        check({"train": source["train"], "restore": restore}, library.module_schema(source["module"]).get("together", {}), where)


def _check_wavelet(wavelet: str, path: Path) -> None:
    import pywt

    known = pywt.wavelist(kind="discrete")
    if wavelet not in known:
        close = difflib.get_close_matches(wavelet, known, n=3) or ["haar", "db2", "sym4"]
        raise InputError(f"{path}: restore/wavelet: PyWavelets has no discrete wavelet {wavelet!r}; give one such as {', '.join(close)}.")


def _check_distinct(rows: Sequence[str], methods: Mapping[str, Entry], where: str) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        if row in UNRESTORED:
            continue
        content = digest({key: value for key, value in methods[row].items() if key not in (*NOT_INHERITED, MEASURED)})
        if content in seen:
            raise InputError(
                f"{where}: rows {seen[content]!r} and {row!r} are the same at this scale; keep their difference in the override."
            )
        seen[content] = row


def _check_time_step(experiment: Entry, methods: Mapping[str, Entry], where: str) -> None:
    """Check that layers are compared in a diffusion, at a step that it has."""
    (row,) = experiment["rows"]
    steps = _trained(methods, methods.get(row, {})).get("train", {}).get("diffusion", {}).get("timesteps")
    if steps is None:
        raise InputError(f"{where}: rows: {row} is no diffusion method, so its layers see no time step; compare another.")
    if experiment["similarity"]["time_step"] >= steps:
        raise InputError(
            f"{where}: similarity/time_step: {experiment['similarity']['time_step']} is not among the {steps} steps of {row}"
            f" (0 to {steps - 1}); lower it."
        )


def _check_context_shown(experiment: Entry, methods: Mapping[str, Entry], where: str) -> None:
    """Check that no row takes a context where images are swapped or PET is made for a diagnosis: its context would be another, too."""
    for row in methods_of(experiment) if experiment["kind"] in (*STUDIES, "reliance") else []:
        if "context" in methods.get(row, {}):
            raise InputError(f"{where}: rows: {row} takes a context, which this kind of experiment does not make; name its first stage.")


def _check_reliance(experiment: Entry, methods: Mapping[str, Entry], datasets: Mapping[str, Entry], where: str) -> None:
    """Check that each row restores by weights of its own fold, and each column has a low dose."""
    for row in experiment["rows"]:
        if row == LOW_DOSE or "ensemble" in methods[row]:
            raise InputError(f"{where}: rows: {row} restores by no weights, so that nothing can be swapped; name methods that are trained.")
    for column in experiment["columns"]:
        if not datasets[column["dataset"]]["doses"]:
            raise InputError(f"{where}: columns: data set {column['dataset']!r} has no low dose; choose one that has.")


def wildcard_choice(names: Sequence[str]) -> str:
    """A regular expression that matches exactly these names."""
    return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"
