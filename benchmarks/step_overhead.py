"""What logging and resumability cost at each step, against a bare loop that computes the same.

python -m benchmarks.step_overhead [N_STEPS]

Both train one linear layer, so that the overhead is not lost in the noise of a large network: in one process, in turns of
200 steps, in processor time. The bare loop draws, forwards, steps and counts. The product's loop adds: random numbers
that depend on (seed, epoch, image), the sums of several processes, autocast, the check for a cancel file, the position,
metrics and state at every tenth step, and the check whether a checkpoint is due.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kidney_core.data.dataset import read_dataset
from kidney_core.networks import models
from kidney_core.runs import parallel, recipes
from kidney_core.runs.run_folder import CANCEL_FILE, Run
from kidney_core.runs.training_state import Position
from kidney_core.simulation import phantom
from kidney_core.training import optimization, trainer
from kidney_core.training.batches import PixelBatches
from kidney_core.training.schedule import Schedule
from kidney_core.training.setup import Learner, Task
from kidney_core.training.step import train_step
from kidney_core.training.training_data import TrainingData
from kidney_core.training.training_log import TrainingLog

_TURN = 200
_N_IMAGES, _BATCH = 512, 4
_STEPS_PER_EPOCH = _N_IMAGES // _BATCH


def open_task(folder: Path) -> Task:
    """A training on noise: 512 squares of 32 px in four classes."""
    phantom.write_dataset(folder / "data", n_series=1, n_slices=1)  # for its labels only
    config = recipes.config_from_recipe(
        "paper",
        data=str(folder / "data"),
        architecture="test_resnet",
        init="scratch",
        trainable="all",
        image_size_px=32,
        batch_size=_BATCH,
        n_epochs=1000,
        device="cpu",
    )
    rng = np.random.default_rng(0)
    pixels, y = rng.integers(0, 255, (_N_IMAGES, 32, 32), np.uint8), rng.integers(0, 4, _N_IMAGES)
    everyone = np.arange(_N_IMAGES)
    dataset = read_dataset(config.data)
    return Task(
        config=config,
        group=parallel.Group(),
        device=torch.device("cpu"),
        data=TrainingData(dataset, pixels, y, everyone, everyone, everyone[:64], everyone[:64], _N_IMAGES),
        y=torch.from_numpy(y),
        class_weights=None,
        schedule=Schedule(_N_IMAGES, _BATCH, config.n_epochs),
    )


def open_learner(task: Task) -> Learner:
    """One linear layer."""
    model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 4))
    batches = PixelBatches(model, task.data, task.config, task.device)
    return Learner(model, optimization.make_optimizer(model, task.config), None, batches, model, False)


def product_turn(run: Run, task: Task, learner: Learner, position: Position) -> tuple[float, Position]:
    """Microseconds of processor time a step of the product's loop, and where it ended."""
    cancel, saved_at = run.folder / CANCEL_FILE, time.monotonic()
    batches = trainer.batches_from(task, learner, position.step)
    with TrainingLog(run).start_steps(task.schedule, position) as log:
        began = time.process_time()
        for _ in range(_TURN):
            step = train_step(task, learner, next(batches), position.step, stop_asked=cancel.exists())
            position = position.after_step(loss=step.loss, n_images=step.n_images, n_correct=step.n_correct)
            log.step(position, step.loss, epoch_seconds=time.monotonic() - saved_at)
            if time.monotonic() - saved_at > trainer.SECONDS_BETWEEN_CHECKPOINTS or task.schedule.is_done(position):
                raise RuntimeError("a turn lasts less than the time between checkpoints")
        return 1e6 * (time.process_time() - began) / _TURN, position


def bare_turn(task: Task, learner: Learner) -> float:
    """Microseconds of processor time a step of the loop that one would write without any of it."""
    model, batches, optimizer, y = learner.network, learner.batches, learner.optimizer, task.y
    loss_sum, n_correct = 0.0, 0
    models.train_mode(learner.model)
    began = time.process_time()
    for step in range(_TURN):
        if step % _STEPS_PER_EPOCH == 0:
            order = torch.randperm(_N_IMAGES).numpy()
        drawn = order[step % _STEPS_PER_EPOCH * _BATCH :][:_BATCH]
        numbers = np.random.random((_BATCH, 8)).astype(np.float32)
        logits = model(batches.batch(drawn, numbers))
        target = y[torch.from_numpy(drawn)]
        loss = F.cross_entropy(logits, target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss_sum += loss.item() * len(target)
        n_correct += int((logits.argmax(1) == target).sum())
    return 1e6 * (time.process_time() - began) / _TURN


def main(n_steps: int = 4000) -> None:
    """Print the microseconds of both loops and their difference, medians over turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = open_task(folder)
        learner, position = open_learner(task), Position()
        run = Run.create(task.config, folder=folder, name="overhead")
        _, position = product_turn(run, task, learner, position)  # warm
        bare_turn(task, learner)
        pairs = []
        for _ in range(max(3, n_steps // _TURN)):
            bare_us = bare_turn(task, learner)
            product_us, position = product_turn(run, task, learner, position)
            pairs.append((bare_us, product_us))
        size_kb = sum(path.stat().st_size for path in run.folder.iterdir()) / 1024
    bare, product = (statistics.median(column) for column in zip(*pairs, strict=True))
    differences = sorted(product_us - bare_us for bare_us, product_us in pairs)
    overhead = statistics.median(differences)
    print(
        f"{len(pairs)} turns of {_TURN} steps, one linear layer, 32 px, batch {_BATCH}, {torch.get_num_threads()} thread(s)"
    )
    print("processor time:", end=" ")
    print(f"bare loop {bare:.0f} µs a step, product {product:.0f} µs a step")
    low, high = differences[len(differences) // 4], differences[(3 * len(differences)) // 4]
    print(f"logging and resume machinery: {overhead:.0f} µs a step (quartiles {low:.0f} to {high:.0f})")
    print(f"the run folder took {size_kb:.0f} kB")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
