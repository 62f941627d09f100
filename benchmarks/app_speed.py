"""The app's response times for a user: `python -m benchmarks.app_speed` (make benchmarks).

Starts the app with all checkpoints, drives it in headless Chromium, and prints:

    server answers          from the start of a new server, as `make app` starts it
    first paint             then, in a new browser, until the page's headline is visible
    first diagnosis         then, at once, Diagnosis and a sample: from that click to the verdict with its heatmap;
                            median of 3 new servers, like the two above
    page switch             from click to the next page's headline, median of 9
    warm diagnosis          core, with its heatmap by the default method and by Grad-CAM, median of 20; and the ratio of each
                            to the bare forward pass
    peak memory             of the server with every checkpoint loaded

The baseline of the diagnosis is the bare fp32 forward pass of the same network in the same run. Results are stored in
docs/app-speed.json; `make results` writes the sentences of docs/speed.md from it.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page

from benchmarks.browser import launched_browser, running_app, settled
from benchmarks.training_speed import machine
from kidney_core.common.files import write_json
from kidney_core.metrics.number_format import model_name

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "app-speed.json"


def median_ms(action: Callable[[], object], repeats: int) -> float:
    """The median duration of an action in milliseconds, after one unmeasured call."""
    action()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        durations.append((time.perf_counter() - start) * 1000)
    return statistics.median(durations)


def open_home(page: Page, address: str) -> float:
    """Milliseconds until the first page's headline is visible."""
    start = time.perf_counter()
    page.goto(address)
    page.get_by_role("heading", name="Kidney CT workbench").wait_for()
    return (time.perf_counter() - start) * 1000


def measure_start(browser: Browser) -> dict[str, float]:
    """A fresh server, its first page and its first diagnosis, which no import or warm-up has gone before; milliseconds."""
    start = time.perf_counter()
    with running_app() as (address, _):
        found = {"server answers": (time.perf_counter() - start) * 1000}
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        found["first paint"] = open_home(page, address)
        page.get_by_test_id("stSidebar").get_by_role("link", name="Diagnosis").click()
        sample = page.get_by_role("button", name="Cyst", exact=True)
        sample.wait_for()
        start = time.perf_counter()
        sample.click()
        page.get_by_text("This slice is simulated, not a patient.").wait_for(timeout=120_000)
        page.locator(".stage .heat").wait_for(state="attached", timeout=120_000)
        found["first diagnosis"] = (time.perf_counter() - start) * 1000
        page.close()
    return found


def measure_pages(page: Page, address: str) -> dict[str, float]:
    """Page switches, in milliseconds."""
    open_home(page, address)
    settled(page)
    page.wait_for_timeout(15_000)  # the warm-up thread imports torch meanwhile
    switches = []
    for _ in range(3):
        for title in ("Evaluation", "Training", "Diagnosis"):
            start = time.perf_counter()
            page.get_by_test_id("stSidebar").get_by_role("link", name=title).click()
            page.get_by_role("heading", name=title, exact=True).wait_for()
            switches.append((time.perf_counter() - start) * 1000)
            settled(page)
    return {"page switch": statistics.median(switches), "slowest page switch": max(switches)}


def measure_diagnosis() -> dict[str, dict[str, float]]:
    """Milliseconds of the bare forward pass and of a diagnosis with its map, for each checkpoint."""
    import torch

    from kidney_core.checkpoints.checkpoint import list_checkpoints
    from kidney_core.diagnosis import inference
    from kidney_core.networks import explanation, preprocessing
    from kidney_core.simulation import phantom

    image = phantom.draw_series("Cyst", 1, n_slices=1)[0].as_slice("benchmark")
    measured: dict[str, dict[str, float]] = {}
    for checkpoint in list_checkpoints()[0]:
        predictor = inference.open_predictor(checkpoint)
        batch = preprocessing.input_of(inference.frame_slice(predictor, image))
        with torch.inference_mode():
            forward = median_ms(partial(predictor.model, batch), 20)
        name = model_name(checkpoint.card["architecture"])
        measured[name] = {"bare forward": forward}
        for method in (explanation.DEFAULT_METHOD, "Grad-CAM"):
            full = median_ms(partial(inference.diagnose, predictor, image, method=method), 20)
            measured[name] |= {f"with {method}": full, f"ratio, {method}": full / forward}
    return measured


def memory_with_all_models(page: Page, process: psutil.Process) -> float:
    """Peak resident memory of the server in MiB after a diagnosis with each model."""
    page.get_by_test_id("stSidebar").get_by_role("link", name="Diagnosis").click()
    settled(page)
    page.get_by_role("button", name="Cyst").click()
    settled(page)
    peak = process.memory_info().rss
    box, options = page.get_by_test_id("stSelectbox").first.get_by_role("combobox"), page.locator('[role="option"]')
    box.click()
    options.first.wait_for()
    n_options = options.count()
    page.keyboard.press("Escape")
    for option in range(n_options):
        box.click()
        options.nth(option).click()
        settled(page)
        peak = max(peak, process.memory_info().rss)
    return peak / 1024**2


def main() -> int:
    """Measure all, print it and keep it."""
    diagnoses = measure_diagnosis()
    for name, values in diagnoses.items():
        print(
            f"{name:28} "
            + "  ".join(
                f"{title} {value:.1f}{'' if title.startswith('ratio') else ' ms'}" for title, value in values.items()
            )
        )
    with launched_browser() as browser:
        starts = [measure_start(browser) for _ in range(3)]
        app = {title: statistics.median(each[title] for each in starts) for title in starts[0]}
        with running_app() as (address, process):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            app |= measure_pages(page, address)
            app["peak memory, MiB"] = memory_with_all_models(page, psutil.Process(process.pid))
    for title, value in app.items():
        print(f"{title:28} {value:.0f}{'' if 'MiB' in title else ' ms'}")
    rounded = {name: {title: round(value, 2) for title, value in values.items()} for name, values in diagnoses.items()}
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    write_json(
        RESULTS,
        {
            **stored,  # what `benchmarks.page_speed` keeps
            "machine": machine(),
            "app": {title: round(value) for title, value in app.items()},
            "diagnosis": rounded,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
