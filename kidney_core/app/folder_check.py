"""Can a folder be trained on? What it holds, what is left out, and what its class names stand for."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from kidney_core.app import labelling_panel, progress
from kidney_core.common.errors import KidneyError, UnclearTable
from kidney_core.metrics.splits import TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    from kidney_core.data.dataset import Dataset


@dataclass(frozen=True)
class FolderCheck:
    """What a check of a folder showed.

    Attributes:
        problem: why it cannot be trained on; empty where it can.
        contents: how many slices and scans it holds, in a sentence.
        unreadable: (file, reason) of those that could not be read.
        class_names: as in `Dataset`.
        unclear: the table whose columns the user must choose.
    """

    folder: str
    problem: str = ""
    contents: str = ""
    unreadable: tuple[tuple[str, str], ...] = ()
    class_names: dict[str, tuple[str, int]] = field(default_factory=dict)
    unclear: UnclearTable | None = None


def _check_folder(folder: str) -> FolderCheck:
    from kidney_core.data import dataset, remembered_labels, series

    names: dict[str, tuple[str, int]] = {}
    try:
        images = remembered_labels.read(folder, progress=progress.progress_bar("Reading images"))
        names = images.class_names
        dataset.require_classes(images)
        n_series = (
            int(series.group_series(images, progress=progress.progress_bar("Finding scans and copies")).max()) + 1
        )
    except UnclearTable as error:
        return FolderCheck(folder, problem=str(error), unclear=error)
    except KidneyError as error:
        return FolderCheck(folder, problem=str(error), class_names=names)
    counts = ", ".join(f"{count:,} {label}" for label, count in images.counts().items())
    contents = f"{len(images):,} slices in {n_series:,} scans: {counts}.{_split_in_words(images)}"
    return FolderCheck(folder, contents=contents, unreadable=tuple(images.unreadable), class_names=names)


def _split_in_words(images: "Dataset") -> str:
    """The split that a folder brings along; empty where it has none."""
    if "folder_part" not in images.table:
        return ""
    sizes = images.table["folder_part"].value_counts()
    named = ", ".join(f"{sizes[part]:,} {part}" for part in (TRAIN, VALIDATION, TEST) if part in sizes)
    return f" It has a split of its own: {named}."


def show(folder: str) -> None:
    """The button that checks a folder, and the result of the last check as long as the same folder is entered."""
    if folder and st.button("Check the folder", key="training_check"):
        st.session_state["training_checked"] = _check_folder(folder)
    with st.container():  # what is drawn below stays where it is
        _show_check(folder)


def _show_check(folder: str) -> None:
    check: FolderCheck | None = st.session_state.get("training_checked")
    if not folder or check is None or check.folder != folder:
        return
    if check.problem:
        st.error(check.problem)
    else:
        st.success(check.contents)
    if labelling_panel.ask(folder, check.class_names, check.unclear, key="training"):
        st.session_state["training_checked"] = _check_folder(folder)
        st.rerun()
    if check.unreadable:
        with st.expander(f"{len(check.unreadable)} files cannot be read and are left out"):
            st.dataframe(pd.DataFrame(check.unreadable, columns=["File", "Reason"]), hide_index=True)
