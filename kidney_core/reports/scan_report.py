"""A scan, its reading and the slices that drive its verdict -> a `ScanReport`: plain values, without names unless ticked."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from kidney_core.common.labels import NORMAL
from kidney_core.diagnosis import inference
from kidney_core.diagnosis.inference import Predictor
from kidney_core.diagnosis.stack_reading import StackReading
from kidney_core.diagnosis.stack_verdict import Driver, StackVerdict
from kidney_core.imaging import rendering
from kidney_core.imaging.patient_tags import PatientTags, read_patient_tags
from kidney_core.imaging.slices import Slice
from kidney_core.imaging.stack import Stack, open_item
from kidney_core.kidneys.stack_kidneys import StackKidneys
from kidney_core.networks import explanation
from kidney_core.reports.report import ReportBasis, check_created


@dataclass(frozen=True)
class DrivingSlice:
    """A slice that carries the label of a scan.

    Attributes:
        index: its row.
        probability: of the label.
        picture: (H, W, 3) uint8, with the patient's proportions, the heatmap of the label and the outline of the kidneys.
        tags: of its file, only where the user ticked the patient.
    """

    index: int
    probability: float
    picture: np.ndarray = field(repr=False)
    tags: PatientTags | None


@dataclass(frozen=True, kw_only=True)
class ScanReport(ReportBasis):
    """Everything the report of a scan says, as plain values; made by `compose_scan`.

    Attributes:
        kidneys: of the scan; None without a finder.
        finder_sha256: of the finder's weights; empty without one.
        n_slices, n_predicted: of the scan, and those that show a kidney and have a prediction.
        unit: of the pixels, "HU" or "grey".
        driving: the slices that carry the label; empty without a prediction.
        method: how their heatmaps were drawn; empty for Normal, which has none.
    """

    noun = "scan"
    verdict: StackVerdict
    kidneys: StackKidneys | None
    finder_sha256: str
    n_slices: int
    n_predicted: int
    unit: str
    image_facts: dict[str, str]
    driving: tuple[DrivingSlice, ...]
    method: str

    @property
    def undecided_because(self) -> str:
        if not self.verdict.is_whole_scan:
            return super().undecided_because
        return "The model was not measured on whole scans: do not conclude anything from this label."

    @property
    def label(self) -> str | None:
        return self.verdict.predicted_label

    @property
    def result(self) -> str:
        return self.verdict.result

    @property
    def probabilities(self) -> dict[str, float]:
        return self.verdict.probabilities

    @property
    def facts(self) -> dict[str, str]:
        return {"Slices": f"{self.n_slices}, of which {self.n_predicted} were predicted", **self.image_facts}


def compose_scan(
    predictor: Predictor,
    stack: Stack,
    reading: StackReading,
    *,
    method: str = explanation.DEFAULT_METHOD,
    with_patient: bool = False,
    file_name: str | None = None,
    created: datetime | None = None,
    identity: str | None = None,
) -> ScanReport:
    """Gather the report of a scan; the slices that drive its verdict are read again and explained.

    Args:
        reading: of this stack by this predictor.
        with_patient: the user ticked the tags of the patient and the study.
        file_name: only where the user ticked it.
        created: with a time zone; now by default.
        identity: given to make the same DICOM objects again; random by default.

    Raises: SliceError where a slice has become unreadable.
    """
    if reading.checkpoint_name != predictor.checkpoint.name or reading.stack_fingerprint != stack.fingerprint:
        raise ValueError(f"the reading is of {reading.checkpoint_name!r} and another stack")
    verdict = reading.verdict
    first = next(row for row, each in enumerate(reading.looked_at) if each and not each.problem)
    image = open_item(stack.items[first])
    tags = read_patient_tags(stack.items[first].file) if with_patient else None
    explains = verdict.predicted_label if verdict.predicted_label != NORMAL else None
    return ScanReport(
        verdict=verdict,
        checkpoint=predictor.checkpoint,
        created=check_created(created),
        identity=identity or uuid.uuid4().hex,
        file_name=file_name,
        patient=tags,
        kidneys=reading.kidneys,
        finder_sha256=predictor.finder.digest if predictor.finder else "",
        n_slices=reading.n_slices,
        n_predicted=reading.n_predicted,
        unit=image.unit,
        image_facts=image.facts,
        driving=tuple(
            _driving(predictor, stack, reading, each, explains, method, with_tags=tags is not None)
            for each in verdict.driving
        ),
        method=method if explains and verdict.driving else "",
    )


def _driving(
    predictor: Predictor,
    stack: Stack,
    reading: StackReading,
    driver: Driver,
    explains: str | None,
    method: str,
    *,
    with_tags: bool,
) -> DrivingSlice:
    item = stack.items[driver.index]
    image = open_item(item)
    return DrivingSlice(
        index=driver.index,
        probability=driver.probability,
        picture=_picture(predictor, reading, driver.index, image, explains, method),
        tags=read_patient_tags(item.file) if with_tags else None,
    )


def _picture(
    predictor: Predictor, reading: StackReading, index: int, image: Slice, explains: str | None, method: str
) -> np.ndarray:
    """A slice with the map of a label, where one is explained, and the outline of the kidneys."""
    found = predictor.finder.find([image.network_grey8()])[0].find() if predictor.finder else None
    heatmap = None
    if explains:
        heatmap = inference.diagnose(predictor, image, explain=explains, method=method, kidneys=found).heatmap
    picture = rendering.blend(image.grey8(), heatmap)
    if found is not None and reading.kidneys is not None:
        for mask in reading.kidneys.masks_at(index, found).values():
            picture = rendering.outlined(picture, image.upright.back(mask))
    return rendering.with_square_pixels(picture, image.spacing_mm)
