"""What a browser makes of hostile names: exactly their words, and no link, picture, icon or formula."""

import json
import re

import pandas as pd
import pytest

from benchmarks.browser import running_app, settled
from kidney_core.app import markdown
from kidney_core.common.errors import RunError
from tests.hardness import names

# What Streamlit draws where these names are text; everything that it does with Markdown is one of the others.
_MARKED = (
    "a, img, em, del, h1, h2, h3, ul, ol, blockquote, pre, table, input, sup, hr, .katex, [data-testid=stIconMaterial]"
)
_APP = """
import json
import streamlit as st
from pathlib import Path
from kidney_core.app import markdown

st.set_page_config(layout="wide")
for number, name in enumerate(json.loads(Path(__file__).with_name("names.json").read_text())):
    with st.container(key=f"alone-{number}"):
        st.caption(markdown.text(name))
    with st.container(key=f"within-{number}"):
        st.markdown(f"**{markdown.text(name)}** and {markdown.text(name)}")
    with st.container(key=f"code-{number}"):
        st.markdown(markdown.code(name))
"""
_WORDS_JS = """() => Object.fromEntries([...document.querySelectorAll('[class*=st-key-]')].map(element =>
    [[...element.classList].find(name => name.startsWith('st-key-')).slice(7), element.textContent]))"""


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("Stone- (17).jpg", "Stone- (17).jpg"),
        ("case_01_x.png", "case_01_x.png"),
        ("_x_", r"\_x\_"),
        ("![x](y)", r"!\[x\](y)"),
        ("- a", r"\- a"),
        ("a - b", "a - b"),
        ("1. a", r"1\. a"),
        ("1.5", "1.5"),
        ("a\n\nb\tc", "a b c"),
        ("50 %", "50 %"),
        ("12:30", r"12\:30"),
        ("www.a", "www:red[].a"),
        ("a\u202eb\udcff", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"),
        (RunError("“*x*” exists."), r"“\*x\*” exists."),
        (3, "3"),
        ("", ""),
    ],
)
def test_only_what_would_be_markup_is_escaped(name, escaped):
    assert markdown.text(name) == escaped


def test_code_stands_between_more_backticks_than_it_has():
    assert markdown.code("a `` b") == "```a `` b```"


def test_cells_titles_and_index_of_a_table_are_text():
    shown = markdown.cells(pd.DataFrame({"*a*": ["[x]", 1.5]}, index=["`b`", 2]))
    assert list(shown.columns) == [r"\*a\*"]
    assert list(shown.index) == [r"\`b\`", 2]
    assert list(shown[r"\*a\*"]) == [r"\[x\]", 1.5]


@pytest.mark.browser
def test_a_browser_draws_hostile_names_as_their_words(browser, tmp_path):
    hostile = [*names.MARKUP, *names.random_names(100)]
    hostile = [name for name in dict.fromkeys(hostile) if name.strip()]
    (tmp_path / "app.py").write_text(_APP)
    (tmp_path / "names.json").write_text(json.dumps(hostile))
    asked: list[str] = []
    options = ("--server.headless", "true", "--browser.gatherUsageStats", "false")
    with running_app(*options, command=("streamlit", "run", str(tmp_path / "app.py"))) as (address, _):
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.locator(f".st-key-code-{len(hostile) - 1}").wait_for(timeout=120_000)
        settled(page, seconds=120)
        drawn = page.evaluate(_WORDS_JS)
        marked = page.locator("[data-testid=stMarkdownContainer]").locator(_MARKED).all_inner_texts()
        page.close()
    for number, name in enumerate(hostile):
        words = re.sub(r"[\x00-\x20]+", " ", re.sub("[\u202e\udcff]", "\ufffd", name)).strip()
        assert drawn[f"alone-{number}"] == words
        assert drawn[f"within-{number}"] == f"{words} and {words}"
        # Streamlit looks for icons in code as well.
        assert drawn[f"code-{number}"].strip().replace(":material_", ":material/") == words.replace(
            ":material_", ":material/"
        )
    assert marked == []
    assert [url for url in asked if names.HOST in url] == []
