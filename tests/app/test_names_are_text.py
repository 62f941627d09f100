"""Names are text: no page hands Streamlit words as Markdown that are not its own or were not made safe.

What is read here is the source; tests/app/test_markdown.py looks at what the browser makes of hostile names.
"""

import re

import pytest

from tests.app.drawn_words import sources, unsafe_words
from tests.conftest import ROOT


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_every_word_that_a_page_draws_is_its_own_or_was_made_text(path):
    found = unsafe_words(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    assert not found, "give these to markdown.text, markdown.code, markdown.cells or tables.drawn:\n" + "\n".join(
        map(str, found)
    )


@pytest.mark.parametrize(
    "call",
    [
        "st.markdown(name)",
        "st.error(str(error))",
        "st.caption(f'Run {name}')",
        "st.caption('Run ' + name)",
        "st.markdown(f'`{markdown.text(name)}`')",  # a backslash shows between backticks
        "column.image(pixels, caption=name)",
        "st.button('Go', help=name)",
        "st.expander(f'{len(names)} of {name}')",
        "st.tabs(['One', name])",
        "st.radio('One', names)",
        "st.segmented_control('One', [*LABELS, name])",
        "st.metric(name, 3)",
        "st.metric('Slices', name)",
        "st.table(table)",
        "st.dataframe(table)",
        "st.column_config.NumberColumn('Slices', help=name)",
        "st.toast('; '.join(names))",
        "st.toast('; '.join(f'{each}' for each in names))",
        "st.info('a' if names else name)",
        "st.info(LEAD % name)",
        "st.write(name)",
        "st.spinner(LEAD.format(name))",
        "say = st.error",
        "page_frame.start_page('Home', 'x', name)",
        "st.markdown(said(name))",
        "st.markdown(found)",
    ],
)
def test_a_name_that_is_drawn_is_found(call):
    source = f"""
import streamlit as st
from kidney_core.app import markdown, page_frame

def said(name):
    return f"It is {{name}}"

def show(name, names, table, column, pixels, error):
    found = "nothing"
    for found in names:
        pass
    {call}
"""
    assert unsafe_words(source, "page.py")


@pytest.mark.parametrize(
    "call",
    [
        "st.markdown('**Own words**')",
        "st.markdown(f'**{markdown.text(name)}**: {n:,} slices, {share:.0%}')",
        "st.markdown(markdown.text(f'{name} and {error}'))",
        "st.markdown(f'Run {markdown.code(name)}.')",
        "st.caption(LEAD + HOW_TO_READ['roc'])",
        "st.caption(f'Slice {n + 1} of {len(names)}')",
        "st.caption('Own' if n else TITLES.get(name, 'words'))",
        "st.metric('Accuracy', number_format.percent(share, 0))",
        "st.radio('One', names, format_func=markdown.text)",
        "st.segmented_control('One', [*LABELS, UPLOAD])",
        "st.selectbox('One', names)",  # its options are drawn as they are
        "st.text_input('Name', name)",
        "st.table(markdown.cells(table))",
        "st.dataframe(tables.drawn(table))",
        "st.markdown(said(name))",
        "st.code(name, language=None)",
        "jobs.status(name)",
    ],
)
def test_own_words_and_numbers_need_nothing(call):
    source = f"""
import streamlit as st
from kidney_core.app import markdown, tables
from kidney_core.engines import jobs

def said(name):
    own = "one" if name else "two"
    return f"{{own}} of {{markdown.text(name)}}"

def show(name, names, table, error, share, n: int):
    {call}
"""
    assert not unsafe_words(source, "page.py")


def test_the_elements_that_streamlit_says_draw_markdown_are_all_known():
    """A new version of Streamlit may draw Markdown where it drew text."""
    import streamlit as st

    from tests.app import drawn_words

    said = re.compile(r"GitHub-flavored Markdown")
    public = [name for name in dir(st) if not name.startswith("_") and callable(getattr(st, name))]
    drawing = {name for name in public if said.search(getattr(st, name).__doc__ or "")}
    assert len(drawing) > 30
    assert not {name for name in drawing if not drawn_words._ELEMENTS.fullmatch(name)}
