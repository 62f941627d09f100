"""Diagnosis: a scan -> label, calibrated probabilities, explanation, and what the model is worth."""

import hashlib

import pandas as pd
import streamlit as st

from kidney_core import explanation_panel, figures, ui, verdict_panel
from kidney_core.errors import KidneyError
from kidney_core.labels import DESCRIPTIONS, LABELS
from kidney_core.slices import Slice, read_slice
from kidney_core.splits import GROUPED
from kidney_core.viewer import show_scan

FIRST_SAMPLE_SEED = 990_000  # far from the seeds of the simulated slices the shipped networks were trained on

ui.start_page(
    "Diagnosis",
    "🔎",
    "Upload CT slices of the kidney region. The model names one of its labels for each, and shows where the evidence is.",
)


def choose_slices() -> list[tuple[str, bytes | None, tuple[str, int]]]:
    """(name, content, which sample) of what the user uploaded, or of the chosen sample."""
    uploads = st.file_uploader(
        "CT slices: PNG, JPEG, BMP, TIFF or DICOM, up to 200 MB each",
        accept_multiple_files=True,
        key="diagnosis_uploads",
        help="DICOM files may have any name. The content decides, not the extension.",
    )
    if uploads:
        return [(upload.name, upload.getvalue(), ("", 0)) for upload in uploads]
    st.caption("No scan at hand? Try a **simulated** sample:")
    for column, label in zip(st.columns(len(LABELS)), LABELS, strict=True):
        if column.button(label, key=f"diagnosis_sample_{label}", width="stretch"):
            shown, number = st.session_state.get("diagnosis_sample", ("", 0))
            st.session_state["diagnosis_sample"] = (label, number + 1 if shown == label else 1)
    if "diagnosis_sample" not in st.session_state:
        return []
    label, number = st.session_state["diagnosis_sample"]
    st.caption(f"Sample {number} of {label}. Press {label} again for another simulated patient.")
    return [(f"Simulated {label.lower()} {number}", None, (label, number))]


@st.cache_data(max_entries=8, show_spinner="Drawing the sample…")
def sample(label: str, number: int) -> Slice:
    from kidney_core import phantom

    drawn = phantom.draw_series(label, seed=FIRST_SAMPLE_SEED + number, n_slices=3)[1]
    return drawn.as_slice(f"Simulated {label.lower()} {number}")


def open_slices(chosen: list[tuple[str, bytes | None, tuple[str, int]]]) -> list[tuple[str, Slice, bytes | None]]:
    """(key, slice, content) of each usable file; a sentence on the page for each other one."""
    usable = []
    for name, content, drawn in chosen:
        try:
            image = sample(*drawn) if content is None else read_slice(content, name=name)
        except KidneyError as error:
            st.error(str(error))
            continue
        key = f"{drawn[0]}-{drawn[1]}" if content is None else hashlib.sha256(content).hexdigest()[:16]
        usable.append((key, image, content))
    return usable


def overview(slices: list[tuple[str, Slice, bytes | None]], reader) -> pd.DataFrame:
    """One row a slice with its answer and probabilities; the answers are kept for the session."""
    from kidney_core import diagnosis, verdict

    known = st.session_state.setdefault("diagnosis_answers", {})
    version, trained_on = ui.version(reader.checkpoint), reader.checkpoint.trained_on()
    tell = ui.progress_bar("Reading slices")
    rows = []
    for position, (key, image, _) in enumerate(slices, start=1):
        if (key, version) not in known:
            answer = diagnosis.diagnose(reader, image)
            judged = verdict.judge(reader, image, answer, trained_on_file=key[:12] in trained_on)
            known[key, version] = {
                "Model says": "–" if judged.refused else answer.predicted_label,
                "Verdict": judged.in_a_word,
                **{f"p_{label}": None if judged.refused else p for label, p in answer.probabilities.items()},
            }
        rows.append({"File": image.name, **known[key, version]})
        tell(position, len(slices))
    wanted = {(key, version) for key, _, _ in slices}
    st.session_state["diagnosis_answers"] = {each: answer for each, answer in known.items() if each in wanted}
    return pd.DataFrame(rows)


def choose_frame(image: Slice, content: bytes | None) -> Slice:
    """The frame of a file of several that the user chose."""
    if image.n_frames == 1 or content is None:
        return image
    number = st.slider("Frame", 1, image.n_frames, 1, key="diagnosis_frame")
    return read_slice(content, name=image.name, frame=number - 1)


