"""The kidneys of a scan as a DICOM Segmentation, which viewers lay over the series. Source: PS3.3 A.51."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from kidney_core import __version__
from kidney_core.common.errors import KidneyError
from kidney_core.imaging.patient_tags import PatientTags, read_patient_tags
from kidney_core.imaging.slice_geometry import read_geometry
from kidney_core.imaging.stack import Stack, open_item
from kidney_core.kidneys.finder import KidneyFinder
from kidney_core.kidneys.found import LEFT, RIGHT
from kidney_core.kidneys.stack_kidneys import StackKidneys
from kidney_core.reports import dicom_parts
from kidney_core.reports.report import SOFTWARE
from kidney_core.reports.scan_report import ScanReport

if TYPE_CHECKING:
    from pydicom import Dataset

_BATCH = 8
_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


class NoSegmentation(KidneyError):
    """Why a scan cannot have a segmentation."""


def to_segmentation(
    report: ScanReport,
    stack: Stack,
    finder: KidneyFinder,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> bytes:
    """The kidneys as a DICOM Segmentation of the series; nothing is written to disk.

    The slices that show a kidney are read again. With the patient ticked it refers to the images of the series; without,
    every UID is a new one, and the position in the scanner's coordinates is all it has in common with them.

    Args:
        progress: called with (slices done, slices to do).

    Raises: NoSegmentation where no kidney was found, or the files do not say where their slices lie; SliceError.
    """
    from highdicom import AlgorithmIdentificationSequence, seg
    from pydicom.sr.codedict import codes

    kidneys = report.kidneys
    if kidneys is None or kidneys.range is None:
        raise NoSegmentation("No kidney was found in this scan, so there is nothing to outline.")
    rows = list(range(kidneys.range[0], kidneys.range[1] + 1))
    sources = [_source(report, stack, row) for row in rows]
    pixels = _masks(stack, finder, kidneys, rows, progress)
    algorithm = AlgorithmIdentificationSequence(
        name=f"{SOFTWARE}, kidney finder",
        family=codes.cid7162.ArtificialIntelligence,
        version=__version__,
        parameters={"weights SHA-256": finder.digest},
    )
    segments = [
        seg.SegmentDescription(
            segment_number=number,
            segment_label=f"Kidney, {side}",
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Kidney,
            algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=dicom_parts.uid(report, f"kidney {side}"),
            tracking_id=f"Kidney, {side}",
        )
        for number, side in enumerate(kidneys.sides, start=1)
    ]
    for description, side in zip(segments, kidneys.sides, strict=True):
        _add_laterality(description, side)
    segmentation = seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=dicom_parts.uid(report, "segmentation series"),
        series_number=dicom_parts.SERIES_NUMBER + 2,
        sop_instance_uid=dicom_parts.uid(report, "segmentation"),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=report.checkpoint.name[:64],
        software_versions=__version__,
        device_serial_number="none",
        content_label="KIDNEYS",
        content_description="Kidneys, found by a network",
    )
    dicom_parts.describe(segmentation, report, "Kidneys, segmentation")
    return dicom_parts.content(segmentation)


def _masks(
    stack: Stack,
    finder: KidneyFinder,
    kidneys: StackKidneys,
    rows: list[int],
    progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    """(len(rows), H, W) uint8: the number of the segment of each pixel, 0 outside the kidneys."""
    masks: list[np.ndarray] = []
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        images = [open_item(stack.items[row]) for row in batch]
        maps = finder.find([image.network_grey8() for image in images])
        for row, image, found in zip(batch, images, maps, strict=True):
            of_sides = kidneys.masks_at(row, found.find())
            numbers = np.zeros(image.pixels.shape, np.uint8)
            for number, side in enumerate(kidneys.sides, start=1):
                if side in of_sides:
                    numbers[image.upright.back(of_sides[side])] = number
            masks.append(numbers)
        if progress:
            progress(len(masks), len(rows))
    if len({mask.shape for mask in masks}) > 1:
        raise NoSegmentation("The slices of this series differ in size, so a segmentation cannot be made of it.")
    return np.stack(masks)


def _source(report: ScanReport, stack: Stack, row: int) -> "Dataset":
    """What a segmentation has to know of a slice: who and what it is where that is ticked, and where it lies."""
    content = stack.items[row].file
    plane = read_geometry(content)
    if plane is None:
        raise NoSegmentation(
            f"“{stack.items[row].name}” does not say where its pixels lie in the patient, or holds several images. A segmentation "
            "needs a DICOM series with one file per slice."
        )
    tags = (read_patient_tags(content) if report.patient else None) or PatientTags()
    source = dicom_parts.reference(
        dicom_parts.study_uid(report),
        tags.series_uid or dicom_parts.uid(report, "source series"),
        tags.image_class_uid or _CT_IMAGE,
        tags.image_uid or dicom_parts.uid(report, f"source {row}"),
    )
    source.FrameOfReferenceUID = tags.frame_of_reference_uid or dicom_parts.uid(report, "frame of reference")
    source.Modality, source.ReferringPhysicianName, source.InstanceNumber = "CT", "", row + 1
    source.Rows, source.Columns = plane.rows, plane.columns
    source.ImagePositionPatient, source.ImageOrientationPatient = list(plane.corner_mm), list(plane.orientation)
    source.PixelSpacing = list(plane.spacing_mm)
    source.SliceThickness = plane.thickness_mm or _slice_distance(stack)
    return source


def _slice_distance(stack: Stack) -> float:
    """The distance of the slices in mm, for files that state no thickness."""
    positions = [item.position_mm for item in stack.items if item.position_mm is not None]
    steps = np.abs(np.diff(positions))
    return float(np.median(steps)) if len(steps) and np.median(steps) > 0 else 1.0


def _add_laterality(description: "Dataset", side: str) -> None:
    """State which kidney a segment is. Source: PS3.3 10.27.1, Segmented Property Type Modifier."""
    from highdicom.sr import CodedConcept

    codes = {RIGHT: ("24028007", "Right"), LEFT: ("7771000", "Left")}
    if side in codes:
        value, meaning = codes[side]
        modifier = CodedConcept(value, "SCT", meaning)
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
