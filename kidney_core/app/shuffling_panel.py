"""Why 99 % can mean nothing: heads trained now on true and on shuffled labels, under both splits."""

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from kidney_core.app import charts, formatting, loading, markdown, path_inputs, progress
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError
from kidney_core.metrics import chart_text, number_format, plots
from kidney_core.metrics.splits import GROUPED, PROTOCOL_NAMES, RANDOM

if TYPE_CHECKING:
    from kidney_core.imaging.framing import View
    from kidney_core.teaching.label_shuffling import ShuffleData, ShuffleResult


SIMULATED, FOLDER = "Simulated slices", "Your folder"
Lessons = dict[tuple[str, str], "ShuffleResult"]  # (labelling, protocol) -> the trained head and its results


def show(checkpoint: Checkpoint) -> None:
    """The data, the training, the results of all heads, and one slice under both splits."""
    st.markdown(
        "Labels are assigned at random, so there is nothing to learn about disease. Still, one way of testing shows nearly 100 %. "
        "Find out why."
    )
    with st.expander("For the teacher"):
        st.markdown(
            "- Only the last step of a network is trained here: a logistic regression on the features of the model chosen above. It "
            "takes seconds instead of hours. With four folds, each slice is tested once under each split.\n"
            "- **Shuffled scan by scan**: all slices of a scan get the same random label. A random split tests on neighbours of "
            "training slices, so recognising the scan is enough (data leakage). On unseen scans, it can only guess.\n"
            "- **Shuffled slice by slice**: even noise can be memorised, and nothing carries over to test slices.\n"
            "- The 99 % published for the public kidney dataset were measured with a random split.\n"
            "- If the chosen model was itself trained on the slices in your folder, even its results on unseen scans are inflated; "
            "the page says so."
        )
    source = st.segmented_control(
        "Slices", [SIMULATED, FOLDER], default=SIMULATED, required=True, key="teaching_spot_source"
    )
    folder = path_inputs.folder_input("teaching_spot_folder") if source == FOLDER else ""
    st.caption(
        "48 simulated scans of 8 slices, no patients."
        if source == SIMULATED
        else "At most 600 slices are used: 12 neighbours per scan, from scans of all classes. They stay on this machine."
    )
    key = (source, folder, loading.cache_key(checkpoint))
    results = st.session_state.setdefault("teaching_lessons", {})
    if st.button(
        "Train now",
        type="primary",
        key="teaching_train",
        help="About 20 seconds the first time on two cores, less afterwards",
    ):
        try:
            results.clear()  # one at a time: the pixels are kept too
            results[key] = _train(checkpoint, folder if source == FOLDER else None)
        except KidneyError as error:
            st.error(markdown.text(error))
    if key in results:
        data, lessons = results[key]
        _show_all(checkpoint, data, lessons)
        _show_one(data, lessons)


def _train(checkpoint: Checkpoint, folder: str | None) -> tuple["ShuffleData", Lessons]:
    """The slices and the heads trained on them. Raises KidneyError for a folder that cannot be used."""
    from kidney_core.data import remembered_labels
    from kidney_core.teaching import label_shuffling

    if folder is None:
        data = _simulated(checkpoint.view.without_kidneys)
    elif not folder:
        raise KidneyError("Enter the folder of images first.")
    else:
        dataset = remembered_labels.read(folder, progress=progress.progress_bar("Reading images"))
        data = label_shuffling.read_data(
            dataset, checkpoint.view.without_kidneys, progress=progress.progress_bar("Preparing slices")
        )
    features = label_shuffling.compute_features(
        loading.predictor(checkpoint).network, data, progress=progress.progress_bar("Computing features")
    )
    lessons = label_shuffling.train_all(features, data.table, progress=progress.progress_bar("Training heads"))
    return data, lessons


@st.cache_resource(max_entries=3, show_spinner=False)  # nobody changes it
def _simulated(view: "View") -> "ShuffleData":
    from kidney_core.teaching import label_shuffling

    return label_shuffling.draw_data(view, progress=progress.progress_bar("Drawing simulated slices"))


