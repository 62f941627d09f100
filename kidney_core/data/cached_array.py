"""An array in the cache folder, mapped into memory when it is read."""

from pathlib import Path
from typing import Any

import numpy as np

from kidney_core.common.cache import mark_used
from kidney_core.common.files import write_atomically


def load_array(path: Path, shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray | None:
    """A cached array, mapped and read-only, or None where it is missing or damaged."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, EOFError, ValueError):
        return None
    if array.shape != shape or array.dtype != dtype:
        return None
    mark_used(path)
    return array


def save_array(path: Path, array: np.ndarray) -> None:
    """Keep an array; the file appears once it is complete."""

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.save(file, array)

    write_atomically(path, write)
