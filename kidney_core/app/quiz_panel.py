"""The quiz: a case, the student's answer, then the model's prediction, the truth and the score of the session."""

from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kidney_core.app import audit_recorder, formatting, loading, markdown, path_inputs, tables
from kidney_core.app.viewer import show_scan
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError
from kidney_core.common.labels import DESCRIPTIONS, LABELS, NORMAL, order_labels
from kidney_core.data import lesions, remembered_labels
from kidney_core.data.dataset import Dataset
from kidney_core.diagnosis import outcomes
from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.imaging import outlines
from kidney_core.metrics import number_format
from kidney_core.teaching import quiz

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Diagnosis
    from kidney_core.teaching.quiz import Case, Guess, Round

SIMULATED, FOLDER = "Simulated cases", "Your folder"
STUDENT_COLOR, MODEL_COLOR, TRUTH_COLOR = "#56B4E9", "#F0E442", "#3DDC97"  # visible on grey and on the heatmap
MARKS = {True: ":green[:material/check_circle:] correct", False: ":red[:material/cancel:] wrong", None: "not scored"}
_RING_SIZE, _CROSS_SIZE = 0.03, 0.035  # of the longer side of the slice


def show(checkpoint: Checkpoint) -> None:
    """The quiz that the user chooses: its current case and the score."""
    with st.expander("For the teacher"):
        st.markdown(
            "- The same number gives the same cases on every machine: let the class do “quiz 12”.\n"
            "- Your own folder needs one folder per class. With masks in `masks/` (as `kidney-ct phantom` writes them) or YOLO boxes in "
            "`labels/`, the location is scored too; otherwise only the class is.\n"
            "- A location is correct on the lesion or within 3 % of the image beside it, for students and for the model. The model’s "
            "location is the maximum of its heatmap, which need not be what its prediction is based on.\n"
            "- Nothing is stored: the score is lost when this page is closed. Students can download theirs."
        )
    try:
        name, cases = _choose()
        if cases:
            _play(checkpoint, name, cases)
    except KidneyError as error:
        st.error(markdown.text(error))


def _choose() -> tuple[str, list["Case"]]:
    """A name for the quiz, unique in this session, and its cases; none until a folder is entered."""
    left, right = st.columns([2, 1])
    source = left.segmented_control(
        "Cases", [SIMULATED, FOLDER], default=SIMULATED, required=True, key="teaching_quiz_source"
    )
    number = right.number_input(
        "Quiz number", 1, 9999, 1, key="teaching_quiz_number", help="Every number gives other cases."
    )
    if source == SIMULATED:
        return f"simulated {number}", _simulated(number)
    folder = path_inputs.folder_input("teaching_quiz_folder")
    if not folder:
        return "", []
    with st.spinner("Reading the folder…"):
        dataset = remembered_labels.read(folder)
        # Masks and boxes are the truth: when they change, so does the quiz.
        version = f"{dataset.fingerprint[:16]} {lesions.version(dataset.root)}"
        return f"{version} {number}", _from_folder(dataset, number, version)


@st.cache_data(max_entries=4, show_spinner="Drawing the cases…")
def _simulated(number: int) -> list["Case"]:
    return quiz.draw_cases(number)


@st.cache_data(max_entries=4, show_spinner=False)
def _from_folder(_dataset: Dataset, number: int, version: str) -> list["Case"]:
    return quiz.read_cases(_dataset, number)


def _play(checkpoint: Checkpoint, name: str, cases: list["Case"]) -> None:
    guesses: dict[int, Guess] = st.session_state.setdefault("teaching_guesses", {}).setdefault(name, {})
    at = st.session_state.setdefault("teaching_at", {}).get(name, 0)
    case = cases[at]
    with st.container(key="teaching_quiz"):
        picture, panel = st.columns([3, 2], gap="large")
    with panel:
        st.subheader(f"Case {at + 1} of {len(cases)}", anchor=False)
        if at in guesses:
            _show_answer(checkpoint, name, at, case, guesses[at], picture)
            _show_next(name, at, guesses, len(cases))
        else:
            _ask(name, at, case, _offered(cases), guesses, picture)
    _show_score(checkpoint, name, cases, guesses)


