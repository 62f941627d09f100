"""The predictions of a checkpoint for the slices of a dataset that it knows, each by a network that never saw that slice's scan."""

from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.data.dataset import Dataset, short_hash
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import CROSS_VALIDATED

_KNOWN = (
    0.5  # of the dataset's files, from which on a checkpoint was made with it: names alone could be of another dataset
)


def knows(checkpoint: Checkpoint, dataset: Dataset) -> bool:
    """Whether a checkpoint was trained and tested on a dataset. Raises CheckpointError for a damaged list of its files."""
    if checkpoint.card["data"].get("fingerprint") == dataset.fingerprint:
        return True
    trained_on = checkpoint.trained_on()
    return sum(short_hash(sha256) in trained_on for sha256 in dataset.table["sha256"]) >= _KNOWN * len(dataset)


def of_dataset(checkpoint: Checkpoint, dataset: Dataset) -> Predictions | None:
    """The stored predictions of its scan-level cross-validation; None where it has none of this dataset.

    Raises: CheckpointError where a file is damaged.
    """
    return checkpoint.predictions(CROSS_VALIDATED) if knows(checkpoint, dataset) else None
