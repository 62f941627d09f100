"""From a run's configuration to what its training loop needs: data, processes, schedule, network, optimizer."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import nn

from kidney_core.common.errors import RunError
from kidney_core.networks import batch_norm, models, preprocessing, two_teachers
from kidney_core.runs import parallel, training_state
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import LAST_FILE, Run
from kidney_core.runs.training_state import Position
from kidney_core.training import ema, optimization, precision
from kidney_core.training.batches import Batches, open_batches
from kidney_core.training.schedule import Schedule
from kidney_core.training.training_data import TrainingData, read_training_data

_N_CALIBRATION_IMAGES = 64


@dataclass(frozen=True)
class Task:
    """What stays the same during a training.

    Attributes:
        group: the processes that train together.
        data: images, labels and parts.
        y: (N,) int64 labels of all images, on the CPU.
        class_weights: (n_labels,) weights in the loss, on the device; None where all weigh the same.
    """

    config: TrainingConfig
    group: parallel.Group
    device: torch.device
    data: TrainingData
    y: torch.Tensor
    class_weights: torch.Tensor | None
    schedule: Schedule


@dataclass(frozen=True)
class Learner:
    """What learns; its tensors change in place.

    Attributes:
        model: the whole network: (B, 3, S, S) images -> (B, n_labels) logits.
        ema: the moving average of its weights, where the configuration asks for one.
        batches: makes the input of `network`.
        network: the part of `model` that runs at every step, with shared gradients: input -> (B, n_labels) logits.
        mixed_precision: True where its forward pass is in bfloat16, see `precision`.
        offset: of its two teachers, see `two_teachers`; None without drawn lesions.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: ModelEmaV3 | None
    batches: Batches
    network: nn.Module
    mixed_precision: bool
    offset: nn.Linear | None = None

    def stored_networks(self) -> dict[str, nn.Module]:
        """What a checkpoint of the run holds, see `training_state.save`."""
        return _stored_networks(self.model, self.ema, self.offset)


def prepare_task(run: Run, config: TrainingConfig, progress_of: Callable[[str], Callable[[int, int], None]]) -> Task:
    """Join the processes of the run and read its data.

    Raises: DatasetError; RunError where there are too few GPUs, or the data changed since the run began.
    """
    group, device = parallel.join(models.pick_device(config.device))
    with group.leader_first():
        data = read_training_data(run, progress_of, writes=group.leads)
    y = torch.from_numpy(data.y)
    class_weights = optimization.class_weights(y[data.train], len(data.dataset.labels), config.class_weights)
    return Task(
        config=config,
        group=group,
        device=device,
        data=data,
        y=y,
        class_weights=None if class_weights is None else class_weights.to(device),
        schedule=Schedule(data.n_draws, config.batch_size, config.n_epochs, config.patience),
    )


def prepare_learner(
    run: Run, task: Task, *, progress: Callable[[int, int], None], should_stop: Callable[[], bool]
) -> tuple[Learner, Position]:
    """The network at its start, or as its last checkpoint left it, and the position of that.

    Args:
        progress: of computing the outputs of frozen layers.
        should_stop: asked while they are computed.

    Raises: ModelError; RunError for a damaged checkpoint, or one that not all processes see.
    """
    model = _build_model(task)
    offset = _build_offset(model, task)
    optimizer = optimization.make_optimizer(nn.ModuleList([model, *([offset] if offset else [])]), task.config)
    checkpoint = run.folder / LAST_FILE
    if not checkpoint.is_file():
        _calibrate_folded_norms(model, task)
    average = ema.make_ema(model, decay=task.config.weight_averaging)
    position = Position()
    if checkpoint.is_file():
        position = training_state.load(checkpoint, _stored_networks(model, average, offset), optimizer)
    if task.group.any(position.step != task.group.from_leader(position.step)):
        raise RunError(
            f"The processes of this run read different checkpoints from “{checkpoint}”. Put the runs on a folder that all "
            "machines share. If it is one already, its cache was behind: resume the run."
        )
    run.drop_metrics_after(position.step)
    model = parallel.synchronize_norms(model, task.group, task.device)
    batches = open_batches(
        run, model, task.data, task.device, progress=progress, should_stop=should_stop, group=task.group, offset=offset
    )
    mixed = precision.settle(
        run,
        precision.LEARNING,
        _one_pass(task, batches),
        asked=task.config.precision,
        device=task.device,
        group=task.group,
    )
    network = task.group.step_together(batches.network)
    return Learner(model, optimizer, average, batches, network, mixed, offset), position


def _stored_networks(model: nn.Module, average: ModelEmaV3 | None, offset: nn.Module | None) -> dict[str, nn.Module]:
    others = {"mean": average.module if average is not None else None, "offset": offset}
    return {"model": model} | {name: network for name, network in others.items() if network is not None}


def _build_offset(model: nn.Module, task: Task) -> nn.Linear | None:
    """The offset of the network's two teachers on the device; None without drawn lesions."""
    if not task.config.drawn_lesions:
        return None
    torch.manual_seed(task.config.seed)
    return two_teachers.offset_for(model, len(task.data.dataset.labels)).to(task.device)


def _one_pass(task: Task, batches: Batches) -> Callable[[], None]:
    """Forward and backward of one batch, on a copy of the network that is made when it is first called."""
    some = task.data.train[: max(2, task.config.batch_size // task.group.size)]

    @functools.cache
    def copied() -> tuple[nn.Module, torch.Tensor]:
        return copy.deepcopy(batches.network).train(), batches.batch(some)

    def run_once() -> None:
        network, images = copied()
        torch.nn.functional.cross_entropy(network(images), task.y[some].to(task.device)).backward()

    return run_once


def _build_model(task: Task) -> nn.Module:
    """The network with its initial weights, on the device; the parameters that do not learn are frozen."""
    config = task.config
    with task.group.leader_first():  # it downloads weights for all
        torch.manual_seed(config.seed)
        n_labels = len(task.data.dataset.labels)
        model = models.build_model(config.architecture, n_labels, init=config.init, image_size_px=config.image_size_px)
    models.set_trainable(model, config.trainable)
    return model.to(task.device).to(memory_format=torch.channels_last)


def _calibrate_folded_norms(model: nn.Module, task: Task) -> None:
    """Weights of a file may have folded norms; a fresh network's look the same, and must stay as they are."""
    if task.config.init in (models.IMAGENET, models.SCRATCH) or not batch_norm.has_folded_batch_norm(model):
        return
    train = task.data.train
    chosen = train[:: max(1, len(train) // _N_CALIBRATION_IMAGES)][:_N_CALIBRATION_IMAGES]
    pixels = np.array(task.data.pixels[chosen])
    pixels = pixels.reshape(-1, *pixels.shape[-2:])  # of each kidney, both images
    images = preprocessing.to_input(torch.from_numpy(pixels))  # (64, 3, S, S)
    batch_norm.recalibrate_batch_norm(model, images.to(task.device))
