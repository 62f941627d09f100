"""How long each page takes to its first useful content: `python -m benchmarks.page_speed [--keep]`.

    cold    a new server and a new browser, from the address of the page
    warm    the same server and browser, from the click in the list of pages; median of 5

Useful is what a visitor came for: the first table of figures, the place for an upload, the button that starts. The goal is that
no page takes more than twice as long as the fastest one, warm. The load of the machine (of the last minute, a process a
core is 1) is told, since figures of a busy machine mean little. With --keep they go into docs/app-speed.json, and `make
results` writes them into docs/speed.md.
"""

import argparse
import json
import os
import statistics
import sys
import time

from playwright.sync_api import Browser, Page

from benchmarks.app_speed import RESULTS
from benchmarks.browser import launched_browser, running_app, settled
from benchmarks.training_speed import machine
from kidney_core.common.files import write_json

# Page -> what stands for its first useful content, as a CSS selector.
CONTENT = {
    "Home": '[data-testid="stDataFrame"] canvas',
    "Diagnosis": '[data-testid="stFileUploaderDropzone"]',
    "Evaluation": '[data-testid="stDataFrame"] canvas',
    "Training": ".st-key-training_submit button",
    "Dataset": 'button:has-text("Audit")',
    "Teaching": ".stage[data-shown]",
}
_REPEATS, _SECONDS_TO_WARM_UP = 5, 15
_PATIENCE_MS = 180_000


def milliseconds_to_content(page: Page, title: str, started: float) -> float:
    """Milliseconds from `started` until a page shows its first useful content."""
    page.get_by_test_id("stMain").locator(CONTENT[title]).first.wait_for(timeout=_PATIENCE_MS)
    return (time.perf_counter() - started) * 1000


def measure_cold(browser: Browser, title: str) -> float:
    """Of a page that a new server shows first."""
    with running_app() as (address, _):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        started = time.perf_counter()
        page.goto(f"{address}/{'' if title == 'Home' else title}")
        found = milliseconds_to_content(page, title, started)
        page.close()
    return found


def measure_warm(browser: Browser) -> dict[str, float]:
    """Of each page after a click, once the server has imported all and every page was open."""
    times: dict[str, list[float]] = {title: [] for title in CONTENT}
    with running_app() as (address, _):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        settled(page, seconds=180)
        page.wait_for_timeout(_SECONDS_TO_WARM_UP * 1000)
        for round_number in range(_REPEATS + 1):
            for title, measured in times.items():
                if title == "Home" and round_number == 0:
                    continue  # it is open
                started = time.perf_counter()
                page.get_by_test_id("stSidebar").get_by_role("link", name=title).click()
                page.get_by_role(
                    "heading", name="Kidney CT workbench" if title == "Home" else title, exact=True
                ).wait_for()
                elapsed = milliseconds_to_content(page, title, started)
                settled(page, seconds=180)
                if round_number:
                    measured.append(elapsed)
        page.close()
    return {title: statistics.median(measured) for title, measured in times.items()}


def main() -> int:
    """Measure, print, and with --keep store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="store the figures in docs/app-speed.json")
    keep = parser.parse_args().keep
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    with launched_browser() as browser:
        cold = {title: round(measure_cold(browser, title)) for title in CONTENT}
        warm = {title: round(measured) for title, measured in measure_warm(browser).items()}
    fastest = min(warm.values())
    for title in CONTENT:
        print(
            f"{title:12} cold {cold[title]:6d} ms   warm {warm[title]:6d} ms   {warm[title] / fastest:.1f} x the fastest"
        )
    print(f"load before: {load:.1f} a core")
    if keep:
        stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
        pages = {"machine": machine(), "load": round(load, 1), "cold": cold, "warm": warm}
        write_json(RESULTS, {**stored, "pages": pages})
    return 0


if __name__ == "__main__":
    sys.exit(main())
