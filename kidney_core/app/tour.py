"""A short guided tour: a step a page, in a dialog."""

import streamlit as st

_STEP = "tour_step"


# The title of each step, what to try there, and the page that it leads to.
STEPS = (
    (
        "Read a scan",
        "Upload a slice or a scan on **Diagnosis**, or take a simulated sample. You get a label with its probability, a heatmap, "
        "and the checks that decide whether the model may answer.",
        "pages/1_Diagnosis.py",
    ),
    (
        "Judge the model",
        "**Evaluation** has a confusion matrix and curves for every model: on a random split, on scans it never saw, and on other "
        "hospitals. Test your own folder there too.",
        "pages/2_Evaluation.py",
    ),
    (
        "Look at the data",
        "**Dataset** finds copies, neighbours and scans in a folder of images, and shows how much a random split leaks.",
        "pages/4_Dataset.py",
    ),
    (
        "Train your own",
        "**Training** fine-tunes a network on your folder, with live curves. Publish the run, and you can choose it on the other pages.",
        "pages/3_Training.py",
    ),
    (
        "Teach",
        "**Teaching** has a quiz, disturbances that break a model, and a demonstration that 99 % can mean nothing.",
        "pages/5_Teaching.py",
    ),
)


def offer() -> None:
    """The button that opens the tour."""
    if st.button("Take the tour", icon=":material/tour:"):
        st.session_state[_STEP] = 0
        _show()


@st.dialog("Tour", dismissible=True)
def _show() -> None:
    number = min(st.session_state.get(_STEP, 0), len(STEPS) - 1)
    st.markdown(f"**{number + 1} of {len(STEPS)} · {STEPS[number][0]}**")
    st.markdown(STEPS[number][1])
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.button("Back", key="tour_back", disabled=number == 0, on_click=_go_to, args=(number - 1,))
        if st.button("Open this page", key="tour_open"):
            st.switch_page(STEPS[number][2])
        if number + 1 < len(STEPS):
            st.button("Next", key="tour_next", type="primary", on_click=_go_to, args=(number + 1,))
        elif st.button("Done", key="tour_done", type="primary"):
            st.rerun()


def _go_to(number: int) -> None:
    st.session_state[_STEP] = number
