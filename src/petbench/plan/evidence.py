"""Brings a finished run's tables, claims and picture into the repository, and writes the numbers of `docs/results.md`.

    python -m petbench.plan.evidence config/overnight.yaml config/overnight_steps.yaml --out docs/results/overnight --page docs/results.md

It is started where `results/` lies. Tables come with the records of what they were made from; a test holds these to the configuration, and
the page's numbers to the tables.
"""

import argparse
import csv
import math
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import petbench
from petbench.errors import InputError
from petbench.evaluation.definitions import DEFINITIONS
from petbench.files import atomic, digest, read_json, write_json
from petbench.plan.plan import Plan
from petbench.workflow.entries import load
from petbench.workflow.schema import read_yaml

ROOT = Path(petbench.__file__).parents[2]
BEGIN, END = "<!-- numbers: written by petbench.plan.evidence -->", "<!-- end of numbers -->"
SUFFIXES = ("tsv", "json", "md")
BOARD = (("rank", "Rank"), ("psnr", "PSNR, dB"), ("ssim", "SSIM"), ("nmse", "NMSE"))
BOARD_COSTS = (("restore_cpu_seconds", "Restoring, s"), ("train_cpu_seconds", "Training, s"), ("parameters", "Parameters"))


def plan_of(files: Sequence[Path]) -> Plan:
    """The plan of a scale in one file or several, merged in their order as Snakemake does."""
    config: dict[str, Any] = {}
    for file in files:
        config = _updated(config, read_yaml(file))
    return Plan(load(config, ROOT), config, ROOT, untimed=str)


def _updated(config: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings deeply, everything else replaced; null stays, as it removes a key of an entry later on."""
    both = [key for key, value in more.items() if isinstance(value, Mapping) and isinstance(config.get(key), Mapping)]
    return {**config, **more, **{key: _updated(config[key], more[key]) for key in both}}


def gather(plan: Plan, out: Path, partial: bool) -> list[str]:
    """Copy what a run has made into `out`, with its claims and orders.

    Args:
        plan: Of the run, whose results lie below the working folder.
        out: Where to; what is there is replaced when all is read.
        partial: Go on without tables that are missing.

    Returns:
        The experiments without a table.

    Raises:
        InputError: one has none, and `partial` is not set.
    """
    missing = [name for name in plan.scale.run if not Path(plan.paths.table.format(experiment=name)).exists()]
    if missing and not partial:
        raise InputError(f"{plan.paths.table.format(experiment=missing[0])}: is not there; finish the run, or give --partial.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".part-") as folder:  # what is there stays until all is read
        part = Path(folder, "all")
        part.mkdir()
        for name in (name for name in plan.scale.run if name not in missing):
            table = Path(plan.paths.table.format(experiment=name))
            for suffix in SUFFIXES:
                shutil.copy(table.with_suffix(f".{suffix}"), part)
            _write_claims(plan, name, part)
        write_json(part / "run.json", {"scale": plan.scale.name, "written_on": _machine(), "missing": missing})
        shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
    return missing


def _write_claims(plan: Plan, name: str, out: Path) -> None:
    """A leaderboard's picture and the likeness of its order to printed ones, and the claims of any table."""
    from petbench.evaluation.table import read_tables
    from petbench.report import leaderboard
    from petbench.report.published import read_published
    from petbench.report.tables import build_table

    entry = plan.scale.experiments.get(name, {})
    if not {"leaderboard", "claims"} & set(entry):
        return
    metrics = read_tables(plan.report.values(name))
    table = build_table(entry, metrics, (), {method: known["title"] for method, known in plan.scale.methods.items()})
    said = {"claims": leaderboard.claims(entry, table, metrics)}
    if "leaderboard" in entry:
        for picture in (plan.paths.figure, plan.paths.figure_svg):
            shutil.copy(picture.format(experiment=name), out)
        files = {order["published"] for order in entry["leaderboard"].get("orders", [])}
        published = {file: read_published(plan.report.printed_values(file)) for file in files}
        said["orders"] = leaderboard.orders(entry, table, metrics, published)
    for kind, texts in said.items():
        if texts is not None:
            _write_texts(out / f"{name}-{kind}.tsv", texts.headings, texts.rows)


def stale(plan: Plan, out: Path) -> list[str]:
    """Tables in `out` that the plan's configuration would not make: their record has another configuration's hash."""
    found = []
    for path in sorted(out.glob("*.json")):
        if path.name != "run.json":
            of_range = path.stem in plan.scale.ranges
            configuration = plan.records.range_configuration(path.stem) if of_range else plan.records.configuration(path.stem)
            if digest(configuration) != read_json(path)["configuration"]:
                found.append(path.stem)
    return found


def numbers(out: Path) -> str:
    """The block of `docs/results.md` that follows from what lies in `out`: the leaderboard, claims and orders as Markdown."""
    parts = []
    for path in sorted(out.glob("*.tsv")):
        rows = _rows(path)
        if rows and rows[0].get("metric") and any(row["metric"] == "rank" for row in rows):
            parts.append(_board(rows))
    for kind, heading in (("claims", "Claims"), ("orders", "Likeness to printed orders")):
        for path in sorted(out.glob(f"*-{kind}.tsv")):
            rows = _rows(path)
            parts.append(
                f"**{heading}** ({path.stem.removesuffix(f'-{kind}')})\n\n" + _markdown(list(rows[0]), [list(row.values()) for row in rows])
            )
    return "\n\n".join(parts)


def put_into(page: str, block: str) -> str:
    """A page's text with the block between its marks.

    Raises:
        InputError: the marks are not there.
    """
    if BEGIN not in page or END not in page:
        raise InputError(f"the page has no lines {BEGIN!r} and {END!r}; add them where the numbers are to stand.")
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}\n\n{block}\n\n{END}", page, flags=re.DOTALL)


