import math

import numpy as np
import pandas as pd
import pytest
import yaml
from jsonschema import Draft202012Validator
from made_up import ROOT, experiment, long_rows
from scipy import stats

from petbench.errors import InputError
from petbench.report.notes import below_trivial, device_notes, scale_notes
from petbench.report.published import COLUMNS, Quoted, read_papers, read_published
from petbench.report.tables import build_table, caption, few_subjects, has_reference
from petbench.report.write_tables import escape, write_latex, write_markdown, write_tsv

ENTRY = {
    "paper": "mak_gan",
    "kind": "table",
    "title": "A & B",
    "rows": ["low_dose", "other", "mak_gan"],
    "columns": [{"dataset": "mni", "dose": "drf4", "label": "25 % dose", "published": "Clinical"}],
    "metrics": ["psnr", "nmse"],
    "reference": "standard_dose",
    "region": "whole",
    "differs": "all",
}
STARRED = {**ENTRY, "statistics": {"metric": "psnr", "against": "mak_gan", "alpha": 0.05}}
TITLES = {"other": "Other_net", "mak_gan": "MAK-GAN"}
KEY = "mni/drf4"


def study(low, other, own) -> pd.DataFrame:
    rows = []
    for method, psnr in (("low_dose", low), ("other", other), ("mak_gan", own)):
        rows += long_rows("mni", "drf4", method, "psnr", psnr)
        rows += long_rows("mni", "drf4", method, "nmse", [1 / value for value in psnr])
    return pd.DataFrame(rows)


def test_cells_hold_mean_sd_and_interval_by_hand():
    table = build_table(ENTRY, study([20, 21, 22, 23], [24, 24, 25, 25], [25, 26, 27, 28]), (), TITLES)
    cell = table.cells["low_dose", KEY, "psnr"]
    sd = math.sqrt(5 / 3)
    half = stats.t.ppf(0.975, 3) * sd / 2
    assert (cell.mean, cell.n) == (21.5, 4)
    assert (cell.sd, cell.ci_low, cell.ci_high) == pytest.approx((sd, 21.5 - half, 21.5 + half))
    assert table.rows == {"low_dose": "Low dose", "other": "Other_net", "mak_gan": "MAK-GAN"}


def test_copies_of_a_phantom_are_one_and_the_table_says_so():
    own = np.linspace(25, 32, 12)
    table = study(own - 5 + np.tile([0, 0.1, 0.3], 4), own - 1, own)
    copies = table.assign(person=table["subject"].map(lambda name: f"0{(int(name[-2:]) - 1) // 2}"))
    built = build_table(STARRED, copies, (), TITLES)
    cell = built.cells["other", KEY, "psnr"]
    assert (cell.n, cell.mean) == (6, pytest.approx(np.mean(own) - 1))
    assert cell.sd == pytest.approx(np.std(own.reshape(6, 2).mean(axis=1), ddof=1))
    assert built.blocks()[0][1] == "25 % dose (n = 6)"
    assert any("n counts phantoms: 12 rotated copies of 6 phantoms were measured" in note for note in built.notes)
    assert few_subjects(build_table(STARRED, copies[copies["person"] != "00"], (), TITLES)) == [KEY]
    assert not any("copies" in note for note in build_table(STARRED, table, (), TITLES).notes)


def test_best_and_second_follow_the_direction_of_the_metric():
    table = build_table(ENTRY, study(*(np.arange(6) + low for low in (20, 24, 26))), (), TITLES)
    for metric in ("psnr", "nmse"):  # one is better high, the other low; the methods rank the same
        assert [method for method in table.rows if table.cells[method, KEY, metric].best] == ["mak_gan"]
        assert [method for method in table.rows if table.cells[method, KEY, metric].second] == ["other"]


def test_equal_means_share_a_place():
    table = build_table(ENTRY, study(*(np.arange(6) + low for low in (20, 26, 26))), (), TITLES)
    assert [method for method in table.rows if table.cells[method, KEY, "psnr"].best] == ["other", "mak_gan"]
    assert [method for method in table.rows if table.cells[method, KEY, "psnr"].second] == ["low_dose"]


@pytest.mark.parametrize(
    ("people", "lows"), [pytest.param(5, (20, 24, 26), id="fewer than six"), pytest.param(6, (20, 20, 20), id="all are equal")]
)
def test_nothing_is_best_among_few_people_or_equals(people, lows):
    table = build_table(ENTRY, study(*(np.arange(people) + low for low in lows)), (), TITLES)
    assert not any(cell.best or cell.second for cell in table.cells.values())
    assert "bold" not in caption(table, intervals=False)


def test_star_marks_only_what_is_significantly_worse():
    rng = np.random.default_rng(0)
    own = 26 + rng.normal(0, 1, 8)
    table = build_table(STARRED, study(own - 3 + rng.normal(0, 0.1, 8), own + rng.normal(0, 0.1, 8), own), (), TITLES)
    assert {method: table.cells[method, KEY, "psnr"].mark for method in table.rows} == {"low_dose": "*", "other": "", "mak_gan": ""}
    assert table.cells["low_dose", KEY, "psnr"].p_holm < 0.05 < table.cells["other", KEY, "psnr"].p_holm
    assert math.isnan(table.cells["mak_gan", KEY, "psnr"].p_holm)
    assert {table.cells[method, KEY, "nmse"].mark for method in table.rows} == {""}
    better = build_table(STARRED, study(own + 3 + rng.normal(0, 0.1, 8), own + rng.normal(0, 0.1, 8), own), (), TITLES)
    assert better.cells["low_dose", KEY, "psnr"].mark == ""
    assert better.cells["low_dose", KEY, "psnr"].p_holm < 0.05


