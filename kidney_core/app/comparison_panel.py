"""Any number of models side by side: one metric with its intervals, both protocols, and paired differences."""

import pandas as pd
import streamlit as st

from kidney_core.app import charts, checkpoint_choice, how_to_read, loading, markdown, paired_panel, progress, tables
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError
from kidney_core.metrics import chart_text, number_format
from kidney_core.metrics.splits import MEASURED, PROTOCOL_NAMES, RANDOM

OVERALL = {
    "Accuracy": "accuracy",
    "Balanced accuracy": "balanced_accuracy",
    "Macro F1": "macro.f1",
    "Weighted F1": "weighted.f1",
}


def show(chosen: list[Checkpoint]) -> None:
    """The comparison of the chosen checkpoints."""
    labels = sorted(set.intersection(*(set(checkpoint.labels) for checkpoint in chosen)))
    offered = OVERALL | {f"Recall of {label}": f"per_label.{label}.recall" for label in labels}
    title = st.selectbox("Compare by", list(offered), key="evaluation_measure")
    name = offered[title]
    bars: list[tuple[str, str, float, float | None, float | None]] = []
    rows = []
    for checkpoint in chosen:
        for protocol in MEASURED:
            metrics = checkpoint.metrics(protocol)
            if not metrics:
                continue
            low, high = checkpoint.intervals(protocol).get(name, (None, None))
            value = number_format.figure_of(metrics, name)
            if value is not None:
                bars.append((checkpoint.name, protocol, value, low, high))
            row: dict[str, str | float | None] = {"Checkpoint": checkpoint.name, "Split": PROTOCOL_NAMES[protocol]}
            row |= {"Tested on": checkpoint.card["data"].get("name", "unknown"), title: value}
            row["95 % interval"] = number_format.percent_range(low, high)
            row |= {other: number_format.figure_of(metrics, key) for other, key in OVERALL.items() if other != title}
            rows.append(row)
    bare = [checkpoint.name for checkpoint in chosen if not checkpoint.is_evaluated]
    if bare:
        st.info(markdown.text(checkpoint_choice.never_evaluated(bare)))
    if not rows:
        st.info("None of these checkpoints has test results.")
        return
    if len({checkpoint.card["data"].get("fingerprint") for checkpoint in chosen if checkpoint.is_evaluated}) > 1:
        st.warning("These checkpoints were trained and tested on different data: their results cannot be compared.")
    shown = pd.DataFrame(rows).sort_values(title, ascending=False)
    tables.show_table(
        shown, key="evaluation_comparison", percents=(title, *(other for other in OVERALL if other != title))
    )
    from kidney_core.metrics import plots  # after the table: the numbers are read while the chart is made

    named = [(model, PROTOCOL_NAMES[protocol], value, low, high) for model, protocol, value, low, high in bars]
    charts.draw(
        plots.protocol_bars(bars, title=title.lower()),
        f"{title}, as in the table above. {chart_text.groups(named)}",
        key="evaluation_bars",
    )
    table_button, export_button = st.columns(2)
    table_button.download_button(
        "Download the comparison (CSV)", tables.csv_bytes(shown), "comparison.csv", "text/csv", on_click="ignore"
    )
    with export_button:
        _export(chosen)
    how_to_read.folded().caption(
        "Grey: random split, as in the paper (data leakage). Colour: unseen scans, as for a new patient of the same hospitals. "
        "Whiskers: 95 % intervals from resampling whole scans; none where a class has too few scans (fewer than five, or one holds most slices) or all resamples agree."
    )
    evaluated = [checkpoint for checkpoint in chosen if checkpoint.is_evaluated]
    if len(evaluated) > 1:
        _differences(evaluated, title, name)
    _footprints(chosen)


def _export(chosen: list[Checkpoint]) -> None:
    """The zip is made on the click: it takes some seconds."""

    def make() -> bytes:
        from kidney_core.reports import export

        return export.export_zip(chosen)

    st.download_button(
        "Export everything (ZIP)",
        make,
        "kidney-ct-report.zip",
        "application/zip",
        help="Predictions, charts (SVG), an HTML report, model cards and CLAIM checklists. `kidney-ct report-check ZIP` recomputes "
        "all numbers.",
        on_click="ignore",
    )


def _differences(chosen: list[Checkpoint], title: str, name: str) -> None:
    st.markdown(f"## Differences in {markdown.text(title.lower())}")
    if not st.toggle("Test whether two models differ", key="evaluation_pairs_asked"):  # the tests take a moment
        return
    protocol = checkpoint_choice.choose_protocol(chosen, "evaluation_pairs", at_least=2)
    if protocol is None:
        return
    tested = [checkpoint for checkpoint in chosen if checkpoint.predictions_csv(protocol) is not None]
    for checkpoint in chosen:
        if checkpoint not in tested:
            st.caption(
                f"Not compared: {markdown.text(checkpoint.name)} has no predictions on {PROTOCOL_NAMES[protocol]}."
            )
    paired_panel.show(loading.compare(tested, protocol), name, key="evaluation_differences")
    predictions = {each.name: stored for each in tested if (stored := loading.predictions(each, protocol)) is not None}
    if len(predictions) > 1:
        paired_panel.show_disagreements(predictions, key="evaluation_disagree")
    if protocol == RANDOM:
        st.caption("On a random split, data leakage affects both models.")


def _footprints(chosen: list[Checkpoint]) -> None:
    st.markdown("## Size, speed and memory on this machine")
    if st.button("Measure", key="evaluation_measure_footprint", help="A few seconds per checkpoint."):
        st.session_state["evaluation_footprints"] = _measure(chosen)
    rows, problems = st.session_state.get("evaluation_footprints", ([], []))
    for problem in problems:
        st.error(markdown.text(problem))
    if not rows:
        return
    one_decimal = ("File (MB)", "Parameters (millions)", "One slice (ms)")
    config = {name: st.column_config.NumberColumn(format="%.1f") for name in one_decimal}
    config |= {name: st.column_config.NumberColumn(format="%.0f") for name in ("Slices per second", "Memory (MiB)")}
    st.dataframe(
        tables.drawn(pd.DataFrame(rows)), hide_index=True, column_config=config, key="evaluation_footprint_table"
    )
    how_to_read.folded().caption(
        "One slice: median time of a prediction without heatmap. Slices per second: in batches. Memory: peak "
        "that the network adds to a process. A training job at the same time slows all of them down."
    )


def _measure(chosen: list[Checkpoint]) -> tuple[list[dict], list[str]]:
    """One row per checkpoint that could be measured, and one sentence per other one."""
    from kidney_core.checkpoints import footprint

    rows, problems = [], []
    report = progress.progress_bar("Measuring")
    report(0, len(chosen))
    for position, checkpoint in enumerate(chosen, start=1):
        try:
            measured = footprint.measure(checkpoint)
            rows.append(
                {
                    "Checkpoint": checkpoint.name,
                    "Architecture": number_format.model_name(checkpoint.card["architecture"]),
                    "Image (px)": checkpoint.size_px,
                    "File (MB)": measured.file_mb,
                    "Parameters (millions)": measured.n_parameters / 1e6,
                    "One slice (ms)": measured.slice_ms,
                    "Slices per second": measured.slices_per_s,
                    "Memory (MiB)": measured.memory_mib,
                    "Device": measured.device,
                }
            )
        except KidneyError as error:
            problems.append(str(error))
        report(position, len(chosen))
    return rows, problems
