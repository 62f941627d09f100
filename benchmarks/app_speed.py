"""The app's speed as a user feels it: `python -m benchmarks.app_speed` (make benchmarks).

Starts the real app with the checkpoints at hand, drives it in headless Chromium, and prints:

    first paint             the page's headline is visible in a fresh browser on a fresh server
    page switch             from click to the next page's headline, median of 9
    warm diagnosis          core, with its map by the default method and by Grad-CAM, median of 20; and the ratio of each
                            to the bare forward pass
    peak memory             of the server with every checkpoint loaded

The baseline of the diagnosis is the bare fp32 forward pass of the same network in the same run.
"""

import statistics
import sys
import time
from collections.abc import Callable

import psutil
from playwright.sync_api import Page, sync_playwright

from benchmarks.browser import CHROMIUM_ARGUMENTS, chromium_path, running_app, settled


def median_ms(action: Callable[[], object], repeats: int) -> float:
    """The median duration of an action in milliseconds, after one unmeasured call."""
    action()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        durations.append((time.perf_counter() - start) * 1000)
    return statistics.median(durations)


def measure_pages(page: Page, address: str) -> dict[str, float]:
    """First paint and page switches, in milliseconds."""
    start = time.perf_counter()
    page.goto(address)
    page.get_by_role("heading", name="Kidney CT workbench").wait_for()
    found = {"first paint": (time.perf_counter() - start) * 1000}
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
    found["page switch, median"] = statistics.median(switches)
    found["page switch, slowest"] = max(switches)
    return found


def measure_diagnosis() -> dict[str, dict[str, float]]:
    """Milliseconds of the bare forward pass and of a diagnosis with its map, for each checkpoint."""
    import torch

    from kidney_core import diagnosis, explanation, phantom, preprocessing
    from kidney_core.checkpoint import list_checkpoints

    image = phantom.draw_series("Cyst", 1, n_slices=1)[0].as_slice("benchmark")
    found = {}
    for checkpoint in list_checkpoints()[0]:
        reader = diagnosis.open_reader(checkpoint)
        batch = preprocessing.input_of(diagnosis.see(reader, image))
        with torch.inference_mode():
            forward = median_ms(lambda reader=reader, batch=batch: reader.model(batch), 20)
        found[checkpoint.name] = {"bare forward": forward}
        for method in (explanation.DEFAULT_METHOD, "Grad-CAM"):
            full = median_ms(lambda reader=reader, method=method: diagnosis.diagnose(reader, image, method=method), 20)
            found[checkpoint.name] |= {f"with {method}": full, f"ratio, {method}": full / forward}
    return found


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
    """Print the table."""
    for name, values in measure_diagnosis().items():
        print(
            f"{name:28} "
            + "  ".join(
                f"{title} {value:.1f}{'' if title.startswith('ratio') else ' ms'}" for title, value in values.items()
            )
        )
    with running_app() as (address, process), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        for title, value in measure_pages(page, address).items():
            print(f"{title:28} {value:.0f} ms")
        print(f"{'peak memory, all models':28} {memory_with_all_models(page, psutil.Process(process.pid)):.0f} MiB")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
