"""How far to trust a prediction: the checks with their reasons, the nearest training slices, and all models at once."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from kidney_core.app import audit_recorder, formatting, loading, markdown, path_inputs, tables
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import allowed_paths
from kidney_core.common.errors import KidneyError
from kidney_core.diagnosis import outcomes
from kidney_core.imaging.slices import Slice, read_slice

if TYPE_CHECKING:
    from kidney_core.diagnosis.stack_verdict import StackVerdict
    from kidney_core.diagnosis.verdict import Step, Verdict

STEP_MARKS = {
    "passed": ":green[:material/check_circle:]",
    "warning": ":orange[:material/warning:]",
    "failed": ":red[:material/block:]",
    "not checked": ":gray[:material/help:]",
}
OUTCOMES_HELP = (
    "Abstains: the confidence is below the model's threshold. Seen in training: the file or its scan was used for training. "
    "No kidney visible, or out of distribution (unlike the training data): there is no prediction."
)


def show_checks(verdict: "Verdict | StackVerdict") -> None:
    """What failed or warns, each with its reason; all checks behind one line."""
    from kidney_core.diagnosis.verdict import FAILED, PASSED, WARNED

    for step in verdict.steps:
        if step.outcome in (FAILED, WARNED):
            _show_step(step)
    n_passed = sum(step.outcome == PASSED for step in verdict.steps)
    with st.expander(f"{n_passed} of {formatting.quantity(len(verdict.steps), 'check')} passed"):
        for step in verdict.steps:
            _show_step(step)


def _show_step(step: "Step") -> None:
    st.markdown(
        f"{STEP_MARKS[step.outcome]} **{markdown.text(step.title)}.** {markdown.text(formatting.nonbreaking(step.reason))}"
    )


def show_nearest(verdict: "Verdict", checkpoint: Checkpoint) -> None:
    """The training slices that are most like this one, with their pictures where the user names the folder."""
    if verdict.training_match is None or not verdict.training_match.nearest:
        return
    nearest = verdict.training_match.nearest
    with st.expander("The most similar training slices"):
        table = pd.DataFrame(
            [{"path": match.path, "label": match.label, "Distance": round(match.distance, 1)} for match in nearest]
        )
        tables.show_table(table, key="diagnosis_nearest")
        st.caption("One per scan, compared by a thumbnail and by the network's features.")
        folder = path_inputs.path_input(
            f"To see them, enter the folder of “{checkpoint.card['data'].get('name', 'the training data')}”",
            key="diagnosis_nearest_folder",
            help="On this machine. The images stay there.",
        )
        if not folder:
            return
        try:
            for column, match in zip(st.columns(len(nearest)), nearest, strict=True):
                grey = read_slice(allowed_paths.file_below(Path(folder), match.path)).grey8()
                column.image(
                    grey,
                    caption=f"{markdown.text(match.label)}, {match.distance:.1f}",
                    width="stretch",
                    alt=f"Training slice labelled {match.label}",
                )
        except KidneyError as error:
            st.error(markdown.text(error))


def show_all_models(image: Slice, *, sha256: str) -> None:
    """What every checkpoint predicts for the slice, side by side, where the user wants it.

    Args:
        sha256: of the file, which shows whether a checkpoint was trained on it; empty for none.
    """
    if not st.toggle("Compare all models", key="diagnosis_ask_all"):
        return
    rows = []
    for predictor in loading.predictors():
        answer, verdict = audit_recorder.ask(predictor, image, sha256=sha256)
        rows.append(
            {
                "Model": predictor.checkpoint.name,
                "predicted": answer.predicted_label,
                "confidence": answer.probabilities[answer.predicted_label],
                "Verdict": outcomes.NAMES[verdict.outcome],
            }
        )
    if not rows:
        return
    tables.show_table(pd.DataFrame(rows), key="diagnosis_all_models", percents=("confidence",))
    silent = {outcomes.NAMES[outcome] for outcome in outcomes.NO_PREDICTION}
    accepted = [row["predicted"] for row in rows if row["Verdict"] not in silent]
    if not accepted:
        st.caption("No model gives a label.")
    elif len(accepted) == 1:
        st.caption("Only one of them gives a label.")
    else:
        st.caption("They agree." if len(set(accepted)) == 1 else "They disagree: at least one of them is wrong.")