def _offered(cases: list["Case"]) -> tuple[str, ...]:
    """The labels to choose from: those of the cases, and all of the four where one of them is there."""
    labels = {NORMAL, *(case.label for case in cases)}
    return order_labels(labels | set(LABELS) if any(case.label in LABELS for case in cases) else labels)


def _ask(
    name: str, at: int, case: "Case", labels: tuple[str, ...], guesses: dict[int, "Guess"], picture: DeltaGenerator
) -> None:
    """The picture in which to mark the lesion, and the questions."""
    place = f"teaching_mark_{name}_{at}"
    with picture:
        drawn = st.container()
        marked = st.session_state.get(place)
        with drawn:
            clicked = show_scan(
                case.image,
                None,
                alt="The slice to diagnose",
                key="teaching_viewer",
                marking=True,
                drawings=_drawings(case, marked, None, with_truth=False),
            ).mark
        if clicked and clicked != marked:
            st.session_state[place] = clicked
            st.rerun()
    label = st.radio(
        "1. What do you see?",
        labels,
        index=None,
        format_func=markdown.text,
        key=f"teaching_label_{name}_{at}",
        help="  \n".join(
            f"**{markdown.text(each)}**: {DESCRIPTIONS[each].plain}" for each in labels if each in DESCRIPTIONS
        )
        or None,
    )
    if case.lesion is None:
        st.caption("This folder has no masks of lesions, so only the class is scored.")
    elif label == NORMAL:
        st.markdown("**2. No mark needed:** you see no lesion.")
    else:
        st.markdown("**2. Mark it:** click on the lesion." + (" ✓ Marked." if marked else ""))
    needs_mark = case.lesion is not None and label != NORMAL and marked is None
    is_submitted = st.button(
        "Submit answer", type="primary", disabled=label is None or needs_mark, key="teaching_answer", width="stretch"
    )
    if is_submitted and label is not None:
        guesses[at] = quiz.Guess(label, None if label == NORMAL else marked)
        st.rerun()
    for note in case.image.notes:
        st.caption(f":material/info: {markdown.text(note)}")


def _show_answer(
    checkpoint: Checkpoint, name: str, at: int, case: "Case", guess: "Guess", picture: DeltaGenerator
) -> None:
    """The truth, the prediction and its heatmap beside the student's answer."""
    answer, outcome = _predict(checkpoint, name, at, case)
    model_guess = quiz.model_guess(answer)
    with picture:
        show_scan(
            case.image,
            answer.heatmap,
            alt=f"The slice with the lesion, your mark and the heatmap of {answer.explained_label}",
            key="teaching_viewer",
            drawings=_drawings(case, guess.mark, model_guess.mark, with_truth=True),
        )
        st.markdown(_legend(case, guess, model_guess, answer.predicted_label))
    st.markdown(f"#### It is {markdown.text(case.label)}")
    st.caption(
        f"{DESCRIPTIONS[case.label].plain.capitalize()}. " * (case.label in DESCRIPTIONS)
        + f"({markdown.text(case.origin)})"
    )
    confidence = number_format.percent(answer.probabilities[answer.predicted_label], 0)
    verdict = f" · {confidence}, {outcomes.NAMES[outcome]}"
    for who, answered, suffix in (("You", guess, ""), (checkpoint.name, model_guess, verdict)):
        score = quiz.score(case, answered)
        with st.container(border=True):
            st.markdown(f"**{markdown.text(who)}:** {markdown.text(answered.label + suffix)}")
            st.markdown(
                f"Class {MARKS[score.label]} · location {MARKS[score.place]}{_distance_in_words(case, answered)}"
            )


def _distance_in_words(case: "Case", guess: "Guess") -> str:
    """How far the mark is from the lesion; empty where that is unknown."""
    if case.lesion is None or guess.mark is None or not case.lesion.any():
        return ""
    distance_px = quiz.distance(case.lesion, guess.mark)
    if distance_px == 0:
        return ", on the lesion"
    return (
        f", {distance_px * case.image.spacing_mm[0]:.0f} mm away"
        if case.image.spacing_mm
        else f", {distance_px:.0f} px away"
    )


