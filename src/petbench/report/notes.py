"""Sentences that go with every number of an experiment, wherever its table is shown."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from petbench.evaluation.definitions import TIMED
from petbench.report.tables import TITLES, Table


def scale_notes(entries: Mapping[str, Any], experiment: Mapping[str, Any], note: str) -> tuple[str, ...]:
    """What a reader of an experiment's table must know of the scale and of the data sets in its columns.

    Args:
        entries: Resolved configuration; its `datasets` are read.
        experiment: Resolved entry.
        note: What the scale's file says of it; may be empty.
    """
    datasets = {column["dataset"]: entries["datasets"][column["dataset"]] for column in experiment["columns"]}
    notes = [" ".join(note.split())] if note.strip() else []
    notes += [text for name, entry in datasets.items() for text in _scanned(_titles([name], datasets), entry)]
    if leaking := leaking_datasets(datasets):
        notes.append(
            f"Leaking scale ({_titles(leaking, datasets)}): each image is scaled to its own range, the reference too; "
            "the reference's scale reaches the method, and its numbers are not comparable with others."
        )
    if normalised := [name for name, entry in datasets.items() if _block(entry, "preprocess", "scaling").get("mode") == "min_max"]:
        notes.append(
            f"Normalised units ({_titles(normalised, datasets)}): grey matter and PET each fill their own range, [0, 1], in MNI space;"
            " PET made of MR says nothing of activity."
        )
    if registered := [
        name
        for name, entry in datasets.items()
        if name not in normalised and _block(entry, "preprocess", "registration").get("fixed") == "standard"
    ]:
        where = "" if len(registered) == len(datasets) else f"{_titles(registered, datasets)}: "
        notes.append(
            f"{where}MR is registered to the standard-dose image, as in studies with simultaneous PET/MR; "
            "a deployed scan has only the low dose."
        )
    for name, entry in datasets.items():
        if slices := entry.get("evaluation", {}).get("slices"):
            numbers = ", ".join(str(number) for number in sorted(slices))
            notes.append(
                f"{_titles([name], datasets)}: slices {numbers} alone are measured and shown, and methods of slices restore no others."
            )
    return tuple(notes)


def _scanned(title: str, entry: Mapping[str, Any]) -> list[str]:
    """How a data set's scans were simulated, which moves every measure of similarity: counts of the standard dose, and the working grid."""
    counts, shape = _block(entry, "simulation").get("counts"), _block(entry, "preprocess", "grid").get("shape")
    if counts is None or shape is None:
        return []
    return [f"{title}: {counts:.2g} counts at the standard dose, images of {' × '.join(map(str, shape))} voxels."]


def device_notes(experiment: Mapping[str, Any], trained: Iterable[str], restored: Iterable[str]) -> tuple[str, ...]:
    """Where the times and memory of an experiment's table were measured; nothing where it shows none.

    Args:
        experiment: Resolved entry.
        trained: Device of each training behind it.
        restored: Device of each restoration behind it.
    """
    if not set(experiment.get("cost", [])) & set(TIMED):
        return ()
    on, at = sorted(set(trained)), sorted(set(restored))
    note = f"Times and memory: trained on {'; '.join(on) or 'nothing'}, restored on {'; '.join(at) or 'nothing'}."
    if max(len(on), len(at)) > 1:
        note += " They are means over all jobs, whatever devices those ran on; the report's cost section tells them apart."
    return (note,)


def below_trivial(table: Table, trivial: Collection[str]) -> list[str]:
    """A sentence for each column of a table in which methods stay below the best row that takes no network, by PSNR.

    Args:
        table: An experiment's table; only one with PSNR, of volumes or else of slices, and with such a row says anything.
        trivial: Methods that take no network.
    """
    metric = next((metric for name in ("psnr", "slice_psnr") for metric in table.metrics if metric.name == name), None)
    rows = [row for row in table.rows if row in trivial]
    if metric is None or not rows:
        return []
    sentences = []
    for column in table.columns:
        reached = {row: table.cells[row, column.key, metric.name].mean for row in table.rows}
        best = max(rows, key=lambda row: reached[row])
        below = {table.rows[row]: reached[best] - psnr for row, psnr in reached.items() if row not in (*rows, *TITLES)}
        short = [f"{title} by {difference:.2f} dB" for title, difference in below.items() if difference > 0]
        if short:
            known = f"{table.rows[best]} ({reached[best]:.2f} dB {metric.title})"
            sentences.append(f"{table.title}, {column.label}: below {known}: {', '.join(short)}.")
    return sentences


def training_device(cost: Mapping[str, Any]) -> str:
    """Device and precision of a training, from its cost file."""
    return f"{cost['device']}, {cost['precision']}"


def leaking_datasets(datasets: Mapping[str, Any]) -> list[str]:
    """Data sets whose images are each scaled to their own range, so that the reference's scale reaches the method."""
    return [name for name, entry in datasets.items() if _block(entry, "preprocess", "scaling").get("mode") == "own_range"]


def _block(entry: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = entry
    for name in names:
        found = found.get(name, {})
    return found


def _titles(names: Sequence[str], datasets: Mapping[str, Any]) -> str:
    return ", ".join(str(datasets[name].get("title", name)) for name in names)
