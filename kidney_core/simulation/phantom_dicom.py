"""Simulated scans as DICOM files for samples, benchmarks and tests: CT Image Storage without a patient."""

import io

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from kidney_core.simulation import phantom
from kidney_core.simulation.canvas import SPACING_MM

_SLICE_DISTANCE_MM = 2.5
# Directions of rows and columns in the patient (PS3.3 C.7.6.2.1.1), and the axis along which slices are stacked.
_ORIENTATIONS = {"axial": [1, 0, 0, 0, 1, 0], "coronal": [1, 0, 0, 0, 0, -1]}
_AXES = {"axial": 2, "coronal": 1}


def ct_file(hu: np.ndarray, *, series: str, number: int, plane: str = "axial", spacing_mm: float = SPACING_MM) -> bytes:
    """The bytes of an uncompressed CT file.

    Args:
        hu: (H, W) Hounsfield units.
        series: the SeriesInstanceUID.
        number: index of the slice in its series, from 0; slices are 2.5 mm apart.
        plane: "axial" or "coronal".
    """
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID, dataset.InstanceNumber = "CT", series, number + 1
    dataset.SeriesDescription = "Simulated, not a patient"
    position = [0.0, 0.0, 0.0]
    position[_AXES[plane]] = number * _SLICE_DISTANCE_MM
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = _ORIENTATIONS[plane], position
    dataset.PixelSpacing, dataset.SliceThickness = [spacing_mm, spacing_mm], _SLICE_DISTANCE_MM
    dataset.Rows, dataset.Columns = hu.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    dataset.PixelData = np.rint(hu).astype("<i2").tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def series_files(label: str, seed: int, *, n_slices: int) -> list[tuple[str, bytes]]:
    """The DICOM files of a simulated scan: (name, content) of each slice, in order."""
    series = generate_uid(entropy_srcs=[label, str(seed)])
    return [
        (f"slice-{number + 1:03d}.dcm", ct_file(each.hu, series=series, number=number, plane=each.plane))
        for number, each in enumerate(phantom.draw_series(label, seed, n_slices=n_slices))
    ]
