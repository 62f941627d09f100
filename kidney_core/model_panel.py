"""One model in depth: matrix and report under both protocols, curves, calibration, abstaining, errors, series."""

from pathlib import Path

import pandas as pd
import streamlit as st

from kidney_core import figures, pictures, ui
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import KidneyError
from kidney_core.splits import GROUPED, PROTOCOL_NAMES, PROTOCOL_TITLES, RANDOM

MAX_PICTURES = 8
HOW_TO_READ = {
    "matrix": "A row is what the slices are, a column what the model said; each cell gives the count and its share of "
    "the row. Select a cell to open the slices behind it.",
    "report": "In brackets, the 95 % interval by resampling whole series, where a class has five or more of them.",
    "roc": "The higher the curve, the better the class is told from the rest; the dotted diagonal is guessing.",
    "precision_recall": "How many alarms are right, over how many cases are found; dotted, the share of the class.",
    "calibration": "On the diagonal, 80 % sure means right 80 % of the time; below it, the model is too sure of itself.",
    "abstaining": "Withhold the answers below a confidence: fewer slices are answered, and fewer answers are wrong.",
    "errors": "The wrong answers the model was surest of: look here for wrong labels and for what it cannot see.",
    "series": "The mean over a scan's slices answers for the scan, which is what a patient has.",
    "training": "The wider the gap between training and validation, the more the model learned its scans by heart.",
}


def draw(checkpoint: Checkpoint) -> None:
    """Draw the chosen panel of a checkpoint."""
    panels = {
        "Matrix and report": _matrices,
        "Curves": _curves,
        "Calibration": _calibration,
        "Abstaining": _abstaining,
        "Worst errors": _worst_errors,
        "Series": _series,
        "Training": _training,
        "Model card": _card,
    }
    picked = st.segmented_control(
        "Panel",
        list(panels),
        default="Matrix and report",
        required=True,
        key="evaluation_panel",
        label_visibility="collapsed",
    )
    panels[picked](checkpoint)


def _matrices(checkpoint: Checkpoint) -> None:
    st.caption("How to read this. " + HOW_TO_READ["matrix"] + " " + HOW_TO_READ["report"])
    opened = {}
    for column, protocol in zip(st.columns(2, gap="large"), (checkpoint.honest or GROUPED, RANDOM), strict=True):
        with column:
            st.markdown(f"#### {PROTOCOL_TITLES[protocol].capitalize()}")
            found = checkpoint.figures(protocol)
            if found is None:
                st.info(
                    "This checkpoint was not measured under this protocol. Train it with both, then publish the pair."
                )
                continue
            described = checkpoint.card["split"][protocol]
            st.caption(
                f"{figures.percent(described['shared_series_fraction'], 0)} of the test slices have other slices of the "
                f"same scan in training; {described['test_series']} series were tested."
            )
            predictions = ui.predictions(checkpoint, protocol)
            key = f"{checkpoint.name}-{protocol}"
            opened[protocol] = show_figures(found, predictions, checkpoint.intervals(protocol), key=key)
    for protocol, rows in opened.items():
        if rows is not None:
            show_cell(
                checkpoint,
                rows,
                key=f"{checkpoint.name}-{protocol}",
                where=PROTOCOL_NAMES[protocol],
                same_network=_is_of_these_weights(checkpoint, protocol),
            )


def show_figures(
    found: dict, predictions: pd.DataFrame | None, intervals: dict[str, list[float | None]], *, key: str
) -> pd.DataFrame | None:
    """One confusion matrix with its report and downloads; the predictions behind the selected cell, or None."""
    from kidney_core import evaluation

    for column, name, title in zip(
        st.columns(3),
        ("accuracy", "balanced_accuracy", None),
        ("Accuracy", "Balanced accuracy", "Test slices"),
        strict=True,
    ):
        if name is None:
            column.metric(title, f"{found['n']:,}")
            continue
        column.metric(title, figures.percent(found[name]))
        low, high = intervals.get(name, (None, None))
        column.caption(
            f"95 %: {figures.percent_range(low, high)}" if low is not None else "too few scans for an interval"
        )
    selected = st.echarts_chart(
        figures.confusion_options(found["confusion"], found["labels"], dark=ui.is_dark()),
        height=90 * len(found["labels"]) + 60,
        key=f"{key}_matrix",
        on_select="rerun",
        alt="Confusion matrix; the report below holds its rates",
    )
    st.table(figures.report_with_intervals(found, intervals))
    left, right = st.columns(2)
    report = ui.csv_bytes(evaluation.report_table(found), index=True)
    left.download_button("Report (CSV)", report, f"{key}-report.csv", "text/csv", key=f"{key}_report_csv")
    if predictions is None:
        return None
    right.download_button(
        "Predictions (CSV)",
        ui.csv_bytes(predictions),
        f"{key}-predictions.csv",
        "text/csv",
        key=f"{key}_predictions_csv",
    )
    cell = figures.selected_cell(selected, found["labels"])
    if cell is None:
        return None
    true, said = cell
    return predictions[(predictions["label"] == true) & (predictions["predicted"] == said)]


