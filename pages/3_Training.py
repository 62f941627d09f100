"""Training: start fine-tuning jobs, watch them, stop, resume and publish them."""

import streamlit as st

from kidney_core import access, job_panel, new_jobs, ui

ui.start_page(
    "Training",
    "🏋️",
    "Fine-tune networks on a folder with one folder of images per class. Jobs run on their own: close this page, "
    "restart the app, they go on.",
)
with st.container(border=True):
    st.subheader("New jobs", anchor=False)
    if access.is_allowed(access.RESEARCHER):
        new_jobs.draw()
    else:
        st.info("Starting and changing jobs takes the role “researcher”.")
st.subheader("Jobs", anchor=False)
job_panel.draw()
