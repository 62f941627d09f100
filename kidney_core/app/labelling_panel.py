"""What the classes of a folder stand for, asked of the user where their names do not say it, and remembered for the folder."""

import zlib
from dataclasses import replace

import streamlit as st

from kidney_core.app import markdown
from kidney_core.common.errors import KidneyError, UnclearTable
from kidney_core.common.labelling import Labelling
from kidney_core.common.labels import LABELS, recognised_label, suggested_label

KEEP, LEAVE_OUT = "keep the name", "leave out"
_MAX_NAMES = 12  # asked on the page; a folder of patients is no folder of classes


def ask(folder: str, class_names: dict[str, tuple[str, int]], unclear: UnclearTable | None, *, key: str) -> bool:
    """Ask for the columns of a table, or for the labels of class names; True where the user has just answered.

    Args:
        class_names: as in `Dataset.class_names`.
        unclear: the table whose columns are the question; None where there is none.
    """
    from kidney_core.data import remembered_labels

    key = f"{key}_{zlib.crc32(folder.encode())}"  # another folder has widgets of its own
    try:
        before = remembered_labels.recall(folder)
        answered = _ask_columns(unclear, before, key=key) if unclear else _ask_labels(class_names, before, key=key)
        if answered is not None:
            remembered_labels.remember(folder, answered)
    except KidneyError as error:
        st.error(markdown.text(error))
        return False
    return answered is not None


def _ask_columns(unclear: UnclearTable, before: Labelling, *, key: str) -> Labelling | None:
    """The labelling with the columns that the user chooses, once the button is pressed."""
    with st.container(border=True):
        st.markdown("**Which columns of the table count?** The answer is remembered for this folder.")
        st.text(unclear.file)
        paths, classes = st.columns(2)
        found = unclear.columns.index(unclear.path_column) if unclear.path_column else None
        path_column = paths.selectbox("Images", unclear.columns, index=found, key=f"{key}_path_column")
        class_column = classes.selectbox("Classes", unclear.columns, index=None, key=f"{key}_class_column")
        is_chosen = path_column is not None and class_column is not None
        if (
            st.button("Use these columns", type="primary", disabled=not is_chosen, key=f"{key}_use_columns")
            and is_chosen
        ):
            return replace(before, table=(unclear.file, str(path_column), str(class_column)))
    return None


def _ask_labels(class_names: dict[str, tuple[str, int]], before: Labelling, *, key: str) -> Labelling | None:
    """The labelling with the labels that the user chooses, once the button is pressed; nothing is asked about clear names."""
    unclear = sorted(name for name in class_names if recognised_label(name) is None or before.names(name))
    if not unclear:
        return None
    is_new = not all(map(before.names, unclear))
    title = "What do these class names stand for?" if is_new else "Class names as you stated them"
    with st.expander(title, expanded=is_new, key=f"{key}_class_names"):
        st.caption("A name that is kept becomes a label of its own. The answer is remembered for this folder.")
        chosen = {
            name: _ask_label(name, class_names[name], before, f"{key}_label_{n}")
            for n, name in enumerate(unclear[:_MAX_NAMES])
        }
        if len(unclear) > _MAX_NAMES:
            st.caption(
                f"{len(unclear) - _MAX_NAMES} more names are kept. Are these folders classes? The others can be stated with --classes."
            )
        if st.button("Use these labels", type="primary", key=f"{key}_use_labels"):
            others = tuple((name, label) for name, label in before.classes if name not in chosen)
            labels = {name: {LEAVE_OUT: "", KEEP: name}.get(label, label) for name, label in chosen.items()}
            stated = ((name, label) for name, label in labels.items() if "=" not in label)  # which separates them
            return replace(before, classes=(*others, *stated))
    return None


def _ask_label(name: str, found: tuple[str, int], before: Labelling, key: str) -> str:
    """The label of one class, or `KEEP` or `LEAVE_OUT`; a name in another language comes with a suggestion."""
    label, n_files = found
    named, choice = st.columns([2, 3], vertical_alignment="center")
    named.text(f"{name} ({n_files:,} files)")  # text: a folder may be called anything
    options = [*LABELS, KEEP, LEAVE_OUT]
    default = (label or LEAVE_OUT) if before.names(name) else suggested_label(name)
    return choice.selectbox(
        markdown.text(f"Label of class {key}"),
        options,
        index=options.index(default) if default in options else options.index(KEEP),
        label_visibility="collapsed",
        key=key,
    )
