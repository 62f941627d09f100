"""Can this be trained? What can be known before a run folder is made: weights first, since data take longer to read."""

from collections.abc import Callable

import numpy as np

from kidney_core.common.errors import RunError, SliceError
from kidney_core.data.dataset import Dataset, read_dataset, require_classes
from kidney_core.data.series import scan_table
from kidney_core.imaging.slices import read_slices
from kidney_core.kidneys import finder as finders
from kidney_core.networks import models
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.training.training_data import split_of

_N_LOOKED_AT = 12  # slices of each class in which a kidney is looked for


def require_trainable(
    config: TrainingConfig,
    progress_of: Callable[[str], Callable[[int, int], None] | None],
    *,
    checked: Dataset | None = None,
) -> Dataset:
    """Raise for a configuration that cannot be trained: its network, weights, folders, classes, split and kidneys.

    Args:
        progress_of: title of a task -> its progress callback.
        checked: the dataset, where another configuration with the same folder was checked before.

    Returns: the dataset.

    Raises: ModelError, DatasetError, RunError.
    """
    models.require_start(config.architecture, config.init, config.image_size_px)
    if checked is not None:
        dataset = checked
    else:
        dataset = read_dataset(config.data, labelling=config.labelling, progress=progress_of("Reading images"))
        require_classes(dataset)
        for folder in config.extra_folders:
            read_dataset(folder, labelling=config.extra_labelling, progress=progress_of("Reading extra images"))
    split_of(config, scan_table(dataset, progress=progress_of("Finding scans and copies")))
    if config.only_kidneys and checked is None:
        _require_kidneys(dataset)
    return dataset


def _require_kidneys(dataset: Dataset) -> None:
    """Raise RunError where some slices of a class were looked at and none shows a kidney."""
    finder = finders.open_installed()
    for label in dataset.labels:
        rows = np.flatnonzero(dataset.table["label"] == label)
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(_N_LOOKED_AT, len(rows))).astype(int))]
        results = read_slices([dataset.root / path for path in dataset.table["path"].iloc[chosen]])
        greys = [result[0].network_grey8() for result in results if not isinstance(result, SliceError)]
        if not any(found.sides({}) for found in finder.find(greys)):
            raise RunError(
                f"The kidney finder sees no kidney on {len(greys)} slices of the class {label}, and this recipe looks at kidneys only. "
                "Choose another folder, or a framing that shows the whole image or the body."
            )
