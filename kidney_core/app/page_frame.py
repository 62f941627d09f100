"""The frame of every page: who may enter, its title and style, the notice, the list of pages, and the networks' warm-up."""

import gc
import threading
import time
from pathlib import Path

import streamlit as st

from kidney_core import NOTICE, __version__
from kidney_core.app import access, markdown, unexpected_errors, uploads

PAGES = (
    ("streamlit_app.py", "Home", ":material/home:"),
    ("pages/1_Diagnosis.py", "Diagnosis", ":material/radiology:"),
    ("pages/2_Evaluation.py", "Evaluation", ":material/bar_chart:"),
    ("pages/3_Training.py", "Training", ":material/model_training:"),
    ("pages/4_Dataset.py", "Dataset", ":material/photo_library:"),
    ("pages/5_Teaching.py", "Teaching", ":material/school:"),
)
SECONDS_BEFORE_WARM_UP = 1.5
_STYLE = Path(__file__).parent / "browser" / "page.css"


def start_page(title: str, icon: str, lead: str, *, needs: str = access.VIEWER) -> None:
    """Check who is there, then set up a page: browser title, style, headline, the notice, and the networks' warm-up.

    Every page begins with this call, so that no deep link leads past the log-in.

    Args:
        lead: what the page is for, in a sentence of Markdown; empty for none.
        needs: the role that the page takes; people without it see why, and nothing else.
    """
    st.set_page_config(page_title=f"{title} · Kidney CT workbench", page_icon=icon, layout="wide")
    unexpected_errors.install()
    uploads.guard_server()
    person = access.enter(needs)
    uploads.begin_page(title)
    _warm_up()
    st.html(_STYLE)  # Streamlit puts the content of a CSS file between style tags
    uploads.explain_failures()
    with st.sidebar:
        for path, label, symbol in PAGES:
            st.page_link(path, label=label, icon=symbol)
        if person.name != access.LOCAL:
            st.divider()
            st.caption(f"{markdown.text(person.name)}, {markdown.text(person.role)}")
            if access.has_login() and st.button("Log out", key="access_logout"):
                st.logout()
        st.caption(f"Version {__version__}")
    st.title(markdown.text(title), anchor=False)
    if lead:
        st.markdown(lead)
    st.caption(f":material/warning: {NOTICE.replace('Not a medical device', '**Not a medical device**')}")


@st.cache_resource
def _warm_up() -> threading.Thread:
    """Import torch once, in the background, so that no page waits for it at its first paint."""

    def load() -> None:
        time.sleep(SECONDS_BEFORE_WARM_UP)  # importing competes with the first page for the interpreter
        from kidney_core.diagnosis import inference  # noqa: F401 - imported for their weight
        from kidney_core.metrics import comparison, curve_plots  # noqa: F401 - imported for their weight
        from kidney_core.networks import hooked_cams  # noqa: F401 - imports pytorch-grad-cam, as slow as torch

        # Streamlit collects garbage after each rerun; what torch made is taken out of its way.
        gc.collect()
        gc.freeze()

    thread = threading.Thread(target=load, name="warm-up", daemon=True)
    thread.start()
    return thread
