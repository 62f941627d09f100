"""Teaching: a quiz, what breaks a model, a taught shortcut, why 99 % can mean nothing, and a leak to find."""

import streamlit as st

from kidney_core.app import (
    checkpoint_choice,
    loading,
    page_frame,
    puzzle_panel,
    quiz_panel,
    robustness_panel,
    shortcut_panel,
    shuffling_panel,
)
from kidney_core.common.errors import KidneyError

PARTS = {
    "Quiz": quiz_panel.show,
    "What breaks a model": robustness_panel.show,
    "A taught shortcut": shortcut_panel.show,
    "Why 99 % can mean nothing": shuffling_panel.show,
    "Find the leak": puzzle_panel.show,
}

page_frame.start_page(
    "Teaching",
    "🎓",
    "For a class: a quiz against the model, and experiments that show its limits.",
)


def main() -> None:
    checkpoints = loading.usable_checkpoints()
    if not checkpoints:
        return
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    part = left.segmented_control("Part", list(PARTS), default="Quiz", required=True, key="teaching_part")
    with right:
        checkpoint = checkpoint_choice.choose_checkpoint("Model", checkpoints, key="teaching_model")
    try:
        PARTS[part](checkpoint)
    except KidneyError as error:
        st.error(str(error))


main()
