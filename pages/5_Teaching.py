"""Teaching: a quiz, what breaks a model, and why 99 % accuracy can mean nothing."""

import streamlit as st

from kidney_core.app import (
    checkpoint_choice,
    loading,
    markdown,
    page_frame,
    quiz_panel,
    robustness_panel,
    shuffling_panel,
)
from kidney_core.common.errors import KidneyError

PARTS = {
    "Quiz": quiz_panel.show,
    "What breaks a model": robustness_panel.show,
    "Why 99 % can mean nothing": shuffling_panel.show,
}

page_frame.start_page(
    "Teaching",
    "🎓",
    "For a class: a quiz against the model, and two experiments that show its limits.",
)


def main() -> None:
    checkpoints = loading.usable_checkpoints()
    if not checkpoints:
        return
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    part = left.segmented_control("Part", list(PARTS), default="Quiz", required=True, key="teaching_part")
    with right:
        checkpoint = checkpoint_choice.choose_checkpoint("Model", checkpoints, key="teaching_model")
    try:
        PARTS[part](checkpoint)
    except KidneyError as error:
        st.error(markdown.text(error))


main()
