"""Networks, stored predictions and what is computed from them, kept between reruns of a page."""

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.app import markdown
from kidney_core.checkpoints.checkpoint import MEASURED_FILES, Checkpoint, list_checkpoints
from kidney_core.common import settings
from kidney_core.common.errors import KidneyError

if TYPE_CHECKING:
    from kidney_core.diagnosis.evaluation_records import Evaluation
    from kidney_core.diagnosis.inference import Predictor
    from kidney_core.kidneys.finder import KidneyFinder
    from kidney_core.metrics.clinical import Assessment
    from kidney_core.metrics.comparison import Compared
    from kidney_core.metrics.intervals import Interval
    from kidney_core.metrics.predictions import Predictions


@st.cache_resource(max_entries=6, show_spinner="Loading the network…")
def _predictor(folder: str, version: str) -> "Predictor":
    from kidney_core.checkpoints.checkpoint import read_checkpoint
    from kidney_core.diagnosis import inference

    return inference.open_predictor(read_checkpoint(Path(folder)), finder=kidney_finder())


@st.cache_resource(show_spinner="Loading the kidney finder…")
def _finder(folder: str, version: int) -> "KidneyFinder":
    from kidney_core.kidneys import finder

    return finder.open_finder(Path(folder))


def kidney_finder() -> "KidneyFinder | None":
    """The kidney finder, shared by all sessions; None where there is none. Raises CheckpointError where it is damaged."""
    from kidney_core.kidneys import finder

    folder = finder.find_folder()
    return _finder(str(folder), (folder / finder.CARD_FILE).stat().st_mtime_ns) if folder else None


def installed_finder() -> "KidneyFinder":
    """The kidney finder, shared by all sessions. Raises CheckpointError where there is none, or it is damaged."""
    from kidney_core.kidneys import finder

    return kidney_finder() or finder.open_installed()  # which says what to do where there is none


def predictor(checkpoint: Checkpoint) -> "Predictor":
    """The checkpoint's network with all that prediction needs, shared by all sessions. Raises CheckpointError."""
    return _predictor(str(checkpoint.folder), reading_key(checkpoint))


def predictors() -> list["Predictor"]:
    """The predictor of every usable checkpoint; shows the reason for each that cannot be loaded."""
    loaded = []
    for checkpoint in list_checkpoints()[0]:
        try:
            loaded.append(predictor(checkpoint))
        except KidneyError as error:
            st.error(markdown.text(error))
    return loaded


def cache_key(checkpoint: Checkpoint) -> str:
    """A key that changes when a checkpoint is published again under the same name, or its heatmaps are measured."""
    files = (checkpoint.folder / name for name in ("card.json", *MEASURED_FILES))
    written = "-".join(str(path.stat().st_mtime_ns) for path in files if path.is_file())
    return f"{checkpoint.card['weights_sha256']}-{written}"


def reading_key(checkpoint: Checkpoint) -> str:
    """The same, which also changes when the kidney finder is replaced: all that a reading of images depends on."""
    from kidney_core.kidneys import finder

    folder = finder.find_folder()
    return f"{cache_key(checkpoint)}-{(folder / finder.CARD_FILE).stat().st_mtime_ns if folder else 'no finder'}"


@st.cache_data(max_entries=40, show_spinner=False)
def _predictions(folder: str, protocol: str, version: str) -> "Predictions | None":
    from kidney_core.checkpoints.checkpoint import read_checkpoint

    return read_checkpoint(Path(folder)).predictions(protocol)


def predictions(checkpoint: Checkpoint, protocol: str) -> "Predictions | None":
    """The stored test predictions of a checkpoint."""
    return _predictions(str(checkpoint.folder), protocol, cache_key(checkpoint))


@st.cache_data(max_entries=120, show_spinner="Resampling scans…")
def _intervals(folder: str, protocol: str, version: str, plane: str | None, per_series: bool) -> dict[str, "Interval"]:
    from kidney_core.metrics import intervals

    tested = _predictions(folder, protocol, version)
    if tested is None:
        raise ValueError(f"the checkpoint must have stored predictions of {protocol!r}")
    if plane is not None:
        tested = tested.subset(tested.table["plane"] == plane)
    return intervals.intervals(tested.per_series() if per_series else tested)


