import dataclasses
import re

import pytest
from playwright.sync_api import sync_playwright

from petbench.errors import InputError
from petbench.report.page import render, write_report

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
def test_table_sorts_numerically_by_its_header_and_back(open_page):
    page = open_page(1280)
    heading = page.locator("#mak_gan_table1 table.results").first.locator("thead tr:last-child th").nth(1)
    printed = column_values(page, 2)
    for direction, expected in (("ascending", sorted(printed)), ("descending", sorted(printed, reverse=True))):
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == direction
        assert column_values(page, 2) == expected
    assert printed != expected
    other = page.locator("#mak_gan_table1 table.results").first.locator("thead tr:last-child th").nth(0)
    other.get_by_role("button").click()
    assert column_values(page, 2) == printed
    assert heading.get_attribute("aria-sort") == "none"


@pytest.mark.browser
def test_unknown_values_sort_last_in_both_directions(open_page):
    page = open_page(1280)
    table = page.locator("#mak_gan_table2 .published table")
    heading = table.locator("thead th").nth(1)
    for _ in range(2):
        heading.get_by_role("button").click()
        assert table.locator("tbody tr").last.locator("td").first.inner_text() == "–"


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
    assert "Small by configuration; rankings mean nothing here." in text
    assert "2 more subjects and doses are left out" in text
    assert "Published, not measured here: MAK-GAN, table 1" in text
    assert "Against the true activity" in text
    assert "Leaking scale" not in text


def test_leaking_scale_is_warned_of_and_full_scale_has_no_banner(content):
    entries = dict(content.entries, scale="paper")
    entries["datasets"] = {"mni": {**entries["datasets"]["mni"], "preprocess": {"scaling": {"mode": "own_range"}}}}
    html = render(dataclasses.replace(content, entries=entries, subjects=(), histories=()))
    assert "Leaking scale: mni." in html
    assert "rankings mean nothing" not in html


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
