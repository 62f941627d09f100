"""One slice, what a model said of it and what that is worth -> a `Report`: plain values, nobody named unless ticked."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from kidney_core import pictures
from kidney_core.checkpoint import Checkpoint
from kidney_core.diagnosis import Diagnosis
from kidney_core.map_grades import Grade
from kidney_core.patient_tags import PatientTags
from kidney_core.slices import Slice
from kidney_core.verdict import Verdict

SOFTWARE = "Kidney CT workbench"
NOTICE = "For research and teaching. Not a medical device: not for diagnosis or treatment of patients."
NOT_NAMED = "not named"


@dataclass(frozen=True)
class Report:
    """Everything a report says, as plain values; made by `compose`.

    Attributes:
        image: its name is the file's only where the user ticked it.
        grades: of the heat map; may be empty.
        created: with its time zone.
        identity: a random word from which the DICOM objects of this report draw their UIDs.
        patient: only where the user ticked it.
    """

    image: Slice
    answer: Diagnosis
    judged: Verdict
    checkpoint: Checkpoint
    grades: tuple[Grade, ...]
    created: datetime
    identity: str
    file_name: str | None = None
    patient: PatientTags | None = None

    @property
    def title(self) -> str:
        """How the user calls the image, where that was ticked."""
        return self.file_name or NOT_NAMED

    @property
    def time(self) -> str:
        return self.created.isoformat(sep=" ", timespec="minutes")

    @property
    def findings(self) -> dict[str, float]:
        """The calibrated probabilities; none where the model does not answer."""
        return {} if self.judged.refused else self.answer.probabilities

    @property
    def picture(self) -> np.ndarray:
        """The slice as it is in the patient, (H, W) uint8."""
        return pictures.undistorted(self.image.grey8(), self.image.spacing_mm)

    @property
    def overlay(self) -> np.ndarray | None:
        """The slice with its map, (H, W, 3) uint8; None where there is no map or the model does not answer."""
        if self.judged.refused or self.answer.heatmap is None:
            return None
        blended = pictures.blend(self.image.grey8(), self.answer.heatmap)
        return pictures.undistorted(blended, self.image.spacing_mm)


def compose(
    image: Slice,
    answer: Diagnosis,
    judged: Verdict,
    checkpoint: Checkpoint,
    *,
    grades: Sequence[Grade] = (),
    created: datetime | None = None,
    file_name: str | None = None,
    patient: PatientTags | None = None,
    identity: str | None = None,
) -> Report:
    """Gather a report.

    Args:
        grades: how far the map can be trusted, where that was measured.
        created: with a time zone; now by default.
        file_name, patient: only where the user ticked them; nothing of either is in the report otherwise.
        identity: given to make the same DICOM objects again; random by default.
    """
    created = created or datetime.now().astimezone()
    if created.tzinfo is None:
        raise ValueError(f"created must have a time zone, got {created!r}")
    if answer.checkpoint_name != checkpoint.name:
        raise ValueError(f"the answer is of {answer.checkpoint_name!r}, not of the checkpoint {checkpoint.name!r}")
    return Report(
        image=replace(image, name=file_name or NOT_NAMED),
        answer=answer,
        judged=judged if file_name else _without_file_names(judged),
        checkpoint=checkpoint,
        grades=tuple(grades),
        created=created,
        identity=identity or uuid.uuid4().hex,
        file_name=file_name,
        patient=patient,
    )


def _without_file_names(judged: Verdict) -> Verdict:
    """The same verdict without the names of training files: of a scan that was in training they are the user's own."""
    steps = judged.steps
    for near in judged.familiarity.nearest if judged.familiarity else ():
        steps = tuple(replace(each, reason=each.reason.replace(f"“{near.path}”", "a training slice")) for each in steps)
    return replace(judged, steps=steps, familiarity=None)