def _board(rows: Sequence[Mapping[str, str]]) -> str:
    """The leaderboard's table, best first."""
    cells = {(row["method"], row["metric"]): row for row in rows}
    titles = {row["method"]: row["title"] for row in rows}

    def shown(method: str, metric: str) -> str:
        row = cells.get((method, metric))
        if row is None or row["mean"] == "n/a":
            return "–"
        pattern = DEFINITIONS[metric].format
        text = format(float(row["mean"]), pattern)
        if metric == "rank" and row["ci_low"] != "n/a":
            return f"{text} [{float(row['ci_low']):.0f}–{float(row['ci_high']):.0f}]"
        with_spread = metric in ("psnr", "ssim", "nmse") and row["sd"] != "n/a"
        return f"{text} ± {format(float(row['sd']), pattern)}" if with_spread else text

    def place(method: str) -> float:
        rank = cells[method, "rank"]["mean"]
        return math.inf if rank == "n/a" else float(rank)

    order = sorted(titles, key=place)
    heads = ["Method", *(title for _, title in (*BOARD, *BOARD_COSTS))]
    return _markdown(heads, [[titles[method], *(shown(method, name) for name, _ in (*BOARD, *BOARD_COSTS))] for method in order])


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _write_texts(path: Path, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with atomic(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)


def _machine() -> dict[str, str]:
    return {"processor": platform.machine(), "cores": str(os.cpu_count()), "python": platform.python_version(), "system": platform.system()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Gather, and write the page's numbers."""
    parser = argparse.ArgumentParser(prog="evidence", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("configs", nargs="+", type=Path, help="the files of the scale, as Snakemake was given them")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write")
    parser.add_argument("--page", required=True, type=Path, help="the page whose numbers are written")
    parser.add_argument("--partial", action="store_true", help="leave out tables that are not there, by name")
    asked = parser.parse_args(arguments)
    try:
        plan = plan_of(asked.configs)
        missing = gather(plan, asked.out, asked.partial)
        if old := stale(plan, asked.out):
            raise InputError(f"{asked.out}: {', '.join(old)} were made by another configuration; run again before they are committed.")
        text = put_into(asked.page.read_text(encoding="utf-8"), numbers(asked.out))
    except InputError as error:
        print(f"petbench: {error}", file=sys.stderr)
        return 2
    with atomic(asked.page) as part:
        part.write_text(text, encoding="utf-8")
    print(f"{asked.out}: written" + (f", without {', '.join(missing)}" if missing else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