def show_cell(checkpoint: Checkpoint, rows: pd.DataFrame, *, key: str, where: str, same_network: bool) -> None:
    """The slices behind a cell of a confusion matrix.

    Args:
        same_network: the answers are those of the checkpoint's own weights, so its maps explain them.
    """
    if rows.empty:
        st.info(f"No slice is in that cell ({where}).")
        return
    true, said = rows["label"].iat[0], rows["predicted"].iat[0]
    st.markdown(f"##### {ui.counted(len(rows), 'slice')} of {true} called {said} ({where})")
    _slices_behind(checkpoint, rows, key=f"{key}_cell", same_network=same_network)


def _is_of_these_weights(checkpoint: Checkpoint, protocol: str) -> bool:
    """True where the stored answers were given by the weights that ship, not by another network of the recipe."""
    return checkpoint.card["training"].get("protocol") == protocol


def _slices_behind(checkpoint: Checkpoint, rows: pd.DataFrame, *, key: str, same_network: bool) -> None:
    """A table of slices and, where the user names the folder, their pictures, with the evidence laid over."""
    from kidney_core import evaluation

    shown = rows[["path", "label", "predicted"]].assign(confidence=evaluation.probabilities_of(rows).max(axis=1))
    if "series" in rows:
        shown.insert(1, "series", rows["series"])
        # The surest slice of each scan first: its neighbours look the same.
        shown["nth"] = shown.groupby("series")["confidence"].rank(method="first", ascending=False)
        shown = shown.sort_values(["nth", "confidence"], ascending=[True, False]).drop(columns="nth")
    else:
        shown = shown.sort_values("confidence", ascending=False)
    percent = {"confidence": st.column_config.NumberColumn(format="percent")}
    st.dataframe(
        shown, hide_index=True, column_config=percent, height="auto" if len(shown) < 8 else 240, key=f"{key}_table"
    )
    folder = st.text_input(
        "Folder of these images, to see them",
        st.session_state.get("evaluation_images", ""),
        key=f"{key}_images",
        placeholder="/data/ct-kidney",
        help="It stays on this machine.",
    ).strip()
    if not folder or not len(shown):
        return
    from kidney_core import diagnosis, slices

    if not Path(folder).is_dir():
        st.error(f"There is no folder “{folder}”. Name the one that holds {rows['path'].iat[0]}.")
        return
    st.session_state["evaluation_images"] = folder
    try:
        reader = ui.reader(checkpoint) if same_network else None
        columns = st.columns(4)
        for position, row in enumerate(shown.head(MAX_PICTURES).itertuples()):
            image = slices.read_slice(Path(folder) / row.path)
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


def _choose_measured(checkpoint: Checkpoint) -> tuple[str, pd.DataFrame] | None:
    """Which predictions the panel is about."""
    protocol = ui.choose_measured([checkpoint], "evaluation_measured")
    if protocol is None:
        return None
    predictions = ui.predictions(checkpoint, protocol)
    if predictions is None:
        st.info("The checkpoint's folder holds no predictions of this protocol. Copy the whole folder again.")
        return None
    if protocol == RANDOM:
        st.warning("Random split: slices of the same scans were in training. These figures measure memory.")
    return protocol, predictions


def _curves(checkpoint: Checkpoint) -> None:
    from kidney_core import curve_figures

    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    left, right = st.columns(2, gap="large")
    for column, draw_figure, name in (
        (left, curve_figures.roc_figure, "roc"),
        (right, curve_figures.precision_recall_figure, "precision_recall"),
    ):
        with column:
            st.plotly_chart(draw_figure(chosen[1]), key=f"evaluation_{name}")
            st.caption("How to read this. " + HOW_TO_READ[name])


