"""Simulated scans as DICOM files, for samples, benchmarks and tests: CT Image Storage without a patient."""

import io

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from kidney_core import phantom
from kidney_core.canvas import SPACING_MM

_SLICE_DISTANCE_MM = 2.5
# Where rows and columns of a picture run in the patient, PS3.3 C.7.6.2.1.1, and the axis that the slices follow.
_ORIENTATIONS = {"axial": [1, 0, 0, 0, 1, 0], "coronal": [1, 0, 0, 0, 0, -1]}
_AXES = {"axial": 2, "coronal": 1}


def ct_file(hu: np.ndarray, *, series: str, number: int, plane: str = "axial", spacing_mm: float = SPACING_MM) -> bytes:
    """An uncompressed CT file: (H, W) Hounsfield units, the `number`-th slice of its series, from 0."""
    made = pydicom.Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.Modality, made.SeriesInstanceUID, made.InstanceNumber = "CT", series, number + 1
    made.SeriesDescription = "Simulated, not a patient"
    position = [0.0, 0.0, 0.0]
    position[_AXES[plane]] = number * _SLICE_DISTANCE_MM
    made.ImageOrientationPatient, made.ImagePositionPatient = _ORIENTATIONS[plane], position
    made.PixelSpacing, made.SliceThickness = [spacing_mm, spacing_mm], _SLICE_DISTANCE_MM
    made.Rows, made.Columns = hu.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = 0, 1, "HU"
    made.WindowCenter, made.WindowWidth = 40, 400
    made.PixelData = np.rint(hu).astype("<i2").tobytes()
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def series_files(label: str, seed: int, *, n_slices: int) -> list[tuple[str, bytes]]:
    """The slices of a simulated scan, (name, content) of each in order."""
    series = generate_uid(entropy_srcs=[label, str(seed)])
    return [
        (f"slice-{number + 1:03d}.dcm", ct_file(drawn.hu, series=series, number=number, plane=drawn.plane))
        for number, drawn in enumerate(phantom.draw_series(label, seed, n_slices=n_slices))
    ]
