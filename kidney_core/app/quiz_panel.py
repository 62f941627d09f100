"""The quiz: its cases, one reader or a class, and the score."""

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.app import (
    case_panel,
    class_entry,
    formatting,
    loading,
    markdown,
    path_inputs,
    progress,
    quiz_answers,
    tables,
    teaching_link,
)
from kidney_core.app.case_panel import Sitting
from kidney_core.app.class_memory import classroom
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import digests
from kidney_core.common.errors import KidneyError
from kidney_core.common.labels import LABELS
from kidney_core.data import lesions, remembered_labels
from kidney_core.data.dataset import Dataset
from kidney_core.teaching import class_results, quiz, stack_cases

if TYPE_CHECKING:
    from kidney_core.teaching.cases import Case
    from kidney_core.teaching.class_results import Answered

SIMULATED, FOLDER, VOLUME = "Simulated cases", "Your folder", "Your volume"
SOURCES = [SIMULATED, FOLDER, VOLUME]
ANYWHERE = (SIMULATED,)  # a link opens the same cases on every machine
HIGHEST_NUMBER = 9999
VOLUME_ORIGIN = "a volume of your teacher"


def show(checkpoint: Checkpoint) -> None:
    """The quiz that the user chooses: its current case and the score."""
    with st.expander("For the teacher"):
        st.markdown(
            "- The same number, model and folder give the same cases on every machine.\n"
            "- Your own folder needs one folder per class. With masks in `masks/` or YOLO boxes in `labels/`, the location is "
            "scored too.\n"
            "- Of cases from the model’s own dataset, half are drawn among its errors, if it has any. The answer is that of a network "
            "that never saw the scan.\n"
            "- A location is correct on the lesion or within 3 % of the image beside it. It is near up to twice that distance, or within the radius of "
            "a large lesion. The model’s location is the maximum of its heatmap.\n"
            "- Answers stay in the memory of this server, and are lost when it restarts."
        )
    try:
        name, cases, looks_again = _choose(checkpoint)
        if cases:
            _take(checkpoint, name, cases, looks_again=looks_again)
    except KidneyError as error:
        st.error(markdown.text(error))


def _choose(checkpoint: Checkpoint) -> tuple[str, list["Case"], bool]:
    """A name for the quiz, unique in this session, its cases, and whether readers answer again after the model."""
    left, middle, right, last = st.columns([4, 2, 3, 2], vertical_alignment="bottom")
    source = left.segmented_control(
        "Cases",
        SOURCES,
        default=teaching_link.titled(teaching_link.CASES, SOURCES),
        required=True,
        key="teaching_quiz_source",
    )
    first = teaching_link.number(teaching_link.QUIZ, 1, HIGHEST_NUMBER)
    number = middle.number_input(
        "Quiz number", 1, HIGHEST_NUMBER, first, key="teaching_quiz_number", help="Each number gives different cases."
    )
    has_stacks = (
        right.toggle(
            "Whole scans",
            teaching_link.read(teaching_link.STACKS) == "1",
            key="teaching_stacks",
            help="Cases are stacks of slices to scroll through.",
        )
        if source != VOLUME
        else False
    )
    looks_again = right.toggle(
        "Before and after AI",
        teaching_link.read(teaching_link.AGAIN) == "1",
        key="teaching_again",
        help=class_entry.AGAIN_HELP,
    )
    link = {teaching_link.CASES: teaching_link.slug(source), teaching_link.QUIZ: str(number)}
    link[teaching_link.AGAIN] = "1" if looks_again else ""
    link[teaching_link.STACKS] = "1" if has_stacks else ""
    teaching_link.write(**link)
    name, cases = _cases_of(checkpoint, source, number, has_stacks=has_stacks)
    link |= {teaching_link.PART: "quiz", teaching_link.MODEL: checkpoint.name}
    with last:
        is_shareable = source in ANYWHERE
        class_entry.show(checkpoint, name, cases, link={k: v for k, v in link.items() if v} if is_shareable else {})
    return name, cases, looks_again


def _cases_of(checkpoint: Checkpoint, source: str, number: int, *, has_stacks: bool) -> tuple[str, list["Case"]]:
    """A name for the quiz and its cases; none until a folder or a volume is entered."""
    if source == SIMULATED:
        name = f"simulated {'scans ' * has_stacks}{number}"
        return name, _simulated_stacks(number) if has_stacks else _simulated(number)
    if source == VOLUME:
        return _volume()
    folder = _folder()
    if not folder:
        return "", []
    with st.spinner("Reading the folder…"):
        dataset = remembered_labels.read(folder)
        # Masks and boxes are the truth: when they change, so does the quiz. The model's errors choose the cases.
        version = f"{dataset.fingerprint[:16]} {lesions.version(dataset.root)} {loading.cache_key(checkpoint)}"
        read = _stacks_from_folder if has_stacks else _from_folder
        return f"{version} {'scans ' * has_stacks}{number}", read(dataset, checkpoint, number, version)


