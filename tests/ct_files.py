"""CT files made for tests; their patient is a canary."""

import io

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def ct_dataset(stored: np.ndarray, *, entropy: str | None = None, **tags: object) -> pydicom.Dataset:
    """A CT dataset of stored values, (H, W) or (N, H, W) of 16 bits, in Hounsfield units unless `tags` say otherwise.

    Args:
        entropy: what its identifier is made from, where it must be the same each time.
        tags: set last; one given as None is left out.
    """
    made = pydicom.Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.SOPInstanceUID = generate_uid(entropy_srcs=[entropy] if entropy else None)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.Modality, made.PatientName, made.PatientID = "CT", "Canary^Alice", "CANARY-77"
    made.Rows, made.Columns = stored.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.PixelRepresentation = int(stored.dtype == np.int16)
    made.RescaleIntercept, made.RescaleSlope = 0, 1
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    if stored.ndim == 3:
        made.NumberOfFrames = len(stored)
    made.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    for keyword, value in tags.items():
        if value is not None:
            setattr(made, keyword, value)
        elif keyword in made:
            delattr(made, keyword)
    return made


def saved(dataset: pydicom.Dataset) -> bytes:
    """A dataset as the bytes of its file."""
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