@pytest.mark.parametrize(("subjects", "stars", "said"), [(5, "", True), (6, "*", False)])
def test_below_six_subjects_no_star_and_the_table_says_so(subjects, stars, said):
    own = np.linspace(25, 27, subjects)
    wobble = 0.1 * (-1) ** np.arange(subjects)
    table = build_table(STARRED, study(own - 5 + wobble, own - 1, own), (), TITLES)
    assert table.cells["low_dose", KEY, "psnr"].mark == stars
    assert any("Below 6 subjects nothing is tested, and nothing marked." in note for note in table.notes) is said
    assert few_subjects(table) == ([KEY] if said else [])


def test_cost_is_averaged_and_never_ranked_or_made_up_for_the_low_dose():
    metrics = study([20, 21], [24, 25], [26, 27])
    costs = long_rows("mni", "drf4", "mak_gan", "gflop", [60, 64], "n/a", "n/a")
    costs += long_rows("mni", "drf4", "other", "gflop", [9, 9], "n/a", "n/a")
    table = build_table({**ENTRY, "cost": ["gflop"]}, pd.concat([metrics, pd.DataFrame(costs)]), (), TITLES)
    assert table.cells["mak_gan", "cost", "gflop"].mean == 62
    assert math.isnan(table.cells["low_dose", "cost", "gflop"].mean)
    assert not any(table.cells[method, "cost", "gflop"].best for method in table.rows)


def test_size_of_a_network_given_once_a_subject_is_printed_plain(tmp_path):
    """Parameters and operations are counted at each restoration; equal ones have no spread, and averaging must not round them."""
    costs = [row for metric, value in (("parameters", 12_345_678), ("gflop", 66.1)) for method in ("other", "mak_gan")
             for row in long_rows("mni", "drf4", method, metric, [value] * 7, "n/a", "n/a")]  # fmt: skip
    metrics = pd.concat([study(*([20 + k for k in range(7)] for _ in range(3))), pd.DataFrame(costs)])
    table = build_table({**ENTRY, "cost": ["parameters", "gflop"]}, metrics, (), TITLES)
    assert table.cells["mak_gan", "cost", "gflop"].mean == 66.1
    write_markdown(table, tmp_path / "table.md")
    assert "| 12,345,678 | 66.100 |" in (tmp_path / "table.md").read_text()


def test_times_in_a_table_say_where_they_were_measured():
    timed = {**ENTRY, "cost": ["restore_seconds"]}
    assert device_notes(ENTRY, ["a GPU, bf16"], ["a GPU"]) == ()
    (one,) = device_notes(timed, ["a GPU, bf16", "a GPU, bf16"], ["a GPU"])
    assert one == "Times and memory: trained on a GPU, bf16, restored on a GPU."
    (several,) = device_notes(timed, ["a GPU, bf16"], ["a GPU", "cpu, 2 threads"])
    assert "restored on a GPU; cpu, 2 threads" in several
    assert "whatever devices those ran on" in several


def test_a_metric_without_any_value_is_explained_and_has_no_column(tmp_path):
    rows = [row for method in ENTRY["rows"] for row in long_rows("mni", "drf4", method, "lpips", [math.nan, math.nan])]
    metrics = pd.concat([study([20, 21], [24, 25], [26, 27]), pd.DataFrame(rows)])
    table = build_table({**ENTRY, "metrics": ["psnr", "lpips"]}, metrics, (), TITLES)
    assert any(note.startswith("LPIPS is n/a: it needs published weights") for note in table.notes)
    assert not any("not finite are left out" in note for note in table.notes)
    assert table.subjects(KEY) == "n = 2"
    assert not any(table.cells[method, KEY, "lpips"].best for method in ENTRY["rows"])
    write_markdown(table, tmp_path / "table.md")
    (line,) = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| MAK-GAN")]
    assert line == "| MAK-GAN | 26.50 ± 0.71 |"


def test_what_a_row_has_no_value_of_is_not_told_as_left_out_and_few_people_are_those_who_were_measured():
    full = study([20.0] * 6, [21.0] * 6, [22.0] * 6)
    unknown = full.assign(value=full["value"].where(full["method"] != "other"))
    table = build_table(ENTRY, unknown, (), TITLES)
    assert not any("left out" in note for note in table.notes)
    assert few_subjects(table) == []
    one = full.assign(value=full["value"].where((full["method"] != "other") | (full["subject"] != "sub-01")))
    assert "2 values that are not finite are left out." in build_table(ENTRY, one, (), TITLES).notes


