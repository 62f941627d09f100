"""The slice viewer and the stack by the keyboard alone: marking, measuring, window, swipe, slices, and the way out."""

import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from benchmarks.browser import running_app, settled
from kidney_core.common.labels import DESCRIPTIONS
from kidney_core.teaching import quiz
from tests.app.contrast import contrast

pytestmark = pytest.mark.browser
expect.set_options(timeout=60_000)
MAX_TABS = 80

# The element with the focus, also inside a component: its classes, its name, its text or that of its label.
FOCUSED = """() => {
  let focused = document.activeElement;
  while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
  const text = (focused.labels?.[0] || focused).textContent.trim().slice(0, 60);
  return `${focused.className} | ${focused.getAttribute('aria-label') || ''} | ${text}`;
}"""
RING = """node => { const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(node);
  return [outlineStyle, parseFloat(outlineWidth), outlineColor]; }"""
BACKGROUND = "() => getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
SMALL_TARGETS = """node => [...node.querySelectorAll('button, select, input, summary')].map(each => {
  const { width, height } = each.getBoundingClientRect();
  return [each.className || each.textContent, width, height];
}).filter(([, width, height]) => width && Math.min(width, height) < 24)"""


@pytest.fixture
def page(browser):
    """A page of a person without a mouse who wants no motion."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    yield opened
    context.close()


def focused(page: Page) -> str:
    return page.evaluate(FOCUSED)


def tab_to(page: Page, wanted: str, *, key: str = "Tab") -> None:
    """Press Tab until the focus is on an element whose class, name or text matches."""
    seen = []
    for _ in range(MAX_TABS):
        page.keyboard.press(key)
        seen.append(focused(page))
        if re.search(wanted, seen[-1]):
            return
    raise AssertionError(f"{key} does not reach {wanted!r}; it reached {seen}")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def said(page: Page, text: str | re.Pattern[str]) -> None:
    """Wait until the line that screen readers speak says this."""
    expect(page.get_by_role("group", name="Scan viewer").get_by_role("status")).to_have_text(text)


def open_sample(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}/Diagnosis")
    settled(page)
    page.get_by_role("button", name=name, exact=True).press("Enter")
    page.locator(".stage[data-shown]").wait_for()
    settled(page)


def aim(page: Page, target: tuple[int, int], size: tuple[int, int]) -> None:
    """Move the crosshair from the middle to a pixel (x, y): large steps first."""
    step = max(1, round(max(size) / 256))
    for axis, (back, forth) in enumerate((("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown"))):
        by = round((target[axis] - size[axis] // 2) / step)
        key = forth if by > 0 else back
        press(page, *[f"Shift+{key}"] * (abs(by) // 10), *[key] * (abs(by) % 10))


def test_a_case_is_marked_and_answered_by_tab_arrows_and_enter(page, published):
    case = quiz.draw_cases(1)[0]
    rows, columns = np.nonzero(case.lesion)  # the first case of quiz 1 has a lesion
    middle = len(rows) // 2
    height, width = case.lesion.shape
    with running_app() as (address, _):
        page.goto(f"{address}/Teaching")
        page.locator(".stage[data-shown*='case 1|']").wait_for()
        settled(page)
        tab_to(page, r"^stage\b")
        expect(page.get_by_role("application", name="Slice viewer")).to_be_focused()
        aim(page, (int(columns[middle]), int(rows[middle])), (width, height))
        said(page, re.compile(r"^At \d+, \d+ (mm|px): -?\d+"))
        expect(page.locator(".pane:not(.twin) .aim path")).to_have_count(2)  # white on black
        press(page, "Enter")
        said(page, re.compile(r"^Mark at \d+, \d+ (mm|px)$"))
        expect(page.get_by_text("✓ Marked")).to_be_visible()
        expect(page.locator(".stage")).to_be_focused()  # the page ran again, and the focus stayed
        tab_to(page, "Cyst|Normal|Stone|Tumor")
        for _ in range(8):
            press(page, "ArrowDown")
            if re.search(rf"\b{case.label}\b", focused(page)):
                break
        settled(page)
        tab_to(page, "1 a guess")
        press(page, *["ArrowRight"] * 4, "Space")
        settled(page)
        expect(page.get_by_role("radio", name="5 certain")).to_be_checked()
        tab_to(page, "Submit answer")
        press(page, "Enter")
        expect(page.get_by_role("heading", name=f"It is {DESCRIPTIONS[case.label].noun}")).to_be_visible()
        mine = page.locator("[data-testid=stMetric]")
        expect(mine.filter(has_text="Your class")).to_contain_text("1 of 1")
        expect(mine.filter(has_text="Your location")).to_contain_text("1 of 1")
        settled(page)
        tab_to(page, "Next case")
        press(page, "Enter")
        page.locator(".stage[data-shown*='case 2|']").wait_for()


def test_a_stack_of_the_quiz_is_scrolled_and_marked_by_keys(page, published):
    with running_app() as (address, _):
        page.goto(f"{address}/Teaching?scans=1")
        page.locator(".stage[data-shown]").wait_for()
        settled(page)
        place = page.locator(".corner.place")
        n = int(place.inner_text().split(" of ")[1])
        tab_to(page, r"^stage\b")
        press(page, "End")
        said(page, f"Slice {n} of {n}")
        press(page, "Home")
        said(page, f"Slice 1 of {n}")
        press(page, "PageDown", "ArrowUp")
        said(page, f"Slice 10 of {n}")
        expect(place).to_have_text(f"10 of {n}")
        page.wait_for_timeout(1500)
        settled(page)
        press(page, "Enter", "Shift+ArrowRight")  # now arrows move the crosshair
        said(page, re.compile("^At "))
        expect(place).to_have_text(f"10 of {n}")
        press(page, "PageDown")
        said(page, f"Slice {n} of {n}")
        expect(page.locator(".pane:not(.twin) .aim path")).to_have_count(2)
        page.wait_for_timeout(1500)
        settled(page)
        press(page, "Enter")
        said(page, re.compile("^Mark at "))
        expect(page.get_by_text(f"✓ Marked on slice {n}")).to_be_visible()
        press(page, "Escape", "ArrowUp")  # and slices again
        said(page, f"Slice {n - 1} of {n}")


def test_measuring_window_and_swipe_need_no_mouse(page, published):
    with running_app() as (address, _):
        open_sample(page, address, "Stone")
        tab_to(page, r"^stage\b")
        window, measured = page.locator(".corner.window"), page.locator(".measured li")

        press(page, "d", "Enter")
        said(page, re.compile(r"^First end at \d+, \d+ mm"))
        press(page, *["Shift+ArrowRight"] * 3, "ArrowDown", "Enter")
        said(page, re.compile(r"^Distance [\d.]+ mm$"))
        length = float(measured.inner_text().split()[0])
        spacing = float(page.locator(".ruler b").inner_text().split()[0]) / page.locator(".ruler i").evaluate(
            "node => node.getBoundingClientRect().width"
        )  # mm of a pixel of the screen
        box, size = (
            page.locator(".stage .scan").bounding_box(),
            page.locator(".stage .scan").evaluate("node => node.width"),
        )
        step = max(1, round(size / 256))
        assert length == pytest.approx(np.hypot(30, 1) * step * box["width"] / size * spacing, rel=0.03)

        press(page, "Enter", "Shift+ArrowUp", "Escape")
        said(page, "Measurement dropped")
        expect(measured).to_have_count(1)
        press(page, "Escape")
        said(page, "Tool off")
        tab_to(page, r"\| Ellipse$")
        press(page, "Enter")  # a tool that is chosen by a key takes the focus to the picture
        expect(page.locator(".stage")).to_be_focused()
        press(page, "Enter", "Shift+ArrowRight", "Shift+ArrowDown", "Enter")
        said(page, re.compile(r"^Ellipse mean -?\d+ HU, SD \d+, [\d.]+ cm²$"))
        expect(measured).to_have_count(2)

        press(page, "w", "ArrowRight", "Shift+ArrowUp")
        said(page, "Window width 410, level -10 HU")
        expect(window).to_have_text("W 410 L -10 HU")
        press(page, "Escape", "ArrowRight")
        expect(window).to_have_text("W 410 L -10 HU")
        press(page, "+")
        said(page, "Zoom 125 %")
        press(page, "0")
        expect(window).to_have_text("W 400 L 40 HU")
        press(page, "Escape")
        said(page, "Measurements cleared")
        expect(measured).to_have_count(0)

        tab_to(page, r"^view\b")
        press(page, "End")  # of the list: swipe
        expect(page.locator("select.view")).to_have_value("swipe")
        tab_to(page, r"^divider\b", key="Shift+Tab")
        edge = page.get_by_role("slider", name="Edge of the heatmap")
        expect(edge).to_have_attribute("aria-valuenow", "50")
        before = page.locator(".divider").bounding_box()["x"]
        press(page, "Shift+ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft")
        expect(edge).to_have_attribute("aria-valuenow", "58")
        assert page.locator(".divider").bounding_box()["x"] > before
        press(page, "Home")
        expect(edge).to_have_attribute("aria-valuenow", "2")
        press(page, "Tab")
        assert "divider" not in focused(page)


def test_slider_and_thumbnails_of_a_scan_take_the_keys_of_slices(page, published):
    with running_app() as (address, _):
        open_sample(page, address, "Scan")
        page.get_by_text("Slices that contribute most").wait_for()
        settled(page)
        slider, film = (
            page.get_by_role("slider", name="Slice", exact=True),
            page.get_by_role("listbox", name="Thumbnails"),
        )
        for wanted in (r"^chart\b", r"^film\b"):
            tab_to(page, wanted)
            press(page, "Home")
            expect(slider).to_have_attribute("aria-valuenow", "1")
            press(page, "PageDown", "ArrowRight")
            expect(slider).to_have_attribute("aria-valuenow", "12")
            expect(slider).to_have_attribute("aria-valuetext", re.compile("^12 of 40"))
            expect(film.get_by_role("option", selected=True)).to_have_accessible_name("Slice 12")
            expect(film).to_have_attribute("aria-activedescendant", "slice-12")
            press(page, "End")
            expect(slider).to_have_attribute("aria-valuenow", "40")
            expect(page.get_by_text("Slice 40 of 40:")).to_be_visible()
            settled(page)
            assert re.search(wanted, focused(page))  # the page ran again, and the focus stayed


def test_a_question_mark_opens_the_keys_and_escape_closes_them(page, published):
    with running_app() as (address, _):
        open_sample(page, address, "Stone")
        tab_to(page, r"^stage\b")
        table = page.locator(".help table")
        expect(table).to_be_hidden()
        press(page, "?")
        expect(table).to_be_visible()
        expect(table.get_by_role("row", name="Slices")).to_have_count(0)  # this is a single slice
        assert "Keys and mouse" in focused(page)
        press(page, "Escape")
        expect(table).to_be_hidden()
        expect(page.locator(".stage")).to_be_focused()
        for key in ("Tab", "Shift+Tab", "d", "Tab"):  # no trap, also with a tool
            press(page, key)
        assert not re.search(r"^stage\b", focused(page))
        expect(page.locator(".pane:not(.twin) .aim path")).to_have_count(0)


def test_focus_is_seen_and_targets_are_large_enough(browser, published):
    with running_app() as (address, _):
        for scheme, width in (("light", 1280), ("dark", 640), ("light", 390)):  # 640: 1280 px at 200 %
            context = browser.new_context(viewport={"width": width, "height": 450}, color_scheme=scheme)
            page = context.new_page()
            page.set_default_timeout(60_000)
            open_sample(page, address, "Stone")
            tab_to(page, r"^stage\b")
            for selector in (".stage", ".preset", ".play:not([hidden]), .full", ".help summary"):
                part = page.locator(selector).first
                part.focus()
                press(page, "Shift+Tab", "Tab")
                style, thick, color = part.evaluate(RING)
                assert style == "solid", (scheme, selector)
                assert thick >= 2, (scheme, selector)
                assert contrast(color, page.evaluate(BACKGROUND)) >= 3, (scheme, selector, color)
            assert page.locator(".viewer").evaluate(SMALL_TARGETS) == []
            stage = page.locator(".stage").bounding_box()
            assert stage["height"] <= 450
            assert stage["x"] >= 0
            assert stage["x"] + stage["width"] <= width
            context.close()
