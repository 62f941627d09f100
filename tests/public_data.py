"""The public dataset of `shared/data`, decoded once for all tests of a process."""

import functools
from pathlib import Path

from kidney_core.data.dataset import Dataset, read_dataset


@functools.cache
def read_once(root: Path) -> Dataset:
    """The dataset in a folder; decoding the thousands of images takes half a minute."""
    return read_dataset(root, use_cache=False)
