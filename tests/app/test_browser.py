"""A user in a real browser: sample, upload, heat map, evaluation, training that survives the app."""

import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from benchmarks.browser import choose_files, running_app, settled
from kidney_core.common.labels import DESCRIPTIONS
from kidney_core.engines import jobs
from kidney_core.reports import report_check
from kidney_core.runs import run_folder, run_lock
from kidney_core.teaching import quiz
from tests.conftest import tiny_run, write_series_dataset
from tests.pdf import pdf_text

pytestmark = pytest.mark.browser
expect.set_options(timeout=60_000)


def go(page, title):
    page.get_by_test_id("stSidebar").get_by_role("link", name=title).click()
    page.get_by_role("heading", name=title, exact=True).wait_for()
    settled(page)


def test_a_visitor_diagnoses_a_sample_and_an_upload(page, published):
    with running_app() as (address, _):
        page.goto(address)
        expect(page.get_by_role("heading", name="Which model?")).to_be_visible()
        settled(page)
        page.get_by_role("button", name="Take the tour").click()
        for step in range(2, 6):
            page.get_by_role("button", name="Next", exact=True).click()
            expect(page.get_by_role("dialog").get_by_text(f"{step} of 5")).to_be_visible()
        page.get_by_role("button", name="Done").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.get_by_role("button", name="See it read a sample").click()
        expect(page.get_by_text("This slice is simulated, not a patient.")).to_be_visible()
        expect(page.locator(".stage .scan")).to_be_visible()

        heat, slider = page.locator(".stage .heat"), page.locator(".opacity input")
        if heat.is_visible():
            slider.fill("80")
            assert heat.evaluate("node => node.style.opacity") == "0.8"
        stage = page.locator(".stage")
        stage.hover()
        page.mouse.wheel(0, -400)
        assert "scale(1)" not in page.locator(".layer").first.evaluate("node => node.style.transform")
        page.get_by_role("button", name="Reset view").click()
        assert "scale(1)" in page.locator(".layer").first.evaluate("node => node.style.transform")

        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80), np.uint8)).save(buffer, "PNG")
        files = [
            {"name": "CANARY-NAME.png", "mimeType": "image/png", "buffer": buffer.getvalue()},
            {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"not an image"},
        ]
        choose_files(page, files)
        expect(
            page.get_by_text("“notes.txt” is not a PNG, JPEG, BMP, TIFF, GIF, WebP, JPEG 2000 or DICOM image.")
        ).to_be_visible()
        expect(page.get_by_text("Simulated cyst")).to_have_count(0)
        assert page.outside == []


PINCH = """stage => {
  const box = stage.getBoundingClientRect(), y = box.top + 100, middle = box.left + 200;
  stage.setPointerCapture = () => {};  // a pointer made by a script cannot be captured
  const touch = (kind, id, x) => stage.dispatchEvent(
    new PointerEvent(kind, { pointerId: id, pointerType: 'touch', clientX: x, clientY: y, bubbles: true }));
  touch('pointerdown', 1, middle - 50); touch('pointerdown', 2, middle + 50);
  for (let reach = 50; reach <= 150; reach += 10) { touch('pointermove', 1, middle - reach); touch('pointermove', 2, middle + reach); }
  touch('pointerup', 1, middle - 150); touch('pointerup', 2, middle + 150);
}"""


def picture(page):
    """The pixels of the scan as they are drawn now, as text."""
    return page.locator(".stage .scan").evaluate("node => node.toDataURL()")


def open_sample(page, address, label):
    """Diagnosis with the sample of a label on the page."""
    page.goto(f"{address}/Diagnosis")
    settled(page)
    page.get_by_role("button", name=label, exact=True).click()
    page.locator(".stage[data-shown]").wait_for()
    settled(page)


