"""What came of checkpoints on a folder: figures first, then one of them in depth, paired tests, and the download."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from kidney_core.app import how_to_read, loading, markdown, matrix_panel, paired_panel, tables, tested_panel
from kidney_core.app.tested import Tested
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.metrics import number_format
from kidney_core.metrics.number_format import percent

if TYPE_CHECKING:
    from kidney_core.diagnosis.evaluation_records import Evaluation
    from kidney_core.diagnosis.folder_evaluation import Evaluated

_GATE_HOW_TO_READ = (
    "As on Diagnosis. Answered: with a label. Abstained: confidence below the threshold of the label. Refused: out of "
    "distribution, or not upright. Seen: the scan was in the training data. Wrong: of the answered slices."
)
_GATE_TITLES = {
    "label": "Label",
    "slices": "Slices",
    "answered": "Answered",
    "abstained": "Abstained",
    "refused": "Refused",
    "seen": "Seen",
    "no_kidney": "No kidney",
    "unreadable": "Unreadable",
    "wrong": "Wrong of answered",
}


def show(key: str, checkpoints: Sequence[Checkpoint]) -> None:
    """A kept evaluation by its key."""
    kept = loading.evaluation(key)
    if kept is None:
        st.info("This evaluation is gone from the cache. Evaluate the folder again.")
        return
    where, download = st.columns([3, 1], vertical_alignment="center")
    where.text(str(kept.root))
    with download:
        _export(kept, checkpoints)
    tables.show_table(_summary(kept), key="evaluation_folder_summary")
    _show_warnings(kept)
    names = list(kept.results)
    name = names[0]
    if len(names) > 1:
        name = st.segmented_control(
            "Checkpoint", names, default=name, required=True, format_func=markdown.text, key="evaluation_folder_shown"
        )
    own = next((each for each in checkpoints if each.name == name), None)
    panels: dict[str, Callable[[], None]] = {}
    if own is not None:
        panels["Matrix and report"] = partial(_matrix, kept, own)
    panels["Gate and answers"] = partial(_gate, kept.results[name], name)
    if own is not None:
        tested = _tested(kept, own)
        panels |= {title: partial(panel, tested) for title, panel in tested_panel.PANELS.items()}
    if len(names) > 1:
        panels["Differences"] = partial(_differences, kept)
    picked = st.segmented_control(
        "Panel",
        list(panels),
        format_func=markdown.text,
        default=next(iter(panels)),
        required=True,
        key="evaluation_folder_panel",
        bind="query-params",
        label_visibility="collapsed",
    )
    panels[picked]()
    if own is None:
        st.info("This checkpoint is not among those chosen above, so only its outcomes are shown.")


def _summary(kept: "Evaluation") -> pd.DataFrame:
    """A row a checkpoint: accuracy with its interval, and what comes of its slices."""
    rows = []
    for name, each in kept.results.items():
        ranges, gate = loading.evaluated_intervals(kept.key, name), _gate_rows(each).iloc[-1]
        accuracy, balanced = ranges["accuracy"], ranges["balanced_accuracy"]
        rows.append(
            {
                "Checkpoint": name,
                "Slices": len(each.predictions),
                "Scans": each.predictions.n_series(),
                "Accuracy %": number_format.with_interval(accuracy.value, accuracy.low, accuracy.high),
                "Balanced accuracy %": number_format.with_interval(balanced.value, balanced.low, balanced.high),
                "Answered": percent(gate["answered"], 0),
                "Wrong of answered": _share(gate["wrong"]),
                "Refused": percent(gate["refused"], 0),
                "No kidney": percent(gate["no_kidney"], 0),
            }
        )
    return pd.DataFrame(rows)


def _show_warnings(kept: "Evaluation") -> None:
    first = next(iter(kept.results.values()))
    if len(first.predictions.present_labels) < len(first.predictions.labels):
        st.caption("This folder holds only some of the classes: averages are over those.")
    unknown = [name for name, each in kept.results.items() if each.share_trained_on is None]
    trained = {name: each.share_trained_on for name, each in kept.results.items() if each.share_trained_on}
    if unknown:
        st.info(
            f"Without a list of training files: {markdown.text(', '.join(unknown))}. If some of these files are among them, the results are inflated (data "
            "leakage)."
        )
    if trained:
        shares = ", ".join(f"{name} {percent(share)}" for name, share in trained.items())
        st.warning(
            f"Used for training, of these files: {markdown.text(shares)}. So the results are inflated (data leakage). Re-saved copies, and other slices of "
            "the same scans, are recognised by similarity only (“Seen” under Gate and answers)."
        )
    if first.unreadable:
        with st.expander(f"{len(first.unreadable)} files could not be used"):
            st.dataframe(tables.drawn(pd.DataFrame(first.unreadable, columns=["File", "Reason"])), hide_index=True)


def _tested(kept: "Evaluation", checkpoint: Checkpoint) -> Tested:
    name = checkpoint.name
    return Tested(
        checkpoint=checkpoint,
        predictions=kept.results[name].predictions,
        ranges=partial(loading.evaluated_intervals, kept.key, name),
        assessment=partial(loading.evaluated_assessment, kept.key, name),
        key="evaluation_own",
        file_name=f"{name}-folder",
        same_network=kept.weights.get(name) == checkpoint.card["weights_sha256"],
        images=str(kept.root),
        fitted="The temperature was fitted on validation slices of the training data.",
    )


def _matrix(kept: "Evaluation", checkpoint: Checkpoint) -> None:
    from kidney_core.metrics import evaluation

    tested = _tested(kept, checkpoint)
    metrics = evaluation.metrics(tested.predictions)
    ranges = {name: [each.low, each.high] for name, each in tested.ranges().items()}
    how_to_read.folded().caption(f"{matrix_panel.HOW_TO_READ_MATRIX} {matrix_panel.HOW_TO_READ_REPORT}")
    key = f"{checkpoint.name}-folder"
    matrix, report = st.columns(2, gap="large")
    with matrix:
        matrix_panel.show_headline(metrics, ranges)
        selected = matrix_panel.show_matrix(metrics, tested.predictions, key=key)
    with report:
        matrix_panel.show_report(metrics, tested.predictions, ranges, key=key)
    if selected is not None:
        matrix_panel.show_cell(
            checkpoint,
            selected,
            key=key,
            where="your folder",
            same_network=tested.same_network,
            images=tested.images,
        )


def _gate(evaluated: "Evaluated", name: str) -> None:
    """What Diagnosis would do with these slices, by label; and with the scans, where whole ones were read."""
    rows = _gate_rows(evaluated)
    shares = [column for column in rows if column not in ("label", "slices")]
    shown = rows.astype(object)
    for column in shares:
        shown[column] = [_share(value) for value in rows[column]]
    st.dataframe(tables.drawn(shown.rename(columns=_GATE_TITLES)), hide_index=True, key="evaluation_folder_gate")
    how_to_read.folded().caption(_GATE_HOW_TO_READ)
    if len(evaluated.scans):
        st.markdown("**Scans, as Diagnosis judges them**")
        tables.show_table(evaluated.scans, key="evaluation_folder_scans")
    st.download_button(
        "Outcome of every slice (CSV)",
        tables.csv_bytes(evaluated.outcomes),
        f"{name}-outcomes.csv",
        "text/csv",
        key="evaluation_folder_outcomes",
        on_click="ignore",
    )


def _gate_rows(evaluated: "Evaluated") -> pd.DataFrame:
    from kidney_core.diagnosis import gate

    return gate.gate_table(evaluated.outcomes, evaluated.predictions)


def _share(value: float) -> str:
    return "–" if pd.isna(value) else percent(value, 0)


def _differences(kept: "Evaluation") -> None:
    titles = {
        paired_panel.title_of(name): name for name in ("accuracy", "balanced_accuracy", "macro.f1", "weighted.f1")
    }
    title = st.selectbox("Compare by", list(titles), key="evaluation_folder_measure")
    compared = loading.evaluated_pairs(kept.key, tuple(kept.results))
    paired_panel.show(compared, titles[title], key="evaluation_folder_pairs")
    predictions = {name: each.predictions for name, each in kept.results.items()}
    paired_panel.show_disagreements(predictions, key="evaluation_folder_disagree")


def _export(kept: "Evaluation", checkpoints: Sequence[Checkpoint]) -> None:
    """The zip is made on the click: it takes some seconds."""
    here = [each for each in checkpoints if kept.weights.get(each.name) == each.card["weights_sha256"]]
    if not here:
        return

    def make() -> bytes:
        from kidney_core.reports import export

        evaluated = {each.name: kept.results[each.name].predictions for each in here}
        outcomes = {f"{each.name}/outcomes.csv": tables.csv_bytes(kept.results[each.name].outcomes) for each in here}
        return export.export_folder(here, evaluated, outcomes)

    st.download_button(
        "Export everything (ZIP)",
        make,
        "kidney-ct-own-folder.zip",
        "application/zip",
        key="evaluation_folder_export",
        help="Predictions, outcomes, charts (SVG), an HTML report, paired tests and cards. `kidney-ct report-check ZIP` recomputes all "
        "numbers.",
        on_click="ignore",
    )
