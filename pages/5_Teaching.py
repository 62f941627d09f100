"""Teaching: a quiz, what breaks a model, shortcut learning, why 99 % can mean nothing, and a leak to find."""

import streamlit as st

from kidney_core.app import (
    checkpoint_choice,
    class_panel,
    loading,
    markdown,
    page_frame,
    puzzle_panel,
    quiz_panel,
    robustness_panel,
    shortcut_panel,
    shuffling_panel,
    teaching_link,
)
from kidney_core.common.errors import KidneyError

PARTS = {
    "Quiz": quiz_panel.show,
    "What breaks a model": robustness_panel.show,
    "Shortcut learning": shortcut_panel.show,
    "Why 99 % can mean nothing": shuffling_panel.show,
    "Find the leak": puzzle_panel.show,
}

page_frame.start_page(
    "Teaching",
    "🎓",
    "A quiz against the model, and what breaks it.",
)


def main() -> None:
    teaching_link.restore()
    if class_panel.show():
        return
    checkpoints = loading.usable_checkpoints()
    if not checkpoints:
        return
    left, right = st.columns([9, 4], vertical_alignment="bottom")
    first = teaching_link.titled(teaching_link.PART, list(PARTS))
    part = left.segmented_control(
        "Part", list(PARTS), default=first, required=True, key="teaching_part", label_visibility="collapsed"
    )
    with right:
        teaching_link.prefer_model("teaching_model")
        checkpoint = checkpoint_choice.choose_checkpoint("Model", checkpoints, key="teaching_model")
    teaching_link.write(part=teaching_link.slug(part), model=checkpoint.name)
    try:
        PARTS[part](checkpoint)
    except KidneyError as error:
        st.error(markdown.text(error))


main()
