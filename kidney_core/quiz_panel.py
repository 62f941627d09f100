"""The quiz: a case, the student's answer, then the model's answer, the truth and the score of the session."""

from typing import TYPE_CHECKING

import streamlit as st

from kidney_core import figures, lesions, outlines, quiz, recording, ui
from kidney_core.checkpoint import Checkpoint
from kidney_core.dataset import read_dataset
from kidney_core.errors import KidneyError
from kidney_core.labels import DESCRIPTIONS, LABELS, NORMAL, ordered_labels
from kidney_core.viewer import show_scan

if TYPE_CHECKING:
    from kidney_core.diagnosis import Diagnosis
    from kidney_core.quiz import Case, Guess, Round

SIMULATED, FOLDER = "Simulated cases", "A folder of yours"
YOURS, ITS, TRUTH = "#56B4E9", "#F0E442", "#3DDC97"  # seen on grey, and on the map
MARKS = {True: ":green[:material/check_circle:] right", False: ":red[:material/cancel:] wrong", None: "not judged"}
_RING, _CROSS = 0.03, 0.035  # of the longer side


def draw(checkpoint: Checkpoint) -> None:
    """The whole part: which quiz, the case in turn, the score."""
    st.markdown(
        "**For students:** look at the slice, mark the lesion and name it. Only then the model speaks, and you see the truth."
    )
    with st.expander("For the teacher"):
        st.markdown(
            "- The same number draws the same cases on every machine: give the class “quiz 12”.\n"
            "- A folder of yours needs one folder a class. Where `masks/` beside them holds a mask of the same path (as "
            "`make demo-data` writes), or `labels/` YOLO boxes, places are judged too; otherwise only the class is.\n"
            "- A place is right on the lesion or within 3 % of the image beside it, for students and model alike. The model points "
            "where its map is brightest, which need not be what it goes by.\n"
            "- Nothing is stored: the score lives as long as this page is open. Students can download theirs."
        )
    try:
        name, cases = _choose()
        if cases:
            _play(checkpoint, name, cases)
    except KidneyError as error:
        st.error(str(error))


def _choose() -> tuple[str, list["Case"]]:
    """A name for the quiz, unique in this session, and its cases; none until a folder is named."""
    left, right = st.columns([2, 1])
    source = left.segmented_control(
        "Cases", [SIMULATED, FOLDER], default=SIMULATED, required=True, key="teaching_quiz_source"
    )
    number = right.number_input("Quiz", 1, 9999, 1, key="teaching_quiz_number", help="Another number, other cases")
    if source == SIMULATED:
        return f"simulated {number}", _simulated(number)
    folder = ui.folder_input("teaching_quiz_folder")
    if not folder:
        return "", []
    with st.spinner("Reading the folder…"):
        dataset = read_dataset(folder)
        # Masks and boxes are the truth: where they change, so does the quiz.
        version = f"{dataset.fingerprint[:16]} {lesions.stamp(dataset.root)}"
        return f"{version} {number}", _from_folder(dataset, number, version)


@st.cache_data(max_entries=4, show_spinner="Drawing the cases…")
def _simulated(number: int) -> list["Case"]:
    return quiz.simulated(number)


@st.cache_data(max_entries=4, show_spinner=False)
def _from_folder(_dataset, number: int, version: str) -> list["Case"]:
    return quiz.from_folder(_dataset, number)


def _play(checkpoint: Checkpoint, name: str, cases: list["Case"]) -> None:
    answered: dict[int, Guess] = st.session_state.setdefault("teaching_guesses", {}).setdefault(name, {})
    at = st.session_state.setdefault("teaching_at", {}).get(name, 0)
    case = cases[at]
    with st.container(key="teaching_quiz"):
        picture, panel = st.columns([3, 2], gap="large")
    with panel:
        st.subheader(f"Case {at + 1} of {len(cases)}", anchor=False)
        if at in answered:
            _show_answer(checkpoint, name, at, case, answered[at], picture)
            _move(name, at, answered, len(cases))
        else:
            _ask(name, at, case, _offered(cases), answered, picture)
    _show_score(checkpoint, name, cases, answered)


def _offered(cases: list["Case"]) -> tuple[str, ...]:
    """The labels to choose from: those of the cases, and all of the four where one of them is there."""
    found = {NORMAL, *(case.label for case in cases)}
    return ordered_labels(found | set(LABELS) if any(case.label in LABELS for case in cases) else found)


def _ask(name: str, at: int, case: "Case", labels: tuple[str, ...], answered: dict[int, "Guess"], picture) -> None:
    """The picture to be marked, and the question."""
    place = f"teaching_mark_{name}_{at}"
    with picture:
        drawn = st.container()
        marked = st.session_state.get(place)
        with drawn:
            clicked = show_scan(
                case.image,
                None,
                alt="The slice in question",
                key="teaching_viewer",
                marking=True,
                drawings=_drawings(case, marked, None, told=False),
            )
        if clicked and clicked != marked:
            st.session_state[place] = clicked
            st.rerun()
    told = st.radio(
        "1. What do you see?",
        labels,
        index=None,
        key=f"teaching_label_{name}_{at}",
        captions=[DESCRIPTIONS[label].plain if label in DESCRIPTIONS else "" for label in labels],
    )
    if case.lesion is None:
        st.caption("This folder does not tell where lesions are: only the class is judged.")
    elif told == NORMAL:
        st.markdown("**2. No mark is needed:** you say that there is no lesion.")
    else:
        st.markdown("**2. Mark it:** click on the lesion in the picture." + (" ✓ Marked." if marked else ""))
    needs_mark = case.lesion is not None and told != NORMAL
    ready = told is not None and not (needs_mark and marked is None)
    if st.button("That is my answer", type="primary", disabled=not ready, key="teaching_answer", width="stretch"):
        answered[at] = quiz.Guess(told, None if told == NORMAL else marked)
        st.rerun()
    for note in case.image.notes:
        st.caption(f":material/info: {note}")


