"""Screenshots of every page, for the docs and for review: `python -m benchmarks.screenshots FOLDER [--all]`.

Without --all, one light picture per page at 1440 px; with it, light and dark at 1440 and 800 px.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from playwright.sync_api import Locator, Page, sync_playwright

from benchmarks.browser import CHROMIUM_ARGUMENTS, choose_files, chromium_path, running_app, settled


def click_at(page: Page, element: Locator, x: float, y: float) -> None:
    """Click a point of an element, given as fractions of its width and height."""
    box = element.bounding_box()
    if box is None:
        raise RuntimeError(f"{element} is not visible")
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def home(page: Page) -> None:
    page.locator(".js-plotly-plot .scatterlayer .point").first.wait_for()


def home_tour(page: Page) -> None:
    """The first step of the tour."""
    home(page)
    page.get_by_role("button", name="Take the tour").click()
    page.get_by_role("dialog").wait_for()
    settled(page)


def home_sample(page: Page) -> None:
    """What the first button leads to."""
    home(page)
    page.get_by_role("button", name="See it read a sample").click()
    page.locator(".stage[data-shown]").wait_for()
    settled(page)


def diagnosis(page: Page) -> None:
    page.get_by_role("button", name="Stone", exact=True).click()
    page.locator(".stage[data-shown]").wait_for()
    page.locator(".js-plotly-plot .barlayer").wait_for()
    settled(page)


def diagnosis_graded(page: Page) -> None:
    """A sample whose map is graded, the maps of every model, and a report."""
    diagnosis(page)
    page.get_by_text("Can this heatmap be trusted?", exact=True).click()
    page.get_by_role("button", name="Grade this heatmap").click()
    settled(page)
    page.get_by_text("Show the heatmap of every model", exact=True).click()
    page.get_by_text("Compare all models", exact=True).click()
    settled(page)
    page.get_by_text("Report", exact=True).click()
    page.get_by_role("button", name="Write the report").click()
    page.get_by_role("button", name="PDF", exact=True).wait_for()
    settled(page)


def diagnosis_batch(page: Page) -> None:
    """Six slices of the folder named by $KIDNEY_SCREENSHOT_DATA, or of the simulated one."""
    root = Path(os.environ.get("KIDNEY_SCREENSHOT_DATA", "demo-data"))
    choose_files(page, sorted(root.glob("*/*.*"))[::70][:6])
    page.get_by_text("Select a row to see that slice").wait_for()
    page.locator(".js-plotly-plot .barlayer").wait_for()
    settled(page)


def diagnosis_scan(page: Page) -> None:
    """The simulated sample of a whole scan."""
    page.get_by_role("button", name="Scan", exact=True).click()
    page.get_by_text("Where each label is most likely").wait_for()
    page.locator(".film figure").first.wait_for()
    page.locator(".stage[data-shown]").wait_for()
    settled(page)


def diagnosis_refused(page: Page) -> None:
    """A picture that is no CT."""
    choose_files(page, "docs/screenshots/home.png")
    page.get_by_text("No prediction").wait_for()
    settled(page)


def evaluation(page: Page) -> None:
    page.locator(".js-plotly-plot .barlayer").wait_for()


def evaluation_model(page: Page) -> None:
    page.get_by_text("One model", exact=True).click()
    page.locator("canvas").nth(1).wait_for()
    settled(page)
    page.wait_for_timeout(1500)


def evaluation_cell(page: Page) -> None:
    """The slices behind a cell, with their pictures where $KIDNEY_SCREENSHOT_DATA names their folder."""
    evaluation_model(page)
    matrix = page.locator("canvas").first
    matrix.scroll_into_view_if_needed()
    click_at(page, matrix, 0.9, 0.12)
    settled(page)
    folder = page.get_by_role("textbox", name="To see them, enter the folder of these images")
    folder.wait_for()
    folder.fill(os.environ.get("KIDNEY_SCREENSHOT_DATA", "demo-data"))
    page.keyboard.press("Enter")
    settled(page)
    page.wait_for_timeout(2500)
    settled(page)


def panel(name: str) -> Callable[[Page], None]:
    """One model, and one of its panels."""

    def act(page: Page) -> None:
        page.get_by_text("One model", exact=True).click()
        settled(page)
        page.get_by_role("radio", name=name, exact=True).click()
        settled(page)
        page.wait_for_timeout(1500)

    return act


def evaluation_paper(page: Page) -> None:
    page.get_by_text("Compared with the paper", exact=True).click()
    settled(page)


def footprint(page: Page) -> None:
    page.get_by_role("button", name="Measure", exact=True).click()
    page.get_by_text("Memory: peak that the network adds").wait_for()
    settled(page)


def evaluation_folder(page: Page) -> None:
    """Evaluates the folder named by $KIDNEY_SCREENSHOT_DATA, or of the simulated one."""
    page.get_by_text("Your folder", exact=True).click()
    settled(page)
    root = os.environ.get("KIDNEY_SCREENSHOT_DATA", "demo-data")
    page.get_by_role("textbox", name="Folder", exact=True).fill(root)
    page.get_by_role("button", name="Evaluate", exact=True).click()
    page.get_by_role("button", name="Predictions (CSV)").wait_for()
    settled(page)
    page.wait_for_timeout(1500)


def training(page: Page) -> None:
    page.wait_for_timeout(2000)


def training_kept(page: Page) -> None:
    """Curves of choice, the options of a sweep, and what can be done with a run."""
    page.get_by_role("textbox", name="Seeds").fill("0, 1, 2")
    page.keyboard.press("Enter")
    settled(page)
    page.get_by_text("Commands and file", exact=True).click()
    page.get_by_text(re.compile(r"^\d+ jobs$")).click()
    page.get_by_text("Note, tags, name", exact=True).click()
    settled(page)
    page.wait_for_timeout(1500)


def dataset(page: Page) -> None:
    """Audits the folder named by $KIDNEY_SCREENSHOT_DATA, or the simulated one."""
    page.get_by_role("textbox", name="Folder of images").fill(os.environ.get("KIDNEY_SCREENSHOT_DATA", "demo-data"))
    page.get_by_role("button", name="Audit").click()
    page.get_by_text("For the methods section").wait_for()
    settled(page)


def teaching(page: Page) -> None:
    """A case of the quiz, marked."""
    mark(page, 1)
    page.get_by_text("Marked", exact=False).wait_for()
    settled(page)


def mark(page: Page, case: int) -> None:
    """Clicks a little right of the middle of the slice."""
    page.locator(f".stage[data-shown*='case {case}|']").wait_for()
    page.locator(".stage").evaluate("node => node.scrollIntoView({ block: 'center' })")
    click_at(page, page.locator(".stage .scan"), 0.655, 0.56)
    settled(page)


def teaching_answer(page: Page) -> None:
    """Three cases answered, the third one shown."""
    for number, label in enumerate(("Stone", "Cyst", "Tumor")):
        mark(page, number + 1)
        page.get_by_test_id("stRadio").get_by_text(label, exact=True).click()
        settled(page)
        page.get_by_text("5 certain", exact=True).click()
        settled(page)
        page.get_by_role("button", name="Submit answer").click()
        page.get_by_role("heading", name="It is").wait_for()
        settled(page)
        if number < 2:
            page.get_by_role("button", name="Next case").click()
            settled(page)
    page.wait_for_timeout(1500)


def teaching_breaking(page: Page) -> None:
    page.get_by_text("What breaks a model", exact=True).click()
    page.get_by_text("Lower chart: the gate", exact=False).wait_for()
    settled(page)
    page.wait_for_timeout(1500)


def teaching_mark(page: Page) -> None:
    """A letter burned into a slice."""
    teaching_breaking(page)
    page.get_by_text("Burned-in mark", exact=True).click()
    settled(page)
    page.wait_for_timeout(2500)


def teaching_nothing(page: Page) -> None:
    page.get_by_text("Why 99 % can mean nothing", exact=True).first.click()
    settled(page)
    page.get_by_role("button", name="Train now").click()
    page.get_by_text("Look at the middle group").wait_for()
    settled(page)
    page.wait_for_timeout(2000)


SCENES = {
    "home": ("", home),
    "home-tour": ("", home_tour),
    "home-sample": ("", home_sample),
    "diagnosis": ("Diagnosis", diagnosis),
    "diagnosis-graded": ("Diagnosis", diagnosis_graded),
    "diagnosis-batch": ("Diagnosis", diagnosis_batch),
    "diagnosis-scan": ("Diagnosis", diagnosis_scan),
    "diagnosis-refused": ("Diagnosis", diagnosis_refused),
    "evaluation": ("Evaluation", evaluation),
    "evaluation-model": ("Evaluation", evaluation_model),
    "evaluation-cell": ("Evaluation", evaluation_cell),
    "evaluation-curves": ("Evaluation", panel("Curves")),
    "evaluation-calibration": ("Evaluation", panel("Calibration")),
    "evaluation-abstention": ("Evaluation", panel("Abstention")),
    "evaluation-explanations": ("Evaluation", panel("Explanations")),
    "evaluation-planes": ("Evaluation", panel("Planes")),
    "evaluation-scans": ("Evaluation", panel("Scans")),
    "evaluation-footprint": ("Evaluation", footprint),
    "evaluation-folder": ("Evaluation", evaluation_folder),
    "evaluation-paper": ("Evaluation", evaluation_paper),
    "training": ("Training", training),
    "training-kept": ("Training", training_kept),
    "dataset": ("Dataset", dataset),
    "teaching": ("Teaching", teaching),
    "teaching-answer": ("Teaching", teaching_answer),
    "teaching-breaking": ("Teaching", teaching_breaking),
    "teaching-mark": ("Teaching", teaching_mark),
    "teaching-nothing": ("Teaching", teaching_nothing),
}


def take(page: Page, path: Path) -> None:
    """A picture of the whole page, up to 3,200 px."""
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    width = page.viewport_size["width"] if page.viewport_size else 1440
    page.set_viewport_size({"width": width, "height": min(max(height, 700), 3200)})
    page.wait_for_timeout(900)
    page.screenshot(path=path)


def main() -> int:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", help="names of scenes, separated by commas")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    variants: list[tuple[Literal["light", "dark"], int]] = [("light", 1440)]
    if options.all:
        variants += [("dark", 1440), ("light", 800), ("dark", 800), ("light", 390), ("dark", 390)]
    with running_app() as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGUMENTS)
        for scheme, width in variants:
            for name, (path, act) in SCENES.items():
                if options.only and name not in options.only.split(","):
                    continue
                if "-" in name and not options.all:
                    continue  # a second view of a page the README shows already
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page.set_default_timeout(60_000)
                page.goto(f"{address}/{path}")
                settled(page)
                act(page)
                suffix = f"-{scheme}-{width}" if options.all else ""
                take(page, options.folder / f"{name}{suffix}.png")
                page.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
