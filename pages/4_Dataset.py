"""Dataset: what a folder holds, which slices are one scan, and what a random split gives away."""

import numpy as np
import pandas as pd
import streamlit as st

from kidney_core import access, figures, pictures, ui
from kidney_core.errors import KidneyError
from kidney_core.splits import GROUPED, PROTOCOL_NAMES, PROTOCOL_TITLES, RANDOM

PER_STRIP = 240

ui.start_page(
    "Dataset",
    "🗂️",
    "Audit a folder of labelled CT slices: which of them are one scan, and how much a random split gives away.",
    needs=access.DIAGNOSER,
)


def ask() -> None:
    """Read and compare the folder that the user names; the result stays for the session."""
    with st.form("dataset_form"):
        folder = ui.folder_input("dataset_folder")
        asked = st.form_submit_button("Audit", type="primary")
    if not asked:
        return
    from kidney_core import audit, dataset

    try:
        if not folder:
            raise KidneyError("Name the folder of images first.")
        found = dataset.read_dataset(folder, progress=ui.progress_bar("Reading images"))
        st.session_state["dataset_audit"] = audit.audit(found, progress=ui.progress_bar("Comparing slices"))
    except KidneyError as error:
        st.error(str(error))


def show_leak(found) -> None:
    """The leak in one look: a test slice, and the training slice most like it under each protocol."""
    from kidney_core import slices

    st.subheader("The leak in one look", anchor=False)
    st.markdown(
        "Left: slices to be tested. Right of each: the **most similar slice in training**. Under a random split it is "
        "the neighbour from the same scan, so copying its label is enough. On scans never seen, the most similar slice is another patient's."
    )
    with st.container(key="dataset_twins"):
        for row in examples(found):
            shown = [(row, "test slice", None)]
            for protocol, side in found.protocols.items():
                shown.append((int(side.nearest[row]), PROTOCOL_NAMES[protocol], float(side.correlation[row])))
            for column, (position, title, likeness) in zip(st.columns(len(shown)), shown, strict=True):
                path, label = found.table["path"].iat[position], found.table["label"].iat[position]
                caption = f"**{title}**: {label}" + (f", likeness {likeness:.3f}" if likeness is not None else "")
                try:
                    column.image(slices.read_slice(found.dataset.root / path).grey8(), caption=caption, width="stretch")
                except (KidneyError, OSError) as error:
                    column.error(str(error))


