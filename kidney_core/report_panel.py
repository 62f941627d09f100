"""The report of an answer: what goes into it, and its downloads."""

from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.errors import KidneyError
from kidney_core.slices import Slice, is_dicom

if TYPE_CHECKING:
    from kidney_core.checkpoint import Checkpoint
    from kidney_core.diagnosis import Diagnosis
    from kidney_core.verdict import Verdict

NAME = "kidney-ct-report"
_DICOM = "application/dicom"


def show(
    image: Slice,
    content: bytes | None,
    answer: "Diagnosis",
    judged: "Verdict",
    checkpoint: "Checkpoint",
    *,
    grades: tuple,
    key: str,
) -> None:
    """Offer the report as PDF and as DICOM; nothing of the patient is in it unless ticked, and nothing is stored."""
    with st.expander("Report"):
        named = st.checkbox("Name the file in it", key=f"diagnosis_report_named_{key}")
        ticked = (
            content is not None
            and is_dicom(content)
            and st.checkbox(
                "Put the patient's and the study's tags of the DICOM file into it",
                key=f"diagnosis_report_patient_{key}",
                help="Name, number, birth date, sex, study. Without it, the report names nobody.",
            )
        )
        if not grades and answer.heatmap is not None:
            st.caption("Grade the map first, and its grades will be in the report too.")
        if not st.button("Write the report", key="diagnosis_report"):
            return
        from kidney_core import report, report_dicom, report_pdf
        from kidney_core.patient_tags import read_patient_tags

        try:
            with st.spinner("Writing…"):
                made = report.compose(
                    image,
                    answer,
                    judged,
                    checkpoint,
                    grades=grades,
                    file_name=image.name if named else None,
                    patient=read_patient_tags(content) if ticked and content else None,
                )
                files = (
                    ("PDF", report_pdf.to_pdf(made), f"{NAME}.pdf", "application/pdf"),
                    (
                        "DICOM picture (secondary capture)",
                        report_dicom.to_secondary_capture(made),
                        f"{NAME}-sc.dcm",
                        _DICOM,
                    ),
                    ("DICOM structured report", report_dicom.to_structured_report(made), f"{NAME}-sr.dcm", _DICOM),
                )
        except KidneyError as error:
            st.error(str(error))
            return
        for title, written, name, mime in files:
            st.download_button(
                title, written, name, mime, key=f"diagnosis_report_{name}", on_click="ignore", width="stretch"
            )
