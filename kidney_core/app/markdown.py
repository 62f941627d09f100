"""Names as text where Streamlit draws Markdown: what comes from files, people and other machines never becomes markup.

Whatever a page draws that is not written in its source goes through `text`, `code` or `cells`;
`tests/app/test_names_are_text.py` reads every call of Streamlit and fails where that is missing.
"""

import re

import pandas as pd

from kidney_core.common.markdown import JOINT, code, escape_line, one_line

__all__ = ["cells", "code", "text"]

# It is drawn as nothing, but ends what Streamlit looks for in the words after Markdown was read, where no backslash is
# left: addresses, emoji, icons, arrows. Source: docs.streamlit.io, st.error.
_NOTHING = ":red[]"
_JOINTS = re.compile(
    r"""
      (?<=:)(?=//|[\w+-]+(?:/\w+)?:)                                            # http://…, :smile:, :material/home:
    | (?<=www)(?=\.)
    | (?<=@)(?=[\w-])
    | (?<=-)(?=>) | (?<=<)(?=[-=]) | (?<=[>~])(?==) | (?<=(?<!-)-)(?=-(?!-))    # ->, <-, <=, >=, ~=, --
    """,
    re.VERBOSE | re.IGNORECASE,
)


def text(value: object) -> str:
    """Markdown that is drawn as exactly these words, on one line; of an error, its message."""
    return escape_line(_JOINTS.sub(JOINT, one_line(value)), joint=_NOTHING)


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """A table for `st.table`, which draws Markdown in its cells, titles and index."""
    shown = table.map(lambda cell: text(cell) if isinstance(cell, str) else cell)
    return shown.rename(index=_title, columns=_title)


def _title(name: object) -> object:
    return text(name) if isinstance(name, str) else name
