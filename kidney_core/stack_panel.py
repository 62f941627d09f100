"""Many slices read at once: as a scan, with its verdict and a way through it, or as a table of separate slices."""

import time
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from kidney_core import figures, pictures, ui, verdict_panel
from kidney_core.labels import color_of
from kidney_core.stack import Stack
from kidney_core.viewer import browser_part

if TYPE_CHECKING:
    from kidney_core.diagnosis import Reader
    from kidney_core.stack_reading import StackReading
    from kidney_core.stack_verdict import StackVerdict

SECONDS_A_PIECE = 1.5  # after which the page answers to clicks again
MAX_KEPT = 3  # readings a session keeps: the same slices by each model


def read(reader: "Reader", stack: Stack) -> "StackReading":
    """Read a stack in pieces, with progress and a way to stop; the page runs anew after each piece."""
    from kidney_core import stack_reading

    kept: dict = st.session_state.setdefault("diagnosis_readings", {})
    key = (stack.fingerprint, ui.version(reader.checkpoint))
    stopped: set = st.session_state.setdefault("diagnosis_stopped", set())
    reading = kept.get(key)
    if reading is not None and (reading.complete or key in stopped):
        if not reading.complete:
            st.warning(f"Stopped after {reading.n_read} of {reading.n_slices} slices. What follows is about those.")
            if st.button("Read on", key="diagnosis_read_on"):
                stopped.discard(key)
                st.rerun()
        return reading
    place = st.container()
    if st.button("Stop reading", key="diagnosis_stop"):
        stopped.add(key)
        kept.setdefault(key, stack_reading.read_stack(reader, stack, stop=lambda: True))
        st.rerun()
    with place:
        tell = ui.progress_bar("Reading slices")
    deadline = time.monotonic() + SECONDS_A_PIECE
    while not (reading and reading.complete) and time.monotonic() < deadline:
        # A click ends this run of the page at the next thing it draws: what was read is kept before that.
        asked = iter((False, True))
        reading = stack_reading.read_stack(reader, stack, earlier=reading, stop=lambda asked=asked: next(asked))
        kept[key] = reading
        tell(reading.n_read, reading.n_slices)
    while len(kept) > MAX_KEPT:
        del kept[next(iter(kept))]
    st.rerun()  # which ends this run of the page


def show_scan_verdict(reading: "StackReading", checkpoint) -> None:
    """The verdict of the series, which leads; what drives it, and what the mean may hide."""
    judged = reading.verdict
    left, right = st.columns([3, 2], gap="large")
    with left:
        _lead(judged)
        if judged.in_a_word != "refused":
            st.plotly_chart(
                figures.probability_bars(judged.probabilities),
                config={"displayModeBar": False},
                key="diagnosis_scan_bars",
            )
            _honest_per_scan(checkpoint)
    with right:
        verdict_panel.show_chain(judged)
    if judged.in_a_word == "refused":
        return
    if judged.peaks:
        st.markdown("**Where each label is most likely**")
        rows = [
            {
                "Label": peak.label,
                "Slice": peak.index + 1,
                "confidence": peak.probability,
                "Neighbouring slices above 50 %": f"{peak.run[0] + 1} to {peak.run[1] + 1}" if peak.run else "–",
            }
            for peak in judged.peaks
        ]
        ui.show_table(pd.DataFrame(rows), key="diagnosis_peaks", percents=("confidence",))
    if judged.driving:
        shown = ", ".join(f"{each.index + 1} ({figures.percent(each.probability, 0)})" for each in judged.driving)
        st.caption(f"The slices that drive “{judged.predicted_label}” most: {shown}.")


def choose_slice(reading: "StackReading", stack: Stack, checkpoint) -> int:
    """A way through the stack: probabilities along it and thumbnails; the row of the slice that is shown."""
    labels = checkpoint.labels
    table = reading.table
    probabilities = table[[f"p_{label}" for label in labels]].to_numpy()
    silent = (table["refused"] | (table["problem"] != "")).to_numpy()
    first = reading.verdict.driving[0].index if reading.verdict.driving else 0
    data = {
        "id": f"{reading.stack_fingerprint[:16]}-{reading.checkpoint_name}-{reading.n_read}",
        "index": first,
        "labels": list(labels),
        "colors": [color_of(label, labels) for label in labels],
        "rows": [
            None if quiet else [round(float(p), 4) for p in row]
            for quiet, row in zip(silent, probabilities, strict=True)
        ],
        "previews": [pictures.jpeg_data_url(each) if each is not None else "" for each in reading.previews],
        "places": [place_of(reading, row) for row in range(reading.n_read)],
    }
    stack_view = st.components.v2.component("scan_stack", **browser_part("stack"))
    told = stack_view(data=data, key=f"diagnosis_stack_{data['id']}", on_index_change=lambda: None)
    chosen = told.get("index")
    return min(int(first if chosen is None else chosen), reading.n_read - 1)


