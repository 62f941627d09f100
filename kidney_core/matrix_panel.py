"""A confusion matrix with its report, and the slices behind a selected cell."""

from pathlib import Path

import pandas as pd
import streamlit as st

from kidney_core import figures, pictures, roots, ui
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import KidneyError

MAX_PICTURES = 8
HOW_TO_READ_MATRIX = (
    "A row is what the slices are, a column what the model said; each cell gives the count and its share of the row. "
    "Select a cell to open the slices behind it."
)
_NO_INTERVAL = "as a class has fewer than five series or all of them agree"
HOW_TO_READ_REPORT = f"In brackets, the 95 % interval by resampling whole series; none, {_NO_INTERVAL}."


def show_headline(found: dict, intervals: dict[str, list[float | None]], *, tested: str = "Test slices") -> None:
    """Accuracy and balanced accuracy with their intervals, and how many slices, or series, were tested."""
    accuracy, balanced, count = st.columns(3)
    for column, name, title in (
        (accuracy, "accuracy", "Accuracy"),
        (balanced, "balanced_accuracy", "Balanced accuracy"),
    ):
        column.metric(title, figures.percent(found[name]))
        low, high = intervals.get(name, (None, None))
        column.caption(
            f"95 %: {figures.percent_range(low, high)}" if low is not None else f"95 %: none, {_NO_INTERVAL}"
        )
    count.metric(tested, f"{found['n']:,}")


def show_matrix(found: dict, predictions: pd.DataFrame | None, *, key: str) -> pd.DataFrame | None:
    """The confusion matrix; the predictions behind the selected cell, or None."""
    selected = st.echarts_chart(
        figures.confusion_options(found["confusion"], found["labels"]),
        height=76 * len(found["labels"]) + 60,
        key=f"{key}_matrix",
        on_select="rerun",
        alt="Confusion matrix; the report below holds its rates",
    )
    cell = figures.selected_cell(selected, found["labels"])
    if cell is None or predictions is None:
        return None
    true, said = cell
    return predictions[(predictions["label"] == true) & (predictions["predicted"] == said)]


def show_report(
    found: dict, predictions: pd.DataFrame | None, intervals: dict[str, list[float | None]], *, key: str
) -> None:
    """The classification report with its intervals, and the downloads."""
    from kidney_core import evaluation

    st.table(figures.report_with_intervals(found, intervals))
    left, right = st.columns(2)
    report = ui.csv_bytes(evaluation.report_table(found), index=True)
    left.download_button(
        "Report (CSV)", report, f"{key}-report.csv", "text/csv", key=f"{key}_report_csv", on_click="ignore"
    )
    if predictions is not None:
        right.download_button(
            "Predictions (CSV)",
            ui.csv_bytes(predictions),
            f"{key}-predictions.csv",
            "text/csv",
            key=f"{key}_predictions_csv",
            on_click="ignore",
        )


def show_cell(
    checkpoint: Checkpoint, rows: pd.DataFrame, *, key: str, where: str, same_network: bool, images: str = ""
) -> None:
    """The slices behind a cell of a confusion matrix.

    Args:
        images: folder of the slices, where it is known.
        same_network: the answers are those of the checkpoint's own weights, so its maps explain them.
    """
    if rows.empty:
        st.info(f"No slice is in that cell ({where}).")
        return
    true, said = rows["label"].iat[0], rows["predicted"].iat[0]
    with st.container(border=True):
        st.markdown(f"##### {ui.counted(len(rows), 'slice')} of {true} called {said} ({where})")
        show_slices_behind(checkpoint, rows, key=f"{key}_cell", same_network=same_network, images=images)


def show_slices_behind(
    checkpoint: Checkpoint, rows: pd.DataFrame, *, key: str, same_network: bool, images: str = ""
) -> None:
    """A table of slices and, where the folder is known or named, their pictures, with the evidence laid over."""
    from kidney_core import evaluation

    shown = rows[["path", "label", "predicted"]].assign(confidence=evaluation.probabilities_of(rows).max(axis=1))
    if "series" in rows:
        shown.insert(1, "series", rows["series"])
        # The surest slice of each scan first: its neighbours look the same.
        shown["nth"] = shown.groupby("series")["confidence"].rank(method="first", ascending=False)
        shown = shown.sort_values(["nth", "confidence"], ascending=[True, False]).drop(columns="nth")
    else:
        shown = shown.sort_values("confidence", ascending=False)
    ui.show_table(shown, key=f"{key}_table", percents=("confidence",), height="auto" if len(shown) < 8 else 240)
    folder = ui.path_input(
        "Folder of these images, to see them",
        images or st.session_state.get("evaluation_images", ""),
        key=f"{key}_images",
        placeholder="/data/ct-kidney",
        help="It stays on this machine.",
    )
    if not folder or not len(shown):
        return
    from kidney_core import diagnosis, slices

    if not Path(folder).is_dir():
        st.error(f"There is no folder “{folder}”. Name the one that holds {rows['path'].iat[0]}.")
        return
    shown_first = shown.head(MAX_PICTURES)
    try:
        missing = [path for path in shown_first["path"] if not roots.below(Path(folder), path).is_file()]
    except KidneyError as error:
        st.error(str(error))
        return
    if missing:
        st.error(
            f"“{folder}” does not hold {missing[0]}. Name the folder that these answers are about"
            + ("." if images else f", “{checkpoint.card['data'].get('name', 'unknown')}”.")
        )
        return
    if not images:
        st.session_state["evaluation_images"] = folder
    try:
        reader = ui.reader(checkpoint) if same_network else None
        columns = st.columns(4)
        for position, row in enumerate(shown_first.itertuples()):
            image = slices.read_slice(roots.below(Path(folder), row.path))
            heatmap = diagnosis.diagnose(reader, image, explain=row.predicted).heatmap if reader else None
            columns[position % 4].image(
                pictures.blend(image.grey8(), heatmap),
                caption=f"{row.label}, called {row.predicted} ({figures.percent(row.confidence, 0)})",
                width="stretch",
            )
    except KidneyError as error:
        st.error(str(error))
        return
    left_out = len(shown) - MAX_PICTURES
    st.caption(
        (
            "Grad-CAM of the label the model named."
            if same_network
            else "No maps: these answers were given by other networks of the same recipe, which are not in this checkpoint."
        )
        + (f" {left_out:,} more are in the table." if left_out > 0 else "")
    )
