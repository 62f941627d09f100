"""Dataset: what a folder holds, which slices belong to one scan, and how much a random split leaks."""

import streamlit as st

from kidney_core.app import access, dataset_panel, markdown, page_frame, path_inputs, progress
from kidney_core.common.errors import KidneyError

page_frame.start_page(
    "Dataset",
    "🗂️",
    "Check a folder of labelled CT slices for **data leakage**: which slices belong to one scan, and how much does a random "
    "split give away?",
    needs=access.DIAGNOSER,
)


def audit_folder() -> None:
    """Compare all slices of the folder that the user enters; the result stays for the session."""
    with st.form("dataset_form"):
        folder = path_inputs.folder_input("dataset_folder")
        is_submitted = st.form_submit_button("Audit", type="primary")
    if not is_submitted:
        return
    from kidney_core.data import dataset, leak_audit

    try:
        if not folder:
            raise KidneyError("Enter the folder of images first.")
        images = dataset.read_dataset(folder, progress=progress.progress_bar("Reading images"))
        st.session_state["dataset_audit"] = leak_audit.audit(images, progress=progress.progress_bar("Comparing slices"))
    except KidneyError as error:
        st.error(markdown.text(error))


audit_folder()
if "dataset_audit" in st.session_state:
    dataset_panel.show(st.session_state["dataset_audit"])
