"""Where two models say different labels, slice by slice."""

import numpy as np
import pandas as pd

from kidney_core.metrics import comparison
from kidney_core.metrics.predictions import Predictions

FIRST_RIGHT, SECOND_RIGHT, BOTH_WRONG = "only the first is right", "only the second is right", "both are wrong"


def disagreements(one: Predictions, two: Predictions) -> pd.DataFrame:
    """The slices of which two models say different labels, the surest pair first.

    Columns: path, label, series; first, first_confidence, second, second_confidence; who, which of the two is right.

    Raises: DatasetError as `comparison.paired`.
    """
    first, second = comparison.paired(one, two)
    differ = first.y_pred != second.y_pred
    who = np.where(first.is_right, FIRST_RIGHT, np.where(second.is_right, SECOND_RIGHT, BOTH_WRONG))
    table = pd.DataFrame(
        {
            "path": first.table["path"],
            "series": one.in_order(first.table["path"]).series,
            "label": first.table["label"],
            "first": first.table["predicted"],
            "first_confidence": first.confidence,
            "second": second.table["predicted"],
            "second_confidence": second.confidence,
            "who": who,
        }
    )[differ]
    surest = np.minimum(table["first_confidence"], table["second_confidence"])
    return table.iloc[np.argsort(-surest.to_numpy(), kind="stable")].reset_index(drop=True)
