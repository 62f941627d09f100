"""Point 10, names: hostile ones as files, folders, runs, notes, tags and cards, through every page in a real browser.

Every list that opens is opened, every panel and part chosen, charts are pointed at; then all that is drawn must be text.
"""

import io
import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from playwright.sync_api import Error, Page, expect

from benchmarks.browser import choose_files, running_app, settled
from kidney_core.app import model_panel
from kidney_core.simulation import phantom_dicom
from tests.hardness import hostile_world, names
from tests.hardness.egress import Flow, note_requests, outside
from tests.hardness.table import Figures, Options

_WAIT_S = 240
# What would be there if a name had been read as markup.
_RENDERED_JS = """host => {
    const found = [];
    const look = root => {
        for (const element of root.querySelectorAll('*')) {
            if (element.shadowRoot) look(element.shadowRoot);
            for (const name of ['href', 'xlink:href', 'src', 'srcset', 'action', 'data', 'poster'])
                if ((element.getAttribute(name) || '').toLowerCase().includes(host)) found.push(element.outerHTML.slice(0, 200));
        }
        for (const element of root.querySelectorAll('.katex, [data-testid=stMarkdownContainer] b'))
            found.push(element.outerHTML.slice(0, 200));
    };
    look(document);
    return found;
}"""
_VIEWS = ("One model", "Compared with the paper", "Other hospitals", "Comparison")


def measure(options: Options) -> Figures:
    """Go through the pages of a hostile world; count what became markup, and the pages on which the names were seen."""
    world = hostile_world.make(options.workplace)
    rendered: list[str] = []
    seen: set[str] = set()
    asked: list[str] = []
    not_ended: list[str] = []
    with running_app(**world.variables) as (app, _):
        for name, (path, act) in _flows(world.data, look=partial(_look, rendered=rendered, seen=seen)).items():
            context = options.browser.new_context(viewport={"width": 1440, "height": 900})
            note_requests(context, asked)
            page = context.new_page()
            page.set_default_timeout(_WAIT_S * 1000)
            page.goto(f"{app}/{path}")
            try:
                settled(page, seconds=_WAIT_S)
                act(page)
                _open_all(page)
                _look(page, name, rendered=rendered, seen=seen)
            except (Error, AssertionError) as error:
                print(f"the flow “{name}” did not end: {error}")
                not_ended.append(name)
            context.close()
        outbound = outside(asked, app)
    return {
        "flows": len(_flows(world.data, look=lambda *_: None)),
        "not_ended": len(not_ended),
        "seen_as_text": len(seen),
        "rendered": len(rendered),
        "outbound_attempts": len(outbound),
        **({"first": (rendered + outbound)[0].replace("|", "/")} if rendered or outbound else {}),
    }


def _look(page: Page, where: str, *, rendered: list[str], seen: set[str]) -> None:
    """Note what became markup, and whether a name can be read."""
    rendered += [f"{where}: {element}" for element in page.evaluate(_RENDERED_JS, names.HOST)]
    if names.HOST in page.locator("body").inner_text():
        seen.add(where)


def _open_all(page: Page) -> None:
    """Open every list, switch on every switch, point at every chart and every sign of help."""
    page.evaluate(
        "document.querySelectorAll('[data-testid=stExpander] details:not([open]) > summary').forEach(each => each.click())"
    )
    settled(page, seconds=_WAIT_S)
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")  # the browser still loads a chart
    page.evaluate(
        "document.querySelectorAll('[data-testid=stCheckbox] input:not(:checked)').forEach(each => each.click())"
    )
    settled(page, seconds=_WAIT_S)
    for target in page.locator("canvas, .js-plotly-plot, [data-testid=stTooltipIcon]").all():
        if target.is_visible():
            target.scroll_into_view_if_needed()
            target.hover(force=True)
            page.wait_for_timeout(300)


def _flows(data: Path, *, look: Callable[..., None]) -> dict[str, Flow]:
    """Every page, and what is reached within it."""
    flows: dict[str, Flow] = {"home": ("", lambda page: None)}
    flows |= {f"evaluation: {view}": ("Evaluation", partial(_choose, texts=(view,))) for view in _VIEWS}
    for panel in model_panel.PANELS:
        flows[f"evaluation: {panel}"] = ("Evaluation", partial(_choose, texts=("One model", panel)))
    flows["evaluation: your folder"] = ("Evaluation", partial(_evaluate, data=data))
    flows["training"] = ("Training", partial(_train, data=data))
    flows["dataset"] = ("Dataset", partial(_audit, data=data))
    flows["dataset: no folder"] = ("Dataset", partial(_audit, data=data / names.FILE_NAME))
    flows |= {f"diagnosis: {kind}": ("Diagnosis", partial(_upload, files=files)) for kind, files in _uploads().items()}
    flows["teaching: quiz"] = ("Teaching", partial(_quiz, data=data))
    flows["teaching: breaking"] = ("Teaching", _break)
    flows["teaching: shuffling"] = ("Teaching", partial(_shuffle, data=data))
    return flows


