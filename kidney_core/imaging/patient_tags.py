"""Who was scanned, as the source DICOM names it: read only when the user asks for it in a report, and never kept."""

import re
import warnings
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from kidney_core import decoder
from kidney_core.errors import UnreadableSlice
from kidney_core.slices import is_dicom

_SEXES = {"M", "F", "O"}  # PS3.3 C.7.1.1, Patient's Sex
_LONGEST = 200  # characters: a name in three scripts has 194


@dataclass(frozen=True)
class PatientTags:
    """The patient, the study and the image that a report is about; empty where the file does not say.

    Attributes:
        birth_date, study_date: "YYYYMMDD". study_time: "HHMMSS", with a fraction where the file has one.
        sex: "M", "F" or "O".
        image_uid, image_class_uid, series_uid: which image of the study was read.
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

    @property
    def plain_name(self) -> str:
        """ "Doe^Jane" -> "Doe, Jane" (PS3.5 6.2.1: components by ^, other scripts by =)."""
        return ", ".join(part for part in self.name.split("=")[0].split("^") if part.strip())

    @property
    def names_image(self) -> bool:
        """True where the file says which image of which study it is."""
        return all((self.study_uid, self.series_uid, self.image_uid, self.image_class_uid))


def read_patient_tags(content: bytes) -> PatientTags | None:
    """The patient and the study that a DICOM file names; None for another kind of file.

    A child process reads it. A value that its type does not allow is left empty: a report must not carry it on.

    Raises: UnreadableSlice when the file cannot be parsed.
    """
    if not is_dicom(content):
        return None
    return decoder.ask("patient", content, _tags_of, name="the DICOM file")


def _tags_of(answer: decoder.Answer) -> PatientTags:
    return PatientTags(**{each.name: str(answer.fields[each.name])[:_LONGEST] for each in fields(PatientTags)})


def told(content: bytes) -> dict[str, str]:
    """What a child tells `read_patient_tags`."""
    from kidney_core import dicom_file  # here, since pydicom costs 0.2 s and only a child needs it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dicom_file.parse(content, "the DICOM file", stop_before_pixels=True)
            found = PatientTags(
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
            )
            return asdict(found)
    except Exception as error:
        # pydicom converts a tag when it is asked for: damage may show at any of them, as any exception.
        raise UnreadableSlice(
            f"The patient's tags of this DICOM file are damaged and cannot be read ({type(error).__name__}). Make the "
            "report without them, or export the file again."
        ) from error


def _text(dataset, keyword: str, longest: int) -> str:
    """The tag's text without control signs, or nothing where it is longer than its type allows (PS3.5 6.2)."""
    text = re.sub(r"[\x00-\x1f\x7f\\]", " ", str(dataset.get(keyword) or "")).strip()
    return text if len(text) <= longest else ""


def _name(dataset) -> str:
    """The name where it has at most five components in each of at most three scripts (PS3.5 6.2.1)."""
    text = _text(dataset, "PatientName", 3 * 64 + 2)
    scripts = text.split("=")
    fits = len(scripts) <= 3 and all(each.count("^") <= 4 and len(each) <= 64 for each in scripts)
    return text if fits else ""


def _date(dataset, keyword: str) -> str:
    text = _text(dataset, keyword, 8)
    try:
        return datetime.strptime(text, "%Y%m%d").strftime("%Y%m%d")
    except ValueError:
        return ""


def _time(dataset, keyword: str) -> str:
    text = _text(dataset, keyword, 13)
    return text if re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", text) else ""


def _uid(dataset, keyword: str) -> str:
    """The tag where it is a UID (PS3.5 9.1): numbers without leading zeros, at most 64 signs."""
    text = _text(dataset, keyword, 64)
    return text if re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", text) else ""
