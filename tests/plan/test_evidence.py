"""Committed results: they are what the committed configuration makes, and the page's numbers are theirs."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest

from petbench.errors import InputError
from petbench.files import digest, read_json, write_json
from petbench.plan.evidence import BEGIN, END, gather, numbers, plan_of, put_into, stale

ROOT = Path(__file__).parents[2]
SCALE = [ROOT / "config/overnight.yaml", ROOT / "config/overnight_steps.yaml"]
RESULTS, PAGE = ROOT / "docs/results/overnight", ROOT / "docs/results.md"
HEADS = ["method", "title", "metric", "mean", "sd", "ci_low", "ci_high"]


@pytest.fixture(scope="module")
def plan():
    return plan_of(SCALE)


@pytest.fixture
def made(tmp_path):
    """A made-up folder of results of two methods."""
    rows = [
        ["b", "Second", "rank", "2", "n/a", "1", "2"],
        ["a", "First", "rank", "1", "n/a", "1", "2"],
        ["a", "First", "psnr", "30.126", "0.5", "29", "31"],
        ["b", "Second", "psnr", "29.5", "0.25", "29", "30"],
        ["b", "Second", "parameters", "12345", "n/a", "n/a", "n/a"],
    ]
    for name, lines in (
        ("leaderboard", [HEADS, *rows]),
        ("leaderboard-claims", [["Claim", "Here"], ["First over Second", "undecided"]]),
        ("mak_gan_table2", [["method", "metric"], ["a", "psnr"]]),
    ):
        with (tmp_path / f"{name}.tsv").open("w", newline="") as file:
            csv.writer(file, delimiter="\t").writerows(lines)
    return tmp_path


def test_numbers_are_the_tables_best_first(made):
    block = numbers(made)
    assert "| First | 1 [1–2] | 30.13 ± 0.50 | – | – | – | – | – |" in block
    assert "| Second | 2 [1–2] | 29.50 ± 0.25 | – | – | – | – | 12,345 |" in block
    assert block.index("First") < block.index("Second")
    assert "| First over Second | undecided |" in block
    assert block.count("\n| --- |") == 2  # a table without ranks is not shown


def test_numbers_stand_between_their_marks():
    page = f"above {BEGIN} old {END} below"
    assert put_into(page, "new") == f"above {BEGIN}\n\nnew\n\n{END} below"
    with pytest.raises(InputError, match="has no lines"):
        put_into("no marks", "new")


def test_another_configuration_is_noticed(plan, tmp_path):
    names = ("leaderboard", "ddconv_experiment2")
    made = {"leaderboard": plan.records.configuration, "ddconv_experiment2": plan.records.range_configuration}
    for name in names:
        write_json(tmp_path / f"{name}.json", {"configuration": digest(made[name](name))})
    write_json(tmp_path / "run.json", {})
    assert stale(plan, tmp_path) == []
    write_json(tmp_path / "leaderboard.json", {"configuration": "0"})
    assert stale(plan, tmp_path) == ["leaderboard"]


def test_a_table_that_is_missing_is_named(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"leaderboard\.tsv: is not there; finish the run, or give --partial"):
        gather(plan, tmp_path / "out", partial=False)
    assert not (tmp_path / "out").exists()
    few = SimpleNamespace(scale=SimpleNamespace(run=["a"], methods={}, name="x"), paths=plan.paths)
    assert gather(few, tmp_path / "out", partial=True) == ["a"]
    assert read_json(tmp_path / "out/run.json")["missing"] == ["a"]


def test_committed_results_are_those_of_the_committed_configuration(plan):
    assert stale(plan, RESULTS) == []
    assert {path.stem for path in RESULTS.glob("*.json")} - {"run"} <= set(plan.scale.run)


def test_the_page_has_the_committed_numbers():
    page = PAGE.read_text(encoding="utf-8")
    assert put_into(page, numbers(RESULTS)) == page
    for name in read_json(RESULTS / "run.json")["missing"]:
        assert name in page, f"{name} was not finished, and the page does not say so"