def test_the_viewer_windows_compares_and_reads_values_without_the_server(page, published):
    with running_app() as (address, _):
        open_sample(page, address, "Stone")
        for side, letter in (("left", "R"), ("right", "L")):
            expect(page.locator(f".letter.{side}")).to_have_text(letter)
        expect(page.locator(".ruler b")).to_have_text(re.compile(r"^\d+ mm$"))
        stage, window = page.locator(".stage"), page.locator(".corner.window")
        expect(window).to_have_text("W 400 L 40 HU")
        as_filed = picture(page)
        page.locator("select.preset").select_option("Bone (1500/300)")
        expect(window).to_have_text("W 1500 L 300 HU")
        assert picture(page) != as_filed
        box = stage.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        expect(page.locator(".corner.under")).to_have_text(re.compile(r"^-?\d+ HU"))
        page.mouse.down(button="right")
        page.mouse.move(x + 120, y + 40, steps=4)
        page.mouse.up(button="right")
        expect(window).not_to_have_text("W 1500 L 300 HU")
        stage.focus()
        page.keyboard.press("0")
        expect(window).to_have_text("W 400 L 40 HU")
        assert picture(page) == as_filed
        page.locator("select.view").select_option("side")
        expect(page.locator(".pane.twin")).to_be_visible()
        page.locator("select.view").select_option("swipe")
        divider = page.locator(".divider")
        edge = divider.bounding_box()
        page.mouse.move(edge["x"] + 1, y)
        page.mouse.down()
        page.mouse.move(edge["x"] - 150, y, steps=3)
        page.mouse.up()
        assert divider.bounding_box()["x"] < edge["x"] - 100
        assert "inset" in page.locator(".veil").first.evaluate("node => node.style.clipPath")
        heat = page.locator(".stage .heat").evaluate("node => node.toDataURL()")
        page.locator("select.colors").select_option("cividis")
        assert page.locator(".stage .heat").evaluate("node => node.toDataURL()") != heat
        stage.evaluate(PINCH)
        zoom = float(re.search(r"scale\(([\d.]+)\)", page.locator(".layer").first.get_attribute("style")).group(1))
        assert zoom == pytest.approx(3, rel=0.1)  # two fingers went from 100 to 300 pixels apart
        assert page.outside == []


def test_measurements_go_into_the_report(page, published):
    with running_app() as (address, _):
        open_sample(page, address, "Stone")
        into_report = page.get_by_role("button", name="Put the measurements into the report")
        assert into_report.count() == 0
        box = page.locator(".stage").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for tool, end in (("Distance", (90, 0)), ("Ellipse", (50, 40))):
            page.get_by_role("button", name=tool, exact=True).click()
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + end[0], y + end[1], steps=4)
            page.mouse.up()
        said = page.locator(".measured li").all_inner_texts()
        assert re.fullmatch(r"[\d.]+ mm", said[0])
        assert re.fullmatch(r"mean -?\d+ HU, SD \d+, [\d.]+ cm²", said[1])
        into_report.click()
        settled(page)
        page.get_by_text("Report", exact=True).click()
        expect(page.get_by_text("Include 2 measurements")).to_be_visible()
        settled(page)  # a press during a run is a press on what is about to be drawn again
        page.get_by_role("button", name="Write the report").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="PDF", exact=True).click()
        text = pdf_text(Path(download.value.path()).read_bytes())
        assert f"Distance 1 {said[0]}" in text
        assert f"Ellipse 2 {said[1]}" in text


