"""Evaluation: what each checkpoint is worth, under both protocols, and beside the paper."""

from pathlib import Path

import pandas as pd
import streamlit as st

from kidney_core import figures, paper, ui
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import KidneyError
from kidney_core.splits import GROUPED, PROTOCOL_NAMES, PROTOCOL_TITLES, PROTOCOLS, RANDOM

ui.start_page(
    "Evaluation",
    "📊",
    "Every figure carries its protocol: **random split**, as in the paper, and **scans never seen**, as for a new patient.",
)

OVERALL = {
    "Accuracy": lambda found: found["accuracy"],
    "Balanced accuracy": lambda found: found["balanced_accuracy"],
    "Macro F1": lambda found: found["macro"]["f1"],
    "Weighted F1": lambda found: found["weighted"]["f1"],
}


def measures(labels: list[str]) -> dict:
    recalls = {f"Recall of {label}": lambda found, label=label: found["per_label"][label]["recall"] for label in labels}
    return OVERALL | recalls


def compare(chosen: list[Checkpoint]) -> None:
    labels = sorted(set.intersection(*(set(checkpoint.labels) for checkpoint in chosen)))
    offered = measures(labels)
    name = st.selectbox("Compare by", list(offered), key="evaluation_measure")
    rows, table = [], []
    for checkpoint in chosen:
        for protocol in PROTOCOLS:
            found = checkpoint.figures(protocol)
            if not found:
                continue
            rows.append((checkpoint.name, protocol, offered[name](found)))
            row = {"Checkpoint": checkpoint.name, "Protocol": PROTOCOL_NAMES[protocol]}
            row |= {title: measure(found) for title, measure in OVERALL.items()}
            table.append(row | {name: offered[name](found)})
    st.plotly_chart(figures.protocol_bars(rows, title=name.lower()), config={"displayModeBar": False})
    shown = pd.DataFrame(table)
    numbers = {title: st.column_config.NumberColumn(format="percent") for title in shown.columns[2:]}
    st.dataframe(shown, hide_index=True, column_config=numbers)
    st.download_button("Download the comparison (CSV)", ui.csv_bytes(shown), "comparison.csv", "text/csv")
    st.caption(
        "One grouped split tests a handful of scans per class: another split moves these figures by several points. "
        "Read differences between models with that in mind."
    )


def show_figures(found: dict, predictions: pd.DataFrame | None, *, key: str) -> None:
    """One confusion matrix with its report and downloads."""
    from kidney_core import evaluation

    accuracy, balanced, count = st.columns(3)
    accuracy.metric("Accuracy", figures.percent(found["accuracy"]))
    balanced.metric("Balanced accuracy", figures.percent(found["balanced_accuracy"]))
    count.metric("Test slices", f"{found['n']:,}")
    st.plotly_chart(
        figures.confusion_heatmap(found["confusion"], found["labels"]),
        config={"displayModeBar": False},
        key=f"{key}_matrix",
    )
    report = evaluation.report_table(found)
    titles = {"precision": "Precision", "recall": "Recall", "f1": "F1", "roc_auc": "ROC AUC"}
    rates = {name: st.column_config.NumberColumn(title, format="%.3f") for name, title in titles.items()}
    rates["support"] = st.column_config.NumberColumn("Slices")
    st.dataframe(report, column_config=rates, key=f"{key}_report")
    left, right = st.columns(2)
    left.download_button(
        "Report (CSV)", ui.csv_bytes(report, index=True), f"{key}-report.csv", "text/csv", key=f"{key}_report_csv"
    )
    if predictions is not None:
        right.download_button(
            "Predictions (CSV)",
            ui.csv_bytes(predictions),
            f"{key}-predictions.csv",
            "text/csv",
            key=f"{key}_predictions_csv",
        )


