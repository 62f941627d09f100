"""Where two models say different labels."""

import pytest

from kidney_core.metrics import disagreement
from kidney_core.metrics.predictions import Predictions
from tests.metrics.test_comparison import answers
from tests.metrics.test_intervals import LABELS


def test_disagreements_are_listed_the_surest_first_and_say_who_is_right():
    labels = ["Cyst", "Cyst", "Stone", "Normal"]
    one = answers(labels, ["Cyst", "Stone", "Tumor", "Normal"], range(4))
    two = answers(labels, ["Stone", "Cyst", "Normal", "Normal"], range(4))
    unsure = two.probabilities.copy()
    unsure[0] = [0.2, 0.1, 0.6, 0.1]
    two = Predictions.from_probabilities(two.table[["path", "label", "series"]], unsure, LABELS)
    table = disagreement.disagreements(one, two)
    assert list(table["path"]) == ["1", "2", "0"]
    assert list(table["who"]) == [disagreement.SECOND_RIGHT, disagreement.BOTH_WRONG, disagreement.FIRST_RIGHT]
    assert list(table["second"]) == ["Cyst", "Normal", "Stone"]
    assert table["second_confidence"].iloc[2] == pytest.approx(0.6)
