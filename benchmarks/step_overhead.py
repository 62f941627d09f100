"""What logging and resumability cost at each step, against a bare loop that computes the same.

python -m benchmarks.step_overhead [N_STEPS]

Both train one linear layer, so that what is measured is not lost in the noise of what is not, in one process, in turns
of 200 steps and in processor time. The bare loop draws, forwards, steps and counts; the product's step adds the functions
of (seed, epoch, image), the parts and sums of several processes, autocast, the look for a cancel file, the position, a
line of metrics and the state at every tenth step, and the look at the clock for a checkpoint.
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

from kidney_core import material, models, parallel, recipes, training
from kidney_core.runs import Run

_TURN = 200
_N_IMAGES, _BATCH = 512, 4
_STEPS_PER_EPOCH = _N_IMAGES // _BATCH


def open_training(folder: Path, n_steps: int) -> training._Training:
    """A training that stands before its first step, on noise: 512 squares of 32 px in four classes."""
    config = recipes.config_from_recipe(
        "paper",
        data=str(folder),
        architecture="test_resnet",
        init="scratch",
        trainable="all",
        image_size_px=32,
        batch_size=_BATCH,
        n_epochs=1000,
        device="cpu",
    )
    at_work = training._Training(Run.create(config, folder=folder, name="overhead"), lambda: False, False)
    rng = np.random.default_rng(0)
    at_work.group, at_work.device, at_work.mixed_precision = parallel.Group(), torch.device("cpu"), False
    pixels = rng.integers(0, 255, (_N_IMAGES, 32, 32), np.uint8)
    everyone = np.arange(_N_IMAGES)
    at_work.material = material.Material(
        None, pixels, rng.integers(0, 4, _N_IMAGES), everyone, everyone[:64], everyone[:64], _N_IMAGES
    )
    at_work.model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 4))
    at_work.y, at_work.class_weights = torch.from_numpy(at_work.material.y), None
    at_work.steps_per_epoch, at_work.n_steps = _STEPS_PER_EPOCH, n_steps
    at_work.restore()
    at_work.open_source()
    at_work.clock = at_work.saved_at = time.monotonic()
    return at_work


def product_turn(at_work: training._Training) -> float:
    """Microseconds of processor time a step of the product's loop, as `_Training.loop` calls it."""
    drawn_epoch = -1
    began = time.process_time()
    for _ in range(_TURN):
        epoch, within = divmod(at_work.position.step, at_work.steps_per_epoch)
        if epoch != drawn_epoch:
            order, numbers = at_work.visits(epoch)
            drawn_epoch = epoch
            models.train_mode(at_work.model)
        there = slice(within * _BATCH, (within + 1) * _BATCH)
        at_work.step(order[there], numbers[there])
        at_work.save_and_stop_when_due()
    return 1e6 * (time.process_time() - began) / _TURN


def bare_turn(at_work: training._Training) -> float:
    """Microseconds of processor time a step of the loop that one would write without any of it."""
    model, source, optimizer, y = at_work.network, at_work.source, at_work.optimizer, at_work.y
    loss_sum, n_correct = 0.0, 0
    models.train_mode(at_work.model)
    began = time.process_time()
    for step in range(_TURN):
        if step % _STEPS_PER_EPOCH == 0:
            order = torch.randperm(_N_IMAGES).numpy()
        drawn = order[step % _STEPS_PER_EPOCH * _BATCH :][:_BATCH]
        numbers = np.random.random((_BATCH, 8)).astype(np.float32)
        logits = model(source.batch(drawn, numbers))
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
    with tempfile.TemporaryDirectory() as folder:
        at_work = open_training(Path(folder), n_steps * 10)
        product_turn(at_work), bare_turn(at_work)  # warm
        pairs = [(bare_turn(at_work), product_turn(at_work)) for _ in range(max(3, n_steps // _TURN))]
        size_kb = sum(path.stat().st_size for path in at_work.run.folder.iterdir()) / 1024
    bare, product = (statistics.median(column) for column in zip(*pairs, strict=True))
    differences = sorted(two - one for one, two in pairs)
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
