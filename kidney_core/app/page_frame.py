"""The frame of every page: who may enter, its title and style, the notice, the list of pages, and the networks' warm-up."""

import gc
import threading
import time

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
_STYLE = """
<style>
.block-container { padding-top: 3.2rem; max-width: 1280px; }
h1 { font-size: 2.1rem !important; padding: .2rem 0 !important; }
/* Beside an open sidebar a tablet has 500 px: what does not fit goes below instead of being squeezed. */
@media (max-width: 1000px) {
  [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
  [data-testid="stColumn"] { min-width: min(100%, 14rem); }
  [class*="_near_duplicates"] [data-testid="stColumn"], [class*="_compact"] [data-testid="stColumn"] { min-width: 28%; flex: 1 1 28%; }
  .st-key-home_pages_compact [data-testid="stColumn"] { min-width: 42%; flex-basis: 42%; }
  [data-testid="stButtonGroup"] [role="radiogroup"] { flex-wrap: wrap; }
  .st-key-training_charts [data-testid="stColumn"] { min-width: 100%; }
}
/* Streamlit writes white on the primary colour, which is pale on a dark page. */
[data-testid="stMultiSelectTagsContainer"] [data-tag] { background: rgba(22, 138, 150, .25); color: inherit; }
[data-testid="stMetricValue"] { font-variant-numeric: tabular-nums; }
</style>
"""


def start_page(title: str, icon: str, lead: str, *, needs: str = access.VIEWER) -> None:
    """Check who is there, then set up a page: browser title, style, headline, the notice, and the networks' warm-up.

    Every page begins with this call, so that no deep link leads past the log-in.

    Args:
        lead: what the page is for, in a sentence of Markdown; empty for none.
        needs: the role that the page takes; people without it see why, and nothing else.
    """
    st.set_page_config(page_title=f"{title} · Kidney CT workbench", page_icon=icon, layout="wide")
    unexpected_errors.install()
    person = access.enter(needs)
    uploads.begin_page(title)
    _warm_up()
    st.html(_STYLE)
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
