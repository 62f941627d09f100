"""Exponential moving average (EMA) of the weights: with an EMA decay, it is what a run validates and reports."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from timm.utils import ModelEmaV3
from torch import nn


def make_ema(model: nn.Module, *, decay: float) -> ModelEmaV3 | None:
    """The EMA of the weights of `model`, which averages over fewer steps at first; None for a decay of 0.

    Source: Polyak & Juditsky 1992; the warm-up is timm's, 1 - (1 + step)^(-2/3).
    """
    return ModelEmaV3(model, decay=decay, use_warmup=True) if decay else None


@contextmanager
def averaged_weights(model: nn.Module, ema: ModelEmaV3 | None) -> Iterator[None]:
    """Within the block `model` has its EMA weights, where an EMA is kept; afterwards its own again."""
    if ema is not None:
        _swap_weights(model, ema.module)
    try:
        yield
    finally:
        if ema is not None:
            _swap_weights(model, ema.module)


@torch.no_grad()
def _swap_weights(one: nn.Module, other: nn.Module) -> None:
    """In place, so that every reference to a part of a network sees the change."""
    for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        copy = mine.clone()
        mine.copy_(theirs)
        theirs.copy_(copy)
