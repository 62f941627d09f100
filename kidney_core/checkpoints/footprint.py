"""The footprint of a checkpoint on this machine: size on disk, time and memory, measured in a process of its own.

python -m kidney_core.checkpoints.footprint CHECKPOINT_FOLDER       prints the measurement as JSON
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from kidney_core.checkpoints.checkpoint import WEIGHTS_FILE, Checkpoint, load_model, read_checkpoint
from kidney_core.common import child_process
from kidney_core.common.entry_point import command
from kidney_core.common.errors import CheckpointError
from kidney_core.common.typed_paths import path_argument

_N_SLICES, _N_REPEATS, _N_ROUNDS = 64, 20, 3
_TIME_LIMIT_S = 120


@dataclass(frozen=True)
class Footprint:
    """Size, speed and memory of a checkpoint.

    Attributes:
        device: "cpu", "cuda" or "mps".
        file_mb: its weights on disk, in 10^6 bytes.
        n_parameters: of the network as it was trained.
        slice_ms: median milliseconds for one slice, warm.
        slices_per_s: of many slices that are decoded already.
        memory_mib: what loading and using it adds to a process that has imported torch, at its peak; on CUDA, the
            GPU memory it takes.
    """

    device: str
    file_mb: float
    n_parameters: int
    slice_ms: float
    slices_per_s: float
    memory_mib: float


def measure(checkpoint: Checkpoint) -> Footprint:
    """Measure a checkpoint in a fresh process.

    Raises: CheckpointError when it cannot be used, or needs more than two minutes.
    """
    command = child_process.python_command("kidney_core.checkpoints.footprint", str(checkpoint.folder.resolve()))
    try:
        done = subprocess.run(
            command,
            env=child_process.environment(),
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(
            f"Measuring “{checkpoint.name}” took more than {_TIME_LIMIT_S} s and was stopped. Try again when the machine is idle."
        ) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CheckpointError(f"“{checkpoint.name}” could not be measured: {reason.removeprefix('error: ')}")
    return Footprint(**json.loads(done.stdout))


def _measure_in_this_process(checkpoint: Checkpoint) -> Footprint:
    import numpy as np
    import torch

    from kidney_core.checkpoints import prediction
    from kidney_core.networks import models

    device = models.pick_device()
    size = checkpoint.size_px
    before = _peak_mib()
    model = load_model(checkpoint, device=str(device))
    squares = np.random.default_rng(0).integers(0, 256, (_N_SLICES, size, size), dtype=np.uint8)
    one = squares[:1]
    prediction.predict_probabilities(model, squares)
    single = [_seconds(lambda: prediction.predict_probabilities(model, one)) for _ in range(_N_REPEATS)]
    many = [_seconds(lambda: prediction.predict_probabilities(model, squares)) for _ in range(_N_ROUNDS)]
    memory = _peak_mib() - before
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated() / 2**20
    plain = models.build_model(checkpoint.card["architecture"], len(checkpoint.labels), image_size_px=size)
    return Footprint(
        device=device.type,
        file_mb=(checkpoint.folder / WEIGHTS_FILE).stat().st_size / 1e6,
        n_parameters=sum(parameter.numel() for parameter in plain.parameters()),
        slice_ms=1000 * statistics.median(single),
        slices_per_s=_N_SLICES / statistics.median(many),
        memory_mib=memory,
    )


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _peak_mib() -> float:
    """The largest resident memory of this process so far."""
    if sys.platform.startswith("linux"):
        # Not getrusage: there a child begins with the peak of the process that started it.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20  # macOS counts bytes


@command
def main(arguments: list[str] | None = None) -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description="Measure a checkpoint's size, speed and memory on this machine.")
    parser.add_argument("checkpoint", type=path_argument, help="folder of the checkpoint")
    options = parser.parse_args(arguments)
    print(json.dumps(asdict(_measure_in_this_process(read_checkpoint(options.checkpoint)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
