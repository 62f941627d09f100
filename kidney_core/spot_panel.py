"""Why 99 % can be nothing: heads trained on the spot on true and on shuffled labels, under both splits."""

import numpy as np
import streamlit as st

from kidney_core import figures, ui
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import KidneyError
from kidney_core.splits import GROUPED, PROTOCOL_NAMES, RANDOM

SIMULATED, FOLDER = "Simulated slices", "A folder of yours"


def draw(checkpoint: Checkpoint) -> None:
    """The whole part: material, training, the picture of all, and one slice under both splits."""
    st.markdown(
        "**For students:** labels are dealt out at random, so there is nothing to learn about disease. Still, one way of testing "
        "shows nearly 100 %. Find out why."
    )
    with st.expander("For the teacher"):
        st.markdown(
            "- What is trained here is the last step of a network, a logistic regression on the features of the model chosen above: "
            "seconds instead of hours. Four folds, so that each slice is tested once under each split.\n"
            "- **Shuffled scan by scan**: all slices of a scan get one label, dealt out at random among the scans. A random split tests on neighbours of "
            "training slices, so memory is enough. On scans never seen, only guessing is left.\n"
            "- **Shuffled slice by slice**: even noise is learned by heart, and nothing carries over.\n"
            "- The 99 % published on the public kidney dataset were measured on a random split.\n"
            "- Where the model chosen was itself trained on the slices of your folder, its features know them already, and "
            "“scans never seen” is too good as well; the page says so."
        )
    source = st.segmented_control(
        "Slices", [SIMULATED, FOLDER], default=SIMULATED, required=True, key="teaching_spot_source"
    )
    folder = ui.folder_input("teaching_spot_folder") if source == FOLDER else ""
    st.caption(
        "48 simulated scans of 8 slices; no patients."
        if source == SIMULATED
        else "At most 600 slices are taken: 12 neighbours each of scans spread over the classes. They stay on this machine."
    )
    key = (source, folder, ui.version(checkpoint))
    results = st.session_state.setdefault("teaching_lessons", {})
    if st.button(
        "Train on the spot",
        type="primary",
        key="teaching_train",
        help="About 20 seconds the first time, less afterwards",
    ):
        try:
            results.clear()  # one at a time: the pixels are kept too
            results[key] = _train(checkpoint, folder if source == FOLDER else None)
        except KidneyError as error:
            st.error(str(error))
    if key in results:
        material, lessons = results[key]
        _show_all(checkpoint, material, lessons)
        _show_one(material, lessons)


def _train(checkpoint: Checkpoint, folder: str | None):
    from kidney_core import spot_training
    from kidney_core.dataset import read_dataset

    if folder is None:
        material = _drawn(checkpoint.view)
    elif not folder:
        raise KidneyError("Name the folder of images first.")
    else:
        found = read_dataset(folder, progress=ui.progress_bar("Reading images"))
        material = spot_training.read(found, checkpoint.view, progress=ui.progress_bar("Preparing slices"))
    standard = spot_training.features(
        ui.reader(checkpoint).model, material, progress=ui.progress_bar("Asking the network for features")
    )
    return material, spot_training.teach_all(standard, material.table, progress=ui.progress_bar("Training heads"))


@st.cache_resource(max_entries=3, show_spinner=False)  # never changed by anyone
def _drawn(view):
    from kidney_core import spot_training

    return spot_training.draw(view, progress=ui.progress_bar("Drawing simulated slices"))


