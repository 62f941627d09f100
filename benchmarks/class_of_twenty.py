"""A class in real browsers: does everybody's answer arrive, and does the CSV hold exactly what was given?

    python -m benchmarks.class_of_twenty FOLDER [--students 20] [--cases 3]

A teacher starts a class. Students, each in a browser context of their own (desks, tablets and phones), join by the link or by
the code and answer cases with marks, labels and confidences of their own; one of them reloads the page in the middle. The teacher
watches the board, reveals the truth and downloads the CSV, which is compared with the plan. FOLDER takes screenshots and
`class.json` with times, memory and what was wrong; the exit status is 1 if anything was.
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
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import psutil
from playwright.async_api import Browser, Page, TimeoutError, async_playwright

from benchmarks.browser import CHROMIUM_ARGUMENTS, ROOT, chromium_path, running_app
from kidney_core.common.files import write_json
from kidney_core.common.labels import LABELS, NORMAL
from kidney_core.teaching import quiz

NAME = "Radiology, year 4"
_PATIENCE_MS = 600_000  # twenty browsers and the app share one machine
_LOST_MS = 180_000  # a press of a button that shows nothing for so long was lost
_SCREENS = ((1280, 900), (390, 844), (800, 1100))
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_RELOADS = 2  # the student who reloads the page after the first answer
_WEIGH_S, _IDLE_S = 1.0, 30.0


@dataclass(frozen=True)
class Answer:
    """What a student is to answer to a case, numbered from 1; the mark is (x, y) in pixels of the slice, None for Normal."""

    student: str
    case: int
    label: str
    confidence: int
    mark: tuple[int, int] | None


@dataclass
class Found:
    """What was measured, and what was wrong."""

    answer_s: list[float] = field(default_factory=list)
    phases_s: dict[str, float] = field(default_factory=dict)
    app_mib: list[float] = field(default_factory=list)
    tree_mib: list[float] = field(default_factory=list)
    waiting_cpu: float = 0.0  # share of a core that the app takes while everybody waits for the teacher
    wrong: list[str] = field(default_factory=list)


def plan(n_students: int, n_cases: int) -> list[list[Answer]]:
    """For each student their answers: labels, confidences and marks that differ between students and between cases."""
    sizes = [case.image.pixels.shape for case in quiz.draw_cases(1)[:n_cases]]
    answers = []
    for student in range(n_students):
        mine = []
        for case, (height, width) in enumerate(sizes):
            label = LABELS[(student + case) % len(LABELS)]
            mark = (width // 4 + 5 * student, height // 3 + 7 * student + 11 * case)
            confidence = 1 + (2 * student + case) % 5
            mine.append(
                Answer(f"Student {student + 1}", case + 1, label, confidence, None if label == NORMAL else mark)
            )
        answers.append(mine)
    return answers


async def open_page(browser: Browser, number: int, found: Found) -> Page:
    """A visitor with a context, a screen and a colour scheme of their own."""
    width, height = _SCREENS[number % len(_SCREENS)]
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=_SCHEMES[number % len(_SCHEMES)]
    )
    page = await context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    page.on("pageerror", lambda error: found.wrong.append(f"visitor {number}: {error}"))
    return page


async def settled(page: Page) -> None:
    """Wait until the page's script has run; a short pause lets a click reach the server first."""
    await page.wait_for_timeout(300)
    await page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')


async def start_class(page: Page, address: str) -> str:
    """The teacher starts a class; its code."""
    await page.goto(f"{address}/Teaching")
    await page.locator(".stage[data-shown]").wait_for()
    await settled(page)
    await page.get_by_role("button", name="With a class").click()
    await page.get_by_role("textbox", name="Start a class: name").fill(NAME)
    await page.get_by_role("button", name="Start the class").click()
    code = await page.locator(".class-code").inner_text()
    await settled(page)
    return code


async def join(page: Page, address: str, code: str, name: str, *, by_link: bool) -> None:
    """Take a seat, by the link that the teacher shows or by typing the code."""
    if by_link:
        await page.goto(f"{address}/Teaching?part=quiz&class={code}")
    else:
        await page.goto(f"{address}/Teaching")
        await page.get_by_role("button", name="With a class").click()
        await page.get_by_role("textbox", name="Join a class: code").fill(code.lower())
        await page.get_by_role("button", name="Join", exact=True).click()
    await page.get_by_role("textbox", name="Your name or number").fill(name)
    await page.get_by_role("button", name="Join the class").click()
    await page.locator(".stage[data-shown*='case 1|']").wait_for()
    await settled(page)


