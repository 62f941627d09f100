"""The sentence on a label's precision and recall, against counts made by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.checkpoints.label_performance import describe_label
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import CROSS_VALIDATED, GROUPED, RANDOM

# Stone is predicted 9 + 1 times, 9 of them correctly, and 9 of 12 stones are found.
FOUND = {
    "labels": ["Normal", "Stone", "Tumor"],
    "confusion": [[20, 1, 0], [3, 9, 0], [5, 0, 0]],
    "per_label": {
        "Normal": {"precision": 20 / 28, "recall": 20 / 21, "support": 21},
        "Stone": {"precision": 0.9, "recall": 0.75, "support": 12},
        "Tumor": {"precision": 0.0, "recall": 0.0, "support": 5},
    },
}
TESTED = Predictions.from_probabilities(
    pd.DataFrame({"label": ["Stone"] * 3 + ["Tumor"], "series": [1, 1, 2, 3]}), np.full((4, 3), 1 / 3), FOUND["labels"]
)


def measured(*protocols):
    return Checkpoint(Path("a"), {"metrics": dict.fromkeys(protocols, FOUND)})


@pytest.mark.parametrize(
    ("checkpoint", "label", "tested", "sentence"),
    [
        (
            measured(GROUPED, RANDOM),
            "Stone",
            None,
            "On unseen scans, this model predicted Stone 10 times and 90 % of these were correct. Of the 12 slices labelled "
            "Stone, 75 % were found.",
        ),
        (
            measured(CROSS_VALIDATED),
            "Stone",
            TESTED,
            "On unseen scans, networks of this recipe predicted Stone 10 times and 90 % of these were correct. Of the 12 "
            "slices labelled Stone (of 2 scans), 75 % were found.",
        ),
        (
            measured(GROUPED),
            "Tumor",
            TESTED,
            "On unseen scans, this model never predicted Tumor. Of the 5 slices labelled Tumor (of 1 scan), 0 % "
            "were found.",
        ),
        (measured(RANDOM), "Stone", None, ""),
    ],
)
def test_precision_and_recall_of_a_label_are_what_the_test_counted(checkpoint, label, tested, sentence):
    assert describe_label(checkpoint, label, tested).replace("\N{NO-BREAK SPACE}", " ") == sentence