def _show_all(checkpoint: Checkpoint, material, lessons) -> None:
    from kidney_core import spot_training, teaching_figures

    shuffled = {protocol: lessons[spot_training.BY_SCAN, protocol].test_accuracy for protocol in (RANDOM, GROUPED)}
    n_scans, n_labels = material.table["series"].nunique(), len(lessons[spot_training.TRUE, RANDOM].labels)
    # Naming the label of most scans is what guessing can reach.
    chance = float(material.table.drop_duplicates("series")["label"].value_counts(normalize=True).max())
    reach = 2 * np.sqrt(chance * (1 - chance) / n_scans)
    st.plotly_chart(
        teaching_figures.lessons_figure(lessons, chance), config={"displayModeBar": False}, key="teaching_lessons_chart"
    )
    st.markdown(
        f"**The middle group is the lesson.** Its labels mean nothing, yet the random split says "
        f"**{figures.percent(shuffled[RANDOM], 0)}**. On scans never seen it is {figures.percent(shuffled[GROUPED], 0)}: guessing among "
        f"{n_labels} labels is right in {figures.percent(chance, 0)}, and with {n_scans} scans luck moves that by about "
        f"{100 * reach:.0f} points either way. "
        + (
            "Whatever a random split shows for true labels, memory of scans alone would show nearly as much."
            if shuffled[RANDOM] - shuffled[GROUPED] > reach
            else "Here the two splits hardly differ: these scans have too few slices, or too unlike ones, to be remembered."
        )
    )
    trained_on = checkpoint.trained_on()
    n_seen = sum(digest in trained_on for digest in material.hashes)
    if n_seen:
        st.warning(
            f"{checkpoint.name} was itself trained on {n_seen:,} of these {len(material.table):,} slices. Its features know them, "
            "so with true labels even the blue bar is too good."
        )


def _show_one(material, lessons) -> None:
    from kidney_core import spot_training

    st.subheader("One slice under both splits", anchor=False)
    labelling = st.segmented_control(
        "Labels that were taught", spot_training.LABELLINGS, default=spot_training.TRUE, required=True, key="teaching_labelling",
    )  # fmt: skip
    sides = {protocol: lessons[labelling, protocol] for protocol in (RANDOM, GROUPED)}
    differing = _differing(sides)
    at = f"teaching_row_{labelling}"
    st.session_state.setdefault(at, int(differing[len(differing) // 2]) + 1 if len(differing) else 1)
    pick, another = st.columns([3, 1], vertical_alignment="bottom")
    if another.button("Another that differs", key="teaching_differs", disabled=not len(differing), width="stretch"):
        later = differing[differing + 1 > st.session_state[at]]
        st.session_state[at] = int(later[0] if len(later) else differing[0]) + 1
    row = pick.slider("Slice", 1, len(material.table), key=at) - 1
    series = material.table["series"].to_numpy()
    truth, taught = material.table["label"].iat[row], sides[RANDOM].taught[row]
    with st.container(key="teaching_twins"):
        columns = st.columns(3)
    meant = f"**{taught}**" if taught == truth else f"{truth}, but taught as **{taught}**"
    columns[0].image(material.pixels[row], caption="the slice that is tested", width="stretch")
    for column, (protocol, lesson) in zip(columns[1:], sides.items(), strict=True):
        near = int(lesson.nearest[row])
        whose = "same scan" if series[near] == series[row] else "another scan"
        column.image(
            material.pixels[near],
            caption=f"**{PROTOCOL_NAMES[protocol]}**: most similar in training, {whose}, taught as {lesson.taught[near]}, "
            f"likeness {lesson.likeness[row]:.2f}",
            width="stretch",
        )
    st.markdown(f"It is {meant} ({material.table['path'].iat[row]}).")
    for column, (protocol, lesson) in zip(st.columns(2, gap="large"), sides.items(), strict=True):
        says = lesson.labels[int(lesson.probabilities[row].argmax())]
        column.markdown(
            f"{PROTOCOL_NAMES[protocol].capitalize()}: the head says **{says}**, "
            f"{':green[right]' if says == taught else ':red[wrong]'}."
        )
        column.plotly_chart(
            figures.probability_bars(dict(zip(lesson.labels, lesson.probabilities[row], strict=True))),
            config={"displayModeBar": False},
            key=f"teaching_bars_{protocol}",
        )
    st.caption(
        f"The two heads were taught the same way; only the division differs. The random split is right and the other wrong on "
        f"{ui.counted(len(differing), 'slice')} of {len(material.table):,}; the slice shown first is one of them."
    )


def _differing(sides: dict) -> np.ndarray:
    """Rows on which the head of the random split is right and that of the grouped split is wrong."""
    right = {
        protocol: np.array(lesson.labels)[lesson.probabilities.argmax(axis=1)] == lesson.taught
        for protocol, lesson in sides.items()
    }
    return np.flatnonzero(right[RANDOM] & ~right[GROUPED])
