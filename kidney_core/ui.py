"""The frame of every page, and loaders that are cached between reruns."""

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from kidney_core import __version__, access, roots, uploads
from kidney_core.checkpoint import EXPLANATIONS_FILE, Checkpoint, checkpoints_folder, list_checkpoints
from kidney_core.errors import KidneyError
from kidney_core.figures import percent
from kidney_core.files import listed_paths
from kidney_core.splits import MEASURED, PROTOCOL_NAMES, RANDOM

if TYPE_CHECKING:
    from kidney_core.comparison import Comparison
    from kidney_core.diagnosis import Reader
    from kidney_core.intervals import Interval

NOTICE = "For research and teaching. **Not a medical device**: not for diagnosis or treatment of patients."
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
/* Beside an open sidebar a tablet has 500 px: what does not fit goes below instead of being squeezed. */
@media (max-width: 1000px) {
  [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
  [data-testid="stColumn"] { min-width: min(100%, 14rem); }
  .st-key-diagnosis_reading > * > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"]:last-child { order: -1; } /* the verdict leads */
  .st-key-dataset_twins [data-testid="stColumn"], .st-key-teaching_twins [data-testid="stColumn"] { min-width: 28%; }
  .st-key-training_charts [data-testid="stColumn"] { min-width: 100%; }
}
/* Streamlit writes white on the primary colour, which is pale on a dark page. */
[data-testid="stMultiSelectTagsContainer"] [data-tag] { background: rgba(22, 138, 150, .25); color: inherit; }
[data-testid="stMetricValue"] { font-variant-numeric: tabular-nums; }
</style>
"""


def start_page(title: str, icon: str, lead: str, *, needs: str = access.VIEWER) -> None:
    """Let those pass who may, then set up a page: browser title, style, headline, the notice, and the networks' warm-up.

    Every page begins with this call, so that no deep link leads past the gate.

    Args:
        needs: the role that the page takes; whoever has none sees why, and nothing else.
    """
    st.set_page_config(page_title=f"{title} · Kidney CT workbench", page_icon=icon, layout="wide")
    _hide_values_in_logs()
    person = access.enter(needs)
    uploads.begin_page(title)
    _warm_up()
    st.html(_STYLE)
    with st.sidebar:
        for path, label, symbol in PAGES:
            st.page_link(path, label=label, icon=symbol)
        st.divider()
        if person.name != access.LOCAL:
            st.caption(f"{person.name}, {person.role}")
            if access.has_login() and st.button("Log out", key="access_logout"):
                st.logout()
        st.caption(NOTICE)
        st.caption(f"Kidney CT workbench {__version__}. Nothing you upload is stored or leaves this machine.")
    st.title(title, anchor=False)
    st.markdown(lead)
    st.caption(f":material/warning: {NOTICE}")


class _NoTracebacks(logging.Filter):
    """Streamlit logs an uncaught exception with its values; only its kind is kept."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            kind = record.exc_info[0]
            record.msg, record.args = "uncaught %s on a page", (kind.__name__ if kind else "error",)
            record.exc_info = record.exc_text = None
        return True


@st.cache_resource
def _hide_values_in_logs() -> None:
    logging.getLogger("streamlit.error_util").addFilter(_NoTracebacks())


@st.cache_resource
def _warm_up() -> threading.Thread:
    """Import torch once, in the background, so that no page waits for it at its first paint."""

    def load() -> None:
        time.sleep(SECONDS_BEFORE_WARM_UP)  # importing competes with the first page for the interpreter
        from kidney_core import comparison, curve_figures, diagnosis  # noqa: F401 - imported for their weight

        # Streamlit collects garbage after each rerun; what torch made is taken out of its way.
        gc.collect()
        gc.freeze()

    thread = threading.Thread(target=load, name="warm-up", daemon=True)
    thread.start()
    return thread


@st.cache_resource(max_entries=6, show_spinner="Loading the network…")
def _reader(folder: str, version: str) -> "Reader":
    from kidney_core import diagnosis
    from kidney_core.checkpoint import read_checkpoint

    return diagnosis.open_reader(read_checkpoint(Path(folder)))


def reader(checkpoint: Checkpoint) -> "Reader":
    """The checkpoint's network, shared by all sessions. Raises CheckpointError."""
    return _reader(str(checkpoint.folder), version(checkpoint))


def readers() -> list["Reader"]:
    """Every checkpoint, ready to read; a sentence on the page for each that cannot."""
    found = []
    for checkpoint in list_checkpoints()[0]:
        try:
            found.append(reader(checkpoint))
        except KidneyError as error:
            st.error(str(error))
    return found


def version(checkpoint: Checkpoint) -> str:
    """Changes when a checkpoint is published anew under its name, also with the same weights, or its maps are measured."""
    files = (checkpoint.folder / name for name in ("card.json", EXPLANATIONS_FILE))
    written = "-".join(str(path.stat().st_mtime_ns) for path in files if path.is_file())
    return f"{checkpoint.card['weights_sha256']}-{written}"


@st.cache_data(max_entries=40, show_spinner=False)
def _predictions(folder: str, protocol: str, version: str) -> pd.DataFrame | None:
    from kidney_core.checkpoint import read_checkpoint

    return read_checkpoint(Path(folder)).predictions(protocol)


def predictions(checkpoint: Checkpoint, protocol: str) -> pd.DataFrame | None:
    """The stored test predictions of a checkpoint."""
    return _predictions(str(checkpoint.folder), protocol, version(checkpoint))


@st.cache_data(max_entries=120, show_spinner="Resampling scans…")
def _intervals(folder: str, protocol: str, version: str, plane: str | None, per_series: bool) -> dict[str, "Interval"]:
    from kidney_core import evaluation, intervals

    table = _predictions(folder, protocol, version)
    if plane is not None:
        table = table[table["plane"] == plane]
    return intervals.intervals(evaluation.per_series(table) if per_series else table)


def intervals_of(
    checkpoint: Checkpoint, protocol: str, *, plane: str | None = None, per_series: bool = False
) -> dict[str, "Interval"]:
    """The figures of stored predictions with their 95 % intervals: of slices, of those of one plane, or of series."""
    return _intervals(str(checkpoint.folder), protocol, version(checkpoint), plane, per_series)


@st.cache_data(max_entries=60, show_spinner="Comparing…")
def _compared(
    keys: tuple[tuple[str, str], ...], names: tuple[str, ...], protocol: str, figure: str
) -> list["Comparison"]:
    from kidney_core import comparison

    stored = {
        name: _predictions(folder, protocol, version) for name, (folder, version) in zip(names, keys, strict=True)
    }
    return comparison.compare({name: table for name, table in stored.items() if table is not None}, figure)


def compared(checkpoints: list[Checkpoint], protocol: str, figure: str) -> list["Comparison"]:
    """Every pair of checkpoints by one figure on the slices they both answered. Raises DatasetError."""
    keys = tuple((str(item.folder), version(item)) for item in checkpoints)
    return _compared(keys, tuple(item.name for item in checkpoints), protocol, figure)


def usable_checkpoints() -> list[Checkpoint]:
    """The checkpoints, with a warning for each unusable one; explains what to do where there is none."""
    usable, problems = list_checkpoints()
    for problem in problems:
        st.warning(problem)
    if not usable:
        st.info(
            f"There is no checkpoint in “{checkpoints_folder()}” yet. Train a network on the Training page and "
            "publish it, or copy a checkpoint's folder there."
        )
    return usable


def describe(checkpoint: Checkpoint) -> str:
    """One line for choosing a checkpoint: its name, and its honest figure."""
    found = checkpoint.honest_figures()
    honest = (
        f"right on {percent(found['accuracy'], 0)} of slices of unseen scans" if found else "unmeasured on unseen scans"
    )
    # Before the figure, since a narrow list cuts the end off.
    return checkpoint.name + (" · not sealed" if checkpoint.unsealed else "") + f" · {honest}"


def choose_checkpoint(title: str, checkpoints: list[Checkpoint], *, key: str) -> Checkpoint:
    """The chosen one of `checkpoints`, which another page in between does not change."""
    names = [each.name for each in checkpoints]
    # Streamlit forgets a widget that a run does not draw.
    last = st.session_state.get(f"{key}_last")
    chosen = st.selectbox(
        title, checkpoints, index=names.index(last) if last in names else 0, format_func=describe, key=key
    )
    st.session_state[f"{key}_last"] = chosen.name
    return chosen


def unbroken(text: str) -> str:
    """The same text, in which no line ends between a number and its per cent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def honest_pair(checkpoint: Checkpoint) -> None:
    """The two accuracies of a checkpoint, always shown together."""
    st.caption("Share of test slices that networks of this recipe name rightly")
    honest, paper = st.columns(2)
    for column, figures, title, help_text in (
        (
            honest,
            checkpoint.honest_figures(),
            "Unseen scans",
            "Test slices come from scans of which no slice was in training.",
        ),
        (
            paper,
            checkpoint.figures(RANDOM),
            "Paper's protocol",
            "Slices were split at random, so neighbours of nearly every test slice were in training. "
            "It measures memory of scans, not diagnosis of a new patient.",
        ),
    ):
        column.metric(title, percent(figures["accuracy"] if figures else None), help=help_text, border=True)


def progress_bar(text: str) -> Callable[[int, int], None]:
    """A progress callback that draws a bar where this was called, from the first report to the last."""
    place = st.empty()

    def tell(done: int, total: int) -> None:
        if done >= total:
            place.empty()
        else:
            place.progress(done / max(total, 1), text=f"{text}: {done:,} of {total:,}")

    return tell


# What the columns of tables are called on the pages.
COLUMN_TITLES = {
    "path": "File",
    "reason": "Reason",
    "series": "Scan",
    "label": "Label",
    "predicted": "Model says",
    "confidence": "Confidence",
    "n_slices": "Slices",
    "right": "Right",
    "copy_of": "Copy of",
    "same_label": "Same label",
    "twin": "Look-alike",
    "twin_label": "Its label",
    "correlation": "Likeness",
}


def show_table(table: pd.DataFrame, *, key: str, percents: tuple[str, ...] = (), **options: Any) -> Any:
    """A table with titles for people, and shares in per cent with one decimal; what `st.dataframe` returns.

    Args:
        percents: columns of shares, 0 to 1; those of probabilities (`p_Cyst`, …) are so anyway.
    """
    probabilities = [name for name in table.columns if name.startswith("p_")]
    shares = [*percents, *probabilities]
    config = {name: st.column_config.Column(COLUMN_TITLES[name]) for name in table.columns if name in COLUMN_TITLES}
    config |= {
        name: st.column_config.NumberColumn(COLUMN_TITLES.get(name, name.removeprefix("p_")), format="%.1f %%")
        for name in shares
    }
    if "correlation" in table:
        config["correlation"] = st.column_config.NumberColumn(COLUMN_TITLES["correlation"], format="%.3f")
    shown = table.assign(**{name: 100 * table[name] for name in shares})
    return st.dataframe(shown, hide_index=True, column_config=config, key=key, placeholder="–", **options)


def csv_bytes(table: pd.DataFrame, *, index: bool = False) -> bytes:
    """A table for a download button."""
    return table.to_csv(index=index, float_format="%.6g").encode()


def path_input(label: str, value: str = "", *, key: str, several: bool = False, **options: Any) -> str:
    """A path that the user names; the only door for typed paths, so that none leads out of the roots.

    One that may not be used is answered by a sentence below the field, and is empty then. `several` paths may be named,
    separated by ":" (`os.pathsep`).
    """
    typed = st.text_input(label, value, key=key, **options).strip()
    named = listed_paths(typed) if several else [typed]
    try:
        return os.pathsep.join(allowed_path(part) for part in named)
    except KidneyError as error:
        st.error(str(error))
        return ""


def allowed_path(typed: str) -> str:
    """A path that may be named here; empty for none. Raises PathError, AccessError."""
    if not typed:
        return ""
    access.require(access.DIAGNOSER)
    return str(roots.inside(typed, access.allowed_roots()))


def folder_input(key: str) -> str:
    """The folder of images that the user names; the simulated one is offered where it is there."""
    return path_input(
        "Folder of images",
        "demo-data" if Path("demo-data").is_dir() else "",
        key=key,
        placeholder="demo-data, or the path of the public dataset",
        help="On this machine. One folder per class, for example Cyst, Normal, Stone, Tumor.",
    )


def choose_measured(checkpoints: list[Checkpoint], key: str) -> str | None:
    """How the shown figures were measured, of what all of these checkpoints have; the honest ones come first."""
    offered = [name for name in reversed(MEASURED) if all(item.figures(name) for item in checkpoints)]
    if not offered:
        st.info(
            "These checkpoints were not measured in one and the same way: there is nothing to show beside each other."
        )
        return None
    return st.segmented_control(
        "Measured on", offered, default=offered[0], required=True, format_func=PROTOCOL_NAMES.get, key=key
    )


def counted(number: int, noun: str, plural: str = "") -> str:
    """1, "job" -> "1 job"; 2, "job" -> "2 jobs"; 2, "copy", "copies" -> "2 copies"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float | None) -> str:
    """95 -> "1 min 35 s"; empty for None."""
    if seconds is None:
        return ""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
