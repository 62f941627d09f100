"""What is to be diagnosed: uploaded files, zips or folders, files of this machine by their path, or a simulated sample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from kidney_core.app import access, markdown, opened_slice, packed_uploads, path_inputs, uploads
from kidney_core.common import digests
from kidney_core.common.errors import KidneyError
from kidney_core.common.labels import LABELS
from kidney_core.imaging import local_files
from kidney_core.imaging.slices import Slice
from kidney_core.imaging.stack import BY_NAME, Stack, UploadContents, open_files, open_stacks

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

FIRST_SAMPLE_SEED = 990_000  # far from the seeds of the simulated slices the shipped networks were trained on
WHOLE_SCAN, N_SAMPLE_SLICES = "Scan", 40
FILES, FOLDER, PATH = "Files or a zip", "A folder", "By path"
_TYPED = "diagnosis_path"  # in the session
SEPARATE, ONE_SCAN = "separate slices", "one scan"
_NOTHING_UPLOADED = (
    "Nothing in this upload is an image: it is empty or holds hidden files only. Upload the slices themselves."
)
_NOTHING_AT_PATH = (
    "Nothing at this path is an image: it is empty or holds hidden files only. Enter the folder of the slices."
)
AS_GREY = "diagnosis_as_grey"  # in the session: recognised Hounsfield units are taken for grey values


@dataclass(frozen=True)
class Sample:
    """A simulated slice: the label it was drawn as, and which one of them."""

    label: str
    number: int

    @property
    def key(self) -> str:
        return f"{self.label}-{self.number}"

    def draw(self) -> Slice:
        return _draw(self.label, self.number)


FIRST_IMPRESSION = Sample("Tumor", 2)


@st.cache_data(max_entries=2, show_spinner="Drawing a scan…")
def _draw_scan(number: int) -> UploadContents:
    from kidney_core.simulation import phantom_dicom

    label = LABELS[number % len(LABELS)]
    return open_stacks(phantom_dicom.series_files(label, FIRST_SAMPLE_SEED + number, n_slices=N_SAMPLE_SLICES))


@st.cache_data(max_entries=32, show_spinner="Drawing the sample…")
def _draw(label: str, number: int) -> Slice:
    from kidney_core.simulation import phantom

    drawn = phantom.draw_series(label, seed=FIRST_SAMPLE_SEED + number, n_slices=3)[1]
    return drawn.as_slice(f"Simulated {label.lower()} {number}")


def chosen_before() -> str:
    """What this run of the page begins with, as a key: the uploaded files, the path or the sample; empty before a choice."""
    kind = st.session_state.get("diagnosis_kind", FILES)
    if kind == PATH and (typed := st.session_state.get(_TYPED, "").strip()):
        return digests.sha256(typed.encode())[:16] if path_inputs.is_there(typed) else ""
    files = st.session_state.get(f"diagnosis_uploads_{kind}") or []
    if files:
        return "-".join(file.file_id[:8] for file in files[:3]) + f"-{len(files)}"
    return opened_slice.asked() or "-".join(map(str, st.session_state.get("diagnosis_sample", ())))


def choose(messages: "DeltaGenerator") -> UploadContents | Sample | None:
    """What was uploaded, sorted into stacks, or the chosen sample; None before anything was chosen.

    Args:
        messages: where problems of the upload are shown, since the inputs themselves may be in a closed menu.
    """
    kind = st.segmented_control(
        "Upload",
        [FILES, FOLDER, PATH],
        default=FILES,
        required=True,
        key="diagnosis_kind",
        label_visibility="collapsed",
        on_change=uploads.drop,
    )
    if kind == PATH:
        return _choose_path(messages)
    megabytes = uploads.limit_bytes() // 1024**2
    files = st.file_uploader(
        f"CT slices (DICOM, PNG, JPEG, TIFF), a volume (NIfTI) or a zip, up to {megabytes:,} MB"
        if kind == FILES
        else "The folder of a scan, such as a DICOM export",
        accept_multiple_files=True if kind == FILES else "directory",
        key=f"diagnosis_uploads_{kind}",
        help="Files are recognised by their content, not by their name. They are kept in memory only, never stored, and never "
        "leave this machine.",
    )
    with messages:
        if problem := uploads.refusal():
            st.error(markdown.text(problem))
        if files:
            opened_slice.forget()
            return _open_uploads(files)
        uploads.forget_read()
        if opened := opened_slice.contents():
            return opened
    return _sample()


def _choose_path(messages: "DeltaGenerator") -> UploadContents | Sample | None:
    """What the folder or file holds that the user types, or the chosen sample; None before anything was chosen."""
    path = path_inputs.path_input(
        "Folder or file on this machine",
        key=_TYPED,
        messages=messages,
        placeholder="/data/scans/series-3",
        help="DICOM, pictures, a NIfTI volume or a zip. Files are read where they lie, when they are needed; nothing is copied.",
    )
    if not path:
        uploads.forget_read()
        return None if st.session_state[_TYPED].strip() else _sample()

    opened_slice.forget()

    def read() -> UploadContents:
        with st.spinner("Reading the headers…"):
            return open_files(local_files.members(Path(path), access.allowed_roots()))

    with messages:
        return _open((path, _last_change(Path(path))), read, nothing=_NOTHING_AT_PATH)


def _last_change(path: Path) -> str:
    """What changes when a file is written again, or files are added to a folder."""
    try:
        return str(path.stat().st_mtime_ns)
    except OSError:
        return ""  # opening it says why


def _sample() -> UploadContents | Sample | None:
    """The simulated sample that was chosen last; pressing its button again draws another one."""
    st.caption("Or try a **simulated** sample:")
    offered = (*LABELS, WHOLE_SCAN)
    with st.container(key="diagnosis_samples_compact"):
        columns = st.columns(len(offered))
    for column, name in zip(columns, offered, strict=True):
        column.button(
            markdown.text(name), key=f"diagnosis_sample_{name}", width="stretch", on_click=_next_sample, args=(name,)
        )
    if "diagnosis_sample" not in st.session_state:
        return None
    name, number = st.session_state["diagnosis_sample"]
    st.caption(f"Sample {number:,}: {markdown.text(name)}. Press again for another simulated patient.")
    return _draw_scan(number) if name == WHOLE_SCAN else Sample(name, number)


def choose_sample(sample: Sample) -> None:
    """Let Diagnosis open with this sample, whatever was uploaded there before."""
    uploads.drop()
    opened_slice.forget()
    st.session_state["diagnosis_sample"] = (sample.label, sample.number)


def _next_sample(name: str) -> None:
    """Choose a sample; its button, pressed again, chooses the next one."""
    shown, number = st.session_state.get("diagnosis_sample", ("", 0))
    st.session_state["diagnosis_sample"] = (name, number + 1 if shown == name else 1)


def choose_stack(opened: UploadContents) -> tuple[Stack, bool]:
    """The slices to read, and whether they are one scan; the user decides where the files do not show it."""
    stack, is_scan = _choose_slices(opened)
    return stack.as_grey() if st.session_state.get(AS_GREY) else stack, is_scan


def _choose_slices(opened: UploadContents) -> tuple[Stack, bool]:
    every = tuple(item for stack in opened.stacks for item in stack.items)
    if len(every) == 1:
        return opened.stacks[0], False
    longest = opened.stacks[0]
    # DICOM files state their order; pictures are separate slices unless the user says otherwise.
    is_scan = len(longest.items) >= 3 and longest.ordered_by != BY_NAME
    read_as = st.segmented_control(
        f"These {len(every)} slices are",
        [ONE_SCAN, SEPARATE],
        default=ONE_SCAN if is_scan else SEPARATE,
        required=True,
        key=f"diagnosis_read_as_{longest.fingerprint[:12]}",
    )
    if read_as == SEPARATE:
        return Stack("All slices", every, BY_NAME), False
    if len(opened.stacks) == 1:
        return longest, True
    return st.selectbox("Scan", opened.stacks, format_func=lambda stack: stack.title, key="diagnosis_stack"), True


def _open_uploads(files: Sequence[UploadedFile]) -> UploadContents | None:
    """The uploads of this session as stacks; unpacked once."""

    def read() -> UploadContents:
        with st.spinner("Sorting the slices…"):
            return open_files(packed_uploads.member(file) for file in files)

    opened = _open(uploads.ids_of(files), read, nothing=_NOTHING_UPLOADED)
    if opened and uploads.refusal():
        opened = opened.with_note("Some files of this upload found no room: slices may be missing.")
    return opened


def _open(ids: tuple[str, ...], read: Callable[[], UploadContents], *, nothing: str) -> UploadContents | None:
    """What `read` makes of the files with these ids, with what is wrong with it; None where there is no image."""
    try:
        opened = uploads.read_once(ids, read)
    except KidneyError as error:
        st.error(markdown.text(error))
        return None
    _show_problems(opened.problems, are_all=not opened.stacks)
    if not opened.stacks and not opened.problems:
        st.error(markdown.text(nothing))
    return opened if opened.stacks else None


def _show_problems(problems: tuple[str, ...], *, are_all: bool) -> None:
    """Say what could not be read, as an error where nothing else is left."""
    for problem in problems[:3]:
        if are_all:
            st.error(markdown.text(problem))
        else:
            st.warning(markdown.text(problem))
    if len(problems) > 3:
        with st.expander(f"{len(problems) - 3} more files that were left out"):
            for problem in problems[3:]:
                st.markdown(f"- {markdown.text(problem)}")
