"""Optimizer, learning rate schedule and loss of a training run."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from kidney_core.runs.recipes import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer of the parameters that are trained; norms and biases have no weight decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(groups, lr=config.learning_rate, fused=trained[0].device.type in ("cpu", "cuda"))


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the generators that a step draws from; torch.manual_seed seeds every kind of device, which takes 0.1 ms."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def learning_rate_at(step: int, n_steps: int, config: TrainingConfig) -> float:
    """The learning rate of a step, counted from 0, by the schedule of a configuration."""
    return config.learning_rate if config.schedule == "constant" else one_cycle(step, n_steps, config.learning_rate)


def one_cycle(step: int, n_steps: int, peak: float, *, rising: float = 0.3) -> float:
    """The learning rate of a step, counted from 0, that rises for a share of the steps and falls to 1/10,000, by cosines.

    Source: Smith & Topin 2018, arXiv:1708.07120; shape as in torch.optim.lr_scheduler.OneCycleLR.
    """
    rise = max(1.0, rising * n_steps)
    if step < rise:
        start, end, progress = peak / 25, peak, step / rise
    else:
        start, end, progress = peak, peak / 1e4, (step - rise) / max(1.0, n_steps - rise)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def part_of_mean_loss(
    logits: torch.Tensor,
    y_own: torch.Tensor,
    y_batch: torch.Tensor,
    weights: torch.Tensor | None,
    *,
    label_smoothing: float,
) -> torch.Tensor:
    """What the images of one process add to the mean cross-entropy of their batch, weighted as torch weights it.

    Args:
        logits: (B', n_labels); B' may be 0.
        y_own: (B',) their labels.
        y_batch: (B,) the labels of the whole batch, those of the other processes included.

    Returns: a scalar; the parts of a batch add up to its mean.
    """
    total = len(y_batch) if weights is None else weights[y_batch].sum()
    return F.cross_entropy(logits, y_own, weights, label_smoothing=label_smoothing, reduction="sum") / total


def class_weights(y: torch.Tensor, n_labels: int, kind: str) -> torch.Tensor | None:
    """The weight of each class in the loss: None for "none"; for "balanced" inverse to its number of slices.

    Args:
        y: (N,) positions of the labels of the training slices.

    Returns: (n_labels,) float32, of mean 1 over the slices, as scikit-learn's `compute_class_weight`.
    """
    if kind == "none":
        return None
    counts = torch.bincount(y, minlength=n_labels).clamp(min=1)
    return len(y) / (n_labels * counts)
