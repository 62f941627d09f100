"""The update rule of a training run and the course of its learning rate."""

import math

import torch
import torch.nn.functional as F
from timm.utils import ModelEmaV3
from torch import nn

from kidney_core.recipes import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer over the parameters that learn; norms and biases do not decay."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in learned if p.ndim < 2], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(groups, lr=config.learning_rate, fused=learned[0].device.type in ("cpu", "cuda"))


def running_mean(model: nn.Module, config: TrainingConfig) -> ModelEmaV3 | None:
    """The running mean of the weights of a network in training, which remembers less at first; None where none is wanted.

    Source: Polyak & Juditsky 1992; the warm-up is timm's, 1 - (1 + step)^(-2/3).
    """
    return ModelEmaV3(model, decay=config.weight_averaging, use_warmup=True) if config.weight_averaging else None


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the generators that a step draws from; torch.manual_seed asks for every kind of device, which takes 0.1 ms."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def learning_rate_at(step: int, n_steps: int, config: TrainingConfig) -> float:
    """The learning rate of a step; one-cycle rises for 30 % of the steps and falls to 1/10,000, by cosines.

    Source: Smith & Topin 2018, arXiv:1708.07120; shape as in torch.optim.lr_scheduler.OneCycleLR.
    """
    if config.schedule == "constant":
        return config.learning_rate
    peak, rise = config.learning_rate, max(1.0, 0.3 * n_steps)
    if step < rise:
        start, end, share = peak / 25, peak, step / rise
    else:
        start, end, share = peak, peak / 1e4, (step - rise) / max(1.0, n_steps - rise)
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def part_of_mean_loss(
    logits: torch.Tensor,
    y_own: torch.Tensor,
    y_batch: torch.Tensor,
    weights: torch.Tensor | None,
    *,
    label_smoothing: float,
) -> torch.Tensor:
    """What some images add to the mean cross-entropy of their batch, weighted as torch weights it.

    Args:
        logits: (B', n_labels) of the images of one process; none is allowed.
        y_own: (B',) their labels.
        y_batch: (B,) the labels of the whole batch, those of the other processes included.

    Returns: a scalar; the parts of a batch add up to its mean.
    """
    whole = len(y_batch) if weights is None else weights[y_batch].sum()
    return F.cross_entropy(logits, y_own, weights, label_smoothing=label_smoothing, reduction="sum") / whole


def class_weights(y: torch.Tensor, n_labels: int, kind: str) -> torch.Tensor | None:
    """The weight of each class in the loss: None for "none"; for "balanced" inverse to its slices.

    Args:
        y: (N,) positions of the labels of the training slices.

    Returns: (n_labels,) float32, of mean 1 over the slices, as scikit-learn's `compute_class_weight`.
    """
    if kind == "none":
        return None
    counts = torch.bincount(y, minlength=n_labels).clamp(min=1)
    return len(y) / (n_labels * counts)