async def give(page: Page, answer: Answer, found: Found) -> None:
    """Answer the case that is shown, and wait until it is saved."""
    await page.locator(f".stage[data-shown*='case {answer.case}|']").wait_for()
    await settled(page)
    if answer.mark:
        scan = page.locator(".stage .scan")
        await scan.scroll_into_view_if_needed()
        box, width = await scan.bounding_box(), await scan.evaluate("node => node.width")
        if box is None:
            raise RuntimeError(f"{answer.student} sees no slice of case {answer.case}")
        pixel = box["width"] / width
        await page.mouse.click(*(box[side] + (at + 0.5) * pixel for side, at in zip("xy", answer.mark, strict=True)))
        await page.get_by_text("✓ Marked").wait_for()
    await page.get_by_test_id("stRadio").get_by_text(answer.label, exact=True).click()
    await settled(page)
    await page.get_by_role("radio", name=re.compile(f"^{answer.confidence}( |$)")).last.click()
    await settled(page)
    start = time.perf_counter()
    await page.get_by_role("button", name="Submit answer").click()
    await page.get_by_role("heading", name=f"Your answer: {answer.label}").wait_for()
    found.answer_s.append(time.perf_counter() - start)


async def study(page: Page, answers: Sequence[Answer], found: Found, n_cases: int) -> None:
    """One student answers all cases of the plan; one of them reloads after the first."""
    for answer in answers:
        await give(page, answer, found)
        if answer.case == 1 and answer.student == f"Student {_RELOADS}":
            await reload(page, answer, found)
        if answer.case < n_cases:
            await go_on(page, answer, found)


async def go_on(page: Page, answer: Answer, found: Found) -> None:
    """Press "Next case"; a press that leads nowhere is noted, and made again."""
    await settled(page)
    await page.get_by_role("button", name="Next case").click()
    try:
        await page.locator(f".stage[data-shown*='case {answer.case + 1}|']").wait_for(timeout=_LOST_MS)
    except TimeoutError:
        found.wrong.append(
            f"{answer.student}: “Next case” after case {answer.case} led nowhere in {_LOST_MS // 1000} s"
        )
        await page.get_by_role("button", name="Next case").click()


async def reload(page: Page, answer: Answer, found: Found) -> None:
    """Reload the page and look for the seat, the answer and the next open case."""
    await page.reload()
    await page.locator(".stage[data-shown*='case 2|']").wait_for()
    await settled(page)
    if not await page.get_by_text(f"{NAME} · {answer.student}").count():
        found.wrong.append(f"{answer.student} lost the seat by a reload")
    if not await page.get_by_text("You answered 1 case of", exact=False).count():
        found.wrong.append(f"{answer.student} lost the answer by a reload")
    await page.get_by_test_id("stButtonGroup").get_by_text("1 ✓", exact=True).click()
    await page.get_by_role("heading", name=f"Your answer: {answer.label}").wait_for()


async def look(page: Page, view: str) -> None:
    """Choose a view of the teacher's screen."""
    await page.get_by_role("radio", name=view, exact=True).click()
    await settled(page)
    await page.wait_for_timeout(1000)


async def watch(page: Page, n_answers: int, folder: Path, found: Found) -> None:
    """The teacher watches the board until all answers are there; a picture when half of them are."""
    await look(page, "Board")
    answered, drawn, last = page.locator('.board [aria-label="answered"]'), False, 0
    deadline = time.monotonic() + _PATIENCE_MS / 1000
    while last < n_answers:
        count = await answered.count()
        if count < last:
            found.wrong.append(f"the board went from {last} to {count} answers")
        if count > last:
            deadline = time.monotonic() + _PATIENCE_MS / 1000
        elif time.monotonic() > deadline:
            found.wrong.append(f"the board shows {count} of {n_answers} answers")
            return
        last = count
        if last >= n_answers / 2 and not drawn:
            drawn = True
            await page.screenshot(path=folder / "teacher-2-board-half.png", full_page=True)
        await page.wait_for_timeout(500)
    await page.screenshot(path=folder / "teacher-3-board-full.png", full_page=True)


async def reveal(page: Page, students: Sequence[Page], n_students: int, found: Found) -> None:
    """The teacher reveals all cases; every student, who is at the last answered case, sees the truth without a click."""
    await page.get_by_role("button", name="Reveal all cases").click()

    async def sees(number: int, student: Page) -> None:
        try:
            await student.get_by_role("heading", name="It is").wait_for(timeout=60_000)
        except TimeoutError:
            found.wrong.append(f"Student {number + 1} does not see the truth after it was revealed")

    await asyncio.gather(*(sees(number, student) for number, student in enumerate(students[:n_students])))
    await settled(page)


async def download(page: Page, folder: Path) -> pd.DataFrame:
    """The CSV of all answers from the teacher's results."""
    await look(page, "Results")
    await page.get_by_text("Download", exact=False).last.wait_for()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="All answers").click()
    path = folder / "class-answers.csv"
    await (await waiting.value).save_as(path)
    return pd.read_csv(path, dtype={"student": str})


def compare(table: pd.DataFrame, answers: Sequence[Answer]) -> list[str]:
    """What a CSV of answers says otherwise than the plan, as sentences."""
    wrong = []
    rows = {(row["student"], row["case"]): row for _, row in table.iterrows()}
    if len(table) != len(answers) or len(rows) != len(answers):
        wrong.append(
            f"The CSV has {len(table)} rows, {len(rows)} of them different; {len(answers)} answers were given."
        )
    for each in answers:
        row = rows.get((each.student, each.case))
        if row is None:
            wrong.append(f"The CSV has no row of {each.student}, case {each.case}.")
            continue
        mark = None if pd.isna(row["mark_x"]) else (int(row["mark_x"]), int(row["mark_y"]))
        got = (row["label"], int(row["confidence"]), mark)
        if got != (each.label, each.confidence, each.mark):
            wrong.append(
                f"{each.student}, case {each.case}: given {each.label, each.confidence, each.mark}, the CSV has {got}."
            )
    return wrong