def _show_all(checkpoint: Checkpoint, data: "ShuffleData", lessons: Lessons) -> None:
    from kidney_core.teaching import label_shuffling, teaching_plots

    shuffled = {protocol: lessons[label_shuffling.BY_SCAN, protocol].test_accuracy for protocol in (RANDOM, GROUPED)}
    n_scans, n_labels = data.table["series"].nunique(), len(lessons[label_shuffling.TRUE, RANDOM].labels)
    # Naming the most frequent label among scans is what guessing can reach.
    chance = float(data.table.drop_duplicates("series")["label"].value_counts(normalize=True).max())
    spread = 2 * np.sqrt(chance * (1 - chance) / n_scans)
    charts.draw(
        teaching_plots.shuffling_figure(lessons, chance),
        teaching_plots.shuffling_in_words(lessons, chance),
        key="teaching_lessons_chart",
    )
    st.markdown(
        f"**Look at the middle group.** Its labels mean nothing, yet the random split shows "
        f"**{number_format.percent(shuffled[RANDOM], 0)}**. On unseen scans it is {number_format.percent(shuffled[GROUPED], 0)}: "
        f"guessing one of {n_labels:,} labels is correct in {number_format.percent(chance, 0)}, and with {n_scans:,} scans chance moves "
        f"that by about {100 * spread:.0f} points either way. "
        + (
            "So with true labels, too, a random split mostly shows that the scans were recognised (data leakage)."
            if shuffled[RANDOM] - shuffled[GROUPED] > spread
            else "Here the two splits hardly differ: these scans have too few slices, or too different ones, to be recognised."
        )
    )
    trained_on = checkpoint.trained_on()
    n_seen = sum(digest in trained_on for digest in data.hashes)
    if n_seen:
        st.warning(
            f"{markdown.text(checkpoint.name)} was itself trained on {n_seen:,} of these {len(data.table):,} slices, so with true labels even its "
            "accuracy on unseen scans is inflated."
        )


def _show_one(data: "ShuffleData", lessons: Lessons) -> None:
    from kidney_core.teaching import label_shuffling

    st.header("One slice under both splits", anchor=False)
    labelling = st.segmented_control(
        "Training labels",
        label_shuffling.LABELLINGS,
        default=label_shuffling.TRUE,
        required=True,
        key="teaching_labelling",
    )
    heads = {protocol: lessons[labelling, protocol] for protocol in (RANDOM, GROUPED)}
    differing = _differing(heads)
    row = _choose_row(labelling, differing, len(data.table))
    _show_pictures(data, heads, row)
    truth, training_label = data.table["label"].iat[row], heads[RANDOM].training_labels[row]
    labelled = f"**{markdown.text(training_label)}**"
    shown_as = labelled if training_label == truth else f"{markdown.text(truth)}, labelled {labelled}"
    st.markdown(f"The test slice is {shown_as} ({markdown.text(data.table['path'].iat[row])}).")
    for column, (protocol, head) in zip(st.columns(2, gap="large"), heads.items(), strict=True):
        predicted = head.labels[int(head.probabilities[row].argmax())]
        column.markdown(
            f"{PROTOCOL_NAMES[protocol].capitalize()}: predicted **{markdown.text(predicted)}**, "
            f"{':green[correct]' if predicted == training_label else ':red[wrong]'}."
        )
        probabilities = dict(zip(head.labels, head.probabilities[row], strict=True))
        with column:
            charts.draw(
                plots.probability_bars(probabilities),
                chart_text.probabilities(probabilities),
                key=f"teaching_bars_{protocol}",
            )
    st.caption(
        "Both heads were trained the same way, only the split differs. The random split is correct and the other wrong on "
        f"{formatting.quantity(len(differing), 'slice')} of {len(data.table):,}; the slice shown first is one of them."
    )


def _choose_row(labelling: str, differing: np.ndarray, n_slices: int) -> int:
    """The row of the slice to show; the button goes to the next one on which the splits differ."""
    key = f"teaching_row_{labelling}"
    st.session_state.setdefault(key, int(differing[len(differing) // 2]) + 1 if len(differing) else 1)
    slider, button = st.columns([3, 1], vertical_alignment="bottom")
    if button.button("Next difference", key="teaching_differs", disabled=not len(differing), width="stretch"):
        later = differing[differing + 1 > st.session_state[key]]
        st.session_state[key] = int(later[0] if len(later) else differing[0]) + 1
    return slider.slider("Slice", 1, n_slices, key=key) - 1


def _show_pictures(data: "ShuffleData", heads: "dict[str, ShuffleResult]", row: int) -> None:
    """The test slice, and the most similar training slice under each split."""
    series = data.table["series"].to_numpy()
    with st.container(key="teaching_near_duplicates"):
        columns = st.columns(3)
    columns[0].image(data.pixels[row], caption="test slice", width="stretch", alt="The test slice")
    for column, (protocol, head) in zip(columns[1:], heads.items(), strict=True):
        nearest = int(head.nearest[row])
        scan = "same scan" if series[nearest] == series[row] else "another scan"
        column.image(
            data.pixels[nearest],
            caption=f"**{PROTOCOL_NAMES[protocol]}**: most similar training slice, {scan}, labelled {markdown.text(head.training_labels[nearest])}, "
            f"cosine similarity {head.similarity[row]:.2f}",
            width="stretch",
            alt=f"The training slice most like it, {PROTOCOL_NAMES[protocol]}",
        )


def _differing(heads: "dict[str, ShuffleResult]") -> np.ndarray:
    """Rows on which the head of the random split is correct and that of the scan-level split is wrong."""
    is_correct = {
        protocol: np.array(head.labels)[head.probabilities.argmax(axis=1)] == head.training_labels
        for protocol, head in heads.items()
    }
    return np.flatnonzero(is_correct[RANDOM] & ~is_correct[GROUPED])
