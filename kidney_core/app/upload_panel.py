"""What the user wants to have read: uploaded files, zips or folders, or a simulated sample."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from kidney_core import uploads
from kidney_core.errors import KidneyError
from kidney_core.labels import LABELS
from kidney_core.slices import Slice
from kidney_core.stack import BY_NAME, Opened, Stack, open_stacks

FIRST_SAMPLE_SEED = 990_000  # far from the seeds of the simulated slices the shipped networks were trained on
WHOLE_SCAN, N_SAMPLE_SLICES = "Series", 40
FILES, FOLDER = "Files or a zip", "A folder"
SEPARATE, ONE_SCAN = "separate slices", "one scan"


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


@st.cache_data(max_entries=2, show_spinner="Drawing a scan…")
def _draw_scan(number: int) -> Opened:
    from kidney_core import phantom_dicom

    label = LABELS[number % len(LABELS)]
    return open_stacks(phantom_dicom.series_files(label, FIRST_SAMPLE_SEED + number, n_slices=N_SAMPLE_SLICES))


@st.cache_data(max_entries=32, show_spinner="Drawing the sample…")
def _draw(label: str, number: int) -> Slice:
    from kidney_core import phantom

    drawn = phantom.draw_series(label, seed=FIRST_SAMPLE_SEED + number, n_slices=3)[1]
    return drawn.as_slice(f"Simulated {label.lower()} {number}")


def choose() -> Opened | Sample | None:
    """What was uploaded, sorted into stacks, or the chosen sample; None before anything was chosen."""
    kind = st.segmented_control(
        "Upload",
        [FILES, FOLDER],
        default=FILES,
        required=True,
        key="diagnosis_kind",
        label_visibility="collapsed",
        on_change=uploads.drop,
    )
    megabytes = uploads.limit_bytes() // 1024**2
    files = st.file_uploader(
        f"CT slices or whole series: PNG, JPEG, BMP, TIFF, DICOM, or a zip of them, up to {megabytes} MB together"
        if kind == FILES
        else "The folder of a scan, such as a DICOM export",
        accept_multiple_files=True if kind == FILES else "directory",
        key=f"diagnosis_uploads_{kind}",
        help="DICOM files may have any name. The content decides, not the extension.",
    )
    if problem := uploads.refused():
        st.error(problem)
    if files:
        return _opened(files)
    uploads.forget_opened()
    return _sample()


def _sample() -> Opened | Sample | None:
    """The simulated sample that was asked for last; a second press of a button draws another one."""
    st.caption("No scan at hand? Try a **simulated** sample:")
    offered = (*LABELS, WHOLE_SCAN)
    for column, name in zip(st.columns(len(offered)), offered, strict=True):
        if column.button(name, key=f"diagnosis_sample_{name}", width="stretch"):
            shown, number = st.session_state.get("diagnosis_sample", ("", 0))
            st.session_state["diagnosis_sample"] = (name, number + 1 if shown == name else 1)
    if "diagnosis_sample" not in st.session_state:
        return None
    name, number = st.session_state["diagnosis_sample"]
    st.caption(f"Sample {number}: {name}. Press it again for another simulated patient.")
    return _draw_scan(number) if name == WHOLE_SCAN else Sample(name, number)


def choose_stack(opened: Opened) -> tuple[Stack, bool]:
    """The slices to read, and whether they are one scan; the user may say so where the files do not."""
    every = tuple(item for stack in opened.stacks for item in stack.items)
    if len(every) == 1:
        return opened.stacks[0], False
    longest = opened.stacks[0]
    # DICOM files tell their order; pictures are slices by themselves unless the user says otherwise.
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
    return st.selectbox("Series", opened.stacks, format_func=lambda stack: stack.title, key="diagnosis_stack"), True


def _opened(files: list) -> Opened | None:
    """The uploads of this session as stacks; unpacked once."""

    def read() -> Opened:
        with st.spinner("Sorting the slices…"):
            return open_stacks([(file.name, file.getvalue()) for file in files])

    try:
        opened = uploads.opened(files, read)
    except KidneyError as error:
        st.error(str(error))
        return None
    _show_problems(opened.problems, show=st.warning if opened.stacks else st.error)
    if not opened.stacks and not opened.problems:
        st.error(
            "Nothing in this upload is an image: it is empty, or holds hidden files only. Choose the slices themselves."
        )
    return opened if opened.stacks else None


def _show_problems(problems: tuple[str, ...], *, show: Callable[[str], object]) -> None:
    for problem in problems[:3]:
        show(problem)
    if len(problems) > 3:
        with st.expander(f"{len(problems) - 3} more files that are not used"):
            for problem in problems[3:]:
                st.markdown(f"- {problem}")
