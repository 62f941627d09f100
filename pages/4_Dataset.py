"""Dataset: what a folder holds, which slices belong to one scan, and how much a random split leaks."""

import streamlit as st

from kidney_core.app import access, dataset_panel, labelling_panel, markdown, page_frame, path_inputs, progress
from kidney_core.common.errors import KidneyError, UnclearTable

page_frame.start_page(
    "Dataset",
    "🗂️",
    "How much does a random split of your labelled slices leak? Audit a folder for **data leakage**.",
    needs=access.DIAGNOSER,
)


def audit_folder() -> None:
    """Compare all slices of the folder that the user enters; the result stays for the session."""
    with st.form("dataset_form"):
        folder = path_inputs.opened_folder_input("dataset_folder")
        is_submitted = st.form_submit_button("Audit", type="primary")
    if is_submitted or st.session_state.pop("dataset_again", False):
        for name in ("dataset_audit", "dataset_unclear"):
            st.session_state.pop(name, None)
        _audit(folder)


def _audit(folder: str) -> None:
    from kidney_core.data import leak_audit, remembered_labels

    try:
        if not folder:
            raise KidneyError("Enter the folder of images first.")
        images = remembered_labels.read(folder, progress=progress.progress_bar("Reading images"))
        audit = leak_audit.audit(images, progress=progress.progress_bar("Comparing slices"))
        st.session_state["dataset_audit"], st.session_state["dataset_audited"] = audit, folder
    except UnclearTable as error:
        st.session_state["dataset_unclear"], st.session_state["dataset_audited"] = error, folder
    except KidneyError as error:
        st.error(markdown.text(error))


def ask_labels() -> None:
    """What the last folder's names or columns mean, where they do not say it; an answer starts the audit again."""
    audit, unclear = st.session_state.get("dataset_audit"), st.session_state.get("dataset_unclear")
    if unclear is not None:
        st.warning(markdown.text(unclear))
    elif audit is None:
        return
    names = audit.dataset.class_names if audit is not None else {}
    if labelling_panel.ask(st.session_state["dataset_audited"], names, unclear, key="dataset"):
        st.session_state["dataset_again"] = True
        st.rerun()


audit_folder()
ask_labels()
if "dataset_audit" in st.session_state:
    dataset_panel.show(st.session_state["dataset_audit"])
