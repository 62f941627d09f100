"""What to do with an audited dataset: labels that networks contradict, a cleaned list, its split, and a sentence for a paper."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from kidney_core.app import dataset_slice_panel, formatting, loading, markdown, tables
from kidney_core.common.errors import KidneyError
from kidney_core.metrics.splits import PROTOCOL_NAMES

if TYPE_CHECKING:
    from kidney_core.data.leak_audit import Audit
    from kidney_core.metrics.predictions import Predictions


def show_label_noise(audit: "Audit") -> None:
    """Slices and scans whose label the out-of-fold predictions of checkpoints contradict."""
    from kidney_core.data import label_noise

    st.header("Label noise candidates", anchor=False)
    predictions = _out_of_fold(audit)
    if not predictions:
        st.caption(
            "No checkpoint has out-of-fold predictions for this folder. Cross-validate a network on it and publish the run; then they "
            "appear here."
        )
        return
    found = label_noise.candidates(audit.table, predictions)
    scans = label_noise.by_scan(audit.table, found)
    networks = formatting.quantity(len(predictions), "checkpoint")
    st.markdown(
        f"The out-of-fold predictions of {networks} contradict the label of **{len(found):,}** slices in **{len(scans):,}** scans."
    )
    if not len(found):
        return
    by_scan, by_slice = st.tabs(["By scan", "By slice"])
    with by_scan:
        _pick(scans, key="dataset_noise_scans", percents=("share", "confidence"))
    with by_slice:
        _pick(found, key="dataset_noise_slices", percents=("confidence", "own_probability"))
    st.caption(
        "Select a row to open its slice. A label counts as contradicted where the probability of another label reaches that label's average over "
        "the slices that carry it (confident learning). Every slice was predicted by a network that never saw its scan. Most candidates are "
        "errors of the networks: look at a slice before you correct its label."
    )
    st.download_button(
        "Download the candidates (CSV)",
        tables.csv_bytes(found.drop(columns="row")),
        "label-noise.csv",
        "text/csv",
        on_click="ignore",
    )


def _out_of_fold(audit: "Audit") -> "dict[str, Predictions]":
    """Checkpoint -> its predictions, for those that know this dataset."""
    from kidney_core.checkpoints import out_of_fold
    from kidney_core.checkpoints.checkpoint import list_checkpoints

    found = {}
    for checkpoint in list_checkpoints()[0]:
        try:
            predictions = out_of_fold.of_dataset(checkpoint, audit.dataset)
        except KidneyError as error:
            st.warning(markdown.text(error))
            continue
        if predictions is not None:
            found[f"{checkpoint.name} {loading.cache_key(checkpoint)}"] = predictions
    return found


def _pick(table: pd.DataFrame, *, key: str, percents: tuple[str, ...]) -> None:
    """A table whose selected row opens its slice."""
    event = tables.show_table(
        table.drop(columns="row"), key=key, percents=percents, on_select="rerun", selection_mode="single-row"
    )
    chosen = event.selection.rows
    picked = int(table["row"].to_numpy()[chosen[0]]) if chosen else None
    kept = f"{key}_picked"
    if picked is not None and picked != st.session_state.get(kept):  # a selection stays, and buttons go on from it
        dataset_slice_panel.open_slice(picked)
    st.session_state[kept] = picked


def show_exports(audit: "Audit", *, n_kidneys: np.ndarray | None) -> None:
    """The scans, a cleaned list, the audited split, and sentences for a paper."""
    from kidney_core.data import curation

    st.header("Downloads", anchor=False)
    judged = curation.judge_slices(audit, n_kidneys=n_kidneys)
    left_out = judged.loc[judged["reason"] != "", "reason"].value_counts()
    kept = curation.cleaned_list(audit, n_kidneys=n_kidneys)
    scans, cleaned, split = st.columns(3, gap="medium")
    scans.download_button(
        "Scans (series.csv)",
        tables.csv_bytes(audit.table),
        "series.csv",
        "text/csv",
        on_click="ignore",
        width="stretch",
    )
    cleaned.download_button(
        f"Cleaned list ({len(kept):,} slices)",
        tables.csv_bytes(kept),
        "cleaned.csv",
        "text/csv",
        on_click="ignore",
        width="stretch",
    )
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    cleaned.caption(f"Left out: {markdown.text(reasons)}." if reasons else "Nothing is left out.")
    if n_kidneys is None:
        cleaned.caption("Slices without a kidney are left out too, once you have pressed “Look for kidneys”.")
    _offer_split(audit, split)
    st.markdown("**For the methods section**")
    st.code(curation.methods_text(audit, n_kidneys=n_kidneys), language=None, wrap_lines=True)


def _offer_split(audit: "Audit", place: "st.delta_generator.DeltaGenerator") -> None:
    from kidney_core.data import curation

    protocols = list(audit.protocols)
    if not protocols:
        return
    protocol = place.selectbox(
        "Split",
        protocols,
        protocols.index("grouped") if "grouped" in protocols else 0,
        format_func=PROTOCOL_NAMES.__getitem__,
        key="dataset_split",
        label_visibility="collapsed",
    )
    place.download_button(
        "The audited split (CSV)",
        tables.csv_bytes(curation.split_table(audit, protocol)),
        f"split-{protocol}.csv",
        "text/csv",
        on_click="ignore",
        width="stretch",
    )
