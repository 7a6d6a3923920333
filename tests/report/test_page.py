import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import ROOT, experiment, long_rows
from playwright.sync_api import sync_playwright

from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.evaluation.definitions import RELIANCE
from petbench.evaluation.table import write_table
from petbench.files import write_json
from petbench.report import summaries
from petbench.report.collect import collect
from petbench.report.overview import build_overview
from petbench.report.page import render, write_report
from petbench.report.tables import build_table
from petbench.report.viewer import ViewerSubject

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def report(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "index.html"
    write_report(path, content)
    return path


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, report):
    """Open the report from disk at a width; the test fails on any console error and any request besides the file itself."""
    complaints, requests, contexts = [], [], []

    def open_at(width, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        page.wait_for_selector("#viewer[data-slice]")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert complaints == []
    assert set(requests) == {report.as_uri()}


def column_values(page, number):
    cells = page.locator("#mak_gan_table1 table.results").first.locator(f"tbody tr > :nth-child({number})")
    return [float(cells.nth(index).get_attribute("data-value")) for index in range(cells.count())]


@pytest.mark.browser
def test_table_sorts_the_best_first_by_its_header_and_back(open_page):
    page = open_page(1280)
    heading = page.locator("#mak_gan_table1 table.results").first.locator("thead tr:last-child th").nth(1)
    printed = column_values(page, 2)
    for direction, expected in (("descending", sorted(printed, reverse=True)), ("ascending", sorted(printed))):  # of PSNR
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == direction
        assert column_values(page, 2) == expected
    assert printed != expected
    other = page.locator("#mak_gan_table1 table.results").first.locator("thead tr:last-child th").nth(0)
    other.get_by_role("button").click()
    assert column_values(page, 2) == printed
    assert heading.get_attribute("aria-sort") == "none"


@pytest.mark.browser
def test_printing_keeps_every_column_and_opens_what_is_closed(open_page):
    page = open_page(1400)
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    widest = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.scroll table')].map((table) => table.getBoundingClientRect().width))"
    )
    assert widest <= 1001  # A4 in landscape less its margins is 1,030 wide
    assert page.locator("main details:not([open])").count() == 0
    assert not page.locator("#slice-viewer").is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details[data-closed]").count() == 0
    assert page.locator("main details:not([open])").count() > 0


@pytest.mark.browser
def test_unknown_values_sort_last_in_both_directions(open_page):
    page = open_page(1280)
    table = page.locator("#mak_gan_table2 table.results").first
    heading = table.locator("thead th.printed").first
    for _ in range(2):
        heading.get_by_role("button").click()
        assert table.locator("tbody tr").last.locator("td.printed").first.inner_text() == "–"


@pytest.mark.browser
def test_viewer_pages_by_keys_slider_and_wheel(open_page):
    page = open_page(1280)
    viewer = page.locator("#viewer")
    start = int(viewer.get_attribute("data-slice"))
    viewer.focus()
    page.keyboard.press("ArrowUp")
    page.wait_for_selector(f"#viewer[data-slice='{start + 1}']")
    page.keyboard.press("Home")
    page.wait_for_selector("#viewer[data-slice='1']")
    page.locator("#viewer-slice").fill("5")
    page.wait_for_selector("#viewer[data-slice='5']")
    page.locator("#viewer-slice").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#viewer[data-slice='6']")
    page.locator("#canvas-left").hover()
    page.mouse.wheel(0, 100)
    page.wait_for_selector("#viewer[data-slice='5']")
    assert page.locator("#viewer-place").inner_text().startswith("5 of ")


def pixels(page, canvas):
    script = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    return page.locator(f"#{canvas}").evaluate(script)


@pytest.mark.browser
def test_viewer_shows_each_dose_and_an_error_map_that_is_neutral_where_images_agree(open_page):
    page = open_page(1280)
    before = pixels(page, "canvas-left")
    page.locator("#viewer-dose").select_option("drf25")
    page.wait_for_function("document.getElementById('viewer-dose').value === 'drf25'")
    page.wait_for_timeout(200)
    assert pixels(page, "canvas-left") != before
    assert page.locator("#canvas-error").is_hidden()
    page.locator("#viewer-error").click()
    page.wait_for_selector("#canvas-error", state="visible")
    assert page.locator("#viewer-error").get_attribute("aria-pressed") == "true"
    page.locator("#viewer-left").select_option("standard_dose")
    page.wait_for_timeout(200)
    shown = pixels(page, "canvas-error")
    assert {tuple(shown[i : i + 3]) for i in range(0, len(shown), 4) if shown[i + 3]} == {(247, 247, 247)}


