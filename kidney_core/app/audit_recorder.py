"""What the pages tell the audit log; nothing where no setting names one."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from kidney_core import access, audit_log
from kidney_core.checkpoint import Checkpoint

if TYPE_CHECKING:
    from kidney_core.diagnosis import Diagnosis, Reader
    from kidney_core.slices import Slice
    from kidney_core.verdict import Verdict

_KEPT = "audit_written"  # a page runs anew at each click: a diagnosis is one line all the same


def ask(
    reader: "Reader", image: "Slice", *, sha256: str = "", trained_on_file: bool = False
) -> tuple["Diagnosis", "Verdict"]:
    """What a model says of a slice and whether it may speak, noted before anybody sees it.

    Args:
        sha256: of the file, by which a model that was trained on it is told; empty for none.
        trained_on_file: for whoever knows that it was without the whole digest.

    Raises: AuditError as `diagnosis`.
    """
    from kidney_core import dataset, verdict
    from kidney_core.diagnosis import diagnose

    checkpoint = reader.checkpoint
    trained = trained_on_file or (bool(sha256) and dataset.short_hash(sha256) in checkpoint.trained_on())
    answer = diagnose(reader, image)
    judged = verdict.judge(reader, image, answer, trained_on_file=trained)
    diagnosis(
        checkpoint,
        input_sha256=sha256 or _digest_of_pixels(image),
        probabilities=answer.probabilities,
        verdict=judged.in_a_word,
    )
    return answer, judged


def diagnosis(checkpoint: Checkpoint, *, input_sha256: str, probabilities: Mapping[str, float], verdict: str) -> None:
    """Note that a model was asked about a slice or a scan, once a session for the same answer.

    Args:
        input_sha256: of the file, or the fingerprint of the scan.

    Raises: AuditError where the line cannot be written: nothing may be shown then.
    """
    result = {"probabilities": {label: round(p, 6) for label, p in probabilities.items()}, "verdict": verdict}
    _append(audit_log.DIAGNOSIS, input_sha256, checkpoint.card["weights_sha256"], audit_log.digest_of(result))


def job(config: Mapping[str, Any], *, engine: str) -> None:
    """Note that a training job is started. Raises AuditError: it must not start then."""
    model = {key: config[key] for key in ("architecture", "init")}
    _append(
        audit_log.JOB,
        audit_log.digest_of(dict(config)),
        audit_log.digest_of(model),
        audit_log.digest_of(engine),
        once=False,
    )


def published(checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    """Note that a run became a checkpoint. Raises AuditError."""
    card = audit_log.digest_of(checkpoint.card)
    _append(audit_log.PUBLISHED, audit_log.digest_of(dict(config)), checkpoint.card["weights_sha256"], card, once=False)


def _digest_of_pixels(image: "Slice") -> str:
    """SHA-256 that stands for a slice without a file, such as a simulated one."""
    return hashlib.sha256(image.network_grey8().tobytes()).hexdigest()


def _append(kind: str, input_sha256: str, model_sha256: str, result_sha256: str, *, once: bool = True) -> None:
    log = audit_log.configured()
    if log is None:
        return
    written: set = st.session_state.setdefault(_KEPT, set())
    line = (kind, input_sha256, model_sha256, result_sha256)
    if once and line in written:
        return
    user = access.require(access.VIEWER).name
    audit_log.append(
        log, kind=kind, user=user, input_sha256=input_sha256, model_sha256=model_sha256, result_sha256=result_sha256
    )
    written.add(line)