def choose_row(reading: "StackReading", checkpoint) -> int:
    """The table of separate slices; the row of the slice that is shown."""
    shown = results(reading, checkpoint).drop(columns=["index", "position_mm"])
    readable = (shown["Problem"] == "").to_numpy()
    picked = ui.show_table(
        shown.drop(columns="Problem") if readable.all() else shown,
        key=f"diagnosis_table_{reading.stack_fingerprint[:16]}",
        on_select="rerun",
        selection_mode="single-row",
    )
    st.caption(
        "Refused: unlike what the model learned from. Memory: the file or its scan was in its training. Undecided: not sure "
        "enough. The reasons stand beside each slice below."
    )
    rows = picked["selection"]["rows"]
    return rows[0] if rows else int(readable.argmax())  # the first that can be read


def download(reading: "StackReading", checkpoint) -> None:
    """The results of all slices as a table; files are numbered, and named only when that is ticked."""
    table = results(reading, checkpoint)
    if st.checkbox("Name the files in the download", key="diagnosis_csv_named"):
        # A spreadsheet would run a cell that begins like a formula.
        for column in ("File", "Problem"):
            table[column] = table[column].map(lambda text: f"'{text}" if text[:1] in ("=", "+", "-", "@") else text)
    else:
        table["Problem"] = ["unreadable" if text else "" for text in table["Problem"]]
        table = table.drop(columns="File")
    st.download_button(
        "Download the results of all slices (CSV)",
        ui.csv_bytes(table),
        "kidney-ct-results.csv",
        "text/csv",
        key="diagnosis_csv",
        on_click="ignore",
    )


def results(reading: "StackReading", checkpoint) -> pd.DataFrame:
    """One row a slice with its verdict; no label and no probabilities where the model does not answer."""
    from kidney_core import stack_verdict

    table = reading.table
    silent = table["refused"] | (table["problem"] != "")
    found = table[["index", "name", "position_mm"]].rename(columns={"name": "File"})
    found["index"] += 1
    found["Model says"] = table["predicted"].where(~silent, "–")
    found["Verdict"] = stack_verdict.words(table, checkpoint.card)
    for label in checkpoint.labels:
        found[f"p_{label}"] = table[f"p_{label}"].where(~silent)
    return found.assign(Problem=table["problem"])


def _lead(judged: "StackVerdict") -> None:
    if judged.in_a_word == "refused":
        st.subheader("The model does not answer for this scan", anchor=False)
        return
    st.caption(f"The scan as a whole. {verdict_panel.lead(judged)}")
    share = figures.percent(judged.probabilities[judged.predicted_label])
    st.subheader(f"{judged.predicted_label} · {share} on the mean of its slices", anchor=False)


def _honest_per_scan(checkpoint) -> None:
    """How often this way of answering for a whole scan was right on scans never seen."""
    from kidney_core import evaluation

    tested = ui.predictions(checkpoint, checkpoint.honest) if checkpoint.honest else None
    if tested is None:
        return
    scans = evaluation.per_series(tested)
    found = evaluation.figures(scans)
    st.markdown(
        f"So read, **{figures.percent(found['accuracy'], 0)}** of {found['n']} scans never seen were named rightly "
        f"(balanced over the labels {figures.percent(found['balanced_accuracy'], 0)}). {evaluation.split_series(scans)}"
    )


def place_of(reading: "StackReading", row: int) -> str:
    """Where a slice lies, as navigator and viewer say it; by this text the viewer knows its own slice again."""
    position_mm = reading.table["position_mm"].iat[row]
    return f"{row + 1} of {reading.n_slices}" + ("" if pd.isna(position_mm) else f"\n{position_mm:.1f} mm")
