import re

import numpy as np
import pandas as pd
import pytest

from petbench.errors import InputError
from petbench.evaluation.scores import auc
from petbench.report.diagnosis import build_diagnosis, roc_curves
from petbench.report.published import Quoted
from petbench.report.write_tables import long_table, write_latex, write_markdown

EXPERIMENT = {
    "title": "Diagnosis",
    "kind": "diagnosis",
    "classifier": "resnet",
    "rows": ["mr", "real_pet", "made"],
    "columns": [
        {"dataset": "ad", "dose": "none", "study": "paired", "label": "Paired"},
        {"dataset": "ad", "dose": "none", "study": "mr_only", "label": "MR only", "published": "ADNI"},
    ],
    "metrics": ["accuracy", "auc", "auc_gain"],
    "published_rows": {"made": "Ours"},
    "differs": "all",
}
QUOTED = (Quoted("Ours", "ADNI", "AUC", "94.91", "", "table 3"), Quoted("Pan et al. (quoted)", "ADNI", "AUC", "96.95", "", "table 3"))


def scores(study, rows, n=40, strength=(0.5, 2.0, 1.0)):
    rng = np.random.default_rng(len(study))
    ill = np.arange(n) % 2
    parts = []
    for row, shift in zip(("mr", "real_pet", "made"), strength, strict=True):
        for repeat in range(2):
            score = 1 / (1 + np.exp(-(rng.standard_normal(n) + shift * (2 * ill - 1))))
            part = {"row": row, "repeat": repeat, "subject": [f"{i:02d}" for i in range(n)], "ill": ill, "score": score}
            parts += [pd.DataFrame(part)] if row in rows else []
    place = {"dataset": "ad", "dose": "none", "classifier": "resnet", "study": study}
    return pd.concat(parts, ignore_index=True).assign(fold=[str(i % 2) for i in range(len(parts) * n)], **place)


@pytest.fixture
def both():
    return pd.concat([scores("paired", ("mr", "real_pet", "made")), scores("mr_only", ("mr", "made"))], ignore_index=True)


def test_cells_are_means_over_repeats_of_all_people_with_paired_intervals(both):
    table = build_diagnosis(EXPERIMENT, both, QUOTED, {"made": "Maker"}, 500)
    paired = both[both["study"] == "paired"]
    values = [auc(part["ill"], part["score"]) for _, part in paired[paired["row"] == "real_pet"].groupby("repeat")]
    cell = table.cells["real_pet", "ad/none/paired", "auc"]
    assert (cell.mean, cell.sd, cell.n) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)), 40)
    assert cell.ci_low < cell.mean <= cell.ci_high <= 1
    gain = table.cells["real_pet", "ad/none/paired", "auc_gain"]
    assert gain.mean == pytest.approx(cell.mean - table.cells["mr", "ad/none/paired", "auc"].mean)
    assert gain.ci_low < gain.mean < gain.ci_high
    assert np.isnan(table.cells["mr", "ad/none/paired", "auc_gain"].mean)
    assert cell.best
    assert table.rows == {"mr": "MR alone", "real_pet": "MR + real PET", "made": "MR + PET of Maker"}


def test_what_was_not_measured_is_a_dash_and_quotes_enter_nothing(both, tmp_path):
    table = build_diagnosis(EXPERIMENT, both, QUOTED, {"made": "Maker"}, 200, ["A note."])
    assert np.isnan(table.cells["real_pet", "ad/none/mr_only", "auc"].mean)
    assert table.subjects("ad/none/mr_only") == "n = 40"
    write_markdown(table, tmp_path / "table.md")
    write_latex(table, tmp_path / "table.tex")
    text = (tmp_path / "table.md").read_text()
    ours, quoted = text.split("## Published values")
    assert "96.95" in quoted
    assert "96.95" not in ours
    assert "20 patients and 20 controls" in ours
    assert "bootstrapped over people" in ours
    assert "A note." in ours
    assert "[" in ours
    rows = long_table(table)
    printed = rows[(rows["method"] == "made") & (rows["metric"] == "auc") & (rows["column"] == "ad/none/mr_only")]
    assert printed["published"].tolist() == ["94.91"]


