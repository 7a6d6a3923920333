"""The report: one HTML file that opens from disk, with every table, picture and volume inside it."""

import base64
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from petbench.data.phantom_files import read_truth
from petbench.errors import InputError
from petbench.evaluation.definitions import DEFINITIONS, STUDIES, TRIVIAL, Metric
from petbench.evaluation.statistics import MIN_SUBJECTS
from petbench.files import atomic
from petbench.report import figures, leaderboard, slices, summaries
from petbench.report.diagnosis import build_diagnosis, roc_curves
from petbench.report.notes import below_trivial, device_notes, leaking_datasets, scale_notes
from petbench.report.overview import Overview, build_overview
from petbench.report.provenance import sentence
from petbench.report.published import ABOVE, Quoted, grid, sources
from petbench.report.tables import (
    ARROWS,
    DIFFERENCE,
    PAPER,
    REFERENCES,
    TITLES,
    Table,
    build_table,
    caption,
    few_subjects,
    has_reference,
)
from petbench.report.viewer import STANDARD_DOSE, Unit, ViewerSubject, load, lossless, unit_of, viewer_data
from petbench.report.write_tables import compared, number

if TYPE_CHECKING:
    from pandas import DataFrame


Drawn: TypeAlias = tuple[str, str]
VIEWED = (
    "The first person tested; errors against the first image of PET, on a scale that the restored images set."
    " The subject's left is at the left."
)
LESIONS = {"pet_only": "a PET-only one", "shared": "one that PET and MR share"}


@dataclass(frozen=True)
class Picture:
    """A PNG or SVG file and the sentence below it."""

    path: Path
    caption: str


@dataclass(frozen=True)
class History:
    """What training one method on one fold logged."""

    dataset: str
    dose: str
    method: str
    fold: str
    path: Path


@dataclass(frozen=True)
class RangeResults:
    """What an experiment on positron range found: its tables, its figures with their captions, and what the numbers are."""

    tables: Sequence[summaries.Summary]
    figures: Sequence[Picture]
    notes: str