def one_model(chosen: list[Checkpoint]) -> None:
    checkpoint = chosen[0]
    if len(chosen) > 1:
        checkpoint = st.selectbox("Checkpoint", chosen, format_func=ui.describe, key="evaluation_one")
    st.caption(
        "How to read the matrix: a row is what the slices are, a column what the model said; each cell gives the count and its share of the row."
    )
    for column, protocol in zip(st.columns(2, gap="large"), (GROUPED, RANDOM), strict=True):
        with column:
            st.markdown(f"#### {PROTOCOL_TITLES[protocol].capitalize()}")
            found = checkpoint.figures(protocol)
            if found is None:
                st.info(
                    "This checkpoint was not measured under this protocol. Train it with both, then publish the pair."
                )
                continue
            leak = checkpoint.card["split"][protocol]["shared_series_fraction"]
            st.caption(f"{figures.percent(leak, 0)} of the test slices have other slices of the same scan in training.")
            show_figures(found, ui.predictions(checkpoint, protocol), key=f"{checkpoint.name}-{protocol}")
    with st.expander("Model card"):
        card = checkpoint.card
        st.markdown(f"**Intended use.** {card['intended_use']}")
        st.markdown("**Limits**\n" + "\n".join(f"- {limit}" for limit in card["limits"]))
        st.markdown(f"**Trained with** `{card['command']}`")
        st.json(
            {key: card[key] for key in ("data", "split", "preprocessing", "temperature", "software", "created")},
            expanded=1,
        )


def beside_paper(chosen: list[Checkpoint]) -> None:
    st.markdown(f"Precision / recall / F1 on test slices. Paper: Table 1 of *{paper.TITLE}*.")
    rows = []
    for checkpoint in chosen:
        architecture = checkpoint.card["architecture"]
        name = figures.model_name(architecture)
        printed = paper.TABLE_1.get(architecture)
        if printed:
            cells = {column: paper.cell(printed[column]) for column in paper.COLUMNS}
            rows.append(
                {"Model": name, "Source": "paper, random split", **cells, "accuracy": f"{printed['accuracy']:.2f}"}
            )
        for protocol in PROTOCOLS:
            found = checkpoint.figures(protocol)
            if found:
                source = f"{checkpoint.name}, {PROTOCOL_NAMES[protocol]}"
                rows.append(
                    {"Model": name, "Source": source, **paper.cells(found), "accuracy": f"{found['accuracy']:.2f}"}
                )
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    st.caption(
        "Compare the paper with our random split. The rows “scans never seen” answer another question, the one a "
        "hospital asks."
    )


def on_folder(chosen: list[Checkpoint]) -> None:
    st.markdown("Evaluate a checkpoint on any labelled folder of this machine: one folder of images per class.")
    with st.form("evaluation_folder_form"):
        folder = st.text_input("Folder", placeholder="/data/ct-kidney", key="evaluation_folder")
        checkpoint = st.selectbox("Checkpoint", chosen, format_func=ui.describe, key="evaluation_folder_model")
        asked = st.form_submit_button("Evaluate", type="primary")
    if asked:
        if not folder.strip():
            st.error("Name a folder first.")
            return
        from kidney_core import dataset, prediction

        try:
            found = dataset.read_dataset(Path(folder.strip()), progress=ui.progress_bar("Reading images"))
            table = prediction.predict_dataset(checkpoint, found, progress=ui.progress_bar("Predicting"))
        except KidneyError as error:
            st.error(str(error))
            return
        trained_on = checkpoint.trained_on()
        seen = float(found.table["sha256"].map(dataset.short_hash).isin(trained_on).mean())
        st.session_state["evaluation_result"] = (checkpoint.name, found.root.name, table, found.unreadable, seen)
    if "evaluation_result" not in st.session_state:
        return
    from kidney_core import evaluation

    name, root, table, unreadable, seen = st.session_state["evaluation_result"]
    st.markdown(f"#### {name} on “{root}”")
    if seen:
        st.warning(
            f"{figures.percent(seen, 0)} of these files were trained on: for them, the figures below measure memory, not "
            "diagnosis."
        )
    if unreadable:
        with st.expander(f"{len(unreadable)} files could not be read"):
            st.dataframe(pd.DataFrame(unreadable, columns=["File", "Reason"]), hide_index=True)
    show_figures(evaluation.figures(table), table, key=f"{name}-folder")


def main() -> None:
    checkpoints = ui.usable_checkpoints()
    if not checkpoints:
        return
    chosen = st.multiselect(
        "Checkpoints", checkpoints, default=checkpoints, format_func=ui.describe, key="evaluation_checkpoints"
    )
    if not chosen:
        st.info("Choose at least one checkpoint.")
        return
    panels = {"Comparison": compare, "One model": one_model, "Beside the paper": beside_paper, "Your folder": on_folder}
    picked = st.segmented_control(
        "View", list(panels), default="Comparison", required=True, key="evaluation_view", label_visibility="collapsed"
    )
    panels[picked](chosen)


main()
