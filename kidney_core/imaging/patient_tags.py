"""The patient and study tags of a DICOM file: read only when the user wants them in a report, and never stored."""

import re
import warnings
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING

from kidney_core.common.errors import UnreadableSlice
from kidney_core.imaging import decoder
from kidney_core.imaging.file_content import FileContent
from kidney_core.imaging.slices import is_dicom

if TYPE_CHECKING:
    import pydicom

_SEXES = {"M", "F", "O"}  # PS3.3 C.7.1.1, Patient's Sex
_MAX_LENGTH = 200  # characters: a name in three scripts has at most 194


@dataclass(frozen=True)
class PatientTags:
    """The patient, the study and the image of a report; a field is empty where the file lacks it.

    Attributes:
        name: as in the file, with components separated by ^ and scripts by =.
        birth_date, study_date: "YYYYMMDD". study_time: "HHMMSS", with a fraction where the file has one.
        sex: "M", "F" or "O".
        image_uid, image_class_uid, series_uid: the image of the study that was read.
        frame_of_reference_uid: of the coordinates that its position is given in.
    """

    name: str = ""
    patient_id: str = ""
    birth_date: str = ""
    sex: str = ""
    study_uid: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    series_uid: str = ""
    image_uid: str = ""
    image_class_uid: str = ""
    frame_of_reference_uid: str = ""

    @property
    def plain_name(self) -> str:
        """ "Doe^Jane" -> "Doe, Jane" (PS3.5 6.2.1: components by ^, other scripts by =)."""
        return ", ".join(part for part in self.name.split("=")[0].split("^") if part.strip())

    @property
    def identifies_image(self) -> bool:
        """True where the file states which image of which study it is."""
        return all((self.study_uid, self.series_uid, self.image_uid, self.image_class_uid))


def read_patient_tags(content: bytes | FileContent) -> PatientTags | None:
    """The patient and study tags of a DICOM file; None for another kind of file.

    A child process reads them. A value that its VR does not allow becomes empty, so that no report contains it.

    Raises: UnreadableSlice when the file cannot be parsed.
    """
    if not is_dicom(content):
        return None
    return decoder.run_task("patient", content, _from_wire, name="the DICOM file")


def _from_wire(response: decoder.Response) -> PatientTags:
    return PatientTags(**{each.name: str(response.fields[each.name])[:_MAX_LENGTH] for each in fields(PatientTags)})


def to_wire(content: bytes) -> dict[str, str]:
    """The response of a child to `read_patient_tags`: JSON fields. Raises UnreadableSlice."""
    from kidney_core.imaging import dicom_file  # here, since importing pydicom takes 0.2 s and only a child needs it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dicom_file.parse(content, "the DICOM file", stop_before_pixels=True)
            tags = PatientTags(
                name=_name(dataset),
                patient_id=_text(dataset, "PatientID", 64),
                birth_date=_date(dataset, "PatientBirthDate"),
                sex=sex if (sex := _text(dataset, "PatientSex", 16).upper()) in _SEXES else "",
                study_uid=_uid(dataset, "StudyInstanceUID"),
                study_id=_text(dataset, "StudyID", 16),
                study_date=_date(dataset, "StudyDate"),
                study_time=_time(dataset, "StudyTime"),
                accession_number=_text(dataset, "AccessionNumber", 16),
                series_uid=_uid(dataset, "SeriesInstanceUID"),
                image_uid=_uid(dataset, "SOPInstanceUID"),
                image_class_uid=_uid(dataset, "SOPClassUID"),
                frame_of_reference_uid=_uid(dataset, "FrameOfReferenceUID"),
            )
            return asdict(tags)
    except Exception as error:
        # pydicom converts a tag at its first access: damage may show at any of them, as any exception.
        raise UnreadableSlice(
            f"The patient tags of this DICOM file are damaged and cannot be read ({type(error).__name__}). Create the "
            "report without them, or export the file again."
        ) from error


def _text(dataset: "pydicom.Dataset", keyword: str, max_length: int) -> str:
    """The text of a tag without control characters, or "" where it is longer than its VR allows (PS3.5 6.2)."""
    text = re.sub(r"[\x00-\x1f\x7f\\]", " ", str(dataset.get(keyword) or "")).strip()
    return text if len(text) <= max_length else ""


def _name(dataset: "pydicom.Dataset") -> str:
    """The name, or "" where it has more than five components or more than three scripts (PS3.5 6.2.1)."""
    text = _text(dataset, "PatientName", 3 * 64 + 2)
    scripts = text.split("=")
    fits = len(scripts) <= 3 and all(each.count("^") <= 4 and len(each) <= 64 for each in scripts)
    return text if fits else ""


def _date(dataset: "pydicom.Dataset", keyword: str) -> str:
    text = _text(dataset, keyword, 8)
    try:
        return datetime.strptime(text, "%Y%m%d").strftime("%Y%m%d")
    except ValueError:
        return ""


def _time(dataset: "pydicom.Dataset", keyword: str) -> str:
    text = _text(dataset, keyword, 13)
    return text if re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", text) else ""


def _uid(dataset: "pydicom.Dataset", keyword: str) -> str:
    """The tag, or "" where it is no UID (PS3.5 9.1): numbers without leading zeros, at most 64 characters."""
    text = _text(dataset, keyword, 64)
    return text if re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", text) else ""