def colour(value):
    """The page's colour of an error relative to the limit, by hand: blue, white, red."""
    stops = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]], dtype=float)
    return np.stack([np.interp(value, [-1, -0.5, 0, 0.5, 1], stops[:, channel]) for channel in range(3)], axis=-1)


@pytest.mark.browser
def test_error_map_is_right_where_the_window_clips_and_below_zero(browser, content, tmp_path):
    """Errors between voxels that are both beyond black, or both below zero, are those of the values, not zero."""
    reference = np.full((16, 18, 16), 10_000.0)
    restored = reference.copy()
    reference[4, 4, 8], restored[4, 4, 8] = 90_000, 91_000
    reference[5, 4, 8], restored[5, 4, 8] = 90_000, 89_000
    reference[6, 4, 8], restored[6, 4, 8] = 0, -700
    reference[7, 4, 8], restored[7, 4, 8] = 30, 330
    paths = {}
    for name, array in (("mak_gan", restored), ("standard_dose", reference)):
        paths[name] = tmp_path / f"{name}.nii.gz"
        write_volume(paths[name], array.astype(np.float32), volume(np.zeros(array.shape, np.float32), np.diag([4.0, 4.0, 4.0, 1.0])))
    subject = ViewerSubject("mni", "drf4", "sub-01", paths)
    write_report(tmp_path / "index.html", dataclasses.replace(content, subjects=[subject], histories=(), registrations=()))
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_selector("#viewer[data-slice]")
    page.locator("#viewer-slice").fill("9")
    page.wait_for_selector("#viewer[data-slice='9']")
    page.locator("#viewer-error").click()
    page.wait_for_selector("#canvas-error", state="visible")
    assert page.locator("#bar-grey").inner_text() == "0 to 10 kBq/ml"
    assert page.locator("#bar-error").inner_text() == "error, ≤ −2.5 to ≥ 2.5 kBq/ml"
    shown = np.array(pixels(page, "canvas-error")).reshape(18, 16, 4)[::-1, :, :3]  # anterior is at the top
    page.close()
    expected = colour(np.array([1000, -1000, -700, 300]) / 2500)
    assert np.abs(shown[4, 4:8] - expected).max() <= 3  # a step of the hot volumes is 1.4 Bq/ml, of the colours some 10
    assert (shown[0] == 247).all()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_never_scrolls_sideways(open_page, scheme):
    page = open_page(390, 844, color_scheme=scheme, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    tables = page.locator("#mak_gan_table1 .scroll").first
    assert tables.evaluate("box => box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX === 'auto'")


@pytest.mark.browser
def test_page_follows_the_colour_scheme(open_page):
    light, dark = (
        open_page(900, color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor") for scheme in ("light", "dark")
    )
    assert light != dark


@pytest.mark.browser
def test_every_control_has_a_name(open_page):
    page = open_page(1280)
    for control in page.locator("button, select, input, canvas").all():
        named = control.evaluate("c => c.getAttribute('aria-label') || c.labels?.[0]?.textContent || c.textContent")
        assert named.strip(), control.evaluate("c => c.outerHTML")


def test_page_says_what_it_left_out_and_how_small_it_is(report):
    text = " ".join(re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", report.read_text(), flags=re.S).split())
    assert "A few phantoms, small by configuration." in text
    assert "Trained on cpu, 2 threads, fp32. Restored on cpu, 2 threads." in text
    assert "Several devices" not in text
    assert "Fewer than 6 subjects" not in text
    assert "axial slice through the largest lesion that PET shows (a PET-only one)" in text
    assert "2 more subjects and doses are left out" in text
    assert "All values that the paper prints stand beside ours: MAK-GAN, table 1." in text
    assert "Against the true activity" in text
    assert "Leaking scale" not in text


def texts(html, row):
    """Texts of the cells of each row of a name, its own left out, a list a row."""
    lines = [line for line in html.split("<tr>") if f">{row}</th>" in line]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<td.*?</td>", line, flags=re.S)] for line in lines]


def test_printed_numbers_stand_beside_ours_and_the_box_has_the_rest(content):
    table = content.entries["experiments"]["mak_gan_table1"]
    fewer = {"rows": [row for row in table["rows"] if row != "la_gan"]}
    fewer["published_rows"] = {row: printed for row, printed in table["published_rows"].items() if row != "la_gan"}
    experiments = {**content.entries["experiments"], "mak_gan_table1": {**table, **fewer}}
    entries = {**content.entries, "experiments": experiments, "run": ["mak_gan_table1"]}
    html = render(dataclasses.replace(content, entries=entries, subjects=(), histories=()))
    ours, box = html.split('<article id="mak_gan_table1">')[1].split("</article>")[0].split('<aside class="published"')
    beside, truth = texts(ours, "MAK-GAN")
    psnr = content.metrics.query("method == 'mak_gan' and dose == 'drf4' and metric == 'psnr' and region == 'brain'")
    mean = psnr.loc[psnr["reference"] == "standard_dose", "value"].mean()
    assert beside[1:3] == ["25.311", f"{mean - 25.311:+.2f}"]
    assert len(beside) == 3 * 2 * 3 + 3 + 1  # metrics at two doses and GMAC, each with two columns of the paper; GFLOP without
    assert len(truth) == 3 * 2  # the paper's are held against the table of its own reference alone
    assert texts(ours, "Gaussian filter")[0][1:3] == ["–", "–"]
    assert ours.count('class="number printed"') == 2 * 7 * (1 + len(entries["experiments"]["mak_gan_table1"]["rows"]))
    assert texts(box, "MAK-GAN") == texts(box, "M-Unet") == []
    assert texts(box, "LA-GAN")[0][0] == "*24.807"
    assert not texts(ours, "LA-GAN")
    assert "24.807" not in ours


def test_the_box_says_where_all_that_the_paper_prints_stands(content):
    entries = {**content.entries, "run": ["mak_gan_table2"]}
    html = render(dataclasses.replace(content, entries=entries, subjects=(), histories=()))
    assert "All values that the paper prints stand beside ours: MAK-GAN, table 2." in html
    assert "gives no values" not in html


def test_leaking_scale_is_warned_of_and_full_scale_has_no_banner(content):
    entries = dict(content.entries, scale="paper")
    entries["datasets"] = {"mni": {**entries["datasets"]["mni"], "preprocess": {"scaling": {"mode": "own_range"}}}}
    html = render(dataclasses.replace(content, entries=entries, note="", subjects=(), histories=()))
    assert "Leaking scale: mni." in html
    assert "Leaking scale (mni): each image" in html  # below the tables too
    assert "small by configuration" not in html


def first_lines(html):
    """What stands before the section of what was run."""
    return " ".join(re.sub(r"<[^>]+>", " ", html.split('<main id="main">')[1].split('<section id="scale"')[0]).split())


def test_the_first_lines_name_the_methods_that_a_filter_beats(content):
    worse = content.metrics.copy()
    place = (worse["method"] == "m_unet") & (worse["metric"] == "psnr") & (worse["dose"] == "drf25")
    worse.loc[place, "value"] -= 5
    entries = {**content.entries, "run": ["mak_gan_table1"]}
    told, silent = (
        first_lines(render(dataclasses.replace(content, entries=entries, metrics=metrics, subjects=(), histories=())))
        for metrics in (worse, content.metrics)
    )
    assert "a filter or a mean image beats" not in silent
    said = told.split("a filter or a mean image beats.")[1]
    assert said.index("A few phantoms, small by configuration.") > said.index("M-UNet by")
    assert re.match(
        r" MAK-GAN, Comparison with .*, Dynamic-PET protocol, 4 % dose: below Gaussian filter \([\d.]+ dB PSNR\): M-UNet by", said
    )
    assert "25 % dose:" not in said
    assert "MAK-GAN by" not in said


def test_what_methods_rely_on_has_a_table_of_its_own(content):
    entry = experiment("mak_gan_reliance") | {"rows": ["mak_gan"]}
    rows = [row for dose in ("drf4", "drf25") for name in RELIANCE for row in long_rows("mni", dose, "mak_gan", name, [0.5] * 7)]
    entries = {**content.entries, "run": ["mak_gan_reliance"], "experiments": {"mak_gan_reliance": entry}}
    bare = dataclasses.replace(content, entries=entries, subjects=(), histories=())
    html = render(dataclasses.replace(bare, reliance={"mak_gan_reliance": pd.DataFrame(rows)}))
    article = html.split('<article id="mak_gan_reliance">')[1].split("</article>")[0]
    assert article.count("5.00e-01") >= 2 * 3
    assert "against the standard-dose image" in article
    assert "Root mean square of what another subject&#39;s MR changes" in html
    with pytest.raises(InputError, match="mak_gan_reliance: has no values"):
        render(bare)


def test_the_first_screen_compares_each_method_on_the_same_people(content):
    overview = build_overview(*of_table1(content), content.metrics, [], ["gaussian", "nlm"], "mak_gan")
    column = of_table1(content)[2].columns[0]
    dose = column.place.split("/")[1]
    psnr = content.metrics.query(f"metric == 'psnr' and dose == '{dose}' and reference == 'standard_dose' and region == '{column.region}'")
    people = {method: rows["value"].to_numpy() for method, rows in psnr.groupby("method")}
    best_filter = max(("gaussian", "nlm"), key=lambda name: people[name].mean())
    headings = [heading.text for heading in overview.headings]
    values = {title: (dict(zip(headings, cells, strict=True)), dots) for title, cells, dots in overview.rows}
    own, dots = values["MAK-GAN"]
    assert sorted(dots) == pytest.approx(sorted(people["mak_gan"]))
    assert own["PSNR, dB"].sort == pytest.approx(people["mak_gan"].mean())
    assert own["Δ low dose"].sort == pytest.approx((people["mak_gan"] - people["low_dose"]).mean())
    assert own[f"Δ {of_table1(content)[2].rows[best_filter]}"].sort == pytest.approx((people["mak_gan"] - people[best_filter]).mean())
    table = of_table1(content)[2]
    unet = values[of_table1(content)[2].rows["m_unet"]][0]["Δ MAK-GAN"]
    assert unet.sort == pytest.approx((people["m_unet"] - people["mak_gan"]).mean())
    assert unet.below == (f"p {table.cells['m_unet', column.key, 'psnr'].p_holm:.2g}")
    assert own["Lesion recovery"].sort == pytest.approx(0.7, abs=0.06)
    assert own["Parameters"].text == "12,345,678"
    assert "MR is worth, dB" not in headings  # nobody's inputs were swapped here
    assert overview.sentence == ""


def test_the_first_screen_counts_copies_of_a_phantom_as_one(content):
    copies = content.metrics.assign(person=content.metrics["person"].map(lambda name: "a" if name < "sub-05" else name))
    column = of_table1(content)[2].columns[0]
    overview = build_overview("MAK-GAN", "mak_gan_table1", of_table1(content)[2], copies, [], ["gaussian", "nlm"], "mak_gan")
    cells = dict(
        zip((heading.text for heading in overview.headings), next(row[1] for row in overview.rows if row[0] == "MAK-GAN"), strict=True)
    )
    own = copies[(copies["dataset"] + "/" + copies["dose"] == column.place) & (copies["method"] == "mak_gan")]
    recovery = own[(own["metric"] == "contrast_recovery") & (own["region"] == "lesions")]["value"].to_numpy()
    assert cells["Lesion recovery"].sort == pytest.approx(np.mean([recovery[:4].mean(), *recovery[4:]]))


def test_the_first_screen_says_what_mr_is_worth_in_the_region_of_its_column(content):
    paper, details, table = of_table1(content)
    dataset, dose = table.columns[0].place.split("/")
    assert table.columns[0].region == "brain"
    named = {"dataset": dataset, "dose": dose, "method": "mak_gan", "person": "a", "metric": "loss_other_mr"}
    swapped = pd.DataFrame([{**named, "region": "whole", "value": 9.0}, {**named, "region": "brain", "value": 1.25}])
    overview = build_overview(paper, details, table, content.metrics, [swapped], ["gaussian", "nlm"], "mak_gan")
    cells = dict(zip((one.text for one in overview.headings), next(row[1] for row in overview.rows if row[0] == "MAK-GAN"), strict=True))
    assert cells["MR is worth, dB"].sort == 1.25


def test_the_first_screen_says_when_people_are_too_few_to_rank(content):
    few = content.metrics[content.metrics["person"] < "sub-06"]
    table = build_table(experiment("mak_gan_table1"), few, (), {})
    overview = build_overview("MAK-GAN", "mak_gan_table1", table, few, [], ["gaussian", "nlm"], "mak_gan")
    assert overview.sentence == "5 people are too few to rank methods by: nothing is tested below 6."


def of_table1(content):
    titles = {name: entry["title"] for name, entry in content.entries["methods"].items()}
    return "MAK-GAN", "mak_gan_table1", build_table(experiment("mak_gan_table1"), content.metrics, (), titles)


def test_the_scales_note_stands_once_and_what_was_not_run_not_at_all(content):
    entries = {**content.entries, "datasets": {"mni": {**content.entries["datasets"]["mni"], "doses": {"drf4": {}, "drf9": {}}}}}
    html = render(dataclasses.replace(content, entries=entries, subjects=(), histories=()))
    assert html.count(content.note) == 1
    assert [fact["doses"] for fact in summaries.scale_facts(entries, content.metrics)["datasets"]] == ["drf4"]


def test_few_subjects_are_warned_of(content):
    few = content.metrics[content.metrics["subject"].isin([f"sub-{number:02d}" for number in range(1, 6)])]
    html = render(dataclasses.replace(content, metrics=few, subjects=(), histories=()))
    said = "Fewer than 6 subjects: nothing is tested, and the order of methods means little. This holds for mni, drf4; mni, drf25."
    assert said in html


def test_quantification_counts_copies_of_a_phantom_as_one(metrics):
    grey = metrics[(metrics["metric"] == "bias") & (metrics["region"] == "grey") & (metrics["dose"] == "drf4")]
    copies = grey.assign(person=grey["subject"].map(lambda name: "a" if name < "sub-05" else name))
    ((_, cells),) = [row for row in summaries.quantification(copies, {}, {})[0].rows if row[0] == "mak_gan"]
    values = grey.loc[grey["method"] == "mak_gan", "value"].to_numpy()
    assert cells[0][0] == pytest.approx(np.mean([values[:4].mean(), *values[4:]]))
    assert cells[0][2] == 4


def test_the_scale_says_how_many_phantoms_are_copied(metrics):
    phantoms = {f"0{n}r{copy}": {"phantom": f"0{n}", "rotation_deg": 1.0} for n in (1, 2) for copy in (1, 2, 3)}
    entries = {"datasets": {"mni": {"subjects": list(phantoms), "phantoms": phantoms}}, "methods": {}}
    assert summaries.scale_facts(entries, metrics)["datasets"][0]["subjects"] == "6 (copies of 2 phantoms)"


def test_times_on_two_devices_are_not_averaged(content):
    rows = [{**row, "subject": "n/a"} for row in long_rows("mni", "drf4", "mak_gan", "train_seconds", [100, 10, 200], "n/a", "n/a")]
    rows += [{**row, "subject": "n/a"} for row in long_rows("mni", "drf4", "mak_gan", "epoch_seconds", [10, 1, 20], "n/a", "n/a")]
    rows += long_rows("mni", "drf4", "mak_gan", "restore_seconds", [1, 50, 3], "n/a", "n/a")
    rows += long_rows("mni", "drf4", "mak_gan", "parameters", [7, 7, 7], "n/a", "n/a")
    trained = {("mni", "drf4", "mak_gan", fold): device for fold, device in zip("012", ("cpu", "H200", "cpu"), strict=True)}
    restored = {("mni", "drf4", "mak_gan", f"sub-0{n}"): device for n, device in zip((1, 2, 3), ("H200", "cpu", "H200"), strict=True)}
    shown = {}
    for summary in summaries.costs(pd.DataFrame(rows), {}, {"mni": "Phantoms"}, trained, restored):
        ((title, cells),) = summary.rows
        assert title == "mak_gan (Phantoms, drf4)"
        shown[summary.label] = {metric.name: cell for (metric, _), cell in zip(summary.headings, cells, strict=True)}
    assert list(shown) == ["Training on cpu", "Training on H200", "Restoring on H200", "Restoring on cpu"]
    assert shown["Training on cpu"]["train_seconds"][::2] == (150, 2)
    assert shown["Training on cpu"]["epoch_seconds"][::2] == (15, 2)
    assert shown["Training on H200"]["train_seconds"][::2] == (10, 1)
    assert shown["Restoring on H200"]["restore_seconds"][::2] == (2, 2)
    assert shown["Restoring on cpu"]["restore_seconds"][::2] == (50, 1)
    for work in ("Restoring on H200", "Restoring on cpu"):
        mean, sd, _ = shown[work]["parameters"]
        assert (mean, math.isnan(sd)) == (7, True)
    html = render(dataclasses.replace(content, trained_on=trained, restored_on=restored, subjects=(), histories=()))
    assert "Trained on H200; cpu. Restored on H200; cpu." in html
    assert "Several devices were used." in html


def test_costs_counted_at_each_restoration_show_without_a_spread(report):
    cost = report.read_text().split('<section id="cost">')[1].split("</section>")[0]
    assert "12,345,678" in cost
    assert "66.50" in cost
    assert "±" not in cost.split('<p class="note">')[0]


def test_images_of_unknown_units_are_not_called_becquerel(content, tmp_path):
    entries = dict(content.entries)
    entries["datasets"] = {"mni": {**entries["datasets"]["mni"], "source": "bids"}}
    html = render(dataclasses.replace(content, entries=entries, histories=(), subjects=content.subjects[:1]))
    assert "kBq/ml" not in html
    assert '"unit": "image units", "unit_size": 1.0' in html


def test_collected_files_stand_where_the_page_looks_for_them(content, tmp_path):
    for name, device in (("a", "cpu"), ("b", "H200")):
        write_json(tmp_path / f"{name}.json", {"device": device, "precision": "fp32"})
    image = tmp_path / "image.nii.gz"
    image.write_bytes(b"x")
    write_table(tmp_path / "metrics.tsv", content.metrics)
    kinds = ["standard_dose", "labels", "truth"]
    files = {
        "metrics": [tmp_path / "metrics.tsv"],
        "histories": ["a.tsv", "b.tsv"],
        "costs": [tmp_path / "a.json", tmp_path / "b.json"],
        "registrations": ["r.png"],
        "images": [image],
        "volumes": kinds,
        "sidecars": [tmp_path / "b.json", tmp_path / "a.json"],
        "figures": [],
        "published": [],
        "papers": [ROOT / "resources/published/papers.tsv"],
        "records": [tmp_path / "mak_gan_table1.json"],
    }
    write_json(tmp_path / "mak_gan_table1.json", {"code": {}})
    found = collect(
        content.entries,
        "",
        files,
        trainings=[["mni", "drf4", "one", "0"], ["mni", "drf4", "two", "0"]],
        registrations=[["mni", "01"]],
        volumes=[["mni", "drf4", "01", kind] for kind in kinds],
        restorations=[["mni", "drf4", "one", "01"], ["mni", "drf4", "both", "01"]],
        behind=[["mni", "drf4", "one", [0]], ["mni", "drf4", "both", [0, 1]]],
        left_out=3,
    )
    one, both = ("mni", "drf4", "one"), ("mni", "drf4", "both")
    assert found.trained_on == {(*one, "0"): "cpu, fp32", (*both, "0"): "H200, fp32 and cpu, fp32"}
    assert found.restored_on == {(*one, "01"): "H200", (*both, "01"): "cpu"}
    (subject,) = found.subjects
    assert (subject.subject, list(subject.volumes)) == ("sub-01", ["standard_dose"])
    assert (subject.labels, subject.truth) == (Path("labels"), Path("truth"))
    assert found.left_out == 3
    assert found.records == {"mak_gan_table1": {"code": {}}}


def test_the_page_says_what_each_table_was_made_from(content):
    record = {"petbench": "0.1.0", "code": {"train": "abc"}, "configuration": "0123456789ab", "data": {"mni": {}}}
    html = render(dataclasses.replace(content, records={"mak_gan_table1": record}, subjects=(), histories=()))
    assert "<b>mak_gan_table1</b>: Made by petbench 0.1.0" in html
    assert "configuration 0123456789ab" in html
    assert "tables/mak_gan_table1.json" in html


def test_names_from_configuration_cannot_become_markup(content):
    entries = dict(content.entries, run=["mak_gan_table2"])
    entries["methods"] = {**entries["methods"], "mak_gan": {"title": "<script>alert(1)</script>"}}
    html = render(dataclasses.replace(content, entries=entries, subjects=(), histories=()))
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_missing_method_is_refused_in_one_sentence(content):
    fewer = content.metrics[content.metrics["method"] != "mak_gan-c"]
    with pytest.raises(InputError, match=r"mak_gan-c on mni/drf4.*evaluate that method"):
        render(dataclasses.replace(content, metrics=fewer, subjects=(), histories=()))


def test_a_map_of_similarity_shows_its_figure_and_where_its_numbers_are(content):
    entry = {
        "paper": "m2diff",
        "kind": "similarity",
        "title": "Two branches",
        "rows": ["mak_gan"],
        "columns": [{"dataset": "mni", "dose": "drf4", "label": "x"}],
        "similarity": {"time_step": 1, "samples": 4, "pixels": 1, "seed": 0},
        "differs": "all of it",
    }
    entries = dict(content.entries)
    entries |= {"run": [*entries["run"], "m2diff_figure8"], "experiments": {**entries["experiments"], "m2diff_figure8": entry}}
    (drawn,) = content.figures.values()
    page = render(
        dataclasses.replace(content, subjects=(), histories=(), entries=entries, figures={**content.figures, "m2diff_figure8": drawn})
    )
    article = page.split('<article id="m2diff_figure8">')[1].split("</article>")[0]
    assert "<img" in article
    assert "results on disk, in tables/m2diff_figure8.tsv" in article
    assert "<table" not in article
    with pytest.raises(InputError, match="m2diff_figure8: its figure was not given"):
        render(dataclasses.replace(content, subjects=(), histories=(), entries=entries))


def test_images_beside_a_table_hide_it_not_and_a_table_of_lesions_has_one_reference(content):
    """A table by kind of lesion, against the true activity alone, and its picture below it; the numbers of a figure are folded away."""
    entry = {
        "paper": "mfdiff",
        "kind": "table",
        "title": "Lesions",
        "rows": ["standard_dose", "low_dose", "mak_gan"],
        "columns": [
            {"dataset": "mni", "dose": "drf4", "label": "PET-only lesions", "region": "pet_only_lesions"},
            {"dataset": "mni", "dose": "drf4", "label": "MR-only lesions", "region": "mr_only_lesions"},
        ],
        "metrics": ["contrast_recovery", "bias"],
        "reference": "true_activity",
        "region": "lesions",
        "views": {"planes": ["axial"]},
        "differs": "all of it",
    }
    standard = content.metrics[(content.metrics["method"] == "low_dose") & (content.metrics["reference"] == "true_activity")]
    metrics = pd.concat([content.metrics, standard.assign(method="standard_dose")], ignore_index=True)
    entries = dict(content.entries)
    entries |= {"run": [*entries["run"], "mfdiff_figure3"], "experiments": {**entries["experiments"], "mfdiff_figure3": entry}}
    (drawn,) = content.figures.values()
    figures = {**content.figures, "mfdiff_figure3": drawn}
    page = render(dataclasses.replace(content, subjects=(), histories=(), entries=entries, figures=figures, metrics=metrics))
    article = page.split('<article id="mfdiff_figure3">')[1].split("</article>")[0]
    assert article.count('<table class="sortable results">') == 1
    assert "Against the true activity" in article
    assert "numbers behind the figure" not in article
    assert article.index("<table") < article.index("<img")
    assert "on a scale that the restored images set" in article
    assert "pet only lesions, mr only lesions" in article


def test_pictures_drawn_side_by_side_are_those_drawn_one_by_one(content):
    assert len(content.histories) > 1
    assert render(content, 2) == render(content)


def test_a_picture_that_cannot_be_drawn_is_told_whoever_draws_it(content, tmp_path):
    empty = tmp_path / "history.tsv"
    empty.write_text("no step\n1\n")
    histories = [dataclasses.replace(history, path=empty) for history in content.histories]
    with pytest.raises(InputError, match="has no column step"):
        render(dataclasses.replace(content, histories=histories, subjects=content.subjects[:0]), 2)
