"""Training: start fine-tuning jobs, watch them, stop, resume and publish them."""

import streamlit as st

from kidney_core.app import access, jobs_panel, page_frame, search_panel, training_form

page_frame.start_page(
    "Training",
    "🏋️",
    "Fine-tune networks on your images. Jobs go on when you close this page.",
)
with st.container(border=True):
    st.header("New jobs", anchor=False)
    if access.is_allowed(access.RESEARCHER):
        training_form.show()
    else:
        st.info("You need the role “researcher” to start or change jobs.")
search_panel.show()
st.header("Jobs", anchor=False)
jobs_panel.show()