async def weigh(process: psutil.Process, found: Found) -> None:
    """Note the memory of the app, alone and with its child processes, until this is cancelled."""
    while True:
        app = process.memory_info().rss
        children = sum(each.memory_info().rss for each in process.children(recursive=True) if each.is_running())
        found.app_mib.append(app / 2**20)
        found.tree_mib.append((app + children) / 2**20)
        await asyncio.sleep(_WEIGH_S)


async def cpu_share(process: psutil.Process) -> float:
    """How much of a core the app takes while nobody does anything."""
    before = process.cpu_times()
    await asyncio.sleep(_IDLE_S)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / _IDLE_S


async def lesson(address: str, process: psutil.Process, folder: Path, n_students: int, n_cases: int) -> Found:
    """The whole lesson."""
    found, answers = Found(), plan(n_students, n_cases)

    async def timed(name: str, work: Coroutine[Any, Any, Any]) -> Any:
        start = time.perf_counter()
        result = await work
        found.phases_s[name] = time.perf_counter() - start
        return result

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGUMENTS)
        weighing = asyncio.create_task(weigh(process, found))
        teacher = await open_page(browser, 0, found)
        code = await timed("start", start_class(teacher, address))
        await teacher.screenshot(path=folder / "teacher-1-join.png", full_page=True)
        students = [await open_page(browser, number, found) for number in range(n_students)]
        seats = (
            join(page, address, code, f"Student {number + 1}", by_link=number % 4 != 3)
            for number, page in enumerate(students)
        )
        await timed("join", gathered(*seats))
        await shots(students, folder, "1-open")
        works = [study(page, mine, found, n_cases) for page, mine in zip(students, answers, strict=True)]
        await timed("answer", gathered(watch(teacher, n_students * n_cases, folder, found), *works))
        await shots(students, folder, "2-saved")
        found.waiting_cpu = await cpu_share(process)
        await timed("reveal", reveal(teacher, students, n_students, found))
        await shots(students, folder, "3-truth")
        await teacher.screenshot(path=folder / "teacher-4-revealed.png", full_page=True)
        await look(teacher, "Cases")
        await teacher.screenshot(path=folder / "teacher-5-case.png", full_page=True)
        table = await timed("results", download(teacher, folder))
        await teacher.screenshot(path=folder / "teacher-6-results.png", full_page=True)
        found.wrong += compare(table, [each for mine in answers for each in mine])
        for number, page in enumerate([teacher, *students]):
            if await page.get_by_test_id("stException").count():
                found.wrong.append(f"visitor {number}: an error on the page")
        weighing.cancel()
        await browser.close()
    return found


async def gathered(*works: Coroutine[Any, Any, None]) -> None:
    """All at once."""
    await asyncio.gather(*works)


async def shots(students: Sequence[Page], folder: Path, name: str) -> None:
    """A picture of one desk, one phone and one tablet."""
    for page, screen in zip(students, ("desk", "phone", "tablet"), strict=False):
        await page.screenshot(path=folder / f"student-{name}-{screen}.png", full_page=True)


def measure(folder: Path, n_students: int, n_cases: int) -> dict[str, Any]:
    """Times in s and memory in MiB of a lesson, and what was wrong."""
    with tempfile.TemporaryDirectory() as name:
        variables = {f"KIDNEY_{part.upper()}": f"{name}/{part}" for part in ("runs", "cache")}
        variables |= {"KIDNEY_CHECKPOINTS": str(ROOT / "checkpoints")}
        with running_app(log=folder / "app.log", **variables) as (address, process):
            found = asyncio.run(lesson(address, psutil.Process(process.pid), folder, n_students, n_cases))
    return {
        "students": n_students,
        "cases": n_cases,
        "answers": len(found.answer_s),
        "phases_s": {name: _round(seconds) for name, seconds in found.phases_s.items()},
        "submit_median_s": _round(statistics.median(found.answer_s)),
        "submit_p95_s": _round(sorted(found.answer_s)[int(0.95 * len(found.answer_s))]),
        "waiting_cpu_share": _round(found.waiting_cpu),
        "app_peak_mib": _round(max(found.app_mib)),
        "app_with_decoders_peak_mib": _round(max(found.tree_mib)),
        "load_average": [_round(each) for each in os.getloadavg()],
        "machine": f"{os.cpu_count()} CPUs ({platform.machine()}), the browsers on it too",
        "wrong": found.wrong,
    }


def _round(value: float) -> float:
    return round(value, 2)


def main(arguments: list[str] | None = None) -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--students", type=int, default=20)
    parser.add_argument("--cases", type=int, default=3)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    measured = measure(options.folder, options.students, options.cases)
    write_json(options.folder / "class.json", measured)
    for name, value in measured.items():
        print(f"{name}: {value}")
    return 1 if measured["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
