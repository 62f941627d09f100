"""One step of training: a batch, its loss, an update."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from kidney_core.common.errors import RunError
from kidney_core.networks import preprocessing
from kidney_core.training import optimization
from kidney_core.training.batches import Visits
from kidney_core.training.lesion_drawing import LesionDrawing
from kidney_core.training.setup import Learner, Task


@dataclass(frozen=True)
class Step:
    """What a step measured, the same in all processes.

    Attributes:
        loss: mean cross-entropy over the batch, plus that over its drawn kidneys.
        n_images: images of the batch, over all processes.
        n_correct: those that were predicted correctly.
        stop_asked: whether any process was asked to stop.
    """

    loss: float
    n_images: int
    n_correct: int
    stop_asked: bool


def train_step(task: Task, learner: Learner, batch: Visits, step: int, *, stop_asked: bool) -> Step:
    """Update the network by a batch, of which this process computes its part.

    Args:
        step: number of the step, from 0; with the seed it decides dropout and learning rate.
        stop_asked: whether this process was asked to stop; the processes tell each other.

    Raises: RunError where the loss is not finite.
    """
    group, config = task.group, task.config
    # Dropout depends on step and process: two processes draw differently, since they see different images.
    optimization.seed_device(task.device, config.seed * 1_000_003 + step + 2_000_000_011 * group.rank)
    learning_rate = optimization.learning_rate_at(step, task.schedule.n_steps, config)
    for parameters in learner.optimizer.param_groups:
        parameters["lr"] = learning_rate
    part_of_loss, n_correct_here = _forward(task, learner, batch, step)
    loss, n_correct, n_asked = group.sum(part_of_loss.item(), n_correct_here, stop_asked)
    if not math.isfinite(loss):
        raise RunError(f"The training loss became {loss} at step {step}. Lower the learning rate.")
    if group.size > 1:
        part_of_loss = part_of_loss * group.size  # DistributedDataParallel averages gradients; their sum is needed
    part_of_loss.backward()
    learner.optimizer.step()
    learner.optimizer.zero_grad(set_to_none=True)
    if learner.ema is not None:
        learner.ema.update(learner.model, step + 1)
    return Step(loss=loss, n_images=len(batch), n_correct=int(n_correct), stop_asked=n_asked > 0)


def _forward(task: Task, learner: Learner, batch: Visits, step: int) -> tuple[torch.Tensor, int]:
    """What this process's images add to the mean loss of the batch, and how many of them are predicted correctly."""
    own, n_own = task.group.part(np.arange(len(batch)))
    y = task.y[torch.from_numpy(batch.positions)].to(task.device)  # (B,)
    y_own = y[torch.from_numpy(own[:n_own]).to(task.device)]  # (B',)
    images = batch.positions[own], batch.numbers[own]
    with torch.autocast(task.device.type, torch.bfloat16, enabled=learner.mixed_precision):
        inputs = learner.batches.batch(*images)
        if learner.batches.drawing is None:
            logits, loss_of_drawn = learner.network(inputs), torch.zeros((), device=task.device)
        else:
            logits, loss_of_drawn = _with_drawn_kidneys(task, learner, learner.batches.drawing, inputs, step)
        logits = logits[:n_own]  # (B', n_labels); there are two rows where B' < 2
        loss = optimization.part_of_mean_loss(
            logits, y_own, y, task.class_weights, label_smoothing=task.config.label_smoothing
        )
    return loss + loss_of_drawn, int((logits.argmax(1) == y_own).sum())


def _with_drawn_kidneys(
    task: Task, learner: Learner, drawing: LesionDrawing, inputs: torch.Tensor, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of the slices, and what this process's drawn kidneys add to the loss, which has the mean over all of them."""
    grey, y = drawing.kidneys(step)
    own, n_own = task.group.part(np.arange(len(y)))
    kidneys = preprocessing.to_input(grey[torch.from_numpy(own)].to(task.device))
    logits, of_kidneys = learner.network(inputs, kidneys)
    y = y.to(task.device)
    y_own = y[torch.from_numpy(own[:n_own]).to(task.device)]
    smoothing = task.config.label_smoothing
    return logits, optimization.part_of_mean_loss(of_kidneys[:n_own], y_own, y, None, label_smoothing=smoothing)
