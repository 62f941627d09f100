"""Any number of models side by side: one figure with its intervals, both protocols, and paired differences."""

import pandas as pd
import streamlit as st

from kidney_core import figures, ui
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import KidneyError
from kidney_core.splits import MEASURED, PROTOCOL_NAMES, RANDOM

OVERALL = {
    "Accuracy": "accuracy",
    "Balanced accuracy": "balanced_accuracy",
    "Macro F1": "macro.f1",
    "Weighted F1": "weighted.f1",
}


def draw(chosen: list[Checkpoint]) -> None:
    """Draw the comparison of the chosen checkpoints."""
    from kidney_core import intervals

    labels = sorted(set.intersection(*(set(checkpoint.labels) for checkpoint in chosen)))
    offered = OVERALL | {f"Recall of {label}": f"per_label.{label}.recall" for label in labels}
    title = st.selectbox("Compare by", list(offered), key="evaluation_measure")
    name = offered[title]
    bars, rows = [], []
    for checkpoint in chosen:
        for protocol in MEASURED:
            found = checkpoint.figures(protocol)
            if not found:
                continue
            low, high = checkpoint.intervals(protocol).get(name, (None, None))
            value = intervals.figure(found, name)
            bars.append((checkpoint.name, protocol, value, low, high))
            row = {"Checkpoint": checkpoint.name, "Protocol": PROTOCOL_NAMES[protocol]}
            row |= {"Tested on": checkpoint.card["data"].get("name", "unknown"), title: value}
            row["95 % interval"] = figures.percent_range(low, high)
            row |= {other: intervals.figure(found, key) for other, key in OVERALL.items() if other != title}
            rows.append(row)
    if not rows:
        st.info("None of these checkpoints was measured under any protocol.")
        return
    if len({checkpoint.card["data"].get("fingerprint") for checkpoint in chosen}) > 1:
        st.warning("These checkpoints were trained and tested on different data: their figures cannot be compared.")
    st.plotly_chart(figures.protocol_bars(bars, title=title.lower()), config={"displayModeBar": False})
    shown = pd.DataFrame(rows).sort_values(title, ascending=False)
    ui.show_table(shown, key="evaluation_comparison", percents=(title, *(other for other in OVERALL if other != title)))
    table_button, export_button = st.columns(2)
    table_button.download_button(
        "Download the comparison (CSV)", ui.csv_bytes(shown), "comparison.csv", "text/csv", on_click="ignore"
    )
    with export_button:
        _export(chosen)
    st.caption(
        "How to read this. Grey is the paper's protocol, which measures memory of scans; colour is what a new patient can "
        "expect. Whiskers are 95 % intervals by resampling whole series; where a class has fewer than five series, or all "
        "of them agree, there is none to give. Whether two models differ is for the paired table below to say: what it cannot tell from chance is "
        "undecided."
    )
    if len(chosen) > 1:
        _differences(chosen, title, name)
    _footprints(chosen)


def _export(chosen: list[Checkpoint]) -> None:
    """The zip is made when it is asked for: it takes some seconds."""

    def make() -> bytes:
        from kidney_core import export

        return export.export_zip(chosen)

    st.download_button(
        "Export everything (ZIP)",
        make,
        "kidney-ct-report.zip",
        "application/zip",
        help="Predictions, figures (SVG), an HTML report, model cards, CLAIM checklists, and a manifest from which "
        "`python -m kidney_core.report_check ZIP` recomputes the numbers.",
        on_click="ignore",
    )


def _differences(chosen: list[Checkpoint], title: str, name: str) -> None:
    st.markdown(f"#### Differences in {title.lower()}")
    protocol = ui.choose_measured(chosen, "evaluation_pairs")
    if protocol is None:
        return
    try:
        found = ui.compared(chosen, protocol, name)
    except KidneyError as error:
        st.info(str(error))
        return
    rows = [
        {
            "First": each.first,
            "Second": each.second,
            "First minus second": f"{100 * each.difference.value:+.1f} points",
            "95 % interval": figures.percent_range(each.difference.low, each.difference.high, signed=True),
            "p, over series": figures.p_value(each.p_series),
            "p, corrected": figures.p_value(each.p_corrected),
            "p, over slices (optimistic)": figures.p_value(each.p_slices),
        }
        for each in found
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="evaluation_differences")
    st.caption(
        "How to read this. Two models answered the same slices. p over series: how often swapping their answers on whole scans at random "
        "gives a difference as large; corrected for the number of pairs (Holm). McNemar's test over slices takes every slice for "
        "an independent witness, which slices of one scan are not."
        + (" On a random split, these compare memories." if protocol == RANDOM else "")
    )


def _footprints(chosen: list[Checkpoint]) -> None:
    st.markdown("#### Size, speed and memory on this machine")
    if st.button("Measure", key="evaluation_measure_footprint", help="A few seconds for each checkpoint."):
        st.session_state["evaluation_footprints"] = _measure(chosen)
    rows, problems = st.session_state.get("evaluation_footprints", ([], []))
    for problem in problems:
        st.error(problem)
    if not rows:
        return
    one_decimal = ("File (MB)", "Parameters (millions)", "One slice (ms)")
    config = {name: st.column_config.NumberColumn(format="%.1f") for name in one_decimal}
    config |= {name: st.column_config.NumberColumn(format="%.0f") for name in ("Slices a second", "Memory (MiB)")}
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=config, key="evaluation_footprint_table")
    st.caption(
        "How to read this. One slice is the median time of an answer without its map, slices a second the rate for many; "
        "memory is what the network adds to a process, at its peak. A training job beside it slows all of them."
    )


def _measure(chosen: list[Checkpoint]) -> tuple[list[dict], list[str]]:
    """A row for each checkpoint that could be measured, and a sentence for each other one."""
    from kidney_core import footprint

    rows, problems = [], []
    tell = ui.progress_bar("Measuring")
    tell(0, len(chosen))
    for position, checkpoint in enumerate(chosen, start=1):
        try:
            found = footprint.measure(checkpoint)
            rows.append(
                {
                    "Checkpoint": checkpoint.name,
                    "Architecture": figures.model_name(checkpoint.card["architecture"]),
                    "Image (px)": checkpoint.size_px,
                    "File (MB)": found.file_mb,
                    "Parameters (millions)": found.n_parameters / 1e6,
                    "One slice (ms)": found.slice_ms,
                    "Slices a second": found.slices_per_s,
                    "Memory (MiB)": found.memory_mib,
                    "Device": found.device,
                }
            )
        except KidneyError as error:
            problems.append(str(error))
        tell(position, len(chosen))
    return rows, problems
