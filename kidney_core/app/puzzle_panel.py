"""Find the leak: four splits of the same slices, the learner's choice, then the audit's evidence."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from kidney_core.app import markdown, path_inputs, progress, tables
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError
from kidney_core.imaging import rendering
from kidney_core.metrics.number_format import percent
from kidney_core.metrics.splits import TEST, TRAIN

if TYPE_CHECKING:
    from kidney_core.data.leak_audit import ProtocolAudit
    from kidney_core.teaching.split_puzzle import PuzzleData, PuzzleSplit

SIMULATED, FOLDER = "Simulated slices", "Your folder"
_ANSWER, _DATA = "teaching_puzzle_answer", "teaching_puzzle_data"
_N_STRIP, _PER_ROW = 48, 24
_N_PAIRS = 3


def show(checkpoint: Checkpoint) -> None:
    """The puzzle: look at four splits, choose one, see the evidence."""
    st.markdown("Four groups split the same slices into training and test. **One split leaks. Which one?**")
    with st.expander("For the teacher"):
        st.markdown(
            "- The strips show slices in file order; a blue bar is training, orange is test. Neighbours of one scan look alike: look "
            "for orange beside blue within a scan, and for pictures that appear twice.\n"
            "- The leak differs from puzzle to puzzle: slices drawn one by one, every fourth slice, the ends of scans, or copies that "
            "came with a second source. The same number gives the same puzzle.\n"
            "- The evidence is that of the Dataset page. Copying the label of the most similar training slice involves no learning: "
            "where it scores 100 %, a model can do so by recognising scans."
        )
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    source = left.segmented_control(
        "Slices", [SIMULATED, FOLDER], default=SIMULATED, required=True, key="teaching_puzzle_source"
    )
    number = right.number_input("Puzzle number", 1, 999, 1, key="teaching_puzzle_number")
    try:
        data = _simulated() if source == SIMULATED else _of_folder()
        if data is not None:
            _play(data, source, int(number))
    except KidneyError as error:
        st.error(markdown.text(error))


def _simulated() -> "PuzzleData":
    """The stored slices; drawn again where there are none."""
    from kidney_core.teaching import ready_results

    return ready_results.puzzle_data() or _drawn()


@st.cache_resource(max_entries=1, show_spinner=False)  # nobody changes them
def _drawn() -> "PuzzleData":
    from kidney_core.teaching import split_puzzle

    return split_puzzle.draw_data(progress=progress.progress_bar("Drawing simulated slices"))


def _of_folder() -> "PuzzleData | None":
    """Slices of a folder that the user names, kept for the session; None until there is one."""
    from kidney_core.data.dataset import read_dataset
    from kidney_core.teaching import split_puzzle

    folder = path_inputs.folder_input("teaching_puzzle_folder")
    st.caption("At most 400 slices are used. They stay on this machine.")
    if not folder:
        return None
    kept = st.session_state.get(_DATA)
    if kept is None or kept[0] != folder:
        dataset = read_dataset(folder, progress=progress.progress_bar("Reading images"))
        data = split_puzzle.read_data(dataset, progress=progress.progress_bar("Preparing slices"))
        kept = st.session_state[_DATA] = (folder, data)
    return kept[1]


def _play(data: "PuzzleData", source: str, number: int) -> None:
    from kidney_core.teaching import split_puzzle

    puzzle = split_puzzle.make_puzzle(data, number)
    _show_strips(puzzle, sorted(set(data.table["label"])))
    answers: dict[tuple[str, int], str] = st.session_state.setdefault(_ANSWER, {})
    key = (source, number)
    buttons = st.columns(len(puzzle))
    for column, name in zip(buttons, puzzle, strict=True):
        if column.button(
            markdown.text(f"{name} leaks"), key=f"teaching_puzzle_{name}", width="stretch", disabled=key in answers
        ):
            answers[key] = name
            st.rerun()
    if key in answers:
        _show_solution(puzzle, answers[key])


def _show_strips(puzzle: "dict[str, PuzzleSplit]", labels: list[str]) -> None:
    """Training and test slices of one class under each split."""
    from kidney_core.teaching.split_puzzle import thumbnails_of

    label = st.segmented_control(
        "Class", labels, default=labels[0], required=True, format_func=markdown.text, key="teaching_puzzle_label"
    )
    for name, each in puzzle.items():
        rows = np.flatnonzero(each.data.table["label"] == label)
        rows = rows[-_N_STRIP:]  # copies of a merged source stand at the end of a class
        is_test = (each.parts[rows] != TRAIN).astype(int)
        st.markdown(
            f"**{markdown.text(name)}**: {int((each.parts == TRAIN).sum())} slices to train on, {int((each.parts == TEST).sum())} to test on"
        )
        strip = rendering.series_strip(
            thumbnails_of(each.data.pictures[rows]), is_test, per_row=_PER_ROW, tints=is_test
        )
        st.image(strip, width="stretch", alt=_strip_in_words(is_test))
    st.caption(
        f"Up to {_N_STRIP} slices of {markdown.text(label)} in file order. Blue bar: training. Orange bar: test."
    )


def _strip_in_words(is_test: np.ndarray) -> str:
    """Which slices of a strip are training, and which test, for those who cannot see the bars."""
    edges = np.flatnonzero(np.diff(is_test)) + 1
    runs = np.split(is_test, edges)
    return "Slices in file order: " + ", ".join(f"{len(run)} {TEST if run[0] else TRAIN}" for run in runs)


def _show_solution(puzzle: "dict[str, PuzzleSplit]", answer: str) -> None:
    from kidney_core.teaching.split_puzzle import IN_WORDS

    leaking = next(name for name, each in puzzle.items() if each.leaks)
    if answer == leaking:
        st.success(f"**Right: {markdown.text(leaking)} leaks.** {markdown.text(IN_WORDS[puzzle[leaking].kind])}")
    else:
        st.error(
            f"**It is {markdown.text(leaking)}, not {markdown.text(answer)}.** {markdown.text(IN_WORDS[puzzle[leaking].kind])}"
        )
    st.markdown("## The evidence")
    evidence = {name: each.evidence() for name, each in puzzle.items()}
    st.dataframe(tables.drawn(_evidence_table(puzzle, evidence)), hide_index=True)
    st.caption(
        "Near-duplicates correlate above 0.95. 1-NN copies the label of the most similar training slice, without any learning; its "
        "balanced accuracy counts every class alike."
    )
    st.markdown(f"**Test slices of {markdown.text(leaking)}**, and under each the most similar training slice:")
    with st.container(key="teaching_puzzle_near_duplicates"):
        _show_pairs(puzzle[leaking], evidence[leaking])


def _evidence_table(puzzle: "dict[str, PuzzleSplit]", evidence: "dict[str, ProtocolAudit]") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Split": list(puzzle),
            "Leaks": ["yes" if each.leaks else "no" for each in puzzle.values()],
            "Scan also in training": [percent(each.shared_scans(), 0) for each in puzzle.values()],
            "Near-duplicate in training": [percent(each.near_duplicate_fraction, 0) for each in evidence.values()],
            "Median correlation": [f"{np.median(each.correlation[each.tested]):.3f}" for each in evidence.values()],
            "1-NN accuracy": [percent(each.baseline["accuracy"], 0) for each in evidence.values()],
            "1-NN balanced": [percent(each.baseline["balanced_accuracy"], 0) for each in evidence.values()],
        }
    )


def _show_pairs(split: "PuzzleSplit", evidence: "ProtocolAudit") -> None:
    """The test slices with the most similar training slices, spread over the classes."""
    table, pictures = split.data.table, split.data.pictures
    order = evidence.tested[np.argsort(-evidence.correlation[evidence.tested], kind="stable")]
    chosen = table.iloc[order].drop_duplicates("label").index[:_N_PAIRS]
    for column, row in zip(st.columns(_N_PAIRS), chosen, strict=False):
        nearest = int(evidence.nearest[row])
        column.image(
            pictures[row], caption=markdown.text(f"test, {table['label'].iat[row]}"), width="stretch", alt="Test slice"
        )
        column.image(
            pictures[nearest],
            caption=markdown.text(
                f"training, {table['label'].iat[nearest]}, correlation {evidence.correlation[row]:.3f}"
            ),
            width="stretch",
            alt="The most similar training slice",
        )
