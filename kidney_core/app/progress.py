"""A progress bar for work that reports how far it is."""

from collections.abc import Callable

import streamlit as st

from kidney_core.app import markdown


def progress_bar(text: str) -> Callable[[int, int], None]:
    """A progress callback that draws a bar where this was called, from the first report to the last."""
    place = st.empty()

    def tell(done: int, total: int) -> None:
        if done >= total:
            place.empty()
        else:
            place.progress(done / max(total, 1), text=f"{markdown.text(text)}: {done:,} of {total:,}")

    return tell
