"""CT files for tests; their patient name is a canary that must appear nowhere."""

import io

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def ct_dataset(stored: np.ndarray, *, entropy: str | None = None, **tags: object) -> pydicom.Dataset:
    """A CT dataset of stored values, (H, W) or (N, H, W) of 16 bits, in Hounsfield units unless `tags` change that.

    Args:
        entropy: seed of its SOPInstanceUID where that must be reproducible.
        tags: set last; a tag given as None is removed.
    """
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[entropy] if entropy else None)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CT", "Canary^Alice", "CANARY-77"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(stored.dtype == np.int16)
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    if stored.ndim == 3:
        dataset.NumberOfFrames = len(stored)
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    for keyword, value in tags.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    return dataset


def saved(dataset: pydicom.Dataset) -> bytes:
    """The bytes of a dataset saved as a file."""
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
