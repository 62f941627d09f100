"""Many slices at once: a scan with its verdict and a way through it, or a table of separate slices."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from kidney_core.app import (
    audit_recorder,
    charts,
    loading,
    markdown,
    progress,
    reading_room,
    report_panel,
    slice_panel,
    tables,
    verdict_panel,
)
from kidney_core.app.reading_room import ReadingRoom
from kidney_core.app.slice_panel import StackPosition
from kidney_core.app.viewer import browser_part
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import allocator
from kidney_core.common.labels import color_of
from kidney_core.diagnosis import outcomes
from kidney_core.imaging.stack import Stack
from kidney_core.metrics import chart_text, number_format, plots
from kidney_core.metrics.predictions import probability_column

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Predictor
    from kidney_core.diagnosis.stack_reading import StackReading
    from kidney_core.diagnosis.stack_verdict import StackVerdict

MAX_PIECE_S = 1.5  # after which the page answers to clicks again
MAX_KEPT = 3  # readings a session keeps: the same slices by each model


def show_stack(predictor: "Predictor", stack: Stack, *, is_scan: bool) -> None:
    """The verdict of a scan and a way through it, or a table of separate slices; then the chosen slice.

    Raises: AuditError where the diagnosis cannot be written to the audit log.
    """
    reading = read(predictor, stack, is_scan=is_scan)
    if not reading.n_read:
        return
    checkpoint, room = predictor.checkpoint, reading_room.open_room()
    if is_scan:
        with room.under:
            row = choose_slice(reading, checkpoint)
            reading = choose_range(predictor, reading)
    audit_recorder.diagnosis(
        checkpoint,
        input_sha256=lambda: stack.sha256,
        probabilities=reading.verdict.probabilities,
        verdict=reading.verdict.outcome,
    )
    position = None
    if is_scan:
        show_scan_verdict(reading, checkpoint, room)
        with room.panel:
            report_panel.show_scan(predictor, stack, reading)
        sides = reading.kidneys.sides_at(row) if reading.kidneys else None
        position = StackPosition(stack.fingerprint, place_of(reading, row), sides)
    else:
        with room.panel:
            row = choose_row(reading, checkpoint)
    item = stack.items[row]
    with room.panel:
        st.markdown(f"### Slice {row + 1} of {len(stack.items)}: {markdown.text(item.name)}")
    slice_panel.show_item(predictor, item, room, position=position)
    with room.below:
        if is_scan:
            show_peaks(reading)
        download(reading, checkpoint)


def read(predictor: "Predictor", stack: Stack, *, is_scan: bool) -> "StackReading":
    """Read a stack in pieces, with progress and a way to stop; the page runs again after each piece."""
    from kidney_core.diagnosis import stack_reading

    kept: dict[tuple[str, str], StackReading] = st.session_state.setdefault("diagnosis_readings", {})
    key = (f"{stack.fingerprint}-{is_scan}", loading.reading_key(predictor.checkpoint))
    stopped: set[tuple[str, str]] = st.session_state.setdefault("diagnosis_stopped", set())
    reading = kept.get(key)
    if reading is not None and (reading.complete or key in stopped):
        if not reading.complete:
            st.warning(
                f"Stopped after {reading.n_read:,} of {reading.n_slices:,} slices, {reading.n_predicted:,} of them with a prediction."
            )
            if st.button("Continue reading", key="diagnosis_read_on"):
                stopped.discard(key)
                st.rerun()
        return reading
    place = st.container()
    if st.button("Stop reading", key="diagnosis_stop"):
        stopped.add(key)
        kept.setdefault(key, stack_reading.read_stack(predictor, stack, is_scan=is_scan, stop=lambda: True))
        st.rerun()
    with place:
        report = progress.progress_bar("Reading slices")
        if reading and reading.rough_range:  # the range is known before the labels
            first, last = reading.rough_range
            st.markdown(f"Kidneys on about slices {first + 1} to {last + 1}")
            st.slider("Slices to judge", 1, reading.n_slices, (first + 1, last + 1), disabled=True)
    deadline = time.monotonic() + MAX_PIECE_S
    while not (reading and reading.complete) and time.monotonic() < deadline:
        # A click ends this run of the page at the next thing it draws: what was read is kept before that.
        reading = stack_reading.read_stack(predictor, stack, is_scan=is_scan, earlier=reading, stop=_after_one_batch())
        kept[key] = reading
        report(reading.n_steps_done, reading.n_steps)
    while len(kept) > MAX_KEPT:
        del kept[next(iter(kept))]
    allocator.return_freed_memory()  # of the decoded slices; the next piece runs in another thread, which may not reuse it
    st.rerun()  # which ends this run of the page


def _after_one_batch() -> Callable[[], bool]:
    """A stop function that lets the first batch through and ends the reading before the second."""
    answers = iter((False, True))
    return lambda: next(answers)


def choose_range(predictor: "Predictor", reading: "StackReading") -> "StackReading":
    """The reading with its verdict of the slices that the user wants judged: those with a kidney, unless chosen otherwise."""
    from kidney_core.diagnosis import stack_reading

    found = reading.kidneys.range if reading.kidneys else None
    if found is None or found[0] == found[1]:
        return reading
    first, last = st.slider(
        "Slices to judge",
        min_value=1,
        max_value=reading.n_slices,
        value=(found[0] + 1, found[1] + 1),
        key=f"diagnosis_range_{reading.stack_fingerprint[:16]}",
        help="Set to where the kidneys are. Slices without a kidney get no label, even inside this range.",
    )
    return stack_reading.judged_within(predictor, reading, (first - 1, last - 1))


def show_scan_verdict(reading: "StackReading", checkpoint: Checkpoint, room: ReadingRoom) -> None:
    """The verdict of the scan, which leads, and its reasons beside the picture."""
    verdict = reading.verdict
    with room.lead:
        _show_lead(verdict)
    with room.panel:
        verdict_panel.show_checks(verdict)
        if verdict.outcome in outcomes.NO_PREDICTION:
            return
        with st.expander("Mean probability of each label"):
            bars = plots.probability_bars(verdict.probabilities)
            charts.draw(bars, chart_text.probabilities(verdict.probabilities), key="diagnosis_scan_bars")
            if not verdict.is_whole_scan:
                _show_accuracy_per_scan(checkpoint)


def show_peaks(reading: "StackReading") -> None:
    """Where each label is most likely, and the slices that drive the verdict."""
    verdict = reading.verdict
    if verdict.peaks:
        st.markdown("**Where each label is most likely**")
        rows = [
            {
                "Label": peak.label,
                "Slice": peak.index + 1,
                "confidence": peak.probability,
                "Neighbouring slices above 50 %": f"{peak.run[0] + 1} to {peak.run[1] + 1}" if peak.run else "–",
            }
            for peak in verdict.peaks
        ]
        tables.show_table(
            pd.DataFrame(rows),
            key=_peaks_key(reading),
            percents=("confidence",),
            on_select="rerun",
            selection_mode="single-row",
        )
        st.caption("Select a row to see that slice above.")
    if verdict.driving:
        slices = ", ".join(
            f"{each.index + 1} ({number_format.percent(each.probability, 0)})" for each in verdict.driving
        )
        st.caption(f"Slices that contribute most to “{markdown.text(verdict.predicted_label)}”: {slices}.")


def choose_slice(reading: "StackReading", checkpoint: Checkpoint) -> int:
    """A way through the scan, with its probabilities and thumbnails; the row of the chosen slice."""
    labels = checkpoint.labels
    first = _peak_to_show(reading)
    data = {
        "id": f"{reading.stack_fingerprint[:16]}-{reading.checkpoint_name}-{reading.n_read}",
        "index": first,
        "labels": list(labels),
        "colors": [color_of(label, labels) for label in labels],
        "rows": _rounded_probabilities(reading.table, labels),
        "previews": [each.preview_url if each else "" for each in reading.looked_at],
        "places": [place_of(reading, row) for row in range(reading.n_slices)],
        "kidneys": _kidney_bars(reading),
    }
    part = browser_part("stack")
    stack_view = st.components.v2.component("scan_stack", html=part["html"], css=part["css"], js=part["js"])
    state = stack_view(data=data, key=f"diagnosis_stack_{data['id']}", on_index_change=lambda: None)
    index = state.get("index")
    return min(int(first if index is None else index), reading.n_slices - 1)


def _peak_to_show(reading: "StackReading") -> int:
    """The slice that the user selected in the table of peaks, or else the one that drives the verdict."""
    selected = st.session_state.get(_peaks_key(reading), {}).get("selection", {}).get("rows", [])
    if selected and selected[0] < len(reading.verdict.peaks):
        return reading.verdict.peaks[selected[0]].index
    return reading.verdict.driving[0].index if reading.verdict.driving else 0


def _peaks_key(reading: "StackReading") -> str:
    return f"diagnosis_peaks_{reading.stack_fingerprint[:16]}"


def _kidney_bars(reading: "StackReading") -> list[dict[str, object]]:
    """Where along the scan each kidney is, for the browser."""
    kidneys = reading.kidneys.kidneys if reading.kidneys else ()
    return [{"side": each.side, "first": each.first, "last": each.last} for each in kidneys]


def _rounded_probabilities(table: pd.DataFrame, labels: Sequence[str]) -> list[list[float] | None]:
    """The probabilities of each slice for the browser; None where there is no prediction."""
    probabilities = table[list(map(probability_column, labels))].to_numpy()
    return [
        None if is_silent else [round(float(p), 4) for p in row]
        for is_silent, row in zip(_is_silent(table), probabilities, strict=True)
    ]


def _is_silent(table: pd.DataFrame) -> "pd.Series[bool]":
    """Rows without a prediction: unreadable, without a kidney, out of distribution, or not read yet."""
    return table["refused"] | table["predicted"].isna()


def choose_row(reading: "StackReading", checkpoint: Checkpoint) -> int:
    """The table of separate slices; the row of the chosen slice."""
    shown = results(reading, checkpoint)
    readable = (shown["Problem"] == "").to_numpy()
    shown = shown[["File", "predicted", "Verdict", "Problem"]]
    state = tables.show_table(
        shown.drop(columns="Problem") if readable.all() else shown,
        key=f"diagnosis_table_{reading.stack_fingerprint[:16]}",
        on_select="rerun",
        selection_mode="single-row",
    )
    st.caption(f"{verdict_panel.OUTCOMES_HELP} Select a row to see that slice with its reasons below.")
    rows = state["selection"]["rows"]
    return rows[0] if rows else int(readable.argmax())  # the first that can be read


def download(reading: "StackReading", checkpoint: Checkpoint) -> None:
    """The results of all slices as a table; files are numbered, and named only when that is ticked."""
    table = results(reading, checkpoint)
    if not st.checkbox("Include file names in the download", key="diagnosis_csv_named"):
        table["Problem"] = ["unreadable" if text else "" for text in table["Problem"]]
        table = table.drop(columns="File")
    st.download_button(
        "Download the results of all slices (CSV)",
        tables.csv_bytes(table),
        "kidney-ct-results.csv",
        "text/csv",
        key="diagnosis_csv",
        on_click="ignore",
    )


def results(reading: "StackReading", checkpoint: Checkpoint) -> pd.DataFrame:
    """One row per slice with its verdict; no label and no probabilities where there is no prediction."""
    from kidney_core.diagnosis import stack_verdict

    table = reading.table
    is_silent = _is_silent(table)
    shown = table[["index", "name", "position_mm"]].rename(columns={"name": "File"})
    shown["index"] += 1
    if table["sides"].notna().any():
        shown["Kidneys"] = table["sides"].where(table["sides"] != "", "–")
    shown["predicted"] = table["predicted"].where(~is_silent, "–")
    shown["Verdict"] = [outcomes.NAMES[each] for each in stack_verdict.slice_outcomes(table, checkpoint.card)]
    for label in checkpoint.labels:
        shown[probability_column(label)] = table[probability_column(label)].where(~is_silent)
    for column in table.columns.intersection(stack_verdict.kidney_columns(checkpoint.labels), sort=False):
        shown[column] = table[column].where(~is_silent)
    return shown.assign(Problem=table["problem"])


def _show_lead(verdict: "StackVerdict") -> None:
    if verdict.outcome in outcomes.NO_PREDICTION or verdict.predicted_label is None:
        st.header(markdown.text(outcomes.NO_PREDICTION.get(verdict.outcome, "No prediction")), anchor=False)
        return
    st.caption(markdown.text(f"{verdict.what}. {outcomes.lead(verdict.outcome, abstains=verdict.abstains)}"))
    st.header(markdown.text(verdict.result), anchor=False)


def _show_accuracy_per_scan(checkpoint: Checkpoint) -> None:
    """How often a prediction made for a whole scan was correct on unseen scans."""
    from kidney_core.metrics import evaluation

    predictions = loading.predictions(checkpoint, checkpoint.unseen_protocol) if checkpoint.unseen_protocol else None
    if predictions is None:
        return
    scans = predictions.per_series()
    metrics = evaluation.metrics(scans)
    st.markdown(
        f"Accuracy per scan on {metrics['n']:,} unseen scans: **{number_format.percent(metrics['accuracy'], 0)}** "
        f"(balanced {number_format.percent(metrics['balanced_accuracy'], 0)}). {markdown.text(evaluation.mixed_series_note(scans))}"
    )


def place_of(reading: "StackReading", row: int) -> str:
    """Where a slice lies, in the words of navigator and viewer, which recognises its slice by this text."""
    position_mm = float(reading.table["position_mm"].to_numpy()[row])
    return f"{row + 1} of {reading.n_slices}" + ("" if np.isnan(position_mm) else f"\n{position_mm:.1f} mm")
