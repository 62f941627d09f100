"""A confusion matrix with its report, and the slices behind a selected cell."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from kidney_core.app import charts, formatting, loading, markdown, opened_slice, path_inputs, tables
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import allowed_paths, spreadsheet
from kidney_core.common.errors import KidneyError, PathError
from kidney_core.imaging import rendering
from kidney_core.metrics import chart_text, echarts, number_format
from kidney_core.metrics.predictions import Predictions

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Predictor

MAX_PICTURES = 8
HOW_TO_READ_MATRIX = (
    "Rows are true labels, columns predicted ones; each cell shows the count and its percentage of the row. Select a cell to "
    "see its slices."
)
_NO_INTERVAL = (
    "because a class has too few scans (fewer than five, or one holds most of its slices) or all resamples agree"
)
HOW_TO_READ_REPORT = f"In brackets: 95 % confidence interval from resampling whole scans; none {_NO_INTERVAL}."


def show_headline(
    metrics: dict[str, Any], intervals: dict[str, list[float | None]], *, tested: str = "Test slices"
) -> None:
    """Accuracy and balanced accuracy with their intervals, and the number of tested slices, or scans."""
    show_values(metrics, tested=tested)
    show_intervals(intervals)


def show_values(metrics: dict[str, Any], *, tested: str = "Test slices") -> None:
    """Accuracy, balanced accuracy and the number of tested slices: as high in every column of a page."""
    accuracy, balanced, count = st.columns(3)
    accuracy.metric("Accuracy", number_format.percent(metrics["accuracy"]))
    balanced.metric("Balanced accuracy", number_format.percent(metrics["balanced_accuracy"]))
    count.metric(markdown.text(tested), f"{metrics['n']:,}")


def show_intervals(intervals: dict[str, list[float | None]]) -> None:
    """The intervals of the two accuracies in a line, or why there is none."""
    parts = []
    for name, title in (("accuracy", "accuracy"), ("balanced_accuracy", "balanced accuracy")):
        low, high = intervals.get(name, (None, None))
        parts.append(f"{title} {number_format.percent_range(low, high) if low is not None else 'none'}")
    why = f" None: {_NO_INTERVAL}." if any(part.endswith("none") for part in parts) else ""
    st.caption(formatting.nonbreaking(f"95 % interval: {', '.join(parts)}.{why}"))


def show_matrix(metrics: dict[str, Any], predictions: Predictions | None, *, key: str) -> Predictions | None:
    """The confusion matrix; the predictions behind the selected cell, or None."""
    labels = metrics["labels"]
    selected = charts.draw(
        echarts.confusion_options(metrics["confusion"], labels),
        f"Confusion matrix. {chart_text.confusion(metrics['confusion'], labels)}",
        key=f"{key}_matrix",
        height=76 * len(labels) + 60,
        on_select="rerun",
    )
    by_keys = charts.show_numbers(
        chart_text.confusion_table(metrics["confusion"], labels),
        key=f"{key}_matrix",
        on_select="rerun",
        selection_mode="single-cell",
    )
    cell = _cell_in_table(by_keys, labels) or echarts.selected_cell(selected, labels)
    if cell is None or predictions is None:
        return None
    y_true, y_pred = map(predictions.labels.index, cell)
    return predictions.subset((predictions.y_true == y_true) & (predictions.y_pred == y_pred))


def _cell_in_table(state: Any, labels: list[str]) -> tuple[str, str] | None:
    """(true label, predicted label) of the cell that is selected in the table of the counts, or None."""
    for row, column in state["selection"]["cells"]:
        if column in labels:
            return labels[row], column
    return None


def show_report(
    metrics: dict[str, Any], predictions: Predictions | None, intervals: dict[str, list[float | None]], *, key: str
) -> None:
    """The classification report with its intervals, and the downloads."""
    from kidney_core.metrics import evaluation

    st.table(markdown.cells(number_format.report_with_intervals(metrics, intervals)))
    left, right = st.columns(2)
    report = tables.csv_bytes(evaluation.report_table(metrics), index=True)
    left.download_button(
        "Report (CSV)", report, f"{key}-report.csv", "text/csv", key=f"{key}_report_csv", on_click="ignore"
    )
    if predictions is not None:
        right.download_button(
            "Predictions (CSV)",
            spreadsheet.escape_csv(predictions.csv_bytes()),
            f"{key}-predictions.csv",
            "text/csv",
            key=f"{key}_predictions_csv",
            on_click="ignore",
        )


def show_cell(
    checkpoint: Checkpoint, predictions: Predictions, *, key: str, where: str, same_network: bool, images: str = ""
) -> None:
    """The slices behind a cell of a confusion matrix.

    Args:
        images: folder of the slices; empty where it is not known.
        where: what was tested, such as "unseen scans".
        same_network: the predictions are those of the checkpoint's own weights, so its heatmaps explain them.
    """
    if not len(predictions):
        st.info(f"No slice is in that cell ({markdown.text(where)}).")
        return
    true, predicted = predictions.table["label"].iat[0], predictions.table["predicted"].iat[0]
    with st.container(border=True, key=f"{key}_behind_cell"):
        what = markdown.text(f"{true} predicted {predicted} ({where})")
        st.markdown(f"## {formatting.quantity(len(predictions), 'slice')} of {what}")
        show_slices_behind(checkpoint, predictions, key=f"{key}_cell", same_network=same_network, images=images)


def show_slices_behind(
    checkpoint: Checkpoint, predictions: Predictions, *, key: str, same_network: bool, images: str = ""
) -> None:
    """A table of slices and, where their folder is known, their pictures with heatmaps."""
    rows = predictions.table
    shown = rows[["path", "label", "predicted"]].assign(confidence=predictions.confidence)
    if "series" in rows:
        shown.insert(1, "series", rows["series"])
        # The most confident slice of each scan first: its neighbours look the same.
        shown["nth"] = shown.groupby("series")["confidence"].rank(method="first", ascending=False)
        shown = shown.sort_values(["nth", "confidence"], ascending=[True, False]).drop(columns="nth")
    else:
        shown = shown.sort_values("confidence", ascending=False)
    tables.show_table(shown, key=f"{key}_table", percents=("confidence",), height="auto" if len(shown) < 8 else 240)
    folder = path_inputs.path_input(
        "To see them, enter the folder of these images",
        images or st.session_state.get("evaluation_images", ""),
        key=f"{key}_images_{images}",  # with another folder, another field: what was typed for the last one would stay
        placeholder="/data/ct-kidney",
        help="On this machine. The images stay there.",
    )
    if not folder or not len(shown):
        return
    try:
        _check_folder(Path(folder), list(shown["path"].head(MAX_PICTURES)), checkpoint, is_given=bool(images))
        if not images:
            st.session_state["evaluation_images"] = folder
        predictor = loading.predictor(checkpoint) if same_network else None
        _show_pictures(shown.head(MAX_PICTURES), Path(folder), predictor, key=key)
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    explained = (
        "Heatmaps of the predicted label."
        if same_network
        else "No heatmaps: these predictions were made by other networks of the same recipe, which are not in this checkpoint."
    )
    n_left_out = len(shown) - MAX_PICTURES
    st.caption(explained + (f" {n_left_out:,} more in the table." if n_left_out > 0 else ""))


def _check_folder(folder: Path, paths: list[str], checkpoint: Checkpoint, *, is_given: bool) -> None:
    """Raise PathError where a folder does not hold these images.

    Args:
        is_given: the folder is the one that was evaluated, not one that the user typed.
    """
    from kidney_core.imaging import stack

    if not folder.is_dir():
        raise PathError(f"There is no folder “{folder}”. Enter the one that holds {paths[0]}.")
    files = [stack.file_and_frame(path)[0] for path in paths]
    missing = [path for path in files if not allowed_paths.file_below(folder, path).is_file()]
    if missing:
        name = "" if is_given else f", “{checkpoint.card['data'].get('name', 'unknown')}”"
        raise PathError(f"“{folder}” does not hold {missing[0]}. Enter the folder that was tested{name}.")


def _show_pictures(shown: pd.DataFrame, folder: Path, predictor: "Predictor | None", *, key: str) -> None:
    """The slices of a table in four columns; with heatmaps where a predictor is given."""
    from kidney_core.diagnosis import inference
    from kidney_core.imaging import slices, stack

    columns = st.columns(4)
    rows = zip(shown["path"], shown["label"], shown["predicted"], shown["confidence"], strict=True)
    for position, (path, label, predicted, confidence) in enumerate(rows):
        file, frame = stack.file_and_frame(path)
        image = slices.read_slice(allowed_paths.file_below(folder, file), frame=frame)
        heatmap = inference.diagnose(predictor, image, explain=predicted).heatmap if predictor else None
        columns[position % 4].image(
            rendering.blend(image.grey8(), heatmap),
            caption=f"{markdown.text(label)}, predicted {markdown.text(predicted)} ({number_format.percent(confidence, 0)})",
            width="stretch",
            alt=f"CT slice with a heatmap of {predicted}" if predictor else "CT slice",
        )
        with columns[position % 4]:
            opened_slice.open_button(str(folder), path, key=f"{key}_open_{position}")
