"""A slice, its diagnosis and the verdict on it -> a `Report`: plain values, without names unless ticked."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

import numpy as np

from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.diagnosis import outcomes
from kidney_core.diagnosis.inference import Diagnosis
from kidney_core.diagnosis.stack_verdict import StackVerdict
from kidney_core.diagnosis.verdict import Verdict
from kidney_core.imaging import rendering
from kidney_core.imaging.patient_tags import PatientTags
from kidney_core.imaging.slices import Slice
from kidney_core.metrics.number_format import percent
from kidney_core.networks.map_grades import Grade

SOFTWARE = "Kidney CT workbench"
NOT_NAMED = "not named"


@dataclass(frozen=True, kw_only=True)
class ReportBasis(ABC):
    """What the report of a slice and that of a scan have in common.

    Attributes:
        noun: what is reported on, "image" or "scan".
        verdict: the checks, and what comes of them.
        created: with its time zone.
        identity: a random word from which the DICOM objects of this report draw their UIDs.
        file_name, patient: only where the user ticked them.
    """

    verdict: Verdict | StackVerdict
    checkpoint: Checkpoint
    created: datetime
    identity: str
    file_name: str | None = None
    patient: PatientTags | None = None

    noun: ClassVar[str]

    @property
    @abstractmethod
    def label(self) -> str | None:
        """The predicted label."""

    @property
    @abstractmethod
    def result(self) -> str:
        """The prediction in a line; empty without one."""

    @property
    @abstractmethod
    def probabilities(self) -> dict[str, float]:
        """The calibrated probabilities of its labels, whether or not they mean anything."""

    @property
    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What is known of the images."""

    @property
    def undecided_because(self) -> str:
        """What an abstention means."""
        return "Its confidence is below the model's threshold: do not conclude anything from this label."

    @property
    def has_prediction(self) -> bool:
        """Whether a label is given at all."""
        return self.verdict.outcome not in outcomes.NO_PREDICTION

    @property
    def findings(self) -> dict[str, float]:
        """The calibrated probabilities; none where there is no prediction."""
        return self.probabilities if self.has_prediction else {}

    @property
    def title(self) -> str:
        """The file name where it was ticked."""
        return self.file_name or NOT_NAMED

    @property
    def time(self) -> str:
        return self.created.isoformat(sep=" ", timespec="minutes")


@dataclass(frozen=True, kw_only=True)
class Report(ReportBasis):
    """Everything the report of a slice says, as plain values; made by `compose`.

    Attributes:
        image: its name is the file's only where the user ticked it.
        grades: of the heatmap; may be empty.
        measures: (kind, value) of each measurement that the user made; may be empty.
    """

    noun = "image"
    verdict: Verdict
    image: Slice
    diagnosis: Diagnosis
    grades: tuple[Grade, ...]
    measures: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        return self.diagnosis.predicted_label

    @property
    def result(self) -> str:
        return f"{self.label} · {percent(self.probabilities[self.label])}"

    @property
    def probabilities(self) -> dict[str, float]:
        return self.diagnosis.probabilities

    @property
    def facts(self) -> dict[str, str]:
        return self.image.facts

    @property
    def picture(self) -> np.ndarray:
        """The slice with the patient's proportions, (H, W) uint8."""
        return rendering.with_square_pixels(self.image.grey8(), self.image.spacing_mm)

    @property
    def overlay(self) -> np.ndarray | None:
        """The slice with its map, (H, W, 3) uint8; None where there is no map or no prediction."""
        if not self.has_prediction or self.diagnosis.heatmap is None:
            return None
        blended = rendering.blend(self.image.grey8(), self.diagnosis.heatmap)
        return rendering.with_square_pixels(blended, self.image.spacing_mm)


def check_created(created: datetime | None) -> datetime:
    """The time of a report: now by default. Raises ValueError for a time without a time zone."""
    created = created or datetime.now().astimezone()
    if created.tzinfo is None:
        raise ValueError(f"created must have a time zone, got {created!r}")
    return created


def compose(
    image: Slice,
    diagnosis: Diagnosis,
    verdict: Verdict,
    checkpoint: Checkpoint,
    *,
    grades: Sequence[Grade] = (),
    measures: Sequence[tuple[str, str]] = (),
    created: datetime | None = None,
    file_name: str | None = None,
    patient: PatientTags | None = None,
    identity: str | None = None,
) -> Report:
    """Gather a report.

    Args:
        measures: (kind, value) of each measurement to state.
        grades: how far to trust the heatmap, where that was measured.
        created: with a time zone; now by default.
        file_name, patient: only where the user ticked them; nothing of either is in the report otherwise.
        identity: given to make the same DICOM objects again; random by default.
    """
    if diagnosis.checkpoint_name != checkpoint.name:
        raise ValueError(
            f"the diagnosis is of {diagnosis.checkpoint_name!r}, not of the checkpoint {checkpoint.name!r}"
        )
    return Report(
        image=replace(image, name=file_name or NOT_NAMED),
        diagnosis=diagnosis,
        verdict=verdict if file_name else _without_file_names(verdict),
        checkpoint=checkpoint,
        grades=tuple(grades),
        measures=tuple(measures),
        created=check_created(created),
        identity=identity or uuid.uuid4().hex,
        file_name=file_name,
        patient=patient,
    )


def _without_file_names(verdict: Verdict) -> Verdict:
    """The same verdict without the names of training files: of a scan that was in training they are the user's own."""
    steps = verdict.steps
    for near in verdict.training_match.nearest if verdict.training_match else ():
        steps = tuple(replace(each, reason=each.reason.replace(f"“{near.path}”", "a training slice")) for each in steps)
    return replace(verdict, steps=steps, training_match=None)