def test_a_radiologist_scrolls_through_a_series_by_keys_and_wheel(page, published):
    with running_app() as (address, _):
        page.goto(f"{address}/Diagnosis")
        settled(page)
        page.get_by_role("button", name="Scan", exact=True).click()
        page.get_by_text("Slices that contribute most").wait_for()
        page.locator(".stage[data-shown]").wait_for()
        settled(page)
        place, stage = page.locator(".corner.place"), page.locator(".stage")
        shown = int(re.match(r"\d+", place.inner_text()).group())
        by, key = (1, "ArrowDown") if shown < 38 else (-1, "ArrowUp")
        stage.focus()
        sharp = picture(page)
        page.keyboard.press(key)
        page.keyboard.press("ArrowUp" if by == 1 else "ArrowDown")
        page.wait_for_timeout(600)
        assert picture(page) == sharp  # there and back: the slice itself, not its thumbnail
        page.keyboard.press(key)
        page.keyboard.press(key)
        expect(place).to_have_text(re.compile(f"^{shown + 2 * by} of 40"))
        expect(page.get_by_text(f"Slice {shown + 2 * by} of 40:")).to_be_visible()
        settled(page)
        stage.hover()
        page.mouse.wheel(0, 60 * by)
        expect(page.get_by_text(f"Slice {shown + 3 * by} of 40:")).to_be_visible()
        page.locator(".film figure").nth(0).click()
        expect(page.get_by_text("Slice 1 of 40:")).to_be_visible()
        expect(place).to_have_text(re.compile("^1 of 40"))
        assert page.outside == []


def test_a_researcher_sees_both_protocols(page, published):
    with running_app() as (address, _):
        page.goto(f"{address}/Evaluation")
        settled(page)
        page.get_by_text("One model", exact=True).click()
        expect(page.get_by_role("heading", name="Unseen scans", exact=True)).to_be_visible()
        expect(page.get_by_role("heading", name="Random split (paper)")).to_be_visible()
        expect(
            page.get_by_text("100 % of the test slices have other slices of the same scan in training")
        ).to_be_visible()
        assert page.outside == []


def test_a_job_started_on_the_page_survives_the_app_and_is_found_again(page, tmp_path):
    folder = write_series_dataset(tmp_path / "dataset")
    with running_app() as (address, process):
        page.goto(f"{address}/Training")
        settled(page)
        page.get_by_role("textbox", name="Folder of images").fill(str(folder))
        page.keyboard.press("Tab")
        settled(page)
        page.get_by_role("button", name="Paper").click()  # the other recipe needs slices that show kidneys
        settled(page)
        page.get_by_test_id("stMultiSelect").first.get_by_label("Clear all").click()
        settled(page)
        page.get_by_role("combobox", name="Architectures").fill("test_resnet")
        page.keyboard.press("Enter")
        settled(page)
        page.get_by_test_id("stSelectbox").nth(1).click()
        page.get_by_role("option", name="Random weights").click()
        settled(page)
        page.get_by_role("button", name="Start 2 jobs").click()
        expect(page.get_by_text("2 jobs started")).to_be_visible()
        process.kill()
    made = run_folder.list_runs()
    assert len(made) == 2
    deadline = time.monotonic() + 480
    while any(run_lock.status(run) in ("queued", "running") for run in made) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert [run_lock.status(run) for run in made] == ["finished"] * 2, [run.state() for run in made]
    with running_app() as (address, _):
        page.goto(f"{address}/Training")
        settled(page)
        expect(page.get_by_text("Publish as a checkpoint")).to_be_visible()
        expect(page.locator("canvas").first).to_be_visible()
    assert jobs.queue_place(made[0]) is None
    assert page.outside == []


def test_rows_of_the_jobs_table_select_and_the_selection_follows_its_runs(page, tmp_path):
    """A run that appears later takes the first row; the selected run stays the same."""
    folder = write_series_dataset(tmp_path / "dataset")
    for name in ("older", "newer"):
        tiny_run(folder, name).fail(f"Reason of {name}.")
    with running_app() as (address, _):
        page.goto(f"{address}/Training")
        expect(page.get_by_text("newer failed. Reason of newer.")).to_be_visible(timeout=60_000)
        table = page.locator(".st-key-training_table canvas").first
        table.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        box = table.bounding_box()
        page.mouse.click(box["x"] + 15, box["y"] + 35 + 35 + 17)  # the second row
        expect(page.get_by_text("older failed. Reason of older.")).to_be_visible()
        expect(page.get_by_text("newer failed. Reason of newer.")).to_be_hidden()
        tiny_run(folder, "newest").fail("Reason of newest.")
        page.get_by_role("textbox", name="Search").fill("run=e")
        page.keyboard.press("Enter")
        settled(page)
        page.wait_for_timeout(1000)
        expect(page.get_by_text("older failed. Reason of older.")).to_be_visible()
        expect(page.get_by_text("newest failed. Reason of newest.")).to_be_hidden()
    assert page.outside == []


