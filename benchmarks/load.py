"""Many users at once: is everything they see correct, how long do they wait, does memory stay constant?

    python -m benchmarks.load [--users 20] [--seconds 300]

Of five users, three diagnose, one walks through Evaluation and one watches the live curves of a small job on Training,
each in a real browser. What a diagnosing user sees (label, probability and the pixels of the heatmap's canvas) and
what an evaluating user reads is compared with what a single user saw, which is also the baseline of the times. A
watching user must see the progress of the job: never ahead of its folder, and with curves that keep up with it.
"""

import argparse
import asyncio
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from playwright.async_api import Browser, Error, Page, async_playwright

from benchmarks.browser import CHROMIUM_ARGUMENTS, ROOT, chromium_path, running_app
from kidney_core.common.labels import LABELS
from kidney_core.engines import jobs
from kidney_core.runs import recipes
from kidney_core.runs.run_folder import RUNNING, Run
from kidney_core.simulation import phantom

MAX_P95_S, MAX_GROWN_MIB = 3.0, 50.0
DIAGNOSIS, EVALUATION, CURVES = "diagnosis", "evaluation", "curves"
_OF_FIVE = (DIAGNOSIS, DIAGNOSIS, EVALUATION, DIAGNOSIS, CURVES)
_PAGES = {DIAGNOSIS: "Diagnosis", EVALUATION: "Evaluation", CURVES: "Training"}
_EACH = 3  # samples of a label, before the next label is pressed
_VIEWS = ("Comparison", "Beside the paper", "One model")
_PANELS = ("Curves", "Calibration", "Abstention", "Planes", "Scans", "Training", "Model card", "Matrix and report")
_SECONDS_AFTERWARDS = 30
_SECONDS_UNTIL_WRONG = 60  # a page that shows something else for so long shows the wrong thing
_PATIENCE_MS = 300_000  # the first answer waits for torch; how long all of them take is among the figures
_SECONDS_FOR_A_JOB = 600  # until it runs: on a busy machine, importing torch takes minutes

Answers = dict[str, str]
Visit = Callable[[Page], Awaitable[tuple[float, str]]]  # one step of a user: seconds, and what was seen


@dataclass
class Found:
    """What the users saw."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in _OF_FIVE})
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def open_page(browser: Browser, address: str, path: str) -> Page:
    """A new visitor on a page."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    await page.goto(f"{address}/{path}")
    await page.get_by_test_id("stCaptionContainer").first.wait_for()
    await settled(page)
    return page


async def settled(page: Page) -> None:
    """Wait until the page's script has run; a short pause lets a click reach the server first."""
    await page.wait_for_timeout(200)
    await page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')


async def diagnose(page: Page, label: str, name: str) -> tuple[float, str]:
    """Press a sample's button; seconds until its map is drawn, and the answer with its map as text."""
    start = time.perf_counter()
    await page.get_by_role("button", name=label, exact=True).click()
    await page.locator(f'.stage[data-shown*="{name}"]').wait_for()
    await page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    seconds = time.perf_counter() - start
    heading = await page.locator(".st-key-diagnosis_lead h3").first.inner_text()
    heat = await page.locator(".stage .heat").evaluate("node => node.toDataURL()")
    return seconds, f"{heading}\n{heat}"


async def evaluate(page: Page, title: str, right: str | None) -> tuple[float, str]:
    """Choose a view or a panel of Evaluation; seconds until what is right stands there, and what does in the end.

    A page that is not drawn yet, because the server has not heard of the click, shows what was there before.
    """
    start = time.perf_counter()
    await page.get_by_test_id("stButtonGroup").get_by_text(title, exact=True).click()
    words = page.get_by_test_id("stMain").locator(
        '[data-testid="stMarkdownContainer"], [data-testid="stMetricValue"], [data-testid="stTable"]'
    )
    while True:
        await settled(page)
        seen, seconds = "\n".join(await words.all_inner_texts()), time.perf_counter() - start
        if right in (None, seen) or seconds > _SECONDS_UNTIL_WRONG:
            return seconds, seen


