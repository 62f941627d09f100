"""Evaluation: what each checkpoint is worth, under both protocols, and beside the paper."""

from pathlib import Path

import pandas as pd
import streamlit as st

from kidney_core import comparison_panel, figures, matrix_panel, model_panel, paper, recording, ui
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import KidneyError
from kidney_core.labels import LABELS
from kidney_core.splits import MEASURED, PROTOCOL_NAMES

ui.start_page(
    "Evaluation",
    "📊",
    "Every figure carries its protocol: **random split**, as in the paper, and **scans never seen**, as for a new patient.",
)

_BY_FOLDER = "the class folders' names"


def one_model(chosen: list[Checkpoint]) -> None:
    checkpoint = chosen[0]
    if len(chosen) > 1:
        checkpoint = ui.choose_checkpoint("Checkpoint", chosen, key="evaluation_one")
    model_panel.draw(checkpoint)


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
        for protocol in MEASURED:
            found = checkpoint.figures(protocol)
            if found:
                source = f"{checkpoint.name} ({_taught(checkpoint)}), {PROTOCOL_NAMES[protocol]}"
                rows.append(
                    {"Model": name, "Source": source, **paper.cells(found), "accuracy": f"{found['accuracy']:.2f}"}
                )
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    st.caption(
        "How to read this. The paper's rows are of its own recipe; each checkpoint is of the recipe in brackets, and only one of "
        "`paper`, from ImageNet weights at 224 px, is the same experiment under the random split (the README has those). The "
        "rows “scans never seen” answer another question, the one a hospital asks."
    )


def _taught(checkpoint: Checkpoint) -> str:
    """Recipe, image size and start of a checkpoint, in a few words."""
    asked = checkpoint.card["training"]
    start = "random weights" if asked.get("init") == "scratch" else "pretrained"
    return f"{asked.get('recipe', 'recipe unknown')}, {checkpoint.size_px} px, {start}"


def on_folder(chosen: list[Checkpoint]) -> None:
    st.markdown(
        "Evaluate a checkpoint on any labelled folder of this machine: one folder of images per class, some of the classes, "
        "or one class alone."
    )
    with st.form("evaluation_folder_form"):
        folder = ui.path_input("Folder", placeholder="/data/ct-kidney", key="evaluation_folder")
        checkpoint = ui.choose_checkpoint("Checkpoint", chosen, key="evaluation_folder_model")
        label = st.selectbox(
            "Labels",
            [_BY_FOLDER, *LABELS],
            format_func=lambda name: name if name == _BY_FOLDER else f"every image is {name}",
            key="evaluation_folder_label",
        )
        asked = st.form_submit_button("Evaluate", type="primary")
    if asked:
        if not folder:
            st.error("Name a folder first.")
            return
        from kidney_core import dataset, prediction

        label = None if label == _BY_FOLDER else label
        try:
            found = dataset.read_dataset(Path(folder), label=label, progress=ui.progress_bar("Reading images"))
            table = prediction.predict_dataset(checkpoint, found, progress=ui.progress_bar("Predicting"))
            recording.diagnosis(checkpoint, input_sha256=found.fingerprint, probabilities={}, verdict="folder")
        except KidneyError as error:
            st.error(
                f"{error} Or choose, under Labels, of which class every image is." if label is None else str(error)
            )
            return
        trained_on = checkpoint.trained_on()
        seen = float(found.table["sha256"].map(dataset.short_hash).isin(trained_on).mean())
        known = bool(trained_on)
        st.session_state["evaluation_result"] = (checkpoint, found.root, table, found.unreadable, seen, known)
    if "evaluation_result" not in st.session_state:
        return
    from kidney_core import evaluation, intervals

    checkpoint, root, table, unreadable, seen, known = st.session_state["evaluation_result"]
    name = checkpoint.name
    st.markdown(f"#### {name} on “{root.name}”")
    if not known:
        st.info(
            "It is not known which files this checkpoint was trained on. If these are among them, the figures measure memory."
        )
    elif seen:
        st.warning(
            f"{figures.percent(seen)} of these files were trained on: for them, the figures below measure memory, not "
            "diagnosis. Copies that were saved anew, and other slices of the same scans, are not recognised."
        )
    if unreadable:
        with st.expander(f"{len(unreadable)} files could not be read"):
            st.dataframe(pd.DataFrame(unreadable, columns=["File", "Reason"]), hide_index=True)
    found = evaluation.figures(table)
    if (table["label"].nunique()) < len(evaluation.labels_of(table)):
        st.caption("Only some of the classes are in this folder: averages are over those.")
    ranges = {measure: [at.low, at.high] for measure, at in intervals.intervals(table).items()}
    st.caption(f"How to read this. {matrix_panel.HOW_TO_READ_MATRIX} {matrix_panel.HOW_TO_READ_REPORT}")
    matrix, report = st.columns(2, gap="large")
    with matrix:
        matrix_panel.show_headline(found, ranges)
        behind = matrix_panel.show_matrix(found, table, key=f"{name}-folder")
    with report:
        matrix_panel.show_report(found, table, ranges, key=f"{name}-folder")
    if behind is not None:
        matrix_panel.show_cell(
            checkpoint, behind, key=f"{name}-folder", where=root.name, same_network=True, images=str(root)
        )


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
    panels = {
        "Comparison": comparison_panel.draw,
        "One model": one_model,
        "Beside the paper": beside_paper,
        "Your folder": on_folder,
    }
    picked = st.segmented_control(
        "View", list(panels), default="Comparison", required=True, key="evaluation_view", label_visibility="collapsed"
    )
    try:
        panels[picked](chosen)
    except KidneyError as error:
        st.error(str(error))


main()