def test_a_researcher_opens_a_cell_and_exports_a_report_that_a_stranger_can_check(page, published, tmp_path):
    with running_app() as (address, _):
        page.goto(f"{address}/Evaluation")
        settled(page)
        with page.expect_download() as downloaded:
            page.get_by_role("button", name="Export everything (ZIP)").click()
        path = tmp_path / "report.zip"
        downloaded.value.save_as(path)
        assert report_check.main([str(path)]) == 0

        page.get_by_text("One model", exact=True).click()
        matrix = page.locator("canvas").first
        matrix.wait_for()
        settled(page)
        matrix.scroll_into_view_if_needed()
        page.wait_for_timeout(1000)
        box = matrix.bounding_box()
        # The cell in the upper right corner: true Cyst, predicted Tumor
        page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.12 * box["height"])
        expect(
            page.get_by_text(
                re.compile(
                    r"slices? of Cyst predicted Tumor \(unseen scans\)|No slice is in that cell \(unseen scans\)"
                )
            )
        ).to_be_visible()
        assert page.outside == []


def test_a_student_marks_the_lesion_before_the_model_speaks(page, published):
    case = quiz.draw_cases(1)[0]
    rows, columns = np.nonzero(case.lesion)  # the first case of quiz 1 has a lesion
    middle = len(rows) // 2
    x, y = int(columns[middle]), int(rows[middle])
    with running_app() as (address, _):
        page.goto(f"{address}/Teaching")
        page.locator(".stage[data-shown*='case 1|']").wait_for()
        settled(page)
        expect(page.get_by_role("heading", name="It is")).to_have_count(0)
        box = page.locator(".stage .scan").bounding_box()
        height, width = case.lesion.shape
        at = (box["x"] + (x + 0.5) / width * box["width"], box["y"] + (y + 0.5) / height * box["height"])
        page.mouse.click(*at, button="right")  # which sets the window, and never marks
        page.keyboard.down("Shift")
        page.mouse.click(*at)
        page.keyboard.up("Shift")
        page.wait_for_timeout(1500)
        expect(page.get_by_text("✓ Marked")).to_have_count(0)
        page.mouse.click(*at)
        expect(page.get_by_text("✓ Marked")).to_be_visible()
        expect(page.locator(".pane:not(.twin) .drawings path.line")).to_have_count(1)
        page.get_by_test_id("stRadio").get_by_text(case.label, exact=True).click()
        page.get_by_text("5 certain", exact=True).click()
        submit = page.get_by_role("button", name="Submit answer")
        expect(submit).to_be_enabled()  # the server has all three parts of the answer
        page.reload()  # what is not submitted yet is kept too
        expect(page.get_by_text("✓ Marked")).to_be_visible()
        expect(page.get_by_role("radio", name="5 certain")).to_be_checked()
        submit.click()
        expect(page.get_by_role("heading", name=f"It is {DESCRIPTIONS[case.label].noun}")).to_be_visible()
        expect(page.locator(".stage .scan")).to_have_attribute(
            "aria-label", re.compile("the lesion outlined, your mark")
        )
        mine = page.locator("[data-testid=stMetric]")
        expect(mine.filter(has_text="Your class")).to_contain_text("1 of 1")
        expect(mine.filter(has_text="Your location")).to_contain_text("1 of 1")
        with page.expect_download() as downloaded:
            page.get_by_role("button", name="Download the score (CSV)").click()
        assert f"1,{case.label},{case.label},correct,correct" in Path(downloaded.value.path()).read_text(
            encoding="utf-8"
        )
        assert page.outside == []