def test_a_metric_that_the_paper_calls_otherwise_is_paired_with_its_number(tmp_path):
    quoted = Quoted("MAK-GAN", "Clinical", "Peak", "23.1 ± 2.0", "", "a paper, table 1")
    entry = {**ENTRY, "published_rows": {"mak_gan": "MAK-GAN"}, "published_metrics": {"psnr": "Peak"}}
    table = build_table(entry, study([20, 21], [24, 25], [26, 27]), (quoted,), TITLES)
    write_tsv(table, tmp_path / "table.tsv")
    written = pd.read_csv(tmp_path / "table.tsv", sep="\t", dtype=str, keep_default_na=False)
    printed = written[written["published"] != ""]
    assert printed[["method", "metric", "published"]].to_numpy().tolist() == [["mak_gan", "psnr", "23.1 ± 2.0"]]


REGISTERED = "MR is registered to the standard-dose image, as in studies with simultaneous PET/MR; a deployed scan has only the low dose."


def entry_of(fixed="drf4", mode="low_dose"):
    return {"title": "Heads", "preprocess": {"registration": {"fixed": fixed}, "scaling": {"mode": mode}}}


def test_notes_warn_of_the_scale_and_of_each_data_set_of_the_experiment():
    entries = {"datasets": {"mni": entry_of(), "other": entry_of("standard", "own_range")}}
    assert scale_notes(entries, ENTRY, " A small\nscale. ") == ("A small scale.",)  # another data set's ways are not its own
    assert scale_notes(entries, ENTRY, "") == ()
    both = {**ENTRY, "columns": [*ENTRY["columns"], {"dataset": "other", "dose": "x", "label": "y"}]}
    leaking, registered = scale_notes(entries, both, "")
    assert leaking.startswith("Leaking scale (Heads): each image is scaled to its own range")
    assert registered == f"Heads: {REGISTERED}"
    assert scale_notes({"datasets": {"mni": entry_of("standard")}}, ENTRY, "") == (REGISTERED,)


def test_methods_below_the_best_trivial_row_are_named_with_how_far_by_column():
    """Whatever the order; neither trivial rows themselves nor the low dose are."""
    rows = ["low_dose", "mak_gan", "gaussian", "other", "nlm"]
    reached = {"drf4": [18.0, 22.0, 21.0, 20.5, 20.0], "drf25": [19.0, 25.0, 24.0, 26.0, 25.5]}
    columns = [{"dataset": "mni", "dose": dose, "label": dose} for dose in reached]
    metrics = pd.DataFrame(
        row
        for dose, values in reached.items()
        for method, value in zip(rows, values, strict=True)
        for metric in ("psnr", "nmse")
        for row in long_rows("mni", dose, method, metric, [value - 1, value + 1])
    )
    entry = {**ENTRY, "rows": rows, "columns": columns}
    titles = TITLES | {"gaussian": "Filter", "nlm": "NLM"}
    table = build_table(entry, metrics, (), titles)
    assert below_trivial(table, ["gaussian", "nlm"]) == [
        "A & B, drf4: below Filter (21.00 dB PSNR): Other_net by 0.50 dB.",
        "A & B, drf25: below NLM (25.50 dB PSNR): MAK-GAN by 0.50 dB.",
    ]
    assert below_trivial(table, []) == []
    assert below_trivial(build_table({**entry, "metrics": ["nmse"]}, metrics, (), titles), ["gaussian"]) == []


def test_notes_say_which_slices_alone_are_restored():
    entry = entry_of() | {"evaluation": {"slices": [7, 3]}}
    (note,) = scale_notes({"datasets": {"mni": entry}}, ENTRY, "")
    assert note == "Heads: slices 3, 7 alone are measured and shown, and methods of slices restore no others."


def test_warnings_and_differences_stand_in_markdown_and_latex(tmp_path):
    published = read_published(ROOT / "resources/published/mak_gan_table1.tsv")
    notes = scale_notes({"datasets": {"mni": entry_of("standard", "own_range")}}, ENTRY, "Order_means nothing*.")
    entry = {**ENTRY, "differs": "Other *heads* & 5 % dose.\n"}
    for quoted in (published, ()):
        table = build_table(entry, study([20, 21], [24, 25], [26, 27]), quoted, TITLES, notes=notes)
        write_markdown(table, tmp_path / "table.md")
        write_latex(table, tmp_path / "table.tex")
        markdown, latex = ((tmp_path / f"table.{suffix}").read_text() for suffix in ("md", "tex"))
        set_text = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))  # LaTeX prints no comment
        for text, start in ((markdown, r"Order_means nothing\*."), (set_text, r"Order\_means nothing*.")):
            assert start in text
            assert "Leaking scale (Heads)" in text
            assert REGISTERED in text
        assert r"What differs from the paper: Other \*heads\* & 5 % dose." in markdown
        assert r"What differs from the paper: Other *heads* \& 5 \% dose." in set_text


def test_caption_promises_intervals_only_where_they_are_printed(tmp_path):
    table = build_table(ENTRY, study([20, 21], [24, 25], [26, 27]), (), TITLES)
    assert "confidence interval of the mean in brackets" in caption(table, intervals=True)
    write_markdown(table, tmp_path / "table.md")
    write_latex(table, tmp_path / "table.tex")
    for name in ("table.md", "table.tex"):
        text = (tmp_path / name).read_text()
        assert "over subjects, against the standard-dose image; region: whole." in text
        assert "confidence" not in text


