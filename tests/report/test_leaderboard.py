"""A leaderboard's table, picture, map and orders, and the claims of papers, on made-up numbers whose order is known."""

import dataclasses
import math
import re

import pytest
from made_up import experiment, title_of

from petbench.report import figures, leaderboard
from petbench.report.page import render
from petbench.report.published import read_published
from petbench.report.tables import build_table
from petbench.report.write_tables import long_table

ROWS = ["low_dose", "gaussian", "m_unet", "mak_gan"]


@pytest.fixture(scope="module")
def entry():
    table1 = experiment("mak_gan_table1")
    kept = {key: table1[key] for key in ("columns", "metrics", "reference", "region", "differs")}
    order = {"label": "Printed", "published": "mak_gan_table1", "column": "Clinical", "metric": "PSNR"}
    order |= {"rows": {"low_dose": "LPET", "m_unet": "M-Unet", "mak_gan": "MAK-GAN"}}
    return kept | {
        "paper": "petbench",
        "kind": "leaderboard",
        "title": "All methods",
        "rows": ROWS,
        "cost": ["restore_seconds", "parameters"],
        "leaderboard": {"metric": "psnr", "against": "restore_seconds", "orders": [order]},
        "claims": [{"better": "mak_gan", "than": ["m_unet"]}, {"better": "low_dose", "than": ["mak_gan"]}],
    }


@pytest.fixture(scope="module")
def table(entry, metrics):
    return build_table(entry, metrics, (), {name: title_of(name) for name in ROWS[1:]})


def test_ranks_stand_in_the_table_and_its_file(table):
    for column in table.columns:
        places = [table.cells[row, column.key, "rank"] for row in ROWS]
        assert [cell.mean for cell in places] == [4, 3, 2, 1]
        assert all(cell.ci_low <= cell.mean <= cell.ci_high for cell in places)
    rows = long_table(table)
    assert rows[(rows["method"] == "mak_gan") & (rows["metric"] == "rank")]["mean"].tolist() == [1, 1]


def test_the_map_has_every_pair_twice_with_opposite_signs(table, metrics):
    first, _ = leaderboard.matches(table, metrics, "psnr")
    assert first.titles[0] == "MAK-GAN"  # by rank
    for number, (title, row) in enumerate(first.rows):
        assert title == first.titles[number]
        assert row[number] is None
        for other, match in enumerate(row):
            if match is not None:
                back = first.rows[other][1][number]
                assert float(match.text) == -float(back.text)
                assert {match.side, back.side} in ({"better", "worse"}, {""})
    assert first.rows[0][1][-1].side == "better"


def test_orders_are_held_against_the_printed_ones(entry, table, metrics):
    from made_up import ROOT

    published = {"mak_gan_table1": read_published(ROOT / "resources/published/mak_gan_table1.tsv")}
    printed = leaderboard.printed_values(entry["leaderboard"]["orders"][0], published["mak_gan_table1"])
    assert printed["low_dose"] == 21.068
    assert list(printed) == ["low_dose", "m_unet", "mak_gan"]
    first, second = leaderboard.orders(entry, table, metrics, published).rows
    assert first[1:4] == ("Printed", "3", "1.00")
    assert second[0] != first[0]


def test_claims_are_tested_together_and_named(entry, table, metrics):
    rows = leaderboard.claims(entry, table, metrics).rows
    assert [(row[0], row[-1]) for row in rows[:2]] == [("MAK-GAN over M-UNet", "held"), ("Low dose over MAK-GAN", "reversed")]
    assert len(rows) == 4
    assert all(0 < float(row[5]) < 0.05 for row in rows)
    assert leaderboard.claims({key: value for key, value in entry.items() if key != "claims"}, table, metrics) is None


def test_below_six_people_nothing_is_sure(entry, metrics):
    few = metrics[metrics["subject"] < "sub-06"]
    table = build_table(entry, few, (), {})
    assert all(math.isnan(table.cells[row, table.columns[0].key, "rank"].ci_low) for row in ROWS)
    assert {row[-1] for row in leaderboard.claims(entry, table, few).rows} == {"undecided: fewer than 6 people, or nothing to test"}
    assert {match.side for _, row in leaderboard.matches(table, few, "psnr")[0].rows for match in row if match} == {""}


def test_the_page_opens_with_it(content, entry):
    entries = {**content.entries, "run": ["all", *content.entries["run"]]}
    entries["experiments"] = {"all": entry, **content.entries["experiments"]}
    content = dataclasses.replace(content, entries=entries, figures={**content.figures, "all": content.figures["mak_gan_figure3"]})
    html = render(dataclasses.replace(content, subjects=(), histories=()))
    glance = re.search(r'<section id="glance">(.*?)</section>', html, flags=re.DOTALL)[1]
    assert glance.index("All methods") < glance.index("Comparison with other")
    assert ">Rank</button>" in glance
    assert "Whether they held here" in html or "whether they held here" in html
    assert "What beats what" in html


def test_the_front_is_drawn(entry, table, tmp_path):
    figures.quality_against_cost(entry, table, [tmp_path / "front.svg"])
    text = (tmp_path / "front.svg").read_text()
    assert text.count("<!-- 1  MAK-GAN -->") == 2  # a panel a column, from the best on
