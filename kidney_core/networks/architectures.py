"""Search in timm's list of architectures: size of each, and whether there are pretrained weights."""

from dataclasses import dataclass
from functools import cache

import timm
import torch

from kidney_core.common.errors import ModelError
from kidney_core.common.labels import LABELS


@dataclass(frozen=True)
class Architecture:
    """An architecture of timm.

    Attributes:
        n_parameters: with a head for the four labels; None where timm cannot build it here.
        has_weights: whether timm knows pretrained weights.
    """

    name: str
    n_parameters: int | None
    has_weights: bool


def names() -> list[str]:
    """Every architecture that timm has, in alphabetical order."""
    return timm.list_models()


def search(text: str) -> list[str]:
    """The architectures whose name holds every word of a text, shorter names first, timm's test networks last; none for an empty text."""
    words = text.lower().replace("-", "_").split()
    found = [name for name in names() if all(word in name for word in words)] if words else []
    return sorted(found, key=lambda name: (name.startswith("test_"), len(name), name))


@cache
def describe(name: str) -> Architecture:
    """Size and weights of an architecture. No memory is taken for its weights: it is built on the meta device.

    Raises: ModelError where timm has no such architecture.
    """
    if not timm.is_model(name):
        raise ModelError(f"timm has no architecture “{name}”. Search for a part of its name.")
    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False, num_classes=len(LABELS))
        n_parameters = sum(parameter.numel() for parameter in model.parameters())
    except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError, ImportError):
        n_parameters = None  # one that needs a package or device of its own
    return Architecture(name, n_parameters, bool(timm.list_pretrained(name)))
