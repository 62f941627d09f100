"""Eight people diagnose at once for two minutes: are all maps right, how long do they wait, does memory stay flat?

    python -m benchmarks.load [--sessions 8] [--seconds 120]

Each session goes through the simulated samples in an order of its own, in a real browser. Label, probability and map
(the pixels of the heat map's canvas) of each answer are compared with those of one session alone, which is the
baseline for the time as well.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from dataclasses import dataclass, field

import psutil
from playwright.async_api import Browser, Error, Page, async_playwright

from benchmarks.browser import CHROMIUM_ARGUMENTS, chromium_path, running_app
from kidney_core.labels import LABELS

MAX_P95_S, MAX_GROWN_MIB = 3.0, 50.0
_EACH = 3  # samples of a label, before the next label is pressed


@dataclass
class Found:
    """What the sessions saw."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def open_page(browser: Browser, address: str) -> Page:
    """A new visitor on the Diagnosis page."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(60_000)
    await page.goto(f"{address}/Diagnosis")
    await page.get_by_role("button", name=LABELS[0], exact=True).wait_for()
    return page


async def diagnose(page: Page, label: str, name: str) -> tuple[float, str]:
    """Press a sample's button; seconds until its map is drawn, and the answer with its map as text."""
    start = time.perf_counter()
    await page.get_by_role("button", name=label, exact=True).click()
    await page.locator(f'.stage[data-shown*="{name}"]').wait_for()
    await page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    seconds = time.perf_counter() - start
    heading = await page.locator(".st-key-diagnosis_reading h3").first.inner_text()
    heat = await page.locator(".stage .heat").evaluate("node => node.toDataURL()")
    return seconds, f"{heading}\n{heat}"


def visits(offset: int) -> list[tuple[str, str]]:
    """(label, name of the sample) in the order of a session, which begins at another label each time."""
    labels = LABELS[offset % len(LABELS) :] + LABELS[: offset % len(LABELS)]
    return [(label, f"Simulated {label.lower()} {number + 1}") for label in labels for number in range(_EACH)]


async def alone(browser: Browser, address: str) -> tuple[dict[str, str], list[float]]:
    """One session: the answers by name, and its seconds without those of the first round, which is cold."""
    page, answers, seconds = await open_page(browser, address), {}, []
    for repeat in range(2):
        for label, name in visits(0):
            took, answers[name] = await diagnose(page, label, name)
            if repeat:
                seconds.append(took)
    await page.context.close()
    return answers, seconds


async def session(page: Page, number: int, until: float, right: dict[str, str], found: Found) -> None:
    """Diagnose until the time is over."""
    while True:
        for label, name in visits(number):
            if time.monotonic() > until:
                return
            try:
                seconds, answer = await diagnose(page, label, name)
            except Error as error:
                found.errors.append(f"session {number}, {name}: {error}")
                return
            found.seconds.append(seconds)
            if answer != right[name]:
                found.wrong.append(f"session {number}, {name}")
            if await page.get_by_test_id("stException").count():
                found.errors.append(f"session {number}, {name}: an error on the page")


async def measure(address: str, process: psutil.Process, n_sessions: int, seconds: float) -> int:
    """Print the table; the exit status."""
    found, memory = Found(), []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGUMENTS)
        right, baseline = await alone(browser, address)
        pages = [await open_page(browser, address) for _ in range(n_sessions)]
        until = time.monotonic() + seconds

        async def watch() -> None:
            while time.monotonic() < until:
                memory.append(process.memory_info().rss / 2**20)
                await asyncio.sleep(2)

        await asyncio.gather(watch(), *(session(page, i, until, right, found) for i, page in enumerate(pages)))
        await browser.close()
    waits = sorted(found.seconds)
    third = max(1, len(memory) // 3)
    print(f"machine: {os.cpu_count()} CPUs; the browser runs on it too")
    print(f"alone: {len(baseline)} diagnoses, median {statistics.median(baseline):.2f} s")
    print(
        f"{n_sessions} sessions, {seconds:.0f} s: {len(waits)} diagnoses, median {statistics.median(waits):.2f} s, "
        f"p95 {waits[int(0.95 * len(waits))]:.2f} s, slowest {waits[-1]:.2f} s"
    )
    print(
        f"wrong={len(found.wrong)} errors={len(found.errors)} memory: {statistics.mean(memory[third : 2 * third]):.0f} MiB in the "
        f"second third, {statistics.mean(memory[-third:]):.0f} in the last, peak {max(memory):.0f}"
    )
    for line in (found.wrong + found.errors)[:10]:
        print(line)
    grown = statistics.mean(memory[-third:]) - statistics.mean(memory[third : 2 * third])
    return 1 if found.wrong or found.errors or waits[int(0.95 * len(waits))] > MAX_P95_S or grown > MAX_GROWN_MIB else 0


def main(arguments: list[str] | None = None) -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_args(arguments)
    with running_app() as (address, process):
        return asyncio.run(measure(address, psutil.Process(process.pid), options.sessions, options.seconds))


if __name__ == "__main__":
    sys.exit(main())
