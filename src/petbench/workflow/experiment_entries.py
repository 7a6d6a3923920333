"""Checks of what an experiment names: rows, metrics, regions and what its data sets and methods have for it."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.evaluation.definitions import (
    COSTS,
    DEFINITIONS,
    DIAGNOSTIC,
    MR_ALONE,
    RANK,
    REAL_PET,
    REGIONS,
    RELIANCE,
    STANDARD_ROW,
    STUDIES,
    VIEWS,
    shown_in,
)
from petbench.files import digest
from petbench.preprocess.splits import folds, people_of, subjects_tested, train_subjects
from petbench.workflow.library import MEASURED, NOT_INHERITED, Entry
from petbench.workflow.method_entries import trained
from petbench.workflow.names import ACQUISITION, LOW_DOSE, UNRESTORED


def check_experiment(experiment: Entry, basedir: Path, where: str) -> None:
    """Check what an experiment names, so that a slip of the pen is not found after the training."""

    def one_of(key: str, name: str, known: Iterable[str]) -> None:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1)
            raise InputError(
                f"{where}: {key}: there is no {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"give one of {', '.join(known)}.")
            )

    rows = experiment["rows"]
    printed = sorted(path.stem for path in (basedir / "resources" / "published").glob("*.tsv"))
    is_study = experiment["kind"] in STUDIES
    known = {"diagnosis": DIAGNOSTIC, "roc": DIAGNOSTIC, "reliance": RELIANCE}
    of_images = [name for name in DEFINITIONS if name not in (*COSTS, *DIAGNOSTIC, *RELIANCE, RANK)]
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
    for claim in experiment.get("claims", []):
        for method in (claim["better"], *claim["than"]):
            one_of("claims", method, [*rows, *(path.stem for path in (basedir / "config" / "methods").glob("*.yaml"))])
    if "leaderboard" in experiment:
        one_of("leaderboard/metric", experiment["leaderboard"]["metric"], experiment["metrics"])
        for order in experiment["leaderboard"].get("orders", []):
            one_of("leaderboard/orders/published", order["published"], printed)
            for method in order["rows"]:
                one_of("leaderboard/orders/rows", method, rows)
    for metric in experiment.get("published_metrics", {}):
        one_of("published_metrics", metric, [*experiment.get("metrics", []), *experiment.get("cost", [])])
    if "published" in experiment:
        one_of("published", experiment["published"], printed)


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


def check_known(experiment: Entry, dataset: Entry, name: str, where: str) -> None:
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


def methods_of(experiment: Mapping[str, Any]) -> list[str]:
    """Method entries among an experiment's rows: of a diagnosis, not MR alone and not real PET."""
    return [row for row in experiment["rows"] if experiment["kind"] not in STUDIES or row not in (MR_ALONE, REAL_PET)]


def is_left_out(experiment: Mapping[str, Any], dataset: str, dose: str, row: str) -> bool:
    """Whether a cell reads n/a, as its data set has no scans for a row that is shown where it can be (`left_out` of a resolved entry)."""
    return [dataset, dose, row] in experiment.get("left_out", [])


def check_diagnosis(classifier: Entry, dataset: Entry, column: Entry, where: str) -> None:
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


def check_distinct(rows: Sequence[str], methods: Mapping[str, Entry], where: str) -> None:
    """Check that no two rows are the same but for their titles."""
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


def check_time_step(experiment: Entry, methods: Mapping[str, Entry], where: str) -> None:
    """Check that layers are compared in a diffusion, at a step that it has."""
    (row,) = experiment["rows"]
    steps = trained(methods, methods.get(row, {})).get("train", {}).get("diffusion", {}).get("timesteps")
    if steps is None:
        raise InputError(f"{where}: rows: {row} is no diffusion method, so its layers see no time step; compare another.")
    if experiment["similarity"]["time_step"] >= steps:
        raise InputError(
            f"{where}: similarity/time_step: {experiment['similarity']['time_step']} is not among the {steps} steps of {row}"
            f" (0 to {steps - 1}); lower it."
        )


def check_context_shown(experiment: Entry, methods: Mapping[str, Entry], where: str) -> None:
    """Check that no row takes a context or a scan where images are swapped or PET is made for a diagnosis: both would be others, too.

    Raises:
        InputError: one does.
    """
    for row in methods_of(experiment) if experiment["kind"] in (*STUDIES, "reliance") else []:
        if "context" in methods.get(row, {}):
            raise InputError(f"{where}: rows: {row} takes a context, which this kind of experiment does not make; name its first stage.")
        if ACQUISITION in methods.get(row, {}).get("restore", {}).get("inputs", []):
            raise InputError(f"{where}: rows: {row} reconstructs scans, which this kind of experiment does not swap; name other methods.")


def check_reliance(experiment: Entry, methods: Mapping[str, Entry], datasets: Mapping[str, Entry], where: str) -> None:
    """Check that each row restores by weights of its own fold, and each column has a low dose."""
    for row in experiment["rows"]:
        if row == LOW_DOSE or "ensemble" in methods[row]:
            raise InputError(f"{where}: rows: {row} restores by no weights, so that nothing can be swapped; name methods that are trained.")
    for column in experiment["columns"]:
        if not datasets[column["dataset"]]["doses"]:
            raise InputError(f"{where}: columns: data set {column['dataset']!r} has no low dose; choose one that has.")
