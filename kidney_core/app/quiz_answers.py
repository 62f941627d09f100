"""The model's answers in a quiz: the stored one of a network that never saw the scan, or else that of the published network."""

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from kidney_core.app import audit_recorder, loading
from kidney_core.checkpoints.checkpoint import Checkpoint, read_checkpoint
from kidney_core.teaching.cases import Guess

if TYPE_CHECKING:
    from kidney_core.teaching.cases import Case
    from kidney_core.teaching.fair_answers import ModelAnswer, StoredAnswers

MAX_ASKED = 12  # slices of a stack


@st.cache_resource(max_entries=6, show_spinner="Reading the stored predictions…")
def _stored(folder: str, version: str) -> "StoredAnswers":
    from pathlib import Path

    from kidney_core.teaching import fair_answers

    return fair_answers.stored_answers(read_checkpoint(Path(folder)))


def stored(checkpoint: Checkpoint) -> "StoredAnswers":
    """What a checkpoint has stored for slices that its networks never saw. Raises CheckpointError."""
    return _stored(str(checkpoint.folder), loading.cache_key(checkpoint))


def answer(checkpoint: Checkpoint, quiz_name: str, number: int, case: "Case") -> "ModelAnswer":
    """The model's answer for a case; kept for the session. Raises CheckpointError, AuditError."""
    kept: dict[tuple[str, int, str], ModelAnswer] = st.session_state.setdefault("teaching_answers", {})
    key = (quiz_name, number, loading.cache_key(checkpoint))
    if key not in kept:
        with st.spinner("Predicting…"):
            kept[key] = _answer(checkpoint, case)
    return kept[key]


def _answer(checkpoint: Checkpoint, case: "Case") -> "ModelAnswer":
    from kidney_core.teaching import fair_answers

    known = stored(checkpoint)
    return fair_answers.stored_for(known, case) or _asked(checkpoint, case, known)


def _asked(checkpoint: Checkpoint, case: "Case", known: "StoredAnswers") -> "ModelAnswer":
    """The answer of the published network with its verdict and heatmap; of a stack, the mean over slices that it accepts."""
    from kidney_core.teaching import cases
    from kidney_core.teaching.fair_answers import ModelAnswer, predicted

    network = loading.predictor(checkpoint)
    is_trained_on = any(digest in known.trained_on for digest in case.digests)
    rows = [round(each) for each in np.linspace(0, len(case.slices) - 1, min(len(case.slices), MAX_ASKED))]
    asked = {
        row: audit_recorder.ask(network, case.slices[row], trained_on_file=is_trained_on) for row in dict.fromkeys(rows)
    }
    accepted = [row for row, (_, verdict) in asked.items() if not verdict.refused] or list(asked)
    mean = {
        label: float(np.mean([asked[row][0].probabilities[label] for row in accepted])) for label in checkpoint.labels
    }
    label = predicted(mean)
    # The slice that speaks most for the answer, where the heatmap points.
    at = max(accepted, key=lambda row: asked[row][0].probabilities[label])
    said, verdict = asked[at]
    explained = said.predicted_label == label
    place = cases.model_guess(said).mark if explained else None
    return ModelAnswer(
        Guess(label, place, at),
        mean,
        known.basis(case, seen=any(verdict.seen for _, verdict in asked.values())),
        verdict.outcome,
        said.heatmap if explained else None,
    )
