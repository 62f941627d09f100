"""The report of a prediction: what goes into it, and its downloads."""

from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.app import formatting, markdown, progress
from kidney_core.common.errors import KidneyError
from kidney_core.imaging.slices import Slice, is_dicom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kidney_core.checkpoints.checkpoint import Checkpoint
    from kidney_core.diagnosis.inference import Diagnosis, Predictor
    from kidney_core.diagnosis.stack_reading import StackReading
    from kidney_core.diagnosis.verdict import Verdict
    from kidney_core.imaging.file_content import FileContent
    from kidney_core.imaging.stack import Stack

NAME, SCAN_NAME = "kidney-ct-report", "kidney-ct-scan-report"
_PICTURE, _STRUCTURED = "DICOM picture (secondary capture)", "DICOM structured report"


def show(
    image: Slice,
    content: "FileContent | None",
    answer: "Diagnosis",
    verdict: "Verdict",
    checkpoint: "Checkpoint",
    *,
    grades: tuple,
    key: str,
    title: str = "Report",
) -> None:
    """Offer the report of a slice as PDF and DICOM; it names the patient only where the user ticks that.

    Args:
        content: of the file of the slice; None for a sample.
        key: makes the inputs of this slice unique.
    """
    with st.expander(markdown.text(title)):
        with_name, with_patient = _ask_what_to_name(content is not None and is_dicom(content), key)
        measures = _ask_for_measures(key)
        if not grades and answer.heatmap is not None:
            st.caption("Grade the heatmap first to have its grades in the report.")
        if not st.button("Write the report", key="diagnosis_report"):
            return
        from kidney_core.imaging.patient_tags import read_patient_tags
        from kidney_core.reports import report, report_dicom, report_pdf

        try:
            with st.spinner("Writing…"):
                composed = report.compose(
                    image,
                    answer,
                    verdict,
                    checkpoint,
                    grades=grades,
                    measures=measures,
                    file_name=image.name if with_name else None,
                    patient=read_patient_tags(content) if with_patient and content else None,
                )
                files = (
                    ("PDF", report_pdf.to_pdf(composed), f"{NAME}.pdf"),
                    (_PICTURE, report_dicom.to_secondary_capture(composed), f"{NAME}-sc.dcm"),
                    (_STRUCTURED, report_dicom.to_structured_report(composed), f"{NAME}-sr.dcm"),
                )
        except KidneyError as error:
            st.error(markdown.text(error))
            return
        _offer(files)


def show_scan(predictor: "Predictor", stack: "Stack", reading: "StackReading") -> None:
    """Offer the report of a scan as PDF and DICOM, and its kidneys as a DICOM segmentation; nothing is stored."""
    with st.expander("Report of the scan"):
        key = f"scan_{reading.stack_fingerprint[:16]}"
        with_name, with_patient = _ask_what_to_name(is_dicom(stack.items[0].file), key)
        if not st.button("Write the report of the scan", key="diagnosis_scan_report"):
            return
        from kidney_core.reports import kidney_segmentation, scan_dicom, scan_pdf, scan_report

        try:
            with st.spinner("Writing…"):
                composed = scan_report.compose_scan(
                    predictor,
                    stack,
                    reading,
                    with_patient=with_patient,
                    file_name=stack.items[0].name if with_name else None,
                )
                files = [
                    ("PDF", scan_pdf.to_pdf(composed), f"{SCAN_NAME}.pdf"),
                    (_PICTURE, scan_dicom.to_secondary_capture(composed), f"{SCAN_NAME}-sc.dcm"),
                    (_STRUCTURED, scan_dicom.to_structured_report(composed), f"{SCAN_NAME}-sr.dcm"),
                ]
        except KidneyError as error:
            st.error(markdown.text(error))
            return
        if predictor.finder:
            try:
                report = progress.progress_bar("Outlining the kidneys")
                content = kidney_segmentation.to_segmentation(composed, stack, predictor.finder, progress=report)
                files.append(("Kidneys (DICOM segmentation)", content, f"{SCAN_NAME}-seg.dcm"))
            except KidneyError as error:
                st.caption(f"No segmentation. {markdown.text(error)}")
        _offer(files)


def take_measures(measures: tuple[tuple[str, str], ...], *, key: str) -> None:
    """Keep the measurements of a slice for its report."""
    st.session_state["diagnosis_measures"] = (key, measures)


def _ask_for_measures(key: str) -> tuple[tuple[str, str], ...]:
    """The measurements of this slice that shall be in the report."""
    kept_key, measures = st.session_state.get("diagnosis_measures", ("", ()))
    if kept_key != key or not measures:
        return ()
    label = f"Include {formatting.quantity(len(measures), 'measurement')}"
    wanted = st.checkbox(label, value=True, key=f"diagnosis_report_measures_{key}")
    st.caption(markdown.text("; ".join(f"{kind} {value}" for kind, value in measures)))
    return measures if wanted else ()


def _ask_what_to_name(is_from_dicom: bool, key: str) -> tuple[bool, bool]:
    """Whether the report shall name the file, and the patient."""
    with_name = st.checkbox("Include the file name", key=f"diagnosis_report_named_{key}")
    with_patient = is_from_dicom and st.checkbox(
        "Include the patient and study tags of the DICOM file",
        key=f"diagnosis_report_patient_{key}",
        help="Name, ID, birth date, sex and study. Otherwise the report does not identify the patient.",
    )
    return with_name, with_patient


def _offer(files: "Sequence[tuple[str, bytes, str]]") -> None:
    """A download for each (title, content, name)."""
    for title, content, name in files:
        mime = "application/pdf" if name.endswith(".pdf") else "application/dicom"
        st.download_button(
            markdown.text(title),
            content,
            name,
            mime,
            key=f"diagnosis_report_{name}",
            on_click="ignore",
            width="stretch",
        )