def visits(kind: str, offset: int, right: Answers) -> list[tuple[str, Visit]]:
    """(name, step) in the order of a user, who begins at another label each time."""
    if kind == EVALUATION:
        titles = (*_VIEWS, *_PANELS)
        return [(title, partial(evaluate, title=title, right=right.get(title))) for title in titles]
    labels = LABELS[offset % len(LABELS) :] + LABELS[: offset % len(LABELS)]
    named = [(label, f"Simulated {label.lower()} {number + 1}") for label in labels for number in range(_EACH)]
    return [(name, partial(diagnose, label=label, name=name)) for label, name in named]


async def alone(browser: Browser, address: str) -> tuple[Answers, list[float]]:
    """One user: the answers by name, and the seconds of diagnoses without those of the first round, which is cold."""
    answers: Answers = {}
    seconds: list[float] = []
    for kind in (DIAGNOSIS, EVALUATION):
        page = await open_page(browser, address, _PAGES[kind])
        for repeat in range(2):
            for name, step in visits(kind, 0, answers):
                took, answers[name] = await step(page)
                if repeat and kind == DIAGNOSIS:
                    seconds.append(took)
        await page.context.close()
    return answers, seconds


async def use(page: Page, kind: str, number: int, until: float, right: Answers, found: Found) -> None:
    """Diagnose, or walk through Evaluation, until the time is over."""
    while True:
        for name, step in visits(kind, number, right):
            if time.monotonic() > until:
                return
            seconds, answer = await step(page)
            found.seconds[kind].append(seconds)
            if answer != right[name]:
                found.wrong.append(f"user {number}, {name}")
            await note_exception(page, f"user {number}, {name}", found)


async def watch_curves(page: Page, number: int, until: float, run: Run, found: Found) -> None:
    """Look at the job's line of the table and at its curves; seconds until the page knows what the folder says."""
    shown_before, drawn_before = 0, ""
    while time.monotonic() < until:
        start, at_least = time.perf_counter(), run.state().get("epoch", 0)
        while (shown := await shown_epoch(page)) < at_least and time.perf_counter() - start < _SECONDS_UNTIL_WRONG:
            await page.wait_for_timeout(100)
        found.seconds[CURVES].append(time.perf_counter() - start)
        chart = page.locator(".st-key-training_charts canvas").first
        while True:
            await page.wait_for_timeout(2000)  # the chart draws its line
            drawn = await chart.evaluate("node => node.toDataURL()")
            is_new = shown <= shown_before or drawn != drawn_before
            if is_new or time.perf_counter() - start > _SECONDS_UNTIL_WRONG:
                break
        if not at_least <= shown <= run.state().get("epoch", 0):
            found.wrong.append(f"user {number}, the table shows epoch {shown}, the run had {at_least}")
        if not is_new:
            found.wrong.append(f"user {number}, the curves stayed as of epoch {shown_before}")
        shown_before, drawn_before = shown, drawn
        await note_exception(page, f"user {number}, the curves", found)


async def note_exception(page: Page, who: str, found: Found) -> None:
    if await page.get_by_test_id("stException").count():
        found.errors.append(f"{who}: an error on the page")


async def shown_epoch(page: Page) -> int:
    """The epoch in the table of jobs, of which the canvas keeps a copy for screen readers; -1 where there is none."""
    cells = await page.get_by_test_id("stDataFrame").locator("td").all_inner_texts()
    found = [re.fullmatch(r"(\d+) / \d+", cell.strip()) for cell in cells]
    return next((int(each[1]) for each in found if each), -1)


async def user(page: Page, kind: str, number: int, until: float, right: Answers, run: Run, found: Found) -> None:
    """One user until the time is over, or something breaks."""
    page.on("pageerror", lambda error: found.errors.append(f"user {number}, {kind}: {error}"))
    try:
        if kind == CURVES:
            await watch_curves(page, number, until, run, found)
        else:
            await use(page, kind, number, until, right, found)
    except Error as error:
        found.errors.append(f"user {number}, {kind}: {error}")


