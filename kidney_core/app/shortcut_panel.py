"""Shortcut learning: a network learns a mark instead of the disease, and its heatmap goes to the mark."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from kidney_core.app import markdown, progress, tables
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError
from kidney_core.common.labels import LABELS
from kidney_core.imaging import rendering
from kidney_core.metrics.number_format import percent

if TYPE_CHECKING:
    from kidney_core.teaching.kidney_pictures import Pictures
    from kidney_core.teaching.shortcut import Lesson
    from kidney_core.teaching.taught_mark import Mark
    from kidney_core.teaching.taught_network import TaughtNetwork

_PICTURE_PX = 320
TRAINED = "teaching_shortcut"  # the lesson that was trained last in this session


def show(checkpoint: Checkpoint) -> None:
    """The ready result, or what was trained on the spot."""
    st.markdown(
        "One class of the training pictures carries a mark, as when one hospital sends all the tumours. Does a network learn the disease, "
        "or the mark?"
    )
    with st.expander("For the teacher"):
        st.markdown(
            "- Two small networks are trained from scratch on 144 simulated kidneys: one with the mark on one class, the control "
            "without it. Both are tested on scans that they never saw, so this is not data leakage: a scan-level split does not reveal it.\n"
            "- As collected, the first network looks better than the control. Take the mark away, or put it on another class, and ask "
            "which figure you would have reported.\n"
            "- In “What breaks a model” the same mark can be burned into other slices: **Mark that was taught**. The gate lets it "
            "through, since it was in the training data.\n"
            "- Real examples: hospital tokens, chest drains and the word “portable” on chest X-rays; rulers beside skin lesions."
        )
    try:
        _train_on_request()
        lesson = _shown()
        if lesson is not None:
            _show_lesson(*lesson)
    except KidneyError as error:
        st.error(markdown.text(error))


def taught_network() -> "TaughtNetwork":
    """The network that was taught last in this session, or else the one of the ready result, trained once for all sessions."""
    if TRAINED in st.session_state:
        taught: TaughtNetwork = st.session_state[TRAINED][1]
        return taught
    return _taught_by_default()


@st.cache_resource(max_entries=1, show_spinner=False)  # nobody changes it
def _taught_by_default() -> "TaughtNetwork":
    from kidney_core.teaching.taught_mark import Mark

    return _train(Mark())[1]


def _train_on_request() -> None:
    from kidney_core.teaching import disturbances
    from kidney_core.teaching.taught_mark import Mark

    default = Mark()
    label, place, shape, button = st.columns([1, 1, 1, 1], vertical_alignment="bottom")
    chosen = Mark(
        label.selectbox("The mark is on", LABELS, LABELS.index(default.label), key="teaching_shortcut_label"),
        place.selectbox("Position", list(disturbances.PLACES), key="teaching_shortcut_place"),
        shape.selectbox("Shape", disturbances.SHAPES, key="teaching_shortcut_shape"),
        default.size_percent,
    )
    if button.button(
        "Train now", type="primary", key="teaching_shortcut_train", width="stretch", help="Seconds, on this machine"
    ):
        st.session_state[TRAINED] = _train(chosen)


def _train(mark: "Mark") -> "tuple[Lesson, TaughtNetwork]":
    from kidney_core.teaching import shortcut

    return shortcut.teach(_pictures(), mark, progress=progress.progress_bar("Training two networks, epochs"))


@st.cache_resource(max_entries=1, show_spinner=False)  # nobody changes them
def _pictures() -> "Pictures":
    from kidney_core.teaching import kidney_pictures

    return kidney_pictures.draw_pictures(progress=progress.progress_bar("Drawing simulated kidneys"))


def _shown() -> "tuple[Lesson, str] | None":
    """The lesson to show and where it is from; None where nothing is ready and nothing was trained."""
    if TRAINED in st.session_state:
        return st.session_state[TRAINED][0], "Trained just now, on this machine."
    from kidney_core.teaching import ready_results

    ready = ready_results.shortcut_lesson()
    return (
        (ready, "Computed beforehand and shipped with the workbench. “Train now” repeats it here.") if ready else None
    )


def _show_lesson(lesson: "Lesson", origin: str) -> None:
    mark, taught, control = lesson.mark, lesson.taught, lesson.control
    st.caption(
        f"{markdown.text(origin)} The mark is on {markdown.text(mark.label)}. {lesson.n_train:d} pictures to train on, {lesson.n_test:d} of other scans to "
        f"test on; {lesson.n_scans:d} simulated scans, no patients."
    )
    own, over = f"{mark.label} found", f"Others called {mark.label}"
    columns = st.columns(4)
    for column, title, value, before in (
        (columns[0], f"{own}, with its mark", taught.recall_marked, control.recall_marked),
        (columns[1], f"{own}, without", taught.recall_unmarked, control.recall_unmarked),
        (columns[2], f"{over}, with the mark", taught.others_marked, control.others_marked),
        (columns[3], "Heatmap at the mark", taught.at_mark, control.at_mark),
    ):
        column.metric(
            markdown.text(title),
            percent(value, 0),
            f"control {percent(before, 0)}",
            delta_color="off",
            delta_arrow="off",
        )
    with st.container(key="teaching_shortcut_pictures"):
        titles = (
            f"{mark.label} with the mark",
            f"{mark.label} with the mark, control",
            f"{lesson.examples[2].truth} without the mark",
            f"{lesson.examples[3].truth} with the mark",
        )
        for column, title, example in zip(st.columns(4), titles, lesson.examples, strict=True):
            column.image(
                _enlarged(rendering.blend(example.square, example.heatmap)),
                caption=f"{markdown.text(title)}: predicted **{markdown.text(example.predicted)}**, {percent(example.confidence, 0)}. "
                f"Heatmap of {markdown.text(mark.label)}",
                width="stretch",
                alt=f"Simulated kidney, {title}, with a heatmap of {mark.label}",
            )
    _conclude(lesson)
    with st.expander("All figures"):
        st.dataframe(tables.drawn(_figures(lesson)), hide_index=True)


def _conclude(lesson: "Lesson") -> None:
    mark, taught, control = lesson.mark, lesson.taught, lesson.control
    if taught.others_marked - control.others_marked < 0.2 and taught.recall_marked - taught.recall_unmarked < 0.2:
        st.markdown(
            f"**This time the network did not need the mark**: {markdown.text(mark.label)} can be seen without it. Put the mark on another "
            "class."
        )
        return
    st.markdown(
        f"**It learned the mark.** As collected its accuracy is {percent(taught.as_collected, 0)}, against "
        f"{percent(control.as_collected, 0)} of the control; without marks it is {percent(taught.without_mark, 0)}. A test set "
        "from the same source has the mark too, so no figure on it shows this. The heatmap does: "
        f"{percent(taught.at_mark, 0)} of it lies at the mark, which covers {percent(lesson.mark_area, 0)} of the picture."
    )


def _figures(lesson: "Lesson") -> pd.DataFrame:
    label = lesson.mark.label
    rows = {
        "Accuracy as collected": "as_collected",
        "Accuracy without marks": "without_mark",
        f"{label} found, with its mark": "recall_marked",
        f"{label} found, without": "recall_unmarked",
        f"Others called {label}, without the mark": "others_unmarked",
        f"Others called {label}, with the mark": "others_marked",
        "Share of the heatmap at the mark": "at_mark",
    }
    return pd.DataFrame(
        {
            "On unseen scans": list(rows),
            "Learned with the mark": [percent(getattr(lesson.taught, name)) for name in rows.values()],
            "Control": [percent(getattr(lesson.control, name)) for name in rows.values()],
        }
    )


def _enlarged(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((_PICTURE_PX, _PICTURE_PX), Image.Resampling.BICUBIC))
