"""How many slices are answered, and how many of these answers are wrong."""

import numpy as np
import pandas as pd
import pytest

from kidney_core.diagnosis import gate
from kidney_core.metrics.predictions import Predictions


def test_gate_table_by_hand():
    rows = pd.DataFrame(
        {
            "path": list("abcd"),
            "label": ["Cyst", "Cyst", "Cyst", "Stone"],
            "series": [0, 0, 1, 2],
            "outcome": ["answered", "undecided", "answered", "out"],
        }
    )
    outcomes = pd.concat([rows, pd.DataFrame([{"path": "e", "label": "Stone", "series": 2, "outcome": "no kidney"}])])
    one_hot = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], float)
    table = gate.gate_table(outcomes, Predictions.from_probabilities(rows, one_hot, ["Cyst", "Stone"]))
    cyst, stone, everything = (row for _, row in table.iterrows())
    assert (cyst["slices"], cyst["answered"], cyst["abstained"], cyst["wrong"]) == (3, 2 / 3, 1 / 3, 0.5)
    assert (stone["slices"], stone["no_kidney"]) == (2, 0.5)
    assert np.isnan(stone["wrong"])
    assert everything["answered"] == pytest.approx(2 / 5)
