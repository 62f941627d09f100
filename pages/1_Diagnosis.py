"""Diagnosis: a scan -> label, calibrated probabilities, explanation, and what the model is worth."""

import pandas as pd
import streamlit as st

from kidney_core import (
    access,
    explanation_panel,
    figures,
    recording,
    report_panel,
    stack_panel,
    ui,
    upload_panel,
    verdict_panel,
)
from kidney_core.errors import KidneyError
from kidney_core.labels import DESCRIPTIONS
from kidney_core.slices import Slice
from kidney_core.stack import Stack, StackItem, open_item
from kidney_core.upload_panel import Sample
from kidney_core.viewer import show_scan
from kidney_core.worth import worth_of_answer

ui.start_page(
    "Diagnosis",
    "🔎",
    "Upload CT slices of the kidney region, or a whole series. The model names one of its labels, and shows where the "
    "evidence is; where it should not speak, it says why.",
    needs=access.DIAGNOSER,
)


def show_verdict(answer, judged, checkpoint) -> None:
    label, top = answer.predicted_label, answer.probabilities[answer.predicted_label]
    st.caption(verdict_panel.lead(judged))
    st.subheader(f"{label} · {figures.percent(top)}", anchor=False)
    if label in DESCRIPTIONS:
        st.caption(f"{label}: {DESCRIPTIONS[label].plain}.")
    st.plotly_chart(
        figures.probability_bars(answer.probabilities), config={"displayModeBar": False}, key="diagnosis_bars"
    )
    if checkpoint.honest:
        st.markdown(ui.unbroken(worth_of_answer(checkpoint, label, ui.predictions(checkpoint, checkpoint.honest))))
    ui.honest_pair(checkpoint)


def show_slice(
    reader, image: Slice, *, key: str, item: StackItem | None = None, sample: Sample | None = None, **view
) -> None:
    """One slice: picture and map on the left, what to make of it on the right."""
    checkpoint = reader.checkpoint
    for note in image.notes:
        st.info(note)
    # On a narrow screen the verdict comes first, but below a stack the picture does.
    with st.container(key="diagnosis_stack_reading" if view.get("stacked") else "diagnosis_reading"):
        picture, reading = st.columns([3, 2], gap="large")
    answer, judged = recording.ask(reader, image, sha256=item.sha256 if item else "")
    content = item.content if item else None
    if judged.refused:
        with reading:
            st.subheader("The model does not answer", anchor=False)
            verdict_panel.show_chain(judged)
            verdict_panel.show_nearest(judged, checkpoint)
            told = st.toggle("Show what it would have said all the same", key=f"diagnosis_anyway_{key}")
            if not told:
                report_panel.show(image, content, answer, judged, checkpoint, grades=(), key=key)
        if not told:
            with picture:
                show_scan(image, None, alt="The uploaded image", key="diagnosis_viewer", **view)
            return
    with picture:
        drawn = st.container()  # the picture stands above what is asked of its map
        answer = explanation_panel.ask(reader, image, answer, key=key)
        with drawn:
            alt = f"CT slice with the evidence for {answer.explained_label} as a heat map"
            show_scan(image, answer.heatmap, alt=alt, key="diagnosis_viewer", strength=answer.strength, **view)
        st.caption(answer.map_in_words)
        grades = explanation_panel.show_worth(reader, image, answer, key=key)
        explanation_panel.show_models(image, answer)
    with reading:
        show_verdict(answer, judged, checkpoint)
        if not judged.refused:
            verdict_panel.show_chain(judged)
            verdict_panel.show_nearest(judged, checkpoint)
        verdict_panel.ask_all(image, sha256=item.sha256 if item else "")
        if sample:
            st.caption(
                f"This slice was simulated as **{sample.label}**, so the answer is "
                f"{'right' if answer.predicted_label == sample.label else 'wrong'}. Simulated slices, of which the models saw "
                "others in training, show how this page works, not what the models are worth."
            )
        report_panel.show(image, content, answer, judged, checkpoint, grades=grades, key=key)
        with st.expander("About this image and this model"):
            facts = {"Size": f"{image.width_px} × {image.height_px} px", **image.facts}
            st.table(pd.DataFrame(facts.items(), columns=["Image", ""]).set_index("Image"))
            if checkpoint.unsealed:
                st.warning(checkpoint.unsealed)
            st.markdown("\n".join(f"- {limit}" for limit in checkpoint.card.get("limits", [])))


def show_stack(reader, stack: Stack, *, is_scan: bool) -> None:
    """Several slices: the verdict of the scan and a way through it, or a table; then the chosen slice."""
    reading = stack_panel.read(reader, stack)
    if not reading.n_read:
        return
    recording.diagnosis(
        reader.checkpoint,
        input_sha256=stack.fingerprint,
        probabilities=reading.verdict.probabilities,
        verdict=reading.verdict.in_a_word,
    )
    if is_scan:
        stack_panel.show_scan_verdict(reading, reader.checkpoint)
        chosen = stack_panel.choose_slice(reading, stack, reader.checkpoint)
    else:
        chosen = stack_panel.choose_row(reading, reader.checkpoint)
    stack_panel.download(reading, reader.checkpoint)
    item = stack.items[chosen]
    st.markdown(f"#### Slice {chosen + 1} of {len(stack.items)}: {item.name}")
    place = stack_panel.place_of(reading, chosen) if is_scan else ""
    show_item(reader, item, scene=stack.fingerprint if is_scan else "", place=place, stacked=is_scan)


def show_item(reader, item: StackItem, **view) -> None:
    try:
        image = open_item(item)
    except KidneyError as error:
        st.error(str(error))
        return
    show_slice(reader, image, key=f"{item.sha256[:16]}-{item.frame}", item=item, **view)


def main() -> None:
    checkpoints = ui.usable_checkpoints()
    if not checkpoints:
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        chosen = upload_panel.choose()
    with right:
        checkpoint = ui.choose_checkpoint("Model", checkpoints, key="diagnosis_model")
    if chosen is None:
        return
    try:
        read(ui.reader(checkpoint), chosen)
    except KidneyError as error:
        st.error(str(error))


def read(reader, chosen) -> None:
    if isinstance(chosen, Sample):
        show_slice(reader, chosen.draw(), key=chosen.key, sample=chosen)
        return
    stack, is_scan = upload_panel.choose_stack(chosen)
    if len(stack.items) == 1:
        show_item(reader, stack.items[0])
    else:
        show_stack(reader, stack, is_scan=is_scan)


main()