def intervals_of(
    checkpoint: Checkpoint, protocol: str, *, plane: str | None = None, per_series: bool = False
) -> dict[str, "Interval"]:
    """The figures of stored predictions with their 95 % intervals: of slices, of those of one plane, or of series."""
    return _intervals(str(checkpoint.folder), protocol, cache_key(checkpoint), plane, per_series)


@st.cache_data(max_entries=20, show_spinner="Resampling scans…")
def _assessment(folder: str, protocol: str, version: str) -> "Assessment":
    from kidney_core.metrics import clinical

    tested = _predictions(folder, protocol, version)
    if tested is None:
        raise ValueError(f"the checkpoint must have stored predictions of {protocol!r}")
    return clinical.assess(tested)


def assessment_of(checkpoint: Checkpoint, protocol: str) -> "Assessment":
    """The clinical figures of stored predictions with their 95 % intervals."""
    return _assessment(str(checkpoint.folder), protocol, cache_key(checkpoint))


@st.cache_data(max_entries=20, show_spinner="Comparing…")
def _compared(
    keys: tuple[tuple[str, str], ...], names: tuple[str, ...], data: tuple[str, ...], protocol: str
) -> "Compared":
    from kidney_core.metrics import comparison

    stored = {
        name: _predictions(folder, protocol, version) for name, (folder, version) in zip(names, keys, strict=True)
    }
    known = {name: each for name, each in stored.items() if each is not None}
    return comparison.compare_all(known, data=dict(zip(names, data, strict=True)))


def compare(checkpoints: list[Checkpoint], protocol: str) -> "Compared":
    """Every pair of checkpoints by every figure, on the slices that both were tested on under a protocol."""
    keys = tuple((str(item.folder), cache_key(item)) for item in checkpoints)
    data = tuple(item.card["data"].get("fingerprint", "") for item in checkpoints)
    return _compared(keys, tuple(item.name for item in checkpoints), data, protocol)


@st.cache_resource(max_entries=8, show_spinner=False)
def evaluation(key: str) -> "Evaluation | None":
    """A kept evaluation of a folder, shared by all sessions; None where it is gone."""
    from kidney_core.diagnosis import evaluation_records

    return evaluation_records.load(key)


def _evaluated(key: str, name: str) -> "Predictions":
    kept = evaluation(key)
    if kept is None:
        raise ValueError(f"there must be a kept evaluation {key!r}")
    return kept.results[name].predictions


@st.cache_data(max_entries=60, show_spinner="Resampling scans…")
def evaluated_intervals(
    key: str, name: str, *, plane: str | None = None, per_series: bool = False
) -> dict[str, "Interval"]:
    """The figures of a checkpoint on a folder with their 95 % intervals, as `intervals_of`."""
    from kidney_core.metrics import intervals

    tested = _evaluated(key, name)
    if plane is not None:
        tested = tested.subset(tested.table["plane"] == plane)
    return intervals.intervals(tested.per_series() if per_series else tested)


@st.cache_data(max_entries=10, show_spinner="Resampling scans…")
def evaluated_assessment(key: str, name: str) -> "Assessment":
    """The clinical figures of a checkpoint on a folder, as `assessment_of`."""
    from kidney_core.metrics import clinical

    return clinical.assess(_evaluated(key, name))


@st.cache_data(max_entries=10, show_spinner="Comparing…")
def evaluated_pairs(key: str, names: tuple[str, ...]) -> "Compared":
    """Every pair of checkpoints on a folder by every figure."""
    from kidney_core.metrics import comparison

    return comparison.compare_all({name: _evaluated(key, name) for name in names})


def usable_checkpoints() -> list[Checkpoint]:
    """The checkpoints; shows a warning for each unusable one, and what to do where there is none."""
    usable, problems = list_checkpoints()
    for problem in problems:
        st.warning(markdown.text(problem))
    if not usable:
        st.info(
            f"There is no checkpoint in “{markdown.text(settings.checkpoints_folder())}” yet. Train a network on the Training page and "
            "publish it, or copy the folder of a checkpoint there."
        )
    return usable
