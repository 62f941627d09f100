"""What the pages write to the audit log; nothing where no log is set."""

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from kidney_core.app import access, audit_log
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import digests

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Diagnosis, Predictor
    from kidney_core.diagnosis.verdict import Verdict
    from kidney_core.imaging.slices import Slice

_KEPT = "audit_written"  # a page runs again at each click, but a diagnosis is one line


def ask(
    predictor: "Predictor",
    image: "Slice",
    *,
    sha256: str = "",
    trained_on_file: bool = False,
    sides: tuple[str, ...] | None = None,
) -> tuple["Diagnosis", "Verdict"]:
    """The prediction for a slice and its verdict, written to the audit log before anybody sees it.

    Args:
        sha256: of the file, which shows whether the model was trained on it; empty for none.
        trained_on_file: the caller knows that it was, without the whole digest.
        sides: the kidneys that the slice shows by the stack it belongs to, see `verdict.judge`.

    Raises: AuditError as `diagnosis` does.
    """
    from kidney_core.data import dataset
    from kidney_core.diagnosis import verdict
    from kidney_core.diagnosis.inference import diagnose

    checkpoint = predictor.checkpoint
    trained = trained_on_file or (bool(sha256) and dataset.short_hash(sha256) in checkpoint.trained_on())
    answer = diagnose(predictor, image)
    judgement = verdict.judge(predictor, image, answer, trained_on_file=trained, sides=sides)
    diagnosis(
        checkpoint,
        input_sha256=sha256 or _digest_of_pixels(image),
        probabilities=answer.probabilities,
        verdict=judgement.outcome,
    )
    return answer, judgement


def diagnosis(
    checkpoint: Checkpoint, *, input_sha256: str | Callable[[], str], probabilities: Mapping[str, float], verdict: str
) -> None:
    """Write that a model diagnosed a slice or a scan, once per session for the same result.

    Args:
        input_sha256: of the file, or of the files of the scan; a function where that takes reading them, called only where there
            is an audit log.

    Raises: what that function raises; AuditError where the line cannot be written: nothing may be shown then.
    """
    result = {"probabilities": {label: round(p, 6) for label, p in probabilities.items()}, "verdict": verdict}
    _append(audit_log.DIAGNOSIS, input_sha256, checkpoint.card["weights_sha256"], digests.of_json(result))


def job(config: Mapping[str, Any], *, engine: str) -> None:
    """Write that a training job is started. Raises AuditError: it must not start then."""
    model = {key: config[key] for key in ("architecture", "init")}
    _append(
        audit_log.JOB,
        digests.of_json(dict(config)),
        digests.of_json(model),
        digests.of_json(engine),
        once=False,
    )


def published(checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    """Write that a run was published as a checkpoint. Raises AuditError."""
    card = digests.of_json(checkpoint.card)
    _append(audit_log.PUBLISHED, digests.of_json(dict(config)), checkpoint.card["weights_sha256"], card, once=False)


def _digest_of_pixels(image: "Slice") -> str:
    """SHA-256 that stands for a slice without a file, such as a simulated one."""
    return hashlib.sha256(image.network_grey8().tobytes()).hexdigest()


def _append(
    kind: str, input_sha256: str | Callable[[], str], model_sha256: str, result_sha256: str, *, once: bool = True
) -> None:
    log = audit_log.configured()
    if log is None:
        return
    written: set = st.session_state.setdefault(_KEPT, set())
    if callable(input_sha256):
        input_sha256 = input_sha256()
    line = (kind, input_sha256, model_sha256, result_sha256)
    if once and line in written:
        return
    user = access.require(access.VIEWER).name
    audit_log.append(
        log, kind=kind, user=user, input_sha256=input_sha256, model_sha256=model_sha256, result_sha256=result_sha256
    )
    written.add(line)
