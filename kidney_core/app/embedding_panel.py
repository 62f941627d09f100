"""A map of the tested slices by the network's features: colour tells label, error or scan, a lasso opens the slices."""

from collections import Counter
from pathlib import Path

import numpy as np
import streamlit as st

from kidney_core.app import charts, how_to_read, loading, markdown, matrix_panel, path_inputs, progress
from kidney_core.app.tested import Tested
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError
from kidney_core.metrics.predictions import Predictions

_MOST_TOLD = 12  # groups in the sentence that is read aloud
_HOW_TO_READ = (
    "Slices are near each other where the network's features are alike (t-SNE); distances between separate groups mean "
    "nothing. If slices group by hospital or contrast phase instead of label, the network has learned those. Draw a lasso to open slices."
)


def show(tested: Tested) -> None:
    """The map of a checkpoint's own network, once it was asked for."""
    from kidney_core.diagnosis import embedding

    if "path" not in tested.predictions.table:
        st.info("The files of these predictions are not known.")
        return
    folder = tested.images or path_inputs.path_input(
        "Folder of these images",
        st.session_state.get("evaluation_images", ""),
        key=f"{tested.key}_map_folder",
        placeholder="/data/ct-kidney",
    )
    shown = tested.predictions.subset(_is_kept(len(tested.predictions)))
    if len(shown) < len(tested.predictions):
        st.caption(f"{len(shown):,} of {len(tested.predictions):,} slices, evenly chosen.")
    asked = f"{tested.key}_map_asked_{tested.file_name}"
    if (
        st.button("Draw the map", key=f"{tested.key}_draw_map", help="Reads the slices again: about 50 ms each.")
        and folder
    ):
        st.session_state[asked] = folder
    if st.session_state.get(asked) != folder or not folder:
        return
    try:
        if len(shown) < embedding.LEAST_SLICES:
            st.info(f"A map needs {embedding.LEAST_SLICES} slices.")
            return
        places = _map(tested.checkpoint, folder, tuple(shown.table["path"]))
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    _draw(tested, shown, places)


def _is_kept(n: int) -> np.ndarray:
    from kidney_core.diagnosis import embedding

    kept = np.zeros(n, bool)
    kept[embedding.chosen_rows(n)] = True
    return kept


def _map(checkpoint: Checkpoint, folder: str, paths: tuple[str, ...]) -> np.ndarray:
    from kidney_core.diagnosis import embedding

    kept = _maps()
    key = (loading.reading_key(checkpoint), folder, hash(paths))
    if key not in kept:
        features = embedding.features_of(
            loading.predictor(checkpoint), Path(folder), paths, progress=progress.progress_bar("Reading slices")
        )
        with st.spinner("Drawing the map…"):
            kept[key] = embedding.map_of(features)
        while len(kept) > 8:
            kept.pop(next(iter(kept)))
    return kept[key]


@st.cache_resource
def _maps() -> dict[tuple[str, str, int], np.ndarray]:
    """The maps that were drawn last, for all sessions."""
    return {}


def _draw(tested: Tested, shown: Predictions, places: np.ndarray) -> None:
    from kidney_core.metrics import embedding_plots

    groups = {
        "label": list(shown.table["label"]),
        "predicted": list(shown.table["predicted"]),
        "error": ["correct" if right else "wrong" for right in shown.is_right],
    }
    if shown.series is not None:
        groups["scan"] = [str(each) for each in shown.series]
    if "outcome" in shown.table:
        groups["outcome"] = list(shown.table["outcome"])
    if "plane" in shown.table:
        groups["plane"] = list(shown.table["plane"])
    by = st.segmented_control("Colour", list(groups), default="label", required=True, key=f"{tested.key}_map_color")
    names = [
        f"{path}<br>{label}, predicted {predicted}"
        for path, label, predicted in zip(
            shown.table["path"], shown.table["label"], shown.table["predicted"], strict=True
        )
    ]
    counts = ", ".join(f"{group} {n}" for group, n in sorted(Counter(groups[by]).items())[:_MOST_TOLD])
    event = charts.draw(
        embedding_plots.map_figure(places, groups[by], names),
        f"Map of {len(shown)} slices, near each other where the network's features are alike, coloured by {by}: {counts}.",
        key=f"{tested.key}_map",
        has_toolbar=True,
        on_select="rerun",
        selection_mode=("lasso", "box", "points"),
    )
    listed = shown.table[["path", "label", "predicted"]].set_axis(["File", "Label", "Predicted"], axis=1)
    by_keys = charts.show_numbers(
        listed.assign(Right=places[:, 0].round(1), Up=places[:, 1].round(1)),
        key=f"{tested.key}_map",
        on_select="rerun",
        selection_mode="multi-row",
    )
    how_to_read.folded().caption(_HOW_TO_READ)
    rows = by_keys["selection"]["rows"] or [
        int(np.ravel(point["customdata"])[0]) for point in event["selection"]["points"] if "customdata" in point
    ]
    if rows:
        chosen = np.zeros(len(shown), bool)
        chosen[rows] = True
        matrix_panel.show_slices_behind(
            tested.checkpoint,
            shown.subset(chosen),
            key=f"{tested.key}_map_chosen",
            same_network=tested.same_network,
            images=st.session_state[f"{tested.key}_map_asked_{tested.file_name}"],
        )
