"""The training form in a real browser: a reload loses nothing, and another browser sees nothing of it."""

import pytest
from playwright.sync_api import expect

from benchmarks.browser import running_app, settled
from tests.conftest import write_series_dataset

pytestmark = pytest.mark.browser
expect.set_options(timeout=60_000)


def form(browser, address):
    """The form in a browser of its own."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{address}/Training")
    page.get_by_role("button", name="Start").wait_for()
    settled(page)
    return page


def test_a_reload_keeps_the_form_for_this_browser_alone(browser, tmp_path):
    folder = str(write_series_dataset(tmp_path / "dataset"))
    with running_app() as (address, _):
        page = form(browser, address)
        jobs = page.get_by_role("heading", name="Jobs", exact=True)
        assert jobs.bounding_box()["y"] < 900  # the whole form is on the first screen
        page.get_by_role("button", name="Quick look").click()
        expect(page.get_by_role("button", name="Start 1 job")).to_be_visible()
        page.get_by_role("textbox", name="Folder of images").fill(folder)
        page.keyboard.press("Tab")
        settled(page)
        page.get_by_role("textbox", name="Seeds").fill("1, 2")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Start 2 jobs")).to_be_visible()
        page.get_by_role("button", name="Search").click()
        page.get_by_role("textbox", name="Part of a name").fill("convnext_atto")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="convnext_atto (3.4), pretrained").click()
        expect(page.get_by_role("button", name="Start 4 jobs")).to_be_visible()
        page.reload()
        expect(page.get_by_role("button", name="Start 4 jobs")).to_be_visible()
        expect(page.get_by_role("textbox", name="Folder of images")).to_have_value(folder)
        expect(page.get_by_text("Changed: Architectures, Seeds")).to_be_visible()
        assert folder not in page.url
        page.get_by_test_id("stSidebar").get_by_role("link", name="Dataset").click()
        expect(page.get_by_role("textbox", name="Folder of images")).to_have_value(folder)
        other = form(browser, address)
        expect(other.get_by_role("textbox", name="Folder of images")).not_to_have_value(folder)
        expect(other.get_by_role("textbox", name="Seeds")).to_have_value("0")
        for each in (page, other):
            each.context.close()
