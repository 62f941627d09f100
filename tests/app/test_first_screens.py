"""The first screen of every page at 1440 x 900 px has few words; figures, tables and the labels to choose from are not counted."""

import pytest

from benchmarks import page_speed
from benchmarks.browser import running_app, settled
from tests.conftest import ROOT

pytestmark = pytest.mark.browser

# Page -> most words besides data. What a page has of the frame around it counts.
MOST_WORDS = {"Home": 90, "Diagnosis": 100, "Evaluation": 100, "Training": 100, "Dataset": 100, "Teaching": 100}
# Texts of the first screen. Not counted: charts, tables, names of symbols, and what only screen readers get.
TEXTS = """() => {
  const texts = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement, range = document.createRange();
    if (parent.closest('script, style, noscript, svg, canvas, [data-testid=stDataFrame], [data-testid=stRadio] label, [role=img]')) continue;
    if (parent.matches('[data-testid=stIconMaterial], .material-symbols-rounded')) continue;
    if (!parent.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    range.selectNodeContents(walker.currentNode);
    const { left, top, width, height } = range.getBoundingClientRect();
    const shown = width > 1 && height > 1 && document.elementFromPoint(left + width / 2, top + height / 2);
    if (shown && (parent.contains(shown) || shown.contains(parent))) texts.push(walker.currentNode.textContent.trim());
  }
  return texts.filter(Boolean);
}"""


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context.new_page()
    context.close()


def test_first_screens_have_few_words(page, monkeypatch):
    monkeypatch.setenv("KIDNEY_CHECKPOINTS", str(ROOT / "checkpoints"))  # those that a new user has
    with running_app() as (address, _):
        for name, most in MOST_WORDS.items():
            page.goto(f"{address}/{'' if name == 'Home' else name}")
            page.get_by_test_id("stMain").locator(page_speed.CONTENT[name]).first.wait_for(timeout=60_000)
            settled(page)
            texts = page.evaluate(TEXTS)
            words = [word for text in texts for word in text.split() if any(letter.isalpha() for letter in word)]
            assert 30 < len(words) <= most, f"{name}: {len(words)} words: {' | '.join(texts)}"