def _choose(page: Page, texts: tuple[str, ...]) -> None:
    for text in texts:
        page.get_by_test_id("stButtonGroup").get_by_text(text, exact=True).first.click()
        settled(page, seconds=_WAIT_S)


def _enter(page: Page, label: str, value: object) -> None:
    field = page.get_by_role("textbox", name=label, exact=True).first
    field.fill(str(value))
    field.press("Enter")
    settled(page, seconds=_WAIT_S)


def _press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()
    settled(page, seconds=_WAIT_S)


def _evaluate(page: Page, *, data: Path) -> None:
    _choose(page, ("Your folder",))
    _enter(page, "Folder", data)
    _press(page, "Evaluate")
    page.get_by_role("button", name="Predictions (CSV)").wait_for()


def _train(page: Page, *, data: Path) -> None:
    _enter(page, "Folder of images", data)
    _press(page, "Check")
    page.get_by_text(re.compile(r"slices in \d+ scans|stops")).first.wait_for()
    architectures = page.get_by_role("combobox", name="Architectures")
    architectures.fill(names.PICTURE)
    architectures.press("Enter")
    settled(page, seconds=_WAIT_S)
    page.get_by_role("button", name=re.compile(r"^Start \d+ job")).click()
    settled(page, seconds=_WAIT_S)
    expect(page.get_by_test_id("stAlert").first).to_be_visible()
    page.get_by_text("Delete", exact=True).first.wait_for(state="attached")


def _audit(page: Page, *, data: Path) -> None:
    _enter(page, "Folder of images", data)
    if page.get_by_role("button", name="Audit").count():
        _press(page, "Audit")


def _uploads() -> dict[str, list[dict]]:
    """Uploads with hostile names: a picture, what is none, a zip with hostile members, a scan with hostile tags."""
    buffer, archive = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8)).save(buffer, "PNG")
    picture = buffer.getvalue()
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(5):
            file.writestr(f"{names.PICTURE}/{number}.png", b"no picture")
        file.writestr(f"{names.PICTURE}.png", picture)
    return {
        "picture": [_file(f"{names.FILE_NAME}.png", picture)],
        "no pictures": [_file(f"{number} {names.FILE_NAME}.png", b"no picture") for number in range(5)],
        "zip": [_file(f"{names.FILE_NAME}.zip", archive.getvalue())],
        "scan": [
            _file(f"{names.FILE_NAME} {name}", _hostile_tags(each))
            for name, each in phantom_dicom.series_files("Tumor", 7, n_slices=3)
        ],
    }


def _hostile_tags(content: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content))
    for keyword in (
        "SeriesDescription",
        "PatientName",
        "PatientID",
        "ConvolutionKernel",
        "Manufacturer",
        "BodyPartExamined",
    ):
        setattr(dataset, keyword, names.PICTURE[:60])
    saved = io.BytesIO()
    dataset.save_as(saved)
    return saved.getvalue()


def _file(name: str, content: bytes) -> dict:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def _upload(page: Page, *, files: list[dict]) -> None:
    choose_files(page, files)
    page.locator(".stage, [data-testid=stAlert]").first.wait_for()
    settled(page, seconds=_WAIT_S)


def _quiz(page: Page, *, data: Path) -> None:
    _choose(page, ("Your folder",))
    _enter(page, "Folder of images", data)
    page.get_by_test_id("stRadio").locator("label").last.click()
    settled(page, seconds=_WAIT_S)
    _press(page, "Submit answer")


def _break(page: Page) -> None:
    _choose(page, ("What breaks a model", "Your slice"))
    choose_files(page, _uploads()["no pictures"][:1])
    page.get_by_test_id("stAlert").first.wait_for()


def _shuffle(page: Page, *, data: Path) -> None:
    _choose(page, ("Why 99 % can mean nothing", "Your folder"))
    _enter(page, "Folder of images", data)
    _press(page, "Train now")
    page.get_by_text("Look at the middle group").or_(page.get_by_test_id("stAlert")).first.wait_for()
