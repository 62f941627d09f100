"""What Diagnosis would do with labelled slices: how many it answers, and how many of these answers are wrong."""

import numpy as np
import pandas as pd

from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.metrics.predictions import Predictions

_SHARES = {
    "answered": Outcome.ANSWERED,
    "abstained": Outcome.UNDECIDED,
    "refused": Outcome.REFUSED,
    "seen": Outcome.MEMORY,
    "no_kidney": Outcome.NO_KIDNEY,
    "unreadable": Outcome.UNREADABLE,
}


def gate_table(outcomes: pd.DataFrame, predictions: Predictions) -> pd.DataFrame:
    """What came of the slices of each label, and of all.

    Args:
        outcomes: a row a slice with the columns label and outcome.
        predictions: of those that were predicted, with the column outcome.

    Returns: label ("All" in the last row); slices; answered, abstained, refused, seen, no_kidney and unreadable, shares of these slices;
        wrong, of the answered ones (NaN without any).
    """
    is_answered = (predictions.table["outcome"] == Outcome.ANSWERED).to_numpy()
    rows = []
    for label in [*(each for each in predictions.labels if (outcomes["label"] == each).any()), None]:
        own = outcomes if label is None else outcomes[outcomes["label"] == label]
        given = is_answered if label is None else is_answered & (predictions.table["label"] == label).to_numpy()
        shares = own["outcome"].value_counts(normalize=True)
        rows.append(
            {
                "label": label or "All",
                "slices": len(own),
                **{name: shares.get(str(outcome), 0.0) for name, outcome in _SHARES.items()},
                "wrong": float((~predictions.is_right[given]).mean()) if given.any() else np.nan,
            }
        )
    return pd.DataFrame(rows)