def show_verdict(answer, judged, checkpoint) -> None:
    label, top = answer.predicted_label, answer.probabilities[answer.predicted_label]
    st.caption(verdict_panel.LEADS[judged.in_a_word])
    st.subheader(f"{label} · {figures.percent(top)}", anchor=False)
    if label in DESCRIPTIONS:
        st.caption(f"{label}: {DESCRIPTIONS[label].plain}.")
    st.plotly_chart(
        figures.probability_bars(answer.probabilities), config={"displayModeBar": False}, key="diagnosis_bars"
    )
    grouped = checkpoint.honest_figures()
    if grouped:
        right = grouped["per_label"][label]
        n_said = sum(row[grouped["labels"].index(label)] for row in grouped["confusion"])
        who, were = ("this model", "was") if checkpoint.honest == GROUPED else ("networks of this recipe", "were")
        tested = ui.predictions(checkpoint, checkpoint.honest)
        n_scans = tested.loc[tested["label"] == label, "series"].nunique() if tested is not None else 0
        of_scans = f", which come from {ui.counted(n_scans, 'scan')}" if n_scans else ""
        said = (
            f"{who} {were} right **{figures.percent(right['precision'], 0)}** of the {n_said:,} times it said {label}"
            if n_said
            else f"{who} **never said {label}**"
        )
        st.markdown(
            f"On scans never seen, {said}, and found **{figures.percent(right['recall'], 0)}** of the "
            f"{right['support']:,} slices that were {label}{of_scans}."
        )
    ui.honest_pair(checkpoint)


def main() -> None:
    checkpoints = ui.usable_checkpoints()
    if not checkpoints:
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        slices = open_slices(choose_slices())
    with right:
        checkpoint = st.selectbox("Model", checkpoints, format_func=ui.describe, key="diagnosis_model")
    if not slices:
        return
    try:
        reader = ui.reader(checkpoint)
    except KidneyError as error:
        st.error(str(error))
        return
    from kidney_core import diagnosis, verdict

    chosen = 0
    if len(slices) > 1:
        table = overview(slices, reader)
        picked = ui.show_table(table, key="diagnosis_table", on_select="rerun", selection_mode="single-row")
        st.caption(
            "Refused: unlike what the model learned from. Memory: the file or its scan was in its training. Undecided: not sure "
            "enough. The reasons stand beside each slice below."
        )
        st.download_button("Download this table (CSV)", ui.csv_bytes(table), "kidney-ct-results.csv", "text/csv")
        chosen = picked["selection"]["rows"][0] if picked["selection"]["rows"] else 0
        st.caption(f"Shown below: **{slices[chosen][1].name}**. Select a row to see another slice.")
    key, image, content = slices[min(chosen, len(slices) - 1)]
    for note in image.notes:
        st.info(note)
    with st.container(key="diagnosis_reading"):
        picture, reading = st.columns([3, 2], gap="large")
    with picture:
        try:
            image = choose_frame(image, content)
        except KidneyError as error:
            st.error(str(error))
            return
        answer = diagnosis.diagnose(reader, image)
        judged = verdict.judge(reader, image, answer, trained_on_file=key[:12] in checkpoint.trained_on())
        if judged.refused:
            with reading:
                st.subheader("The model does not answer", anchor=False)
                verdict_panel.show_chain(judged)
                verdict_panel.show_nearest(judged, checkpoint)
                told = st.toggle("Show what it would have said all the same", key=f"diagnosis_anyway_{key}")
            if not told:
                show_scan(image, None, alt="The uploaded image", key="diagnosis_viewer")
                return
        drawn = st.container()  # the picture stands above what is asked of its map
        answer = explanation_panel.ask(reader, image, answer, key=key)
        with drawn:
            show_scan(
                image,
                answer.heatmap,
                alt=f"CT slice with the evidence for {answer.explained_label} as a heat map",
                key="diagnosis_viewer",
                strength=answer.strength,
            )
        explanation_panel.show_caption(answer)
        explanation_panel.show_worth(reader, image, answer, key=key)
        explanation_panel.show_models(image, answer)
    with reading:
        show_verdict(answer, judged, checkpoint)
        if not judged.refused:
            verdict_panel.show_chain(judged)
            verdict_panel.show_nearest(judged, checkpoint)
        verdict_panel.ask_all(image, key)
        if content is None:
            drawn_as = key.rsplit("-", 1)[0]
            st.caption(
                f"This slice was simulated as **{drawn_as}**, so the answer is "
                f"{'right' if answer.predicted_label == drawn_as else 'wrong'}. On simulated slices the models are often wrong: "
                "they show how this page works, not what the models are worth."
            )
        with st.expander("About this image and this model"):
            facts = {"Size": f"{image.width_px} × {image.height_px} px", **image.facts}
            st.table(pd.DataFrame(facts.items(), columns=["Image", ""]).set_index("Image"))
            st.markdown("\n".join(f"- {limit}" for limit in checkpoint.card.get("limits", [])))


main()
