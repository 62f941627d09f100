"""Whether a model may speak about a slice: the questions with their reasons, its nearest training slices, all models."""

from pathlib import Path

import pandas as pd
import streamlit as st

from kidney_core import recording, roots, ui
from kidney_core.errors import KidneyError
from kidney_core.slices import Slice, read_slice

STEP_MARKS = {
    "passed": ":green[:material/check_circle:]",
    "warned": ":orange[:material/warning:]",
    "refused": ":red[:material/block:]",
    "unchecked": ":gray[:material/help:]",
}
_LEADS = {
    "answered": "The model says",
    "undecided": "The model abstains; its first guess is",
    "memory": "The model remembers this scan; it says",
    "refused": "The model should not speak about this image; it would have said",
}


def lead(judged) -> str:
    """How the model's answer is to be taken, of a slice's verdict or a stack's: the words before its label."""
    if judged.in_a_word == "memory" and judged.abstains:
        return "The model remembers this scan, and abstains even so; its first guess is"
    return _LEADS[judged.in_a_word]


def show_chain(judged) -> None:
    """Each question with its mark and its reason."""
    for step in judged.steps:
        st.markdown(f"{STEP_MARKS[step.outcome]} **{step.title}.** {ui.unbroken(step.reason)}")


def show_nearest(judged, checkpoint) -> None:
    """The training slices that are most like this one, with their pictures where the user names the folder."""
    if judged.familiarity is None or not judged.familiarity.nearest:
        return
    with st.expander("The most similar training slices"):
        near = judged.familiarity.nearest
        table = pd.DataFrame(
            [{"path": each.path, "label": each.label, "Distance": round(each.distance, 1)} for each in near]
        )
        ui.show_table(table, key="diagnosis_nearest")
        st.caption("One a scan, by a thumbnail and the network's own features.")
        folder = ui.path_input(
            f"Folder of “{checkpoint.card['data'].get('name', 'the training data')}”, to see them",
            key="diagnosis_nearest_folder",
            help="It stays on this machine.",
        )
        if not folder:
            return
        try:
            for column, each in zip(st.columns(len(near)), near, strict=True):
                shown = read_slice(roots.below(Path(folder), each.path)).grey8()
                column.image(shown, caption=f"{each.label}, {each.distance:.1f}", width="stretch")
        except KidneyError as error:
            st.error(str(error))


def ask_all(image: Slice, *, sha256: str) -> None:
    """What every checkpoint says of the slice, side by side.

    Args:
        sha256: of the file, by which a checkpoint that was trained on it is told; empty for none.
    """
    if not st.toggle("Ask all models", key="diagnosis_ask_all"):
        return
    rows = []
    for reader in ui.readers():
        answer, judged = recording.ask(reader, image, sha256=sha256)
        rows.append(
            {
                "Model": reader.checkpoint.name,
                "Says": answer.predicted_label,
                "confidence": answer.probabilities[answer.predicted_label],
                "Verdict": judged.in_a_word,
            }
        )
    if not rows:
        return
    ui.show_table(pd.DataFrame(rows), key="diagnosis_all_models", percents=("confidence",))
    answers = [row["Says"] for row in rows if row["Verdict"] != "refused"]
    if not answers:
        st.caption("All refuse.")
    elif len(answers) == 1:
        st.caption("Only one of them does not refuse.")
    else:
        st.caption("They agree." if len(set(answers)) == 1 else "They disagree: at least one of them is wrong.")
