"""Teaching: a quiz before the model speaks, what breaks a model, and why 99 % can be nothing."""

import streamlit as st

from kidney_core import breaking_panel, quiz_panel, spot_panel, ui
from kidney_core.errors import KidneyError

PARTS = {
    "Quiz": quiz_panel.draw,
    "What breaks a model": breaking_panel.draw,
    "Why 99 % can be nothing": spot_panel.draw,
}

ui.start_page(
    "Teaching",
    "🎓",
    "For a class: look before the model speaks, break it on purpose, and see how a worthless model gets 99 %.",
)


def main() -> None:
    checkpoints = ui.usable_checkpoints()
    if not checkpoints:
        return
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    part = left.segmented_control("Part", list(PARTS), default="Quiz", required=True, key="teaching_part")
    with right:
        checkpoint = ui.choose_checkpoint("Model", checkpoints, key="teaching_model")
    try:
        PARTS[part](checkpoint)
    except KidneyError as error:
        st.error(str(error))


main()