def _calibration(checkpoint: Checkpoint) -> None:
    from kidney_core import calibration, curve_figures, evaluation

    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    predictions = chosen[1]
    probabilities, y = evaluation.probabilities_of(predictions), evaluation.true_positions(predictions)
    found = {"calibrated": calibration.reliability(probabilities, y)}
    if "temperature" in predictions:
        raw = calibration.calibrate(probabilities, 1 / predictions["temperature"].to_numpy()[:, None])
        found = {"before calibration": calibration.reliability(raw, y), **found}
    st.plotly_chart(curve_figures.reliability_figure(found), key="evaluation_reliability")
    fitted = (
        "The temperature was fitted on validation slices, never on these."
        if _has_validation(checkpoint)
        else "There was no validation part, so no temperature was fitted."
    )
    st.caption(f"How to read this. {HOW_TO_READ['calibration']} ECE is the mean distance from the diagonal. {fitted}")


def _has_validation(checkpoint: Checkpoint) -> bool:
    return bool(checkpoint.card["training"].get("validation_fraction"))


def _abstaining(checkpoint: Checkpoint) -> None:
    from kidney_core import calibration, curve_figures, evaluation

    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    predictions = chosen[1]
    found = calibration.risk_coverage(evaluation.probabilities_of(predictions), evaluation.true_positions(predictions))
    threshold = st.slider("Answer from this confidence", 0.0, 1.0, 0.5, 0.01, key="evaluation_threshold")
    coverage, risk = found.at(threshold)
    answered, wrong, whole = st.columns(3)
    answered.metric("Slices answered", figures.percent(coverage))
    wrong.metric("Of the answers wrong", figures.percent(risk) if coverage else "–")
    whole.metric("Wrong without abstaining", figures.percent(float(found.risk[-1])))
    st.plotly_chart(curve_figures.risk_coverage_figure(found, threshold), key="evaluation_risk")
    st.caption("How to read this. " + HOW_TO_READ["abstaining"])


def _worst_errors(checkpoint: Checkpoint) -> None:
    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    wrong = chosen[1][chosen[1]["label"] != chosen[1]["predicted"]]
    st.markdown(f"{len(wrong):,} of {len(chosen[1]):,} slices are called wrongly.")
    st.caption("How to read this. " + HOW_TO_READ["errors"])
    if len(wrong):
        same_network = _is_of_these_weights(checkpoint, chosen[0])
        _slices_behind(checkpoint, wrong, key="evaluation_worst", same_network=same_network)


def _series(checkpoint: Checkpoint) -> None:
    from kidney_core import evaluation

    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    table = evaluation.per_series(chosen[1])
    found = evaluation.figures(table)
    accuracy, balanced, count = st.columns(3)
    accuracy.metric("Accuracy per series", figures.percent(found["accuracy"]))
    balanced.metric("Balanced accuracy per series", figures.percent(found["balanced_accuracy"]))
    count.metric("Series", f"{found['n']:,}")
    st.caption("How to read this. " + HOW_TO_READ["series"])
    columns = [name for name in table.columns if name.startswith(evaluation.PROBABILITY_PREFIX)]
    percents = {
        name: st.column_config.NumberColumn(name.removeprefix(evaluation.PROBABILITY_PREFIX), format="percent")
        for name in columns
    }
    table = table.assign(right=table["label"] == table["predicted"])
    st.dataframe(table, hide_index=True, column_config=percents, key="evaluation_series")
    st.download_button("Series (CSV)", ui.csv_bytes(table), f"{checkpoint.name}-series.csv", "text/csv")


def _training(checkpoint: Checkpoint) -> None:
    curves = {checkpoint.name: checkpoint.card.get("curves", [])}
    if not curves[checkpoint.name]:
        st.info("The card holds no training curves.")
        return
    for column, quantity in zip(st.columns(2), ("loss", "accuracy"), strict=True):
        with column:
            st.echarts_chart(figures.curve_options(curves, quantity), height=340, key=f"evaluation_{quantity}")
    solid = "validation" if _has_validation(checkpoint) else "the test part, as there was no validation part"
    st.caption(f"Solid: {solid}. Dashed: training. How to read this. {HOW_TO_READ['training']}")


def _card(checkpoint: Checkpoint) -> None:
    card = checkpoint.card
    st.markdown(f"**Intended use.** {card['intended_use']}")
    st.markdown("**Limits**\n" + "\n".join(f"- {limit}" for limit in card["limits"]))
    st.markdown("**Trained with**")
    st.code(card["command"], language="bash", wrap_lines=True)
    shown = ("data", "split", "preprocessing", "temperature", "software", "created")
    st.json({key: card[key] for key in shown if key in card}, expanded=1)
