"""Point 10, no egress: all pages and flows in a real browser, of an app that has no way outside.

The app's side is counted by the kernel (see `nowhere`), the browser's by its requests and web sockets to anything but
the app; what a browser looks up without a request (dns-prefetch) is not seen. One thing would rightly reach outside and
is not done here: starting a training from “ImageNet weights (downloaded by timm)”.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock
from urllib.parse import urlparse

from playwright.sync_api import BrowserContext, Error, Page

from benchmarks import screenshots
from benchmarks.browser import choose_files, running_app, settled
from kidney_core.runs import recipes
from kidney_core.simulation import phantom, phantom_dicom
from tests.conftest import ROOT, TINY
from tests.hardness import nowhere
from tests.hardness.patients import exports
from tests.hardness.table import Figures, NotMeasured, Options

IDLE_S = 10
_WAIT_S = 120
# Its files have other names here; `upload` reads them.
_NOT_THESE = {"diagnosis-batch"}
_FETCH = "fetch('http://192.0.2.1/', {mode: 'no-cors', signal: AbortSignal.timeout(500)}).catch(() => null)"
Flow = tuple[str, Callable[[Page], None]]


def measure(options: Options) -> Figures:
    """Go through all flows, those of one view a page unless `thorough`; count attempts, and prove that they would be.

    Raises: NotMeasured where no network namespace can be made.
    """
    if reason := nowhere.reason_against():
        raise NotMeasured(reason)
    images = options.workplace / "images"
    phantom.write_dataset(images, n_series=6, n_slices=4)
    shutil.copytree(ROOT / "checkpoints", options.workplace / "checkpoints")
    variables = {f"KIDNEY_{name.upper()}": str(options.workplace / name) for name in ("runs", "cache", "checkpoints")}
    flows = _own_flows(images, thorough=options.thorough)  # first: some scenes show the run that these leave
    flows |= {
        name: flow
        for name, flow in screenshots.SCENES.items()
        if name not in _NOT_THESE and (options.thorough or "-" not in name)
    }
    by_flow, asked, not_ended = {}, [], []
    with (
        mock.patch.dict(os.environ, KIDNEY_SCREENSHOT_DATA=str(images)),
        # Tests elsewhere are told not to download; here nothing may hold the app back.
        running_app(command=("tests.hardness.nowhere",), **variables, HF_HUB_OFFLINE="0") as (app, process),
    ):

        def attempts() -> int:
            return nowhere.attempts(process.pid) + len(outside(asked, app))

        time.sleep(IDLE_S)
        by_flow["start"] = attempts()
        for name, (path, act) in flows.items():
            before = attempts()
            context = options.browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
            note_requests(context, asked)
            page = context.new_page()
            page.set_default_timeout(_WAIT_S * 1000)
            page.goto(f"{app}/{path}")
            settled(page, seconds=_WAIT_S)
            try:
                act(page)
            except (Error, RuntimeError) as error:  # the others are measured all the same
                print(f"the flow “{name}” did not end: {error}")
                not_ended.append(name)
            context.close()
            by_flow[name] = attempts() - before
        n_requests = len(asked)
        seen = nowhere.control(process.pid) + _control(options, app)
    found = {name: count for name, count in by_flow.items() if count}
    return {
        "flows": len(by_flow),
        "not_ended": len(not_ended),
        "requests": n_requests,
        "outbound_attempts": sum(found.values()),
        "control_seen": seen,
        **({"by_flow": str(found)} if found else {}),
    }


def note_requests(context: BrowserContext, asked: list[str]) -> None:
    """Note the address of everything that the pages of a context ask for."""
    context.on("request", lambda request: asked.append(request.url))
    context.on("page", lambda page: page.on("websocket", lambda opened: asked.append(opened.url)))


def outside(asked: list[str], app: str) -> list[str]:
    """The addresses that are neither the app's nor within the page."""
    return [
        url
        for url in asked
        if urlparse(url).scheme not in ("data", "blob", "about") and urlparse(url).netloc != urlparse(app).netloc
    ]


def _control(options: Options, app: str) -> int:
    """Whether a page that asks for something outside is seen to."""
    context, asked = options.browser.new_context(), []
    note_requests(context, asked)
    page = context.new_page()
    page.goto(app)
    page.evaluate(_FETCH)
    context.close()
    return int(bool(outside(asked, app)))


def _own_flows(images: Path, *, thorough: bool) -> dict[str, Flow]:
    """What has no screenshot: uploads, reports, a training to its end, and the panels left."""
    slices = phantom_dicom.series_files("Tumor", 7, n_slices=5)
    picture = next((images / "Stone").glob("*.png"))
    files = [{"name": picture.name, "mimeType": "image/png", "buffer": picture.read_bytes()}]
    series = [{"name": name, "mimeType": "application/dicom", "buffer": content} for name, content in slices]
    flows: dict[str, Flow] = {
        "uploaded picture": ("Diagnosis", partial(upload, files=files)),
        "training to its end": ("Training", partial(train, images=images)),
    }
    if thorough:
        flows["uploaded series"] = ("Diagnosis", partial(upload, files=series))
        flows["comparison exported"] = ("Evaluation", export)
        panels = ("Worst errors", "Training", "Model card")
        flows |= {f"evaluation: {name}": ("Evaluation", screenshots.panel(name)) for name in panels}
    return flows


def upload(page: Page, files: list[dict]) -> None:
    """Upload, let another method draw the map, and write and download the reports."""
    choose_files(page, files)
    page.locator(".stage").wait_for()
    settled(page, seconds=_WAIT_S)
    for words in ("Show the prediction anyway", "Show a heatmap"):  # of a refused slice, and of a normal one
        switch = page.get_by_text(words)
        if switch.count():
            switch.click()
            settled(page, seconds=_WAIT_S)
    box = page.get_by_test_id("stSelectbox").filter(has_text="Method").get_by_role("combobox")
    box.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # a list that opens while the page scrolls closes again
    box.click()
    page.locator('[role="option"]').last.click()  # not those of the viewer's own lists
    settled(page, seconds=_WAIT_S)
    with tempfile.TemporaryDirectory() as folder:
        n_bytes = [path.stat().st_size for path in exports(page, Path(folder))]
    if len(n_bytes) < 3 or 0 in n_bytes:
        raise RuntimeError(f"files of {n_bytes} bytes were offered, not PDF, picture and structured report")


def export(page: Page) -> None:
    with page.expect_download() as downloaded:
        page.get_by_role("button", name="Export everything (ZIP)", exact=True).click()
    if Path(downloaded.value.path()).stat().st_size == 0:
        raise RuntimeError("the export is an empty file")


def train(page: Page, images: Path) -> None:
    """Start a tiny job by its saved configuration, watch its curves to the end, publish it."""
    config = recipes.config_from_recipe("paper", **{**TINY, "data": str(images), "batch_size": 32, "n_epochs": 3})
    page.get_by_text("Commands and file", exact=True).click()
    content = recipes.to_file(config)
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        [{"name": "tiny.json", "mimeType": "application/json", "buffer": content}]
    )
    page.get_by_role("button", name="Start this configuration").click()
    page.get_by_text("1 job started").wait_for()
    page.locator(".st-key-training_charts canvas").first.wait_for()
    page.get_by_text("Publish as a checkpoint").click()  # there once the job has ended
    page.get_by_role("button", name="Publish", exact=True).click()
    page.get_by_text("It is now on the Diagnosis and Evaluation pages").first.wait_for()
