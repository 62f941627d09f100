"""One slice: its picture with the heatmap on the left, the prediction and how far to trust it on the right."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from kidney_core.app import (
    audit_recorder,
    charts,
    checkpoint_choice,
    explanation_panel,
    formatting,
    loading,
    markdown,
    report_panel,
    upload_panel,
    verdict_panel,
    viewer,
)
from kidney_core.app.reading_room import ReadingRoom
from kidney_core.app.upload_panel import Sample
from kidney_core.checkpoints import label_performance
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError
from kidney_core.common.labels import DESCRIPTIONS, NORMAL
from kidney_core.diagnosis import outcomes
from kidney_core.imaging import outlines, rendering
from kidney_core.imaging.slices import Slice
from kidney_core.imaging.stack import StackItem, open_item
from kidney_core.metrics import chart_text, number_format, plots, prediction_sets

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Diagnosis, Predictor
    from kidney_core.diagnosis.verdict import Verdict


OUTLINE_COLOR = "#{:02X}{:02X}{:02X}".format(*rendering.OUTLINE_RGB)


@dataclass(frozen=True)
class StackPosition:
    """Where a slice lies in the scan that is shown.

    Attributes:
        scene: zoom and window are kept while this stays the same.
        place: a short text for the corner of the picture, such as "12 of 300".
        sides: the kidneys that the slice shows by the whole stack; None where nobody looked.
    """

    scene: str
    place: str
    sides: tuple[str, ...] | None = None


def show_item(
    predictor: "Predictor", item: StackItem, room: ReadingRoom, *, position: StackPosition | None = None
) -> None:
    """An uploaded slice, or a sentence where it cannot be read."""
    try:
        image = open_item(item)
    except KidneyError as error:
        room.picture.error(markdown.text(error))
        return
    if image.recognised_as_hu or item.as_grey:
        with room.panel:
            as_grey = st.toggle(
                "Read the numbers as grey values",
                item.as_grey,
                help="The file does not declare Hounsfield units, but its numbers look like them.",
            )
        if as_grey != item.as_grey:
            # The switch itself is forgotten while a scan is read and nothing else is drawn.
            st.session_state[upload_panel.AS_GREY] = as_grey
            st.rerun()
    show_slice(predictor, image, room, key=f"{item.sha256[:16]}-{item.frame}", item=item, position=position)


def show_slice(
    predictor: "Predictor",
    image: Slice,
    room: ReadingRoom,
    *,
    key: str,
    item: StackItem | None = None,
    sample: Sample | None = None,
    position: StackPosition | None = None,
) -> None:
    """Picture and heatmap of a slice beside its prediction, which leads the page unless the slice is part of a scan.

    Args:
        room: where everything goes.
        key: makes the inputs of this slice unique.
        item: the upload that the slice comes from; None for a sample.
        sample: what was simulated; None for an upload.
        position: where the slice lies in the scan that it is part of.

    Raises: KidneyError where the prediction cannot be made, or not be written to the audit log.
    """
    sha256 = item.sha256 if item else ""
    answer, verdict = audit_recorder.ask(predictor, image, sha256=sha256, sides=position.sides if position else None)
    content, title = item.file if item else None, "Report of this slice" if position else "Report"
    lead = room.panel if position else room.lead
    show_anyway = False
    if verdict.refused:
        with lead:
            _show_title(outcomes.NO_PREDICTION[verdict.outcome], is_part=position is not None)
        with room.panel:
            show_anyway = _show_refusal(verdict, predictor.checkpoint, key=key)
    if verdict.refused and not show_anyway:
        with room.picture:
            _show_picture(image, answer.without_map(), position, key=key)
        with room.panel:
            _show_notes(image)
            report_panel.show(image, content, answer, verdict, predictor.checkpoint, grades=(), key=key, title=title)
        return
    with lead:
        label = answer.predicted_label
        st.caption(markdown.text(outcomes.lead(verdict.outcome, abstains=verdict.abstains)))
        percent = number_format.percent(answer.probabilities[label])
        _show_title(f"{label} · {percent}", is_part=position is not None)
        if answer.by_kidney:
            st.markdown(_kidneys_in_words(answer))
    answer, grades = _show_explanation(predictor, image, answer, room, key=key, position=position)
    with room.panel:
        _show_prediction(answer, verdict, predictor.checkpoint)
        _show_notes(image)
        verdict_panel.show_all_models(image, sha256=sha256)
        if sample:
            _compare_with_sample(answer, sample)
        report_panel.show(image, content, answer, verdict, predictor.checkpoint, grades=grades, key=key, title=title)
        _show_facts(image, predictor.checkpoint)


def _kidneys_in_words(answer: "Diagnosis") -> str:
    """ "Right: **Normal**, 88 % · Left: **Cyst**, 91 %"."""
    return " · ".join(
        f"{markdown.text(side.capitalize())}: **{markdown.text(label)}**, {number_format.percent(p, 0)}"
        for side, (label, p) in answer.label_by_kidney.items()
    )


def _show_refusal(verdict: "Verdict", checkpoint: Checkpoint, *, key: str) -> bool:
    """Why there is no prediction; whether the user wants to see it all the same."""
    verdict_panel.show_checks(verdict)
    verdict_panel.show_nearest(verdict, checkpoint)
    return st.toggle("Show the prediction anyway", key=f"diagnosis_anyway_{key}")


def _show_explanation(
    predictor: "Predictor",
    image: Slice,
    answer: "Diagnosis",
    room: ReadingRoom,
    *,
    key: str,
    position: StackPosition | None,
) -> tuple["Diagnosis", tuple]:
    """The picture, and under it the inputs of its heatmap; the answer with the chosen heatmap, and its grades."""
    with room.under:
        wants_map = answer.predicted_label != NORMAL or st.toggle(
            "Show a heatmap",
            key=f"diagnosis_map_{key}",
            help="For Normal there is nothing to point at, so no heatmap is drawn unless you ask for it.",
        )
        if wants_map:
            answer = explanation_panel.choose(predictor, image, answer, key=key)
            if answer.kidneys is not None and st.toggle("Heatmap in the kidneys only", key="diagnosis_map_in_kidneys"):
                answer = answer.with_map_in_kidneys()
        else:
            answer = answer.without_map()
    with room.picture:
        _show_picture(image, answer, position, key=key)
    if not wants_map:
        return answer, ()
    with room.under:
        st.caption(markdown.text(answer.map_in_words))
        grades = explanation_panel.show_grades(predictor, image, answer, key=key)
        explanation_panel.show_models(image, answer)
    return answer, grades


def _show_notes(image: Slice) -> None:
    for note in image.notes:
        st.info(markdown.text(note))


def _show_picture(image: Slice, answer: "Diagnosis", position: StackPosition | None, *, key: str) -> None:
    masks = list(answer.kidney_masks.values())
    outline = outlines.outline(np.logical_or.reduce(masks)) if masks else ""
    events = viewer.show_scan(
        image,
        answer.heatmap,
        alt="CT slice" if answer.heatmap is None else f"CT slice with a heatmap: {answer.map_title}",
        drawings=[(outline, OUTLINE_COLOR)] if outline and st.session_state.get("diagnosis_outline", True) else (),
        key="diagnosis_viewer",
        strength=answer.strength,
        scene=position.scene if position else "",
        place=position.place if position else "",
        stacked=position is not None,
        reportable=True,
    )
    if events.measures is not None:
        report_panel.take_measures(events.measures, key=key)
    if outline:
        st.toggle("Outline the kidneys", value=True, key="diagnosis_outline")


def _show_title(text: str, *, is_part: bool) -> None:
    """The verdict of a slice; smaller for a part of a scan, whose own verdict leads the page."""
    if is_part:
        st.markdown(f"**{markdown.text(text)}**")
    else:
        st.header(markdown.text(text), anchor=False)


def _show_prediction(answer: "Diagnosis", verdict: "Verdict", checkpoint: Checkpoint) -> None:
    label = answer.predicted_label
    if label in DESCRIPTIONS:
        st.caption(f"{markdown.text(label)}: {DESCRIPTIONS[label].plain}.")
    charts.draw(
        plots.probability_bars(answer.probabilities),
        chart_text.probabilities(answer.probabilities),
        key="diagnosis_bars",
    )
    _show_prediction_set(answer, checkpoint)
    if checkpoint.unseen_protocol:
        tested = loading.predictions(checkpoint, checkpoint.unseen_protocol)
        performance = label_performance.describe_label(checkpoint, label, tested)
        st.markdown(markdown.text(formatting.nonbreaking(performance)))
    if not verdict.refused:  # its reasons stand above already
        verdict_panel.show_checks(verdict)
        verdict_panel.show_nearest(verdict, checkpoint)
    with st.expander("How accurate is this model?"):
        checkpoint_choice.show_accuracy_pair(checkpoint)


def _show_prediction_set(answer: "Diagnosis", checkpoint: Checkpoint) -> None:
    """The labels that cannot be ruled out, where the user wants them and the card knows how."""
    entry = checkpoint.card.get("prediction_sets")
    if not entry:
        return
    help_text = (
        f"A prediction set: built so that it misses the true label on at most {number_format.percent(1 - entry['level'], 0)} of the slices of each "
        f"label on unseen scans (split conformal prediction). A set has {entry['mean_size']:.1f} labels on average."
    )
    if st.toggle("Show every label that cannot be ruled out", key="diagnosis_prediction_set", help=help_text):
        kept = prediction_sets.set_of(entry, answer.probabilities)
        st.markdown(f"**{markdown.text(' or '.join(kept))}**" if kept else "**None of the labels fits.**")


def _compare_with_sample(answer: "Diagnosis", sample: Sample) -> None:
    is_correct = answer.predicted_label == sample.label
    st.caption(
        f"This slice was simulated as **{markdown.text(sample.label)}**: the prediction is {'correct' if is_correct else 'wrong'}. This shows how the "
        "page works, not how well a model performs on patients. Some models were trained on other simulated slices."
    )


def _show_facts(image: Slice, checkpoint: Checkpoint) -> None:
    with st.expander("About this image and this model"):
        facts = {"Size": f"{image.width_px} × {image.height_px} px", **image.facts}
        st.table(markdown.cells(pd.DataFrame(facts.items(), columns=["Image", ""]).set_index("Image")))
        if checkpoint.seal_warning:
            st.warning(markdown.text(checkpoint.seal_warning))
        st.markdown("\n".join(f"- {markdown.text(limit)}" for limit in checkpoint.card.get("limits", [])))
