"""Home: what this is, a sample in one press, how every model does on newer and newer patients, where to go."""

import streamlit as st

from kidney_core.app import (
    access,
    checkpoint_choice,
    formatting,
    home_panel,
    hospitals_panel,
    loading,
    markdown,
    page_frame,
    tables,
    tour,
    upload_panel,
)
from kidney_core.engines import jobs
from kidney_core.runs import run_folder

PURPOSES = (
    "Predict a slice or scan",
    "Compare models",
    "Fine-tune networks",
    "Find data leakage",
    "Quiz and experiments",
)

page_frame.start_page(
    "Kidney CT workbench",
    "🩻",
    "Train, test and explain neural networks that classify CT slices of the kidney.",
)
with st.container(horizontal=True, vertical_alignment="center"):
    if access.is_allowed(access.DIAGNOSER) and st.button(
        "See it read a sample", type="primary", icon=":material/play_arrow:"
    ):
        upload_panel.choose_sample(upload_panel.FIRST_IMPRESSION)
        st.switch_page("pages/1_Diagnosis.py")
    tour.offer()
checkpoints = loading.usable_checkpoints()
measured = hospitals_panel.measured_of(checkpoints)
home_panel.show_accuracy(checkpoints, measured)
with st.container(key="home_pages_compact"):
    columns = st.columns(len(PURPOSES))
for column, (page, title, symbol), purpose in zip(columns, page_frame.PAGES[1:], PURPOSES, strict=True):
    with column.container(border=True, height="stretch"):
        st.page_link(page, label=f"**{title}**", icon=symbol)
        st.caption(purpose)
home_panel.show_choice(checkpoints)
bare = [checkpoint.name for checkpoint in checkpoints if not checkpoint.is_evaluated]
if bare:
    st.caption(markdown.text(checkpoint_choice.never_evaluated(bare)))
other_hospitals = hospitals_panel.headline_table(measured)
if not other_hospitals.empty:
    st.header("On other hospitals", anchor=False)
    st.dataframe(tables.drawn(other_hospitals), hide_index=True)
n_busy = sum(jobs.status(run) in (run_folder.QUEUED, run_folder.RUNNING) for run in run_folder.list_runs())
st.caption(
    f"{formatting.quantity(len(checkpoints), 'checkpoint')} · {formatting.quantity(n_busy, 'job')} queued or running · trains on {markdown.text(jobs.device_in_words())}"
)
with st.expander("Where to get the data"):
    st.markdown(
        """
The networks were trained on the *CT KIDNEY DATASET: Normal-Cyst-Tumor and Stone* (Islam et al., Scientific
Reports 12:11440, 2022; 12,446 images), which its authors offer for download on Kaggle. Unpack it anywhere on this
machine, so that one folder holds `Cyst`, `Normal`, `Stone` and `Tumor`, and enter that folder on the Training page.
The dataset is not part of this software and is never uploaded anywhere.

Without it, `kidney-ct phantom demo-data` writes a small **simulated** dataset to `demo-data/`, enough for a first training.
"""
    )
