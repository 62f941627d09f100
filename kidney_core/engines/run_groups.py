"""Groups of runs: one row for each value of an option and each split, with mean, spread and best of their figures."""

from typing import Any

import pandas as pd

from kidney_core.engines.run_table import COLUMNS
from kidney_core.runs.run_folder import FINISHED

GROUPED_BY = (
    "architecture",
    "protocol",
    "recipe",
    "dataset",
    "learning_rate",
    "image_size_px",
    "augmentation",
    "trainable",
    "state",
    "tags",
)


def groups(rows: list[dict[str, Any]], by: str) -> tuple[pd.DataFrame, list[tuple[str, ...]]]:
    """One row for each value of a column and each split, and the names of its runs.

    Figures of a random split and of unseen scans measure different things, so that no row has both.

    Columns: the value, Split, Runs, Finished, and mean, standard deviation and best of the test figures and the lowest of
    the validation losses. The standard deviation is that of a sample; empty for one run.
    """
    keys = list(dict.fromkeys((by, "protocol")))
    everything = pd.DataFrame(rows)
    everything[keys] = everything[keys].map(lambda value: "–" if value in (None, "") or value != value else value)
    found, members = [], []
    for values, alike in everything.groupby(keys, sort=False):
        accuracy = pd.to_numeric(alike["test_accuracy"])
        balanced = pd.to_numeric(alike["test_balanced_accuracy"])
        found.append(
            {
                **{COLUMNS[key].title: str(value) for key, value in zip(keys, values, strict=True)},
                "Runs": len(alike),
                "Finished": int((alike["state"] == FINISHED).sum()),
                "Mean test accuracy": accuracy.mean(),
                "Mean test balanced accuracy": balanced.mean(),
                "SD of test balanced accuracy": balanced.std(),
                "Best test balanced accuracy": balanced.max(),
                "Best validation loss": pd.to_numeric(alike["best_validation_loss"]).min(),
            }
        )
        members.append(tuple(alike["run"]))
    return pd.DataFrame(found), members
