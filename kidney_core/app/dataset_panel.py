"""The audit of a dataset: leakage under both splits, classes and scans, copies and contradictions."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from kidney_core.app import (
    curation_panel,
    dataset_slice_panel,
    formatting,
    how_to_read,
    loading,
    markdown,
    progress,
    tables,
)
from kidney_core.common.errors import KidneyError
from kidney_core.metrics.number_format import percent
from kidney_core.metrics.splits import FOLDER, GROUPED, PROTOCOL_NAMES, PROTOCOL_TITLES, RANDOM

if TYPE_CHECKING:
    from kidney_core.data.leak_audit import Audit, ProtocolAudit

SLICES_PER_STRIP = 240
MAX_EXAMPLES = 4


def show(audit: "Audit") -> None:
    """All parts of an audit."""
    source = (
        "as listed in `series.csv`" if audit.scans_are_listed else "found by the correlation of neighbouring slices"
    )
    st.markdown(
        f"**{markdown.text(audit.dataset.root)}**: {len(audit.dataset):,} slices in {len(audit.series):,} scans, {source}."
    )
    _show_protocols(audit)
    if audit.protocols:
        _show_examples(audit)
    _show_classes(audit)
    _show_kidneys(audit)
    _show_strip(audit)
    n_kidneys = st.session_state.get("dataset_kidneys", {}).get(audit.dataset.fingerprint)
    opened = st.container()
    curation_panel.show_label_noise(audit)
    with opened:
        dataset_slice_panel.show(audit, n_kidneys=n_kidneys)
    _show_oddities(audit)
    curation_panel.show_exports(audit, n_kidneys=n_kidneys)


def _show_protocols(audit: "Audit") -> None:
    has_own_split = FOLDER in audit.protocols or FOLDER in audit.problems
    measured = (FOLDER, GROUPED, RANDOM) if has_own_split else (GROUPED, RANDOM)
    for column, protocol in zip(st.columns(len(measured), gap="large"), measured, strict=True):
        with column:
            st.markdown(f"## {PROTOCOL_TITLES[protocol].capitalize()}")
            if protocol in audit.problems:
                st.info(markdown.text(audit.problems[protocol]))
            else:
                _show_leakage(audit.protocols[protocol], n_beside=4 - len(measured))
    how_to_read.folded().caption(
        "Five folds under a random and a scan-level split test every slice once. A model that is no better than the 1-NN baseline, "
        "which copies the label of the most similar training slice, has learned nothing useful."
    )


def _show_leakage(measured: "ProtocolAudit", *, n_beside: int) -> None:
    duplicates, correlation, accuracy, balanced = (
        column for _ in range(0, 4, n_beside) for column in st.columns(n_beside)
    )
    duplicates.metric(
        "Near-duplicate in training",
        percent(measured.near_duplicate_fraction),
        help="Test slices that correlate above 0.95 with a training slice, or have a copy there (flipped, turned, shifted, "
        "scaled, renamed). Where scans were found by correlation, the scan-level split has none by definition.",
    )
    correlation.metric(
        "Correlation",
        f"{float(np.median(measured.correlation[measured.tested])):.3f}",
        help="Median over the test slices of the correlation with the most similar training slice",
    )
    accuracy.metric(
        "1-NN baseline accuracy",
        percent(measured.baseline["accuracy"]),
        help="1-nearest-neighbour on 32 x 32 pixels: copies the label of the most similar training slice. A model must beat it.",
    )
    balanced.metric(
        "1-NN balanced accuracy",
        percent(measured.baseline["balanced_accuracy"]),
        help="The mean of the baseline's recalls over the classes",
    )


def _show_examples(audit: "Audit") -> None:
    """The leakage at a glance: test slices, and the training slice most like each under both splits."""
    st.header("Leakage at a glance", anchor=False)
    st.markdown(
        "Test slices, each beside its **most similar training slice**. With a random split that is a neighbour in the same scan; "
        "with unseen scans, a slice of another scan."
    )
    with st.container(key="dataset_near_duplicates"):
        for row in examples(audit):
            shown: list[tuple[int, str]] = [(row, "test slice")]
            for protocol, measured in audit.protocols.items():
                if row not in measured.tested:
                    continue
                title = f"{PROTOCOL_NAMES[protocol]}, correlation {float(measured.correlation[row]):.3f}"
                shown.append((int(measured.nearest[row]), title))
            for column, (position, title) in zip(st.columns(len(shown)), shown, strict=True):
                with column:
                    _show_slice(audit, position, title)


def _show_slice(audit: "Audit", position: int, title: str) -> None:
    from kidney_core.imaging import slices

    path, label = str(audit.table["path"].iat[position]), audit.table["label"].iat[position]
    try:
        st.image(
            slices.read_slice(audit.dataset.root / path).grey8(),
            caption=f"**{markdown.text(label)}**: {markdown.text(title)}",
            alt=f"CT slice labelled {label}",
            width="stretch",
        )
    except (KidneyError, OSError) as error:
        st.error(markdown.text(error))


def examples(audit: "Audit") -> list[int]:
    """Row of the middle slice of the longest scan of each class, of four classes at most."""
    longest = audit.series.sort_values("n_slices", ascending=False).drop_duplicates("label")
    series = audit.table["series"].to_numpy()
    rows = (np.flatnonzero(series == number) for number in longest.sort_values("label")["series"].head(MAX_EXAMPLES))
    return [int(own[len(own) // 2]) for own in rows]


def _show_classes(audit: "Audit") -> None:
    st.header("Classes and scans", anchor=False)
    from kidney_core.data import leak_audit

    n_by_plane = leak_audit.planes_per_class(audit).to_dict("index")
    rows: list[dict[str, str | int | float]] = []
    n_scans: dict[str, int] = {}
    for label, n_slices in audit.dataset.counts().items():
        lengths = audit.series.loc[audit.series["label"] == label, "n_slices"].to_numpy()
        n_scans[label] = len(lengths)
        rows.append(
            {
                "Class": label,
                "Slices": n_slices,
                "Scans": len(lengths),
                "Median slices per scan": float(np.median(lengths)),
                "Longest": int(lengths.max()),
                **{str(plane).capitalize(): int(n) for plane, n in n_by_plane[label].items()},
            }
        )
    st.dataframe(tables.drawn(pd.DataFrame(rows)), hide_index=True)
    fewest = min(n_scans, key=n_scans.__getitem__)
    subject = "Each class" if len(set(n_scans.values())) == 1 else markdown.text(fewest)
    st.caption(
        f"{subject} has {n_scans[fewest]:,} scans. One split tests about a fifth of them, so its results depend heavily on chance: "
        "use cross-validation with five folds. The plane comes from DICOM tags or series.csv, or else is estimated from the outline "
        "of the body. If one class was mostly scanned in another plane, a model may learn the plane instead of the disease."
    )


def _show_kidneys(audit: "Audit") -> None:
    """How many slices show no kidney, by class and plane, on request."""
    st.header("Slices without a visible kidney", anchor=False)
    looked: dict[str, np.ndarray] = st.session_state.setdefault("dataset_kidneys", {})
    key = audit.dataset.fingerprint
    if key not in looked:
        st.caption("A slice of the pelvis that is labelled Tumor teaches a model the scan, not the disease.")
        if not st.button("Look for kidneys", key="dataset_look_for_kidneys"):
            return
        try:
            found = _look_for_kidneys(audit)
        except KidneyError as error:
            st.error(markdown.text(error))
            return
        looked.clear()
        looked[key] = found
        st.rerun()  # without the button
    from kidney_core.data import dataset_kidneys

    n_kidneys = looked[key]
    n_without = int((n_kidneys == 0).sum())
    st.markdown(
        f"**{n_without:,} of {len(n_kidneys):,}** slices ({percent(n_without / len(n_kidneys))}) show no kidney."
    )
    summary = dataset_kidneys.summarize(audit.dataset, n_kidneys)
    shown = summary.rename(
        columns={"label": "Class", "plane": "Plane", "slices": "Slices", "without": "Without kidney", "share": "Share"}
    )
    shown["Share"] = shown["Share"].map(percent)
    st.dataframe(tables.drawn(shown), hide_index=True)
    st.caption(
        "Each slice is judged by itself by the kidney finder, which errs on some slices at the poles of a kidney. Training can "
        "leave these slices out: its option “slices” set to “kidneys”."
    )
    st.download_button(
        "Download slices with their number of kidneys (CSV)",
        tables.csv_bytes(audit.dataset.table[["path", "label", "plane"]].assign(kidneys=n_kidneys)),
        "kidneys.csv",
        "text/csv",
        on_click="ignore",
    )


def _look_for_kidneys(audit: "Audit") -> np.ndarray:
    """The number of kidneys of each slice. Raises KidneyError where there is no finder, or a file has become unreadable."""
    from kidney_core.data import dataset_kidneys  # here, since importing torch takes seconds

    return dataset_kidneys.visible_kidneys(audit.dataset, loading.installed_finder(), progress_of=progress.progress_bar)


def _show_strip(audit: "Audit") -> None:
    st.header("Scans, slice by slice", anchor=False)
    labels = audit.dataset.labels
    label = st.segmented_control(
        "Class", labels, default=labels[0], required=True, format_func=markdown.text, key="dataset_label"
    )
    rows = np.flatnonzero(audit.table["label"] == label)
    start = 0
    if len(rows) > SLICES_PER_STRIP:
        last = len(rows) - SLICES_PER_STRIP + 1
        start = st.slider("From slice", 1, last, 1, SLICES_PER_STRIP // 2, key=f"dataset_start_{label}") - 1
    shown = rows[start : start + SLICES_PER_STRIP]
    dataset_slice_panel.pick_from_strip(audit, shown)
    st.caption(
        f"Click a thumbnail to open it. Slices {start + 1} to {start + len(shown)} of {len(rows):,} of {markdown.text(label)}, in file order. The bar below each row changes "
        "colour where a new scan begins."
    )


def _show_oddities(audit: "Audit") -> None:
    st.header("Copies, contradictions, unreadable files", anchor=False)
    n_mixed = int((audit.series["n_labels"] > 1).sum())
    unreadable = pd.DataFrame(audit.dataset.unreadable, columns=["path", "reason"])
    st.markdown(
        f"{formatting.quantity(len(audit.copies), 'exact copy', 'exact copies')} · "
        f"{formatting.quantity(len(audit.contradictions), 'slice')} with a near-duplicate of another label · "
        f"{formatting.quantity(n_mixed, 'scan')} with two labels · {formatting.quantity(len(unreadable), 'unreadable file')}"
    )
    for title, table in (
        ("Exact copies", audit.copies),
        ("Near-duplicates with different labels", audit.contradictions),
        ("Unreadable files", unreadable),
    ):
        if len(table):
            with st.expander(f"{title} ({len(table):,})"):
                tables.show_table(table, key=f"dataset_{title}")
    st.caption(
        "Near-duplicates correlate above 0.95. In patients they are nearly always neighbours from the same scan, so one of the two "
        "labels is wrong or the scan shows both. Simulated slices can be similar by chance."
    )