def test_missing_method_metric_or_reference_is_refused_by_name():
    metrics = study([20, 21], [24, 25], [26, 27])
    with pytest.raises(InputError, match="other on mni/drf4: psnr against standard_dose in region whole"):
        build_table(ENTRY, metrics[metrics["method"] != "other"], (), TITLES)
    with pytest.raises(InputError, match="low_dose on mni/drf4: psnr against true_activity"):
        build_table(ENTRY, metrics, (), TITLES, reference="true_activity")
    with pytest.raises(InputError, match="sharpness is not defined"):
        build_table({**ENTRY, "metrics": ["sharpness"]}, metrics, (), TITLES)
    with pytest.raises(InputError, match="has no column region"):
        build_table(ENTRY, metrics.drop(columns="region"), (), TITLES)
    assert has_reference(ENTRY, metrics, "standard_dose")
    assert not has_reference(ENTRY, metrics, "true_activity")


def test_twice_the_same_subject_is_refused():
    metrics = study([20, 21], [24, 25], [26, 27])
    with pytest.raises(InputError, match="two values"):
        build_table(ENTRY, pd.concat([metrics, metrics]), (), TITLES)


def test_tsv_returns_every_number_it_was_given(metrics, tmp_path):
    entry = experiment("mak_gan_table1")
    table = build_table(entry, metrics, read_published(ROOT / "resources/published/mak_gan_table1.tsv"), TITLES)
    write_tsv(table, tmp_path / "table.tsv")
    exact = {"float_precision": "round_trip", "dtype": {"published": str}}
    read = pd.read_csv(tmp_path / "table.tsv", sep="\t", keep_default_na=False, na_values=["n/a"], **exact)
    assert len(read) == len(table.cells) == len(entry["rows"]) * (2 * 3 + 2)
    keys = {column.place: column.key for column in table.columns}
    for row in read.to_dict("records"):
        cell = table.cells[row["method"], keys.get(row["column"], row["column"]), row["metric"]]
        for name in ("mean", "sd", "ci_low", "ci_high", "n", "p_holm"):
            assert row[name] == getattr(cell, name) or (math.isnan(row[name]) and math.isnan(getattr(cell, name)))
        assert (row["mark"], row["best"], row["second"]) == (cell.mark, cell.best, cell.second)
    quoted = {(row["method"], row["column"], row["metric"]): (row["published"], row["published_mark"]) for row in read.to_dict("records")}
    assert quoted["low_dose", "mni/drf4", "nmse"] == ("0.0550", "")  # the digits as printed
    assert quoted["m_unet", "mni/drf25", "psnr"] == ("22.549", "*")
    assert quoted["mak_gan", "cost", "gmac_modules"] == ("30.08", "")
    assert quoted["mak_gan", "cost", "gflop"] == ("", "")  # another convention: not the same quantity


def test_published_values_change_no_number_of_ours(metrics):
    entry = experiment("mak_gan_table1")
    published = read_published(ROOT / "resources/published/mak_gan_table1.tsv")
    absurd = tuple(quoted._replace(value="99.999", mark="*") for quoted in published)
    plain, printed, wrong = (build_table(entry, metrics, quotes, TITLES) for quotes in ((), published, absurd))
    # repr, because NaN equals nothing
    assert repr(plain.cells) == repr(printed.cells) == repr(wrong.cells)