def examples(found) -> list[int]:
    """The middle slice of the longest series of four classes at most."""
    longest = found.series.sort_values("n_slices", ascending=False).drop_duplicates("label")
    rows = found.table.reset_index(drop=True)
    chosen = []
    for number in longest.sort_values("label")["series"].head(4):
        own = rows.index[rows["series"] == number]
        chosen.append(int(own[len(own) // 2]))
    return chosen


def show_numbers(found) -> None:
    for column, protocol in zip(st.columns(2, gap="large"), (GROUPED, RANDOM), strict=True):
        with column:
            st.markdown(f"#### {PROTOCOL_TITLES[protocol].capitalize()}")
            if protocol in found.problems:
                st.info(found.problems[protocol])
                continue
            side = found.protocols[protocol]
            (twins, likeness), (nearest, balanced) = st.columns(2), st.columns(2)
            twins.metric(
                "Near-twin in training",
                figures.percent(side.twin_fraction),
                help="Test slices that correlate above 0.95 with a training slice. Where scans were found by that likeness, "
                "a grouped split has none by definition.",
            )
            likeness.metric(
                "Likeness",
                f"{float(np.median(side.correlation)):.3f}",
                help="Median over the test slices: the correlation with the most similar training slice",
            )
            nearest.metric(
                "Right without learning",
                figures.percent(side.neighbour["accuracy"]),
                help="Accuracy of copying the label of the most similar training slice, on 32 x 32 pixels. A model must beat it.",
            )
            balanced.metric(
                "The same, balanced",
                figures.percent(side.neighbour["balanced_accuracy"]),
                help="Its balanced accuracy: the mean of the recalls of the classes",
            )
    st.caption(
        "Five folds under each protocol, so that every slice is tested once. How to read this: a model that is no better than copying has learned nothing that copying would not give."
    )


def show_classes(found) -> None:
    st.subheader("Classes and series", anchor=False)
    from kidney_core import audit

    planes = audit.planes_per_class(found)
    rows = []
    for label, count in found.dataset.counts().items():
        own = found.series.loc[found.series["label"] == label, "n_slices"]
        rows.append(
            {
                "Class": label,
                "Slices": count,
                "Series": len(own),
                "Median slices a series": own.median(),
                "Longest": own.max(),
                **{plane.capitalize(): int(planes.loc[label, plane]) for plane in planes},
            }
        )
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    fewest = min(rows, key=lambda row: row["Series"])
    whose = "Each class" if len({row["Series"] for row in rows}) == 1 else fewest["Class"]
    st.caption(
        f"{whose} has {fewest['Series']} series. One split tests about a fifth of them: its figures are a "
        "lottery, and cross-validation (five folds) says more. The plane is what tags or series.csv say, else told by the outline of the body; where one class was "
        "mostly cut another way than the rest, a model may learn the plane instead of the disease. Whether contrast agent was "
        "given is not guessed: the brightness of published pictures depends on their window too."
    )


def show_strip(found) -> None:
    st.subheader("Series, slice by slice", anchor=False)
    label = st.segmented_control(
        "Class", found.dataset.labels, default=found.dataset.labels[0], required=True, key="dataset_label"
    )
    rows = (found.table["label"] == label).to_numpy().nonzero()[0]
    start = 0
    if len(rows) > PER_STRIP:
        start = (
            st.slider("From slice", 1, len(rows) - PER_STRIP + 1, 1, PER_STRIP // 2, key=f"dataset_start_{label}") - 1
        )
    shown = rows[start : start + PER_STRIP]
    strip = pictures.series_strip(found.dataset.thumbnails[shown], found.table["series"].to_numpy()[shown])
    st.image(strip, width="stretch")
    st.caption(
        f"Slices {start + 1} to {start + len(shown)} of {len(rows):,} of {label}, in file order. The bar below changes its colour "
        "where a new scan begins."
    )


def show_oddities(found) -> None:
    st.subheader("Copies, contradictions, unreadable files", anchor=False)
    mixed = found.series[found.series["n_labels"] > 1]
    st.markdown(
        f"{ui.counted(len(found.copies), 'exact copy', 'exact copies')} of other files · "
        f"{ui.counted(len(found.contradictions), 'slice')} with a look-alike of another label · "
        f"{len(mixed)} series with two labels · {ui.counted(len(found.dataset.unreadable), 'unreadable file')}"
    )
    tables = {
        "Exact copies": found.copies,
        "Slices with a look-alike of another label": found.contradictions,
        "Unreadable files": pd.DataFrame(found.dataset.unreadable, columns=["path", "reason"]),
    }
    for title, table in tables.items():
        if len(table):
            with st.expander(f"{title} ({len(table):,})"):
                ui.show_table(table, key=f"dataset_{title}")
    st.caption(
        "A look-alike correlates above 0.95. Among patients it is nearly always a neighbour from the same scan, so one of the "
        "two labels is wrong or the scan shows both; simulated bodies can be alike by chance."
    )
    slices_csv = ui.csv_bytes(found.table)
    st.download_button(
        "Download slices with their series (CSV)", slices_csv, "series.csv", "text/csv", on_click="ignore"
    )


ask()
if "dataset_audit" in st.session_state:
    audited = st.session_state["dataset_audit"]
    how = "as `series.csv` lists them" if audited.scans_are_listed else "found by the likeness of neighbouring slices"
    st.markdown(
        f"**{audited.dataset.root}**: {len(audited.dataset):,} slices in {len(audited.series):,} series, {how}."
    )
    show_numbers(audited)
    if audited.protocols:
        show_leak(audited)
    show_classes(audited)
    show_strip(audited)
    show_oddities(audited)
