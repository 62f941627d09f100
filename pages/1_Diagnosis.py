"""Diagnosis: a slice or a scan -> label, calibrated probabilities, heatmap, and how far to trust them."""

import streamlit as st

from kidney_core.app import (
    access,
    checkpoint_choice,
    loading,
    markdown,
    page_frame,
    slice_panel,
    stack_panel,
    upload_panel,
)
from kidney_core.app.reading_room import open_room
from kidney_core.common.errors import KidneyError

# With an image on the page the picture comes first: what is needed to choose another one goes into a menu.
CHOICE = upload_panel.chosen_before()
IS_READING, MENU_KEY = bool(CHOICE), f"diagnosis_menu_{CHOICE}"
LEAD = "Upload CT slices of the kidneys or a whole scan: the model predicts a label and shows a heatmap."
page_frame.start_page("Diagnosis", "🔎", "" if IS_READING else LEAD, needs=access.DIAGNOSER)


def main() -> None:
    checkpoints = loading.usable_checkpoints()
    if not checkpoints:
        return
    row = st.container(horizontal=True, vertical_alignment="bottom")
    messages = st.container()
    menu = "Another image or model"  # a new choice makes a new menu, which is closed
    with row.popover(menu, icon=":material/folder_open:", key=MENU_KEY) if IS_READING else st.container():
        left, right = (st.container(), st.container()) if IS_READING else st.columns([3, 2], gap="large")
    with right:
        checkpoint = checkpoint_choice.choose_checkpoint("Model", checkpoints, key="diagnosis_model")
        checkpoint_choice.show_accuracy(checkpoint)
    with left:
        chosen = upload_panel.choose(messages)
    if chosen is None:
        return
    try:
        predictor = loading.predictor(checkpoint)
        if isinstance(chosen, upload_panel.Sample):
            slice_panel.show_slice(predictor, chosen.draw(), open_room(), key=chosen.key, sample=chosen)
            return
        with row:
            stack, is_scan = upload_panel.choose_stack(chosen)
        if len(stack.items) == 1:
            slice_panel.show_item(predictor, stack.items[0], open_room())
        else:
            stack_panel.show_stack(predictor, stack, is_scan=is_scan)
    except KidneyError as error:
        st.error(markdown.text(error))


main()