@dataclass(frozen=True)
class ReportContent:
    """All that the page shows.

    Attributes:
        entries: Resolved configuration: `scale` (its name), `run` (experiment ids in order), `datasets`, `methods`, `experiments` (each a
            mapping of name to entry).
        metrics: Long table of every method, data set and dose, see `petbench.evaluation.table`.
        reliance: By experiment of that kind, the same of what swapping inputs does.
        scores: Scores of the diagnosis studies, see `petbench.evaluation.scores`; None where there is no study.
        published: Printed values, see `petbench.report.published`, by the name that experiments give under `published`.
        papers: By short name, a mapping with `name` and `citation`.
        note: What the scale's file says of it, shown at the head of the page.
        trained_on: Device by data set, dose, method and fold.
        restored_on: Device by data set, dose, method and subject.
        ranges: Results by experiment on positron range.
        histories: Training histories.
        registrations: Quality-control pictures of MR in PET space.
        subjects: Volumes for figures and for the viewer.
        figures: PNG or SVG of each experiment that is a figure, by its id.
        left_out: How many subjects, counted at each dose, the viewer does not show.
        versions: Library to version.
        provenance: Rows, each a mapping with the same keys, such as data set, source, seed, checksum.
        records: By experiment, what its table was made from, see `petbench.report.provenance`.
    """

    entries: Mapping[str, Any]
    metrics: "DataFrame"
    reliance: "Mapping[str, DataFrame]" = field(default_factory=dict)
    scores: "DataFrame | None" = None
    published: Mapping[str, tuple[Quoted, ...]] = field(default_factory=dict)
    papers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    note: str = ""
    trained_on: summaries.Devices = field(default_factory=dict)
    restored_on: summaries.Devices = field(default_factory=dict)
    ranges: Mapping[str, RangeResults] = field(default_factory=dict)
    histories: Sequence[History] = ()
    registrations: Sequence[Picture] = ()
    subjects: Sequence[ViewerSubject] = ()
    figures: Mapping[str, Path] = field(default_factory=dict)
    left_out: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    provenance: Sequence[Mapping[str, str]] = ()
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def write_report(path: str | Path, content: ReportContent, threads: int = 1) -> None:
    """Write the page, drawing its pictures in as many processes.

    Raises:
        InputError: an experiment lacks values, or a picture, history or volume cannot be read.
    """
    html = render(content, threads)
    with atomic(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def render(content: ReportContent, threads: int = 1) -> str:
    """The page as text: no link, font, script or picture outside itself."""
    import jinja2

    assets = Path(__file__).parent / "assets"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(assets), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    environment.globals.update(arrows=ARROWS, references=REFERENCES, caption=caption, compared=compared, grid=grid, sources=sources)
    environment.globals.update(paper_heading=PAPER, difference_heading=DIFFERENCE, above=ABOVE)
    entries = content.entries
    images = {subject.dataset: subject.volumes[STANDARD_DOSE] for subject in content.subjects}
    units = {name: unit_of(entry, images.get(name)) for name, entry in entries["datasets"].items()}
    titles = TITLES | {name: str(entry.get("title", name)) for name, entry in entries["methods"].items()}
    datasets = {name: str(entry.get("title", name)) for name, entry in entries["datasets"].items()}
    papers = _papers(content, titles)
    tables = [table for paper in papers for experiment in paper["experiments"] for table in experiment["tables"]]
    return environment.get_template("page.html.j2").render(
        css=(assets / "page.css").read_text(encoding="utf-8"),
        js=(assets / "page.js").read_text(encoding="utf-8"),
        scale=entries["scale"],
        note=content.note,
        devices=summaries.devices(content.trained_on, content.restored_on),
        facts=summaries.scale_facts(entries, content.metrics),
        overviews=_overviews(papers, content),
        below=_below(papers, entries),
        leaking=leaking_datasets(entries["datasets"]),
        least=MIN_SUBJECTS,
        few=list(dict.fromkeys(key.replace("/", ", ") for table in tables for key in few_subjects(table))),
        papers=papers,
        pictures=_each(_comparison, [(subject, titles, units[subject.dataset]) for subject in _firsts(content.subjects)], threads),
        viewer=viewer_data(content.subjects, titles, units) if content.subjects else None,
        viewer_left_out=content.left_out,
        quantification=summaries.quantification(content.metrics, titles, datasets),
        costs=summaries.costs(content.metrics, titles, datasets, content.trained_on, content.restored_on),
        curves=_each(_curves, _runs(content.histories, titles), threads),
        registrations=[(_data_uri(picture.path), picture.caption) for picture in content.registrations],
        definitions=_definitions(content),
        configuration=yaml.safe_dump(_plain(entries), sort_keys=True, allow_unicode=True, width=110),
        versions=content.versions,
        provenance=content.provenance,
        records={name: sentence(record, f"tables/{name}.json") for name, record in content.records.items()},
    )


def _papers(content: ReportContent, titles: Mapping[str, str]) -> list[dict[str, Any]]:
    """Experiments grouped by paper, in the order they are run."""
    groups: dict[str, dict[str, Any]] = {}
    for name in content.entries["run"]:
        experiment = content.entries["experiments"][name]
        paper = experiment["paper"]
        known = content.papers.get(paper, {"name": paper, "citation": ""})
        group = groups.setdefault(paper, {"id": paper, "name": known["name"], "citation": known["citation"], "experiments": []})
        own = _range_experiment if name in content.ranges else _experiment
        group["experiments"].append(own(name, experiment, content, titles))
    return list(groups.values())


def _experiment(name: str, experiment: Mapping[str, Any], content: ReportContent, titles: Mapping[str, str]) -> dict[str, Any]:
    published = content.published.get(experiment.get("published", ""), ())
    if experiment["kind"] in STUDIES:
        return _diagnosis(name, experiment, content, titles, scale_notes(content.entries, experiment, ""))
    metrics = content.metrics
    if experiment["kind"] == "reliance":
        if name not in content.reliance:
            raise InputError(f"{name}: has no values; restore with swapped inputs first.")
        metrics = content.reliance[name]
    tables = [] if experiment["kind"] == "similarity" else _tables(experiment, content, metrics, published, titles)
    has_figure = experiment["kind"] in ("figure", "similarity", "leaderboard") or "views" in experiment
    drawn = _data_uri(_figure(name, content)) if has_figure else None
    texts = [leaderboard.claims(experiment, tables[0], metrics)] if tables else []
    maps = []
    if "leaderboard" in experiment:
        texts.insert(0, leaderboard.orders(experiment, tables[0], metrics, content.published))
        maps = leaderboard.matches(tables[0], metrics, experiment["leaderboard"]["metric"])
    beside = experiment["kind"] == "table" and drawn is not None
    return {
        "id": name,
        "title": experiment["title"],
        "differs": " ".join(experiment["differs"].split()),
        "tables": tables,
        "published": published,
        "figure": None if beside else drawn,
        "plates": [(drawn, VIEWED)] if beside else [],
        "maps": maps,
        "texts": [text for text in texts if text is not None and text.rows],
        "summaries": [],
        "notes": "",
    }


def _diagnosis(
    name: str, experiment: Mapping[str, Any], content: ReportContent, titles: Mapping[str, str], notes: Sequence[str]
) -> dict[str, Any]:
    if content.scores is None:
        raise InputError(f"{name}: has no scores; classify first.")
    published = content.published.get(experiment.get("published", ""), ())
    resamplings = content.entries["classifiers"][experiment["classifier"]]["bootstrap"]
    scores = content.scores
    curves = _drawn(lambda path: roc_curves(experiment, scores, titles, [path]))
    return {
        "id": name,
        "title": experiment["title"],
        "differs": experiment["differs"],
        "tables": [build_diagnosis(experiment, scores, published, titles, resamplings, notes)],
        "published": published,
        "figure": curves if experiment["kind"] == "roc" else None,
        "plates": [(curves, "ROC curves, one panel a study.")] if experiment["kind"] == "diagnosis" else [],
        "maps": [],
        "texts": [],
        "summaries": [],
        "notes": "",
    }


def _range_experiment(name: str, experiment: Mapping[str, Any], content: ReportContent, titles: Mapping[str, str]) -> dict[str, Any]:
    results = content.ranges[name]
    return {
        "id": name,
        "title": experiment["title"],
        "differs": experiment["differs"],
        "tables": [],
        "published": content.published.get(experiment.get("published", ""), ()),
        "figure": None,
        "plates": [(_data_uri(picture.path), picture.caption) for picture in results.figures],
        "maps": [],
        "texts": [],
        "summaries": results.tables,
        "notes": results.notes,
    }


def _definitions(content: ReportContent) -> list[Metric]:
    """Every metric on the page, each once."""
    measured = {name for table in (content.metrics, *content.reliance.values()) for name in table["metric"]}
    shown = [metric for results in content.ranges.values() for table in results.tables for metric, _ in table.headings]
    return [DEFINITIONS[name] for name in DEFINITIONS if name in measured] + list(dict.fromkeys(shown))


def _overviews(papers: Sequence[Mapping[str, Any]], content: ReportContent) -> list[Overview]:
    """What the first screen says of each paper, from its first table that has a PSNR."""
    found = []
    for paper in papers:
        for experiment in paper["experiments"]:
            entry = content.entries["experiments"][experiment["id"]]
            if entry["kind"] not in ("table", "figure", "leaderboard") or not experiment["tables"]:
                continue
            named = entry.get("statistics", {}).get("against")
            given = (content.metrics, list(content.reliance.values()), _trivial(content.entries), named)
            overview = build_overview(paper["name"], experiment["id"], experiment["tables"][0], *given)
            if overview is not None:
                found.append(overview)
                break
    return found


def _trivial(entries: Mapping[str, Any]) -> list[str]:
    """Methods that take no network."""
    return [name for name, entry in entries["methods"].items() if entry.get("module") in TRIVIAL]


def _below(papers: Sequence[Mapping[str, Any]], entries: Mapping[str, Any]) -> list[str]:
    """What the page's first lines say of methods that a filter, or the mean PET, beats: a sentence a column of a table."""
    firsts = [(paper["name"], experiment["tables"][0]) for paper in papers for experiment in paper["experiments"] if experiment["tables"]]
    return [f"{paper}, {sentence}" for paper, table in firsts for sentence in below_trivial(table, _trivial(entries))]


def _tables(
    experiment: Mapping[str, Any], content: ReportContent, metrics: "DataFrame", published: tuple[Quoted, ...], titles: Mapping[str, str]
) -> list[Table]:
    """The experiment's table, and one against each other reference that is known."""
    places = {(column["dataset"], column["dose"], method) for column in experiment["columns"] for method in experiment["rows"]}
    trained, restored = ([device for key, device in on.items() if key[:3] in places] for on in (content.trained_on, content.restored_on))
    notes = [*device_notes(experiment, trained, restored), *scale_notes(content.entries, experiment, "")]
    table = build_table(experiment, metrics, published, titles, notes=notes)
    others = [other for other in REFERENCES if other != table.reference and has_reference(experiment, metrics, other)]
    again = {key: value for key, value in experiment.items() if key != "cost"}  # a cost is the same against any reference
    return [table, *(build_table(again, metrics, (), titles, other) for other in others)]  # the paper's are held against one alone


def _figure(name: str, content: ReportContent) -> Path:
    if name not in content.figures:
        raise InputError(f"{name}: its figure was not given; draw it first.")
    return content.figures[name]


def _firsts(subjects: Sequence[ViewerSubject]) -> list[ViewerSubject]:
    """The first subject of each data set and dose."""
    return list({(subject.dataset, subject.dose): subject for subject in reversed(subjects)}.values())[::-1]


def _comparison(subject: ViewerSubject, titles: Mapping[str, str], unit: Unit) -> tuple[str, str]:
    from petbench.data.nifti import voxel_mm

    arrays, image, labels = load(subject)
    edges = voxel_mm(image)
    lesion = None
    if labels is not None and subject.truth is not None:
        lesion = slices.largest_on_pet(labels, read_truth(subject.truth).lesions)
    box = slices.choose_box(arrays[STANDARD_DOSE], None if labels is None or lesion is None else labels == lesion.label)
    volumes = {titles.get(method, method): array for method, array in arrays.items()}
    if len(volumes) < len(arrays):
        raise InputError(f"titles of {', '.join(arrays)}: two are the same; give each method entry a title of its own.")

    def draw(path: Path) -> None:
        slices.comparison(volumes, TITLES[STANDARD_DOSE], box, unit, [path], aspect=float(edges[1] / edges[0]))

    chosen = "the standard dose's strongest edge" if lesion is None else f"the largest lesion that PET shows ({LESIONS[lesion.kind]})"
    text = (
        f"{subject.dataset}, {subject.dose}, {subject.subject}: axial slice through {chosen}. Middle row: error against the standard dose, "
        "on one symmetric scale. Bottom row: the red box, enlarged. The subject's left is at the left."
    )
    return _drawn(draw, ".png"), text


def _runs(histories: Sequence[History], titles: Mapping[str, str]) -> list[tuple[str, Mapping[str, Path]]]:
    """What each figure of curves shows, a data set, dose and method: its heading, and the history of each fold."""
    groups: dict[tuple[str, str, str], dict[str, Path]] = {}
    for history in histories:
        if history.path.read_text().split("\n", 1)[0] == "step":  # nothing was optimised, so there is no curve
            continue
        groups.setdefault((history.dataset, history.dose, history.method), {})[f"fold {history.fold}"] = history.path
    return [(f"{titles.get(method, method)}: {dataset}, {dose}", runs) for (dataset, dose, method), runs in groups.items()]


def _curves(heading: str, runs: Mapping[str, Path]) -> tuple[str, str]:
    """A heading and its figure, with a line a fold."""
    return heading, _drawn(lambda path: figures.training_curves(runs, [path]))


def _each(draw: Callable[..., Drawn], pictures: Sequence[tuple[Any, ...]], threads: int) -> list[Drawn]:
    """Draw pictures side by side, each from its arguments."""
    if threads == 1 or len(pictures) < 2:
        return [draw(*given) for given in pictures]
    # Forked, as a fresh interpreter would begin with the script that runs this.
    with ProcessPoolExecutor(threads, mp_context=get_context("fork")) as pool:
        return list(pool.map(draw, *zip(*pictures, strict=True)))


def _drawn(draw: Callable[[Path], None], suffix: str = ".svg") -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"figure{suffix}"
        draw(path)
        return _data_uri(path)


def _data_uri(path: Path) -> str:
    """A drawing as it is, a picture without loss."""
    if path.suffix not in (".png", ".svg") or not path.is_file():
        raise InputError(f"{path}: no such .png or .svg picture; check the path.")
    if path.suffix == ".svg":
        return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    from PIL import Image

    with Image.open(path) as picture:
        return lossless(picture)


def _plain(value: Any) -> Any:
    """The same content in lists and dictionaries, which is all that YAML's safe writer takes."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