def _predict(checkpoint: Checkpoint, name: str, at: int, case: "Case") -> tuple["Diagnosis", Outcome]:
    """The prediction for a case and the outcome of its verdict; kept for the session."""
    kept: dict[tuple[str, int, str], tuple[Diagnosis, Outcome]] = st.session_state.setdefault("teaching_answers", {})
    key = (name, at, loading.cache_key(checkpoint))
    if key not in kept:
        with st.spinner("Predicting…"):
            trained_on_file = case.digest in checkpoint.trained_on()
            answer, verdict = audit_recorder.ask(
                loading.predictor(checkpoint), case.image, trained_on_file=trained_on_file
            )
        kept[key] = (answer, verdict.outcome)
    return kept[key]


def _drawings(
    case: "Case", mark: tuple[int, int] | None, peak: tuple[int, int] | None, *, with_truth: bool
) -> list[tuple[str, str]]:
    """(SVG path, colour) of the lesion, the maximum of the heatmap and the student's mark."""
    side = max(case.image.pixels.shape)
    drawings = []
    if with_truth and case.lesion is not None and case.lesion.any():
        drawings.append((outlines.outline(case.lesion), TRUTH_COLOR))
    if peak:
        x, y = peak
        drawings.append((outlines.ring(x, y, _RING_SIZE * side), MODEL_COLOR))
    if mark:
        x, y = mark
        drawings.append((outlines.cross(x, y, _CROSS_SIZE * side), STUDENT_COLOR))
    return drawings


def _legend(case: "Case", guess: "Guess", model_guess: "Guess", predicted: str) -> str:
    parts = []
    if case.lesion is not None and case.lesion.any():
        parts.append("**green outline**: the lesion")
    if guess.mark:
        parts.append("**blue cross**: your mark")
    if model_guess.mark:
        parts.append(f"**yellow ring**: the maximum of the model's heatmap of {markdown.text(predicted)}")
    return " · ".join(parts)


def _show_next(name: str, at: int, guesses: dict[int, "Guess"], n_cases: int) -> None:
    """The button to the next open case, or the end of the quiz."""
    open_cases = [position for position in range(n_cases) if position not in guesses]
    if open_cases:
        following = next((position for position in open_cases if position > at), open_cases[0])
        if st.button("Next case", type="primary", key="teaching_next", width="stretch"):
            st.session_state["teaching_at"][name] = following
            st.rerun()
    else:
        st.success("That was the last case. Your score is below; choose another quiz number for more cases.")


def _show_score(checkpoint: Checkpoint, name: str, cases: list["Case"], guesses: dict[int, "Guess"]) -> None:
    if not guesses:
        return
    rounds: list[Round] = []
    for at, guess in guesses.items():
        answer, outcome = _predict(checkpoint, name, at, cases[at])
        rounds.append(quiz.Round(at + 1, cases[at], guess, quiz.model_guess(answer), outcomes.NAMES[outcome]))
    table = quiz.score_table(rounds, checkpoint.name)
    st.subheader("Score", anchor=False)
    for column, (title, (n_correct, n_scored)) in zip(st.columns(4), quiz.totals(table).items(), strict=True):
        column.metric(markdown.text(title), f"{n_correct:,} of {n_scored:,}" if n_scored else "–", border=True)
    st.dataframe(tables.drawn(table), hide_index=True, key="teaching_score")
    st.caption(
        "You and the model are scored on the same cases by the same rule. A correct class at a wrong location can be a lucky guess, "
        "for you and for the model."
        + (
            " The cases are simulated, so this does not show how a model performs on patients."
            if name.startswith("simulated")
            else ""
        )
    )
    if n_seen := sum(each.verdict == outcomes.NAMES[Outcome.MEMORY] for each in rounds):
        st.warning(
            f"{formatting.quantity(n_seen, 'case')} or other slices of the same scan were in the training data of {markdown.text(checkpoint.name)}: compare "
            "yourself with it on the other cases only."
        )
    st.download_button(
        "Download the score (CSV)", tables.csv_bytes(table), "quiz-score.csv", "text/csv", on_click="ignore"
    )