@contextmanager
def small_job(folder: Path) -> Iterator[Run]:
    """A job that trains a tiny network on simulated slices for as long as this lasts."""
    phantom.write_dataset(folder / "images", n_series=6, n_slices=4)
    config = recipes.config_from_recipe(
        "paper",
        data=str(folder / "images"),
        architecture="test_resnet",
        init="scratch",
        trainable="all",
        image_size_px=128,
        batch_size=2,  # many steps, so that it lasts
        n_epochs=1000,
    )
    run = Run.create(config, folder=folder / "runs")
    jobs.submit(run, "local")
    try:
        deadline = time.monotonic() + _SECONDS_FOR_A_JOB
        while not (jobs.status(run) == RUNNING and run.state().get("epoch")):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the job is {jobs.status(run)} still:\n{run.log_tail(5)}")
            time.sleep(0.5)
        yield run
    finally:
        jobs.cancel(run)
        deadline = time.monotonic() + _SECONDS_FOR_A_JOB
        while jobs.status(run) == RUNNING and time.monotonic() < deadline:  # it writes a checkpoint first
            time.sleep(0.2)


async def crowd(address: str, process: psutil.Process, run: Run, n_users: int, seconds: float) -> dict[str, Any]:
    """Everybody at once; what they saw, and the memory of the app's process in MiB, also when they have left."""
    found, memory = Found(), []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGUMENTS)
        right, baseline = await alone(browser, address)
        kinds = [_OF_FIVE[number % len(_OF_FIVE)] for number in range(n_users)]
        pages = [await open_page(browser, address, _PAGES[kind]) for kind in kinds]
        until = time.monotonic() + seconds

        async def weigh() -> None:
            while time.monotonic() < until:
                memory.append(process.memory_info().rss / 2**20)
                await asyncio.sleep(min(2, seconds / 15))

        everybody = enumerate(zip(pages, kinds, strict=True))
        users = (user(page, kind, number, until, right, run, found) for number, (page, kind) in everybody)
        await asyncio.gather(weigh(), *users)
        await browser.close()
    await asyncio.sleep(_SECONDS_AFTERWARDS)
    third = max(1, len(memory) // 3)
    settled_mib = statistics.mean(memory[third : 2 * third])
    return {
        "found": found,
        "baseline": baseline,
        "peak_mib": max(memory),
        "growing_mib": statistics.mean(memory[-third:]) - settled_mib,
        "grown_mib": process.memory_info().rss / 2**20 - settled_mib,
    }


def p95(seconds: list[float]) -> float:
    """The 95th percentile of waiting times; nan without any."""
    return sorted(seconds)[int(0.95 * len(seconds))] if seconds else float("nan")


def measure(n_users: int, seconds: float) -> dict[str, Any]:
    """Measurements of many users.

    `growing_mib`: memory of the last third of the time less that of the second; `grown_mib`: after all have left, less that.
    """
    with tempfile.TemporaryDirectory() as name:
        variables = {f"KIDNEY_{part.upper()}": f"{name}/{part}" for part in ("runs", "cache")}
        variables |= {"KIDNEY_CHECKPOINTS": str(ROOT / "checkpoints")}
        with (
            mock.patch.dict(os.environ, variables),
            small_job(Path(name)) as run,
            running_app() as (address, process),
        ):
            measured = asyncio.run(crowd(address, psutil.Process(process.pid), run, n_users, seconds))
    found, baseline = measured.pop("found"), measured.pop("baseline")
    for line in (found.wrong + found.errors)[:10]:
        print(line, file=sys.stderr)
    return {
        "users": n_users,
        "seconds": seconds,
        **{kind: len(waits) for kind, waits in found.seconds.items()},
        "errors": len(found.errors),
        "wrong": len(found.wrong),
        "alone_median_s": statistics.median(baseline),
        "p95_s": p95(found.seconds[DIAGNOSIS]),
        "evaluation_p95_s": p95(found.seconds[EVALUATION]),
        "curves_p95_s": p95(found.seconds[CURVES]),
        **measured,
        "machine": f"{os.cpu_count()} CPUs ({platform.machine()}), the browsers and the job on it too",
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args(arguments)
    measured = measure(options.users, options.seconds)
    for name, value in measured.items():
        print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")
    is_fine = not measured["wrong"] and not measured["errors"] and measured["p95_s"] <= MAX_P95_S
    return 0 if is_fine and max(measured["growing_mib"], measured["grown_mib"]) <= MAX_GROWN_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