def _volume() -> tuple[str, list["Case"]]:
    """One case from a volume on this machine, whose label the teacher tells."""
    left, right = st.columns([3, 1])
    with left:
        typed = path_inputs.path_input(
            "Volume, or folder of a DICOM series",
            key="teaching_volume",
            placeholder="/data/scan.nii.gz",
            help="Nothing is written to disk. Names and tags of the file are not shown to students.",
        )
    label = right.selectbox("Truth", LABELS, index=None, key="teaching_volume_label")
    if not typed or label is None:
        return "", []
    path = Path(typed)
    with st.spinner("Reading the volume…"):
        changed = path.stat().st_mtime_ns if path.exists() else 0
        return f"volume {digests.of_json([typed, label, changed])[:16]}", _of_volume(typed, label, changed)


def _folder() -> str:
    """The folder that the user types; after a reload, the one in which they answered last."""
    if "teaching_first_folder" not in st.session_state:
        st.session_state["teaching_first_folder"] = classroom().readers.folder(teaching_link.read(teaching_link.SEAT))
    return path_inputs.folder_input("teaching_quiz_folder", last=st.session_state["teaching_first_folder"])


@st.cache_data(max_entries=4, show_spinner="Drawing the cases…")
def _simulated(number: int) -> list["Case"]:
    return quiz.draw_cases(number)


@st.cache_data(max_entries=4, show_spinner=False)
def _from_folder(_dataset: Dataset, _checkpoint: Checkpoint, number: int, version: str) -> list["Case"]:
    return quiz.read_cases(_dataset, number, quiz_answers.stored(_checkpoint))


@st.cache_data(max_entries=2, show_spinner="Drawing the scans…")
def _simulated_stacks(number: int) -> list["Case"]:
    return stack_cases.draw_stacks(number)


@st.cache_data(max_entries=2, show_spinner=False)
def _stacks_from_folder(_dataset: Dataset, _checkpoint: Checkpoint, number: int, version: str) -> list["Case"]:
    report = progress.progress_bar("Finding the scans")
    return stack_cases.read_stacks(_dataset, number, quiz_answers.stored(_checkpoint), progress=report)


@st.cache_data(max_entries=1, show_spinner=False)
def _of_volume(path: str, label: str, changed: int) -> list["Case"]:
    return [stack_cases.volume_case(stack_cases.read_volume(Path(path)), label, VOLUME_ORIGIN)]


def _take(checkpoint: Checkpoint, name: str, cases: list["Case"], *, looks_again: bool) -> None:
    """The quiz of a reader alone, whose answers the server keeps under a token in the address."""
    readers = classroom().readers
    seats = st.session_state.setdefault("teaching_seats", {})
    seat = seats.setdefault(name, readers.seat(teaching_link.read(teaching_link.SEAT), name))

    def keep() -> None:
        token = readers.keep(teaching_link.read(teaching_link.SEAT), name, seat)
        readers.keep_folder(token, st.session_state.get("teaching_quiz_folder", ""))
        teaching_link.write(seat=token)

    sitting = Sitting(
        name=name,
        cases=cases,
        seat=seat,
        model_name=checkpoint.name,
        answer_of=lambda number: quiz_answers.answer(checkpoint, name, number, cases[number]),
        shows=lambda number: True,
        looks_again=looks_again,
        keep=keep,
    )
    case_panel.play(sitting)
    _show_score(sitting)


def _show_score(sitting: Sitting) -> None:
    """The score so far, below the quiz."""
    readings = {number: each for number, each in sitting.seat.readings().items() if sitting.is_done(each)}
    if not readings:
        return
    answers = {number: sitting.answer_of(number) for number in readings}
    rows = class_results.answered({"you": readings}, sitting.cases, answers)
    table = class_results.score_table(rows, sitting.model_name)
    st.header("Score", anchor=False)
    for column, (title, (n_correct, n_scored)) in zip(st.columns(4), class_results.totals(table).items(), strict=True):
        column.metric(markdown.text(title), f"{n_correct:,} of {n_scored:,}" if n_scored else "not scored", border=True)
    st.dataframe(tables.drawn(table), hide_index=True, key="teaching_score")
    st.caption(fairness_in_words(rows))
    st.download_button(
        "Download the score (CSV)", tables.csv_bytes(table), "quiz-score.csv", "text/csv", on_click="ignore"
    )


def fairness_in_words(rows: list["Answered"]) -> str:
    """On which of the answered cases the model is scored, and what its score means."""
    n_fair = len({each.number for each in rows if each.model.is_fair})
    n_drawn = len({each.number for each in rows if each.model.basis == "out-of-fold"})
    n_simulated = len({each.number for each in rows if each.case.is_simulated})
    told = ["You and the model are scored by the same rule. A correct class at a wrong location can be a lucky guess."]
    if n_drawn:
        told.append(
            f"{formatting.quantity(n_drawn, 'case')} were answered by a network that never saw the scan. Half of them "
            "were drawn among its errors, if it has any: its score here is not its accuracy."
        )
    if n_simulated:
        told.append("The model is not scored on simulated cases: it may know the program that draws them.")
    elif n_fair < len({each.number for each in rows}):
        told.append("It is not scored on cases that it was trained on, or may have been.")
    return " ".join(told)