def test_markdown_keeps_ours_and_published_apart(tmp_path):
    published = read_published(ROOT / "resources/published/mak_gan_table1.tsv")
    own = np.linspace(25, 27, 6)
    table = build_table(STARRED, study(own - 5 + [0.1, 0, 0.1, 0, 0, 0.2], own - 1, own), published, TITLES)
    write_markdown(table, tmp_path / "table.md")
    ours, theirs = (tmp_path / "table.md").read_text().split("## Published values (MAK-GAN, table 1)")
    assert "| MAK-GAN | **26.00 ± 0.75** |" in ours
    assert "<u>25.00 ± 0.75</u>" in ours
    assert r"\*21.07 ± " in ours
    assert "(n = 6)" in ours
    assert "98.57" in theirs
    assert "98.57" not in ours
    assert "26.00" not in theirs
    lines = [line for line in ours.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


HELD = {**STARRED, "published_rows": {"low_dose": "LPET", "mak_gan": "MAK-GAN"}}


def held(entry=HELD):
    """A table whose rows of the low dose and of MAK-GAN the paper printed, too, at one of its two doses."""
    own = np.linspace(25, 27, 6)
    metrics = study(own - 5 + [0.1, 0, 0.1, 0, 0, 0.2], own - 1, own)
    return build_table(entry, metrics, read_published(ROOT / "resources/published/mak_gan_table1.tsv"), TITLES)


def cells_of(text, row):
    """Cells of the row of a Markdown table or a LaTeX tabular that begins with a name, in the order of the columns."""
    (line,) = [line.removesuffix(r"\\").strip(" |") for line in text.splitlines() if line.strip(" |").startswith(f"{row} ")]
    return [cell.strip() for cell in line.split("|" if "|" in line else "&")]


def test_the_paper_stands_beside_ours_with_ours_minus_it(tmp_path):
    write_markdown(held(), tmp_path / "table.md")
    ours = (tmp_path / "table.md").read_text().split("## Published values")[0]
    heads = cells_of(ours, "Method")
    assert [head.rpartition(": ")[2] for head in heads] == ["Method", "PSNR ↑", "Paper", "Ours − paper", "NMSE ↓", "Paper", "Ours − paper"]
    assert cells_of(ours, "MAK-GAN")[1:4] == ["**26.00 ± 0.75**", "25.311", "+0.69"]
    assert cells_of(ours, "Low dose")[2:4] == [r"\*21.068", "-0.00"]
    assert cells_of(ours, "MAK-GAN")[5:7] == ["0.0207", "+0.0178"]  # 1 / 26, about
    assert cells_of(ours, "Other_net")[2:4] == ["–", "–"]
    assert "Paper: as printed in MAK-GAN, table 1, of other data; it enters no mean, rank or test." in ours


def test_the_box_shrinks_to_what_the_paper_alone_has(tmp_path):
    write_markdown(held(), tmp_path / "table.md")
    theirs = (tmp_path / "table.md").read_text().split("## Published values")[1]
    heads, own = cells_of(theirs, "Method"), cells_of(theirs, "MAK-GAN")
    assert dict(zip(heads, own, strict=True)) == {
        "Method": "MAK-GAN",
        "Clinical: PSNR": "above",
        "Clinical: SSIM": "0.988",
        "Clinical: NMSE": "above",
        "Dynamic-PET: PSNR": "23.226",
        "Dynamic-PET: SSIM": "0.845",
        "Dynamic-PET: NMSE": "0.110",
        "GFLOPs": "30.08",
    }
    assert cells_of(theirs, "LA-GAN")[1] == r"\*24.807"
    assert "25.311" not in theirs


def test_no_number_of_a_row_that_is_not_run_stands_among_ours(tmp_path):
    write_markdown(held(), tmp_path / "table.md")
    write_latex(held(), tmp_path / "table.tex")
    published = read_published(ROOT / "resources/published/mak_gan_table1.tsv")
    unrun = {quoted.value for quoted in published if quoted.row not in HELD["published_rows"].values()}
    run = {quoted.value for quoted in published} - unrun
    for name, heading in (("table.md", "## Published values"), ("table.tex", "Published values, not measured here")):
        ours, theirs = (tmp_path / name).read_text().split(heading)
        assert not [value for value in unrun if value in ours]
        assert {"98.57", "25.106"} <= {value for value in unrun if value in theirs}
        assert {"25.311", "0.0207"} <= {value for value in run if value in ours}
    assert {quoted.row for quoted in held().beside().values()} == {"LPET", "MAK-GAN"}


def test_without_a_number_of_its_own_the_paper_has_no_box(tmp_path):
    quoted = (Quoted("MAK-GAN", "Clinical", "PSNR", "25.311", "", "a paper"),)
    table = build_table(HELD, study([20, 21], [24, 25], [26, 27]), quoted, TITLES)
    write_markdown(table, tmp_path / "table.md")
    write_latex(table, tmp_path / "table.tex")
    assert "Published values" not in (tmp_path / "table.md").read_text() + (tmp_path / "table.tex").read_text()


def test_latex_holds_ours_beside_the_paper_in_a_tabular_of_its_own(tmp_path):
    write_latex(held(), tmp_path / "table.tex")
    own, beside, alone = (tmp_path / "table.tex").read_text().split(r"\begin{tabular}")[1:]
    assert "25.311" not in own + alone
    assert r"\multicolumn{3}{c}{25 \% dose (n = 6): PSNR} & \multicolumn{3}{c}{25 \% dose (n = 6): NMSE}" in beside
    assert cells_of(beside, "Method") == ["Method", *["Ours", "Paper", r"Ours $-$ paper"] * 2]
    assert cells_of(beside, "MAK-GAN")[1:4] == ["26.00", "25.311", "+0.69"]
    assert "Other" not in beside


def test_tsv_has_the_difference_at_full_precision(tmp_path):
    write_tsv(held(), tmp_path / "table.tsv")
    read = pd.read_csv(tmp_path / "table.tsv", sep="\t", float_precision="round_trip", na_values=["n/a"])
    printed = read[read["published"].notna()]
    assert set(printed["method"]) == {"low_dose", "mak_gan"}
    assert (printed["difference"] == printed["mean"] - printed["published"].astype(float)).all()
    assert read.loc[read["published"].isna(), "difference"].isna().all()


@pytest.mark.parametrize(
    ("value", "unit", "number"),
    [
        ("25.311", "", 25.311),
        ("31.35 ± 2.59", "", 31.35),
        ("268.99M", "", 268.99e6),
        ("94.21", "%", 0.9421),
        ("-0.5", "", -0.5),
        ("40", "", 40.0),
    ],
)
def test_a_printed_number_is_read_in_our_units(value, unit, number):
    assert Quoted("A", "c", "PSNR", value, "*", "p", unit).number == pytest.approx(number)


@pytest.mark.parametrize("value", ["about 3", "1.2.3", "–", "3 dB"])
def test_what_is_no_number_makes_no_difference(value):
    assert math.isnan(Quoted("A", "c", "PSNR", value, "", "p").number)


@pytest.mark.parametrize("path", sorted((ROOT / "resources/published").glob("*_*.tsv")), ids=lambda path: path.stem)
def test_every_printed_number_can_be_held_against_ours(path):
    assert [quoted.value for quoted in read_published(path) if math.isnan(quoted.number)] == []


def test_latex_escapes_what_latex_would_read_as_commands(tmp_path):
    assert escape(r"a_b & 5 % {x} \ # $ ~ ^") == r"a\_b \& 5 \% \{x\} \textbackslash{} \# \$ \textasciitilde{} \textasciicircum{}"
    published = read_published(ROOT / "resources/published/mak_gan_table1.tsv")
    table = build_table({**ENTRY, "metrics": ["psnr"]}, study(*(np.arange(6) + low for low in (20, 24, 26))), published, TITLES)
    write_latex(table, tmp_path / "table.tex")
    text = (tmp_path / "table.tex").read_text()
    ours, theirs = text.split("Published values, not measured here: MAK-GAN, table 1.")
    assert r"\multicolumn{1}{c}{25 \% dose (n = 6)}" in ours
    assert r"Other\_net & \underline{26.50 $\pm$ 1.87} \\" in ours
    assert r"MAK-GAN & \textbf{28.50 $\pm$ 1.87} \\" in ours
    assert ours.count(r"\toprule") == theirs.count(r"\toprule") == 1
    assert text.isascii()


def test_published_tables_quote_the_paper():
    first, second = (read_published(ROOT / f"resources/published/mak_gan_table{number}.tsv") for number in (1, 2))
    values = {(quoted.row, quoted.column, quoted.metric): quoted for quoted in first}
    assert len(first) == 7 * 6 + 6
    assert sum(quoted.mark == "*" for quoted in first) == 6 + 5 + 2
    assert values["MAK-GAN", "Clinical", "PSNR"].value == "25.311"
    assert values["MTrans-GAN", "Dynamic-PET", "PSNR"].mark == ""
    # The paper states these differences in words, which checks the digits copied.
    for column, metric, gain in (("Clinical", "PSNR", 0.205), ("Dynamic-PET", "PSNR", 0.143), ("Dynamic-PET", "NMSE", -0.014)):
        own, second_best = (float(values[row, column, metric].value) for row in ("MAK-GAN", "MTrans-GAN"))
        assert own - second_best == pytest.approx(gain)
    proposed = {(quoted.column, quoted.metric): quoted.value for quoted in second if quoted.row == "E (Proposed)"}
    assert proposed == {(quoted.column, quoted.metric): quoted.value for quoted in first if quoted.row == "MAK-GAN" and quoted.column}
    assert "mak_gan" in read_papers(ROOT / "resources/published/papers.tsv")


def test_published_table_that_contradicts_itself_is_refused(tmp_path):
    path = tmp_path / "quoted.tsv"
    number = ["A", "c", "PSNR", "1", "", "p"]
    path.write_text("".join("\t".join(line) + "\n" for line in (COLUMNS, number, number)))
    with pytest.raises(InputError, match="PSNR of A stands twice"):
        read_published(path)
    path.write_text("".join("\t".join(line) + "\n" for line in ((*COLUMNS, "unit"), (*number, "dB"))))
    with pytest.raises(InputError, match="unit 'dB' is unknown; use one of %"):
        read_published(path)
    with pytest.raises(InputError, match="no such file"):
        read_published(tmp_path / "absent.tsv")


@pytest.mark.parametrize("name", ["mak_gan_table1", "mak_gan_table2", "mak_gan_figure3"])
def test_experiments_satisfy_their_closed_schema_and_name_what_exists(name):
    schema = yaml.safe_load((ROOT / "config/schemas/experiment.yaml").read_text())
    Draft202012Validator.check_schema(schema)
    entry = experiment(name)
    Draft202012Validator(schema).validate(entry)
    assert not Draft202012Validator(schema).is_valid({**entry, "colour": "red"})
    assert set(entry.get("published_rows", {})) <= set(entry["rows"])
    assert {tick["method"] for panel in entry.get("panels", []) for tick in panel["ticks"]} <= set(entry["rows"])
    if "published" in entry:
        quoted = read_published(ROOT / f"resources/published/{entry['published']}.tsv")
        assert set(entry["published_rows"].values()) <= {number.row for number in quoted}
        assert {column["published"] for column in entry["columns"]} <= {number.column for number in quoted}
    if "statistics" in entry:
        assert entry["statistics"]["against"] in entry["rows"]
        assert entry["statistics"]["metric"] in entry["metrics"]


def test_schema_asks_a_figure_for_panels_and_refuses_them_of_a_table():
    schema = Draft202012Validator(yaml.safe_load((ROOT / "config/schemas/experiment.yaml").read_text()))
    figure = experiment("mak_gan_figure3")
    assert not schema.is_valid({key: value for key, value in figure.items() if key != "panels"})
    assert not schema.is_valid({**figure, "kind": "table"})


def test_every_key_of_the_schema_is_described():
    def undescribed(schema, path=""):
        for key, part in schema.get("properties", {}).items():
            if part is not False:
                yield from [] if "description" in part else [f"{path}/{key}"]
                yield from undescribed(part, f"{path}/{key}")
                yield from undescribed(part.get("items", {}), f"{path}/{key}")

    assert list(undescribed(yaml.safe_load((ROOT / "config/schemas/experiment.yaml").read_text()))) == []


def test_several_metrics_are_tested_and_corrected_together():
    rng = np.random.default_rng(5)
    own = rng.uniform(25, 30, 8)
    metrics = study(own - 3 + rng.normal(0, 0.1, 8), own - rng.uniform(0.1, 0.3, 8), own)
    one = build_table(STARRED, metrics, (), TITLES)
    two = build_table({**STARRED, "statistics": {**STARRED["statistics"], "metric": ["psnr", "nmse"]}}, metrics, (), TITLES)
    assert any(note.startswith("*: PSNR or NMSE significantly worse than MAK-GAN") for note in two.notes)
    for method in ("low_dose", "other"):
        assert math.isnan(one.cells[method, KEY, "nmse"].p_holm)
        assert two.cells[method, KEY, "nmse"].mark == "*"
        assert two.cells[method, KEY, "psnr"].p_holm >= one.cells[method, KEY, "psnr"].p_holm


REGIONS = {
    **STARRED,
    "columns": [
        {"dataset": "mni", "dose": "drf4", "label": "25 % dose", "published": "Clinical", "region": "brain"},
        {"dataset": "mni", "dose": "drf25", "label": "4 % dose", "published": "Dynamic-PET"},
    ],
    "statistics": {"metric": ["psnr", "nmse"], "against": "mak_gan", "alpha": 0.05},
}
BRAIN = "mni/drf4/brain"


@pytest.fixture(scope="module")
def two_regions() -> pd.DataFrame:
    """Both doses in both regions, seven subjects; in the brain the other method is behind at 25 % dose, in the whole volume ahead."""
    rng, rows = np.random.default_rng(3), []
    for dose in ("drf4", "drf25"):
        for region, behind in (("brain", {"low_dose": 5, "other": 1}), ("whole", {"low_dose": 5, "other": -1})):
            for method in ("low_dose", "other", "mak_gan"):
                psnr = 20 + 10 * (region == "whole") - behind.get(method, 0) + rng.normal(0, 0.2, 7)
                rows += long_rows("mni", dose, method, "psnr", psnr, region=region)
                rows += long_rows("mni", dose, method, "nmse", 10 ** (-psnr / 10), region=region)
    return pd.DataFrame(rows)


def test_each_column_is_measured_ranked_and_tested_in_its_own_region(two_regions, tmp_path):
    table = build_table(REGIONS, two_regions, (), TITLES)
    for key, region, dose in ((BRAIN, "brain", "drf4"), ("mni/drf25", "whole", "drf25")):
        for metric in ("psnr", "nmse"):
            of = two_regions[(two_regions["region"] == region) & (two_regions["dose"] == dose) & (two_regions["metric"] == metric)]
            for method in REGIONS["rows"]:
                assert table.cells[method, key, metric].mean == pytest.approx(of.loc[of["method"] == method, "value"].mean())
    assert table.cells["mak_gan", BRAIN, "psnr"].best
    assert table.cells["other", BRAIN, "psnr"].mark == "*"
    assert table.cells["other", "mni/drf25", "psnr"].best
    assert table.cells["other", "mni/drf25", "psnr"].mark == ""
    write_tsv(table, tmp_path / "table.tsv")
    rows = pd.read_csv(tmp_path / "table.tsv", sep="\t")
    assert set(zip(rows["column"], rows["region"], strict=True)) == {("mni/drf4", "brain"), ("mni/drf25", "whole")}


def test_tests_of_columns_that_differ_in_region_are_corrected_together(two_regions):
    """Eight tests, as of a table with one region: each p-value is Holm's over all of them."""
    from petbench.evaluation.statistics import holm, uncorrected

    table = build_table(REGIONS, two_regions, (), TITLES)
    raw = []
    for key, region in ((BRAIN, "brain"), ("mni/drf25", "whole")):
        here = two_regions[two_regions["dose"] == key.split("/")[1]]
        raw += [
            (test["method"], key, test["metric"], test["p"])
            for test in uncorrected(here, ["psnr", "nmse"], "mak_gan", "standard_dose", region)
        ]
    assert len(raw) == 8
    for (*place, _), adjusted in zip(raw, holm([p for *_, p in raw]), strict=True):
        assert table.cells[tuple(place)].p_holm == pytest.approx(adjusted)


def test_heading_and_caption_say_the_regions_where_columns_differ(two_regions, tmp_path):
    table = build_table(REGIONS, two_regions, (), TITLES)
    assert [label for _, label, _ in table.blocks()] == ["25 % dose, brain (n = 7)", "4 % dose, whole volume (n = 7)"]
    assert "regions of the columns, from left to right: brain, whole." in caption(table, intervals=False)
    write_markdown(table, tmp_path / "table.md")
    assert "25 % dose, brain (n = 7): PSNR" in (tmp_path / "table.md").read_text()
    assert few_subjects(build_table(REGIONS, two_regions[two_regions["subject"] < "sub-05"], (), TITLES)) == ["mni/drf4", "mni/drf25"]


LESIONS = {
    **ENTRY,
    "rows": ["standard_dose", "low_dose", "mak_gan"],
    "columns": [
        {"dataset": "mni", "dose": "drf4", "label": "PET-only lesions", "region": "pet_only_lesions"},
        {"dataset": "mni", "dose": "drf4", "label": "MR-only lesions", "region": "mr_only_lesions"},
    ],
    "metrics": ["contrast_recovery", "false_contrast"],
    "reference": "true_activity",
    "statistics": {"metric": ["contrast_recovery", "false_contrast"], "against": "mak_gan", "alpha": 0.05},
}


def lesions(subjects=7) -> pd.DataFrame:
    rows, noise = [], np.random.default_rng(1)
    for method, recovery, false in (("standard_dose", 0.9, 0.0), ("low_dose", 0.3, 0.05), ("mak_gan", 0.6, -0.2)):
        spread = noise.normal(0, 0.01, (2, subjects))
        rows += long_rows("mni", "drf4", method, "contrast_recovery", recovery + spread[0], "true_activity", "pet_only_lesions")
        rows += long_rows("mni", "drf4", method, "false_contrast", false + spread[1], "true_activity", "mr_only_lesions")
        rows += long_rows("mni", "drf4", method, "psnr", np.full(subjects, np.nan if method == "standard_dose" else 20.0))
    return pd.DataFrame(rows)


def test_a_column_shows_the_metrics_of_its_region_and_the_standard_dose_is_neither_ranked_nor_tested(tmp_path):
    table = build_table(LESIONS, lesions(), (), TITLES)
    assert [[metric.name for metric in metrics] for _, _, metrics in table.blocks()] == [["contrast_recovery"], ["false_contrast"]]
    pet_only, mr_only = "mni/drf4/pet_only_lesions", "mni/drf4/mr_only_lesions"
    assert table.rows["standard_dose"] == "Standard dose"
    standard, own = table.cells["standard_dose", pet_only, "contrast_recovery"], table.cells["mak_gan", pet_only, "contrast_recovery"]
    assert standard.mean == pytest.approx(0.9, abs=0.02)
    assert (standard.best, standard.second) == (False, False)
    assert (own.best, own.second) == (True, False)
    assert math.isnan(standard.p_holm)
    assert table.cells["low_dose", pet_only, "contrast_recovery"].mark == "*"
    assert table.cells["low_dose", mr_only, "false_contrast"].best  # nearer to zero, though above it
    for write, name in ((write_tsv, "t.tsv"), (write_markdown, "t.md"), (write_latex, "t.tex")):
        write(table, tmp_path / name)
    assert (tmp_path / "t.md").read_text().splitlines()[2].count("|") == 4
    assert not has_reference(LESIONS, lesions(), "standard_dose")
    assert has_reference(LESIONS, lesions(), "true_activity")


def test_the_standard_dose_has_no_similarity_to_itself_and_says_nothing_of_it_below():
    rows = {**ENTRY, "rows": ["standard_dose", "low_dose", "mak_gan"], "metrics": ["psnr"]}
    table = build_table(rows, lesions(), (), TITLES)
    assert math.isnan(table.cells["standard_dose", KEY, "psnr"].mean)
    assert not any("n/a" in note or "not finite" in note for note in table.notes)


def test_what_the_paper_calls_psnr_pairs_with_one_column(tmp_path):
    """That of the frame, which is measured as the paper's is; not also with our own of that name."""
    rows = []
    for method in ENTRY["rows"]:
        rows += long_rows("mni", "drf4", method, "psnr", [20.0, 21.0])
        rows += long_rows("mni", "drf4", method, "frame_psnr", [30.0, 31.0], region="frame")
    entry = {**ENTRY, "metrics": ["psnr", "frame_psnr"], "published_rows": {"other": "O"}, "published_metrics": {"frame_psnr": "PSNR"}}
    table = build_table(entry, pd.DataFrame(rows), (Quoted("O", "Clinical", "PSNR", "28.6", "", "Paper"),), TITLES)
    assert table.cells["other", KEY, "frame_psnr"].mean == 30.5
    assert any("as M2Diff's authors do" in note for note in table.notes)
    write_tsv(table, tmp_path / "table.tsv")
    written = pd.read_csv(tmp_path / "table.tsv", sep="\t", dtype=str, keep_default_na=False)
    paired = written[written["published"] != ""]
    assert paired[["method", "metric", "region", "published"]].to_numpy().tolist() == [["other", "frame_psnr", "frame", "28.6"]]


@pytest.mark.parametrize("number", [1, 2])
def test_printed_values_say_that_mak_gans_columns_are_of_two_regions(number):
    """Peak over mean square (see test_metrics): some 7 in a brain, 17 and more in a whole grid; ours are measured alike."""
    published = read_published(ROOT / f"resources/published/mak_gan_table{number}.tsv")
    printed = {(quoted.row, quoted.column, quoted.metric): float(quoted.value) for quoted in published}
    told = {}
    for row, column, metric in printed:
        if metric == "PSNR" and (row, column, "NMSE") in printed:
            told.setdefault(column, []).append(10 ** (printed[row, column, "PSNR"] / 10) * printed[row, column, "NMSE"])
    entry = experiment(f"mak_gan_table{number}")
    regions = {column["published"]: column.get("region", entry["region"]) for column in entry["columns"]}
    assert set(told) == set(regions)
    for column, ratios in told.items():
        assert {"brain": max(ratios) < 8, "whole": min(ratios) > 17}[regions[column]], (column, ratios)
