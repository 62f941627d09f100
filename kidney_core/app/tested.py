"""Predictions of labelled slices that panels show, wherever they were measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.metrics.predictions import Predictions

if TYPE_CHECKING:
    from kidney_core.metrics.clinical import Assessment
    from kidney_core.metrics.intervals import Interval


@dataclass(frozen=True, eq=False)
class Tested:
    """Predictions to be shown.

    Attributes:
        ranges: every figure with its interval; of one `plane`, or `per_series`.
        assessment: the clinical figures.
        key: of the widgets; with another key, other choices.
        file_name: of downloads.
        same_network: made by the checkpoint's own weights, so its heatmaps explain them.
        images: folder of the slices; empty where it is not known.
        fitted: on what the temperature was fitted, in a sentence.
    """

    checkpoint: Checkpoint
    predictions: Predictions
    ranges: Callable[..., "dict[str, Interval]"]
    assessment: "Callable[[], Assessment]"
    key: str
    file_name: str
    same_network: bool
    images: str = ""
    fitted: str = ""