def _show_answer(checkpoint: Checkpoint, name: str, at: int, case: "Case", guess: "Guess", picture) -> None:
    """Class, map and truth beside what the student said."""
    answer, word = _asked(checkpoint, name, at, case)
    its = quiz.model_guess(answer)
    with picture:
        show_scan(
            case.image,
            answer.heatmap,
            alt=f"The slice with the lesion, your mark and the map of {answer.explained_label}",
            key="teaching_viewer",
            drawings=_drawings(case, guess.mark, its.mark, told=True),
        )
        st.markdown(_legend(case, guess, its, answer.predicted_label))
    st.markdown(f"#### It is {case.label}")
    st.caption(f"{DESCRIPTIONS[case.label].plain.capitalize()}. " * (case.label in DESCRIPTIONS) + f"({case.origin})")
    sure = figures.percent(answer.probabilities[answer.predicted_label], 0)
    for who, said, more in (("You", guess, ""), (checkpoint.name, its, f" · {sure}, {word}")):
        judged = quiz.score(case, said)
        with st.container(border=True):
            st.markdown(f"**{who}:** {said.label}{more}")
            st.markdown(f"Class {MARKS[judged.label]} · place {MARKS[judged.place]}{_beside(case, said)}")


def _beside(case: "Case", guess: "Guess") -> str:
    if case.lesion is None or guess.mark is None or not case.lesion.any():
        return ""
    away = quiz.distance(case.lesion, guess.mark)
    if away == 0:
        return ", on the lesion"
    return (
        f", {away * case.image.spacing_mm[0]:.0f} mm beside it"
        if case.image.spacing_mm
        else f", {away:.0f} px beside it"
    )


def _asked(checkpoint: Checkpoint, name: str, at: int, case: "Case") -> tuple["Diagnosis", str]:
    """What the model says of a case, and its verdict in a word; kept for the session."""
    known = st.session_state.setdefault("teaching_answers", {})
    key = (name, at, ui.version(checkpoint))
    if key not in known:
        with st.spinner("The model looks…"):
            trained_on_file = case.digest in checkpoint.trained_on()
            answer, judged = recording.ask(ui.reader(checkpoint), case.image, trained_on_file=trained_on_file)
        known[key] = (answer, judged.in_a_word)
    return known[key]


def _drawings(case: "Case", mark, peak, *, told: bool) -> list[tuple[str, str]]:
    side = max(case.image.pixels.shape)
    found = []
    if told and case.lesion is not None and case.lesion.any():
        found.append((outlines.outline(case.lesion), TRUTH))
    if peak:
        found.append((outlines.ring(*peak, _RING * side), ITS))
    if mark:
        found.append((outlines.cross(*mark, _CROSS * side), YOURS))
    return found


def _legend(case: "Case", guess: "Guess", its: "Guess", predicted: str) -> str:
    parts = []
    if case.lesion is not None and case.lesion.any():
        parts.append("**green outline**: the lesion")
    if guess.mark:
        parts.append("**blue cross**: your mark")
    if its.mark:
        parts.append(f"**yellow ring**: the brightest place of the model's map of {predicted}")
    return " · ".join(parts)


def _move(name: str, at: int, answered: dict, n_cases: int) -> None:
    left = [position for position in range(n_cases) if position not in answered]
    if left:
        following = next((position for position in left if position > at), left[0])
        if st.button("Next case", type="primary", key="teaching_next", width="stretch"):
            st.session_state["teaching_at"][name] = following
            st.rerun()
    else:
        st.success("That was the last case. The score of all is below; choose another quiz number for more.")


def _show_score(checkpoint: Checkpoint, name: str, cases: list["Case"], answered: dict[int, "Guess"]) -> None:
    if not answered:
        return
    rounds: list[Round] = []
    for at, guess in answered.items():
        answer, word = _asked(checkpoint, name, at, cases[at])
        rounds.append(quiz.Round(at + 1, cases[at], guess, quiz.model_guess(answer), word))
    table = quiz.score_table(rounds, checkpoint.name)
    st.subheader("Score", anchor=False)
    for column, (title, (right, judged)) in zip(st.columns(4), quiz.totals(table).items(), strict=True):
        column.metric(title.replace("Its", "Model's"), f"{right} of {judged}" if judged else "–", border=True)
    st.dataframe(table, hide_index=True, key="teaching_score")
    st.caption(
        "The same cases, judged by the same rule. Right about the class and wrong about the place is not the same as having seen it: "
        "that holds for you and for the model."
        + (
            " The cases are simulated: they say nothing of what a model is worth on patients."
            if name.startswith("simulated")
            else ""
        )
    )
    if n_seen := sum(each.verdict == "memory" for each in rounds):
        st.warning(
            f"{checkpoint.name} was trained on {ui.counted(n_seen, 'of these cases or its scan', 'of these cases or their scans')}: "
            "there it remembers, and you had to look. Compare yourselves on the others."
        )
    st.download_button("Download the score (CSV)", ui.csv_bytes(table), "quiz-score.csv", "text/csv", on_click="ignore")
