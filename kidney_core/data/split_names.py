"""What a folder or a cell that names a part of a split is called."""

import re

from kidney_core.metrics.splits import TEST, TRAIN, VALIDATION

_PARTS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}


def part_of(name: str) -> str | None:
    """The part of a split that a name stands for ("train", "validation" or "test"), or None.

    Case, numbers and a trailing "set", "data" or "images" are ignored: "Test", "val_2", "training-set".
    """
    word = re.sub(r"[^a-z]", "", name.lower())
    for ending in ("set", "data", "images"):
        word = word.removesuffix(ending)
    return _PARTS.get(word)
