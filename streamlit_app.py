"""Home: what this is, what is ready, where to go."""

import streamlit as st

from kidney_core import figures, jobs, runs, ui
from kidney_core.splits import MEASURED

ui.start_page(
    "Kidney CT workbench",
    "🩻",
    "Train, evaluate and question networks that sort CT slices of the kidney into **Cyst, Normal, Stone and Tumor**, "
    "and see what they are worth on a scan they have never seen.",
)

PURPOSES = (
    "Upload a slice: label, calibrated probabilities, and where the evidence is.",
    "Confusion matrices, reports and comparisons, under both protocols.",
    "Fine-tune any timm network on your folder of images, with live curves.",
    "Audit a folder: which slices are one scan, and what a random split gives away.",
    "A quiz before the model speaks, what breaks a model, and why 99 % can be nothing.",
)
for column, (page, title, symbol), purpose in zip(st.columns(len(PURPOSES)), ui.PAGES[1:], PURPOSES, strict=True):
    with column.container(border=True, height="stretch"):
        st.page_link(page, label=f"**{title}**", icon=symbol)
        st.write(ui.unbroken(purpose))

st.subheader("Two truths about the same models", anchor=False)
checkpoints = ui.usable_checkpoints()
rows = [
    (checkpoint.name, protocol, shown["accuracy"], *checkpoint.intervals(protocol).get("accuracy", (None, None)))
    for checkpoint in checkpoints
    for protocol in MEASURED
    if (shown := checkpoint.figures(protocol))
]
chart, text = st.columns([3, 2], gap="large") if rows else (None, st.container())
if chart:
    with chart:
        st.plotly_chart(figures.protocol_bars(rows, title="accuracy on test slices"), config={"displayModeBar": False})
with text:
    st.markdown(
        """
Publications report 99 % on the public kidney CT dataset. They draw test slices **at random**, and the dataset
consists of runs of neighbouring slices: nearly every test slice has a twin in training, so the figure
measures memory.

With the paper's recipe this workbench reproduces that number. Beside it, for every model, it shows the one that
matters to a patient: accuracy on **scans never seen**, where no slice of a test scan was in training.
"""
    )
    busy = sum(jobs.status(run) in (runs.QUEUED, runs.RUNNING) for run in runs.list_runs())
    device = "a GPU" if jobs.has_gpu() else "the processor, as no GPU was found"
    ready = f"{ui.counted(len(checkpoints), 'checkpoint')} · {ui.counted(busy, 'training job')} at work"
    st.success(f"Ready: {ready}. Training uses {device}.")

with st.expander("Where to get the data"):
    st.markdown(
        """
The networks were trained on the *CT KIDNEY DATASET: Normal-Cyst-Tumor and Stone* (Islam et al., Scientific
Reports 12:11440, 2022; 12,446 images), which its authors offer for download on Kaggle. Unpack it anywhere on this
machine, so that the folder holds `Cyst`, `Normal`, `Stone` and `Tumor`, and name that folder on the Training page.
It is not part of this software and is never uploaded anywhere.

Without it, `make demo-data` writes a small **simulated** dataset to `demo-data/`, enough for a first training.
"""
    )
