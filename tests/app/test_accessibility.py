"""Every page and its main states keep WCAG 2.2 AA as far as axe can tell, light and dark; headings go down one level at a time."""

import functools
import re
import shutil
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from axe_playwright_python.sync_playwright import Axe

from benchmarks import browser as automation
from benchmarks.browser import choose_files, running_app
from benchmarks.screenshots import click_at
from kidney_core.training import publish, trainer
from tests.conftest import ROOT, tiny_run, write_series_dataset

pytestmark = pytest.mark.browser
settled = functools.partial(automation.settled, seconds=240)  # a scan is read, and networks are trained

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RULES = {
    "light": {
        "runOnly": {"type": "tag", "values": TAGS},
        "rules": {"heading-order": {"enabled": True}, "target-size": {"enabled": True}},
    },
    "dark": {"runOnly": {"type": "rule", "values": ["color-contrast"]}},  # all else is the same in both
}
BACKGROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 23, 26)"}  # of .streamlit/config.toml


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The app with a shipped checkpoint and a tiny one, a folder of images, and no run yet: finished ones lie beside."""
    folder = tmp_path_factory.mktemp("accessible")
    folders = {f"KIDNEY_{name.upper()}": str(folder / name) for name in ("home", "cache", "checkpoints")}
    with pytest.MonkeyPatch.context() as environment:
        for name, path in {**folders, "KIDNEY_RUNS": str(folder / "finished")}.items():
            environment.setenv(name, path)
        images = write_series_dataset(folder / "images")
        tiny_run(images, "broken").fail("Reason of the failure.")
        pair = [tiny_run(images, protocol, protocol=protocol) for protocol in ("grouped", "random")]
        for run in pair:
            trainer.train(run)
        publish.publish(pair[0], name="tiny", other=pair[1])
        for name in ("mobilenetv2", "kidney-finder"):
            shutil.copytree(ROOT / "checkpoints" / name, folder / "checkpoints" / name)
        with running_app(KIDNEY_RUNS=str(folder / "runs")) as (address, _):
            yield SimpleNamespace(address=address, images=images, finished=folder / "finished", runs=folder / "runs")


def press(page, name, *, first=False):
    found = page.get_by_role("button", name=name, exact=True)
    (found.first if first else found).click()
    settled(page)


def choose(page, name):
    """Choose one of a row of options, which Streamlit draws as radio buttons."""
    group = page.get_by_test_id("stButtonGroup").or_(page.get_by_test_id("stRadio"))
    group.get_by_text(name, exact=True).first.click()
    settled(page)


def home(page, app) -> Iterator[str]:
    page.locator(".js-plotly-plot .scatterlayer .point").first.wait_for()
    yield "home"
    press(page, "Take the tour")
    page.get_by_role("dialog").wait_for()
    yield "tour"


def diagnosis(page, app) -> Iterator[str]:
    yield "empty"
    press(page, "Stone")
    page.locator(".stage[data-shown]").wait_for()
    page.locator(".js-plotly-plot .barlayer").wait_for()
    page.get_by_text("Report", exact=True).click()
    yield "slice"
    press(page, "Another image or model")
    yield "menu"
    page.keyboard.press("Escape")
    choose_files(page, ROOT / "docs/screenshots/home.png")
    page.get_by_text("No prediction").wait_for()
    settled(page)
    yield "refused"


def diagnosis_scan(page, app) -> Iterator[str]:
    press(page, "Scan")
    page.get_by_text("Where each label is most likely").wait_for()
    page.locator(".film figure").first.wait_for()
    page.locator(".stage[data-shown]").wait_for()
    settled(page)
    yield "scan"


def evaluation(page, app) -> Iterator[str]:
    page.locator(".js-plotly-plot .barlayer").wait_for()
    settled(page)
    yield "comparison"
    for view in ("Compared with the paper", "Other hospitals", "Your folder"):
        choose(page, view)
        yield view


def evaluation_model(page, app) -> Iterator[str]:
    choose(page, "One model")
    page.locator("canvas").first.wait_for()
    settled(page)
    yield "matrix"
    press(page, "Choose from a table", first=True)
    yield "matrix as a table"
    page.keyboard.press("Escape")
    matrix = page.locator("canvas").first
    matrix.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    click_at(page, matrix, 0.9, 0.12)
    page.get_by_text(re.compile("slices? of .* predicted|No slice is in that cell")).first.wait_for()
    settled(page)
    yield "cell"
    for name in ("Abstention", "Explanations", "Model card"):
        choose(page, name)
        yield name


def evaluation_in_depth(page, app) -> Iterator[str]:
    """The panels that compute: on the few slices of the tiny checkpoint."""
    page.get_by_role("button", name="Remove mobilenetv2").or_(page.get_by_label("Remove mobilenetv2")).first.click()
    settled(page)
    choose(page, "One model")
    for name in ("Clinical use", "Curves", "Calibration", "Worst errors", "Planes", "Scans", "Training"):
        choose(page, name)
        yield name


def training(page, app) -> Iterator[str]:
    yield "no run"
    shutil.copytree(app.finished, app.runs, dirs_exist_ok=True)
    page.reload()
    page.get_by_text("Publish as a checkpoint").first.wait_for()
    page.locator(".st-key-training_charts canvas").first.wait_for()
    settled(page)
    yield "runs"


def dataset(page, app) -> Iterator[str]:
    page.get_by_role("textbox", name="Folder of images").fill(str(app.images))
    press(page, "Audit")
    page.get_by_text("For the methods section").wait_for()
    settled(page)
    yield "audit"


def quiz(page, app) -> Iterator[str]:
    page.locator(".stage[data-shown]").wait_for()
    settled(page)
    yield "case"
    choose(page, "Normal")
    choose(page, "5 certain")
    press(page, "Submit answer")
    page.get_by_role("heading", name="It is").wait_for()
    settled(page)
    yield "answer"


def teaching_class(page, app) -> Iterator[str]:
    page.locator(".stage[data-shown]").wait_for()
    settled(page)
    press(page, "With a class")
    yield "way in"
    page.get_by_role("textbox", name="Start a class: name").fill("Year 4")
    press(page, "Start the class")
    page.get_by_label("Code of the class").wait_for()
    settled(page)
    yield "join"
    code = page.get_by_label("Code of the class").inner_text()
    student = page.context.new_page()
    student.goto(f"{app.address}/Teaching?class={code}")
    student.get_by_role("button", name="Join the class").wait_for()
    settled(student)
    press(student, "Join the class")
    student.locator(".stage[data-shown]").wait_for()
    settled(student)
    choose(student, "Normal")
    choose(student, "5 certain")
    press(student, "Submit answer")
    student.close()
    for view in ("Board", "Cases"):
        choose(page, view)
        yield view
    press(page, "Reveal this case")
    yield "revealed"
    choose(page, "Results")
    yield "results"


def breaks(page, app) -> Iterator[str]:
    choose(page, "What breaks a model")
    page.get_by_text("Lower chart: the gate", exact=False).wait_for()
    settled(page)
    yield "breaks"


def shortcut(page, app) -> Iterator[str]:
    choose(page, "Shortcut learning")
    page.get_by_text("It learned the mark", exact=False).or_(page.get_by_text("did not need")).wait_for()
    settled(page)
    yield "shortcut"


def shuffling(page, app) -> Iterator[str]:
    choose(page, "Why 99 % can mean nothing")
    yield "before training"
    press(page, "Train now")
    page.get_by_text("Look at the middle group").wait_for()
    settled(page)
    yield "after training"


def puzzle(page, app) -> Iterator[str]:
    choose(page, "Find the leak")
    page.get_by_role("button", name=re.compile("leaks$")).first.wait_for()
    settled(page)
    yield "puzzle"
    page.get_by_role("button", name=re.compile("leaks$")).first.click()
    page.get_by_role("heading", name="The evidence").wait_for()
    settled(page)
    yield "solution"


JOURNEYS = [
    ("", home),
    ("Diagnosis", diagnosis),
    ("Diagnosis", diagnosis_scan),
    ("Evaluation", evaluation),
    ("Evaluation", evaluation_model),
    ("Evaluation", evaluation_in_depth),
    ("Training", training),
    ("Dataset", dataset),
    ("Teaching", quiz),
    ("Teaching", teaching_class),
    ("Teaching", breaks),
    ("Teaching", shortcut),
    ("Teaching", shuffling),
    ("Teaching", puzzle),
]


def failures(page, scheme: str) -> list[str]:
    """What fails a rule of impact serious or critical, or skips a level of headings: rule, selector, why."""
    page.wait_for_function(
        "![...document.querySelectorAll('[data-testid=stSkeleton]')].some(each => each.offsetParent)"
    )
    # No colour on its way to another, and nothing pale because it is renewed just now
    page.add_style_tag(content="* { transition: none !important; } .stElementContainer { opacity: 1 !important; }")
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(
        "color => getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor === color",
        arg=BACKGROUND[scheme],
    )
    found = violations(page, scheme)
    if found:  # a busy browser may still have drawn a part in the other scheme
        page.wait_for_timeout(2000)
        found = violations(page, scheme)
    return found


def violations(page, scheme: str) -> list[str]:
    """What axe finds now."""
    found = Axe().run(page, options={**RULES[scheme], "resultTypes": ["violations"]}).response["violations"]
    return [
        f"{each['id']} at {node['target']}: {node['failureSummary']}"
        for each in found
        if each["impact"] in ("serious", "critical") or each["id"] == "heading-order"
        for node in each["nodes"]
    ]


@pytest.mark.parametrize(("path", "journey"), JOURNEYS, ids=[journey.__name__ for _, journey in JOURNEYS])
def test_axe_finds_nothing_on_a_page_in_any_of_its_states(page, app, path, journey):
    page.set_default_timeout(240_000)
    page.goto(f"{app.address}/{path}")
    settled(page)
    found = {}
    for state in journey(page, app):
        for scheme in ("dark", "light"):  # which is what the next step sees
            found[f"{state}, {scheme}"] = failures(page, scheme)
    told = [f"{state}: {failure}" for state, each in found.items() for failure in each]
    assert not told, "\n".join(told)