def test_few_people_are_said_to_be_few():
    paired = EXPERIMENT | {"columns": EXPERIMENT["columns"][:1]}
    table = build_diagnosis(paired, scores("paired", ("mr", "real_pet", "made"), n=8), (), {}, 100)
    assert "8 people are too few to tell whether PET, real or generated, helps." in table.notes
    assert "Below 5 in either group no interval is given, and nothing marked." in table.notes
    assert np.isnan(table.cells["real_pet", "ad/none/paired", "auc"].ci_low)
    assert not any(cell.best or cell.second for cell in table.cells.values())


def test_what_means_nothing_is_not_marked():
    entry = EXPERIMENT | {"columns": EXPERIMENT["columns"][:1], "metrics": ["specificity", "auc", "auc_gain"]}
    against = build_diagnosis(entry, scores("paired", ("mr", "real_pet", "made"), strength=(-1.0, -2.0, -3.0)), (), {}, 100)
    assert not any(cell.best or cell.second for (_, _, metric), cell in against.cells.items() if metric != "specificity")
    nobody = scores("paired", ("mr", "real_pet", "made"))
    nobody.loc[nobody["row"] == "real_pet", "score"] /= 3  # below one half for everybody
    cells = build_diagnosis(entry, nobody, (), {}, 100).cells
    assert cells["real_pet", "ad/none/paired", "specificity"].mean == 1
    assert not cells["real_pet", "ad/none/paired", "specificity"].best
    assert any(cells[row, "ad/none/paired", "specificity"].best for row in ("mr", "made"))


def test_somebody_tested_twice_is_refused_and_so_is_nobody(both):
    with pytest.raises(InputError, match="has two scores of mr in one repeat"):
        build_diagnosis(EXPERIMENT, pd.concat([both, both]), (), {}, 100)
    with pytest.raises(InputError, match="none are of ad, study mr_only"):
        build_diagnosis(EXPERIMENT, scores("paired", ("mr", "real_pet", "made")), (), {}, 100)
    with pytest.raises(InputError, match="made: has no scores in any column"):
        build_diagnosis(EXPERIMENT, both[both["row"] != "made"], (), {}, 100)


def test_rows_that_test_other_people_are_refused(both):
    last = both[both["row"] == both["row"].iloc[-1]].index[-1]
    with pytest.raises(InputError, match=r"not everybody of .* has one score of .* in each repeat"):
        build_diagnosis(EXPERIMENT, both.drop(last), (), {}, 100)


def test_the_legend_says_the_auc_of_the_table(both, tmp_path):
    """With repeats of different scales the mean score's AUC is another than the mean AUC."""
    uneven = both.assign(score=both["score"].where(both["repeat"] == 0, both["score"] * 0.01))
    table = build_diagnosis(EXPERIMENT, uneven, QUOTED, {"made": "Maker"}, 100)
    roc_curves(EXPERIMENT, uneven, {"made": "Maker"}, [tmp_path / "a.svg"])
    legend = re.findall(r"<!-- (MR .*): (\d\.\d\d) -->", (tmp_path / "a.svg").read_text())
    places = [(row, f"ad/none/{study}") for study in ("paired", "mr_only") for row in EXPERIMENT["rows"]]
    cells = [(table.rows[row], table.cells[row, place, "auc"].mean) for row, place in places]
    assert legend == [(title, f"{value:.2f}") for title, value in cells if not np.isnan(value)]


def test_roc_curves_are_drawn_the_same_each_time(both, tmp_path):
    files = [tmp_path / name for name in ("a.svg", "b.svg", "a.png")]
    roc_curves(EXPERIMENT, both, {"made": "Maker"}, files[::2])
    roc_curves(EXPERIMENT, both, {"made": "Maker"}, files[1:2])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "MR + PET of Maker" in files[0].read_text()
