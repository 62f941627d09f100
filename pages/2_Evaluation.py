"""Evaluation: the performance of each checkpoint under both protocols, beside the paper, and on a folder of one's own."""

import streamlit as st

from kidney_core.app import (
    checkpoint_choice,
    comparison_panel,
    folder_panel,
    hospitals_panel,
    import_panel,
    loading,
    markdown,
    model_panel,
    opened_slice,
    page_frame,
    paper_panel,
)
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError

page_frame.start_page(
    "Evaluation",
    "📊",
    "**Random split**: as in the paper, with data leakage. **Unseen scans**: new patients, same hospitals.",
)


def show_one_model(chosen: list[Checkpoint]) -> None:
    checkpoint = chosen[0]
    if len(chosen) > 1:
        checkpoint = checkpoint_choice.choose_checkpoint("Checkpoint", chosen, key="evaluation_one")
    model_panel.show(checkpoint)


VIEWS = {
    "Comparison": comparison_panel.show,
    "One model": show_one_model,
    "Compared with the paper": paper_panel.show,
    "Other hospitals": hospitals_panel.show,
    "Your folder": folder_panel.show,
}


def main() -> None:
    opened_slice.go_where_asked()
    checkpoints = loading.usable_checkpoints()
    if not checkpoints:
        return
    titles = {checkpoint.name: checkpoint_choice.checkpoint_title(checkpoint) for checkpoint in checkpoints}
    names = st.multiselect(
        "Checkpoints", list(titles), default=list(titles), format_func=titles.__getitem__, key="evaluation_checkpoints"
    )
    chosen = [checkpoint for checkpoint in checkpoints if checkpoint.name in names]
    if not chosen:
        st.info("Choose at least one checkpoint.")
        return
    view = st.segmented_control(
        "View",
        list(VIEWS),
        default="Comparison",
        required=True,
        key="evaluation_view",
        label_visibility="collapsed",
        bind="query-params",  # so that an address is a saved view
    )
    try:
        VIEWS[view](chosen)
    except KidneyError as error:
        st.error(markdown.text(error))


main()
import_panel.show()
