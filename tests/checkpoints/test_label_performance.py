"""What is said of an answer's worth, against counts made by hand."""

from pathlib import Path

import pandas as pd
import pytest

from kidney_core.checkpoint import Checkpoint
from kidney_core.splits import CROSS_VALIDATED, GROUPED, RANDOM
from kidney_core.worth import worth_of_answer

# Stone is said 9 + 1 times, rightly 9 times, and 9 of 12 stones are found.
FOUND = {
    "labels": ["Normal", "Stone", "Tumor"],
    "confusion": [[20, 1, 0], [3, 9, 0], [5, 0, 0]],
    "per_label": {
        "Normal": {"precision": 20 / 28, "recall": 20 / 21, "support": 21},
        "Stone": {"precision": 0.9, "recall": 0.75, "support": 12},
        "Tumor": {"precision": 0.0, "recall": 0.0, "support": 5},
    },
}
TESTED = pd.DataFrame({"label": ["Stone"] * 3 + ["Tumor"], "series": [1, 1, 2, 3]})


def measured(*protocols):
    return Checkpoint(Path("a"), {"metrics": dict.fromkeys(protocols, FOUND)})


@pytest.mark.parametrize(
    ("checkpoint", "label", "tested", "said"),
    [
        (
            measured(GROUPED, RANDOM),
            "Stone",
            None,
            "On scans never seen, this model was right 90 % of the 10 times it said Stone, and found 75 % of the 12 slices "
            "that were Stone.",
        ),
        (
            measured(CROSS_VALIDATED),
            "Stone",
            TESTED,
            "On scans never seen, networks of this recipe were right 90 % of the 10 times they said Stone, and found 75 % of "
            "the 12 slices that were Stone, which come from 2 scans.",
        ),
        (
            measured(GROUPED),
            "Tumor",
            TESTED,
            "On scans never seen, this model never said Tumor, and found 0 % of the 5 slices that were Tumor, which come "
            "from 1 scan.",
        ),
        (measured(RANDOM), "Stone", None, ""),
    ],
)
def test_worth_of_an_answer_is_what_the_test_counted(checkpoint, label, tested, said):
    assert worth_of_answer(checkpoint, label, tested).replace("\N{NO-BREAK SPACE}", " ") == said
