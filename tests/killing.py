"""Kill a training with SIGKILL again and again, each time at another instant, then let it end.

python -m tests.killing RUN N_KILLS SEED

Every life is a fork of this process, which has imported torch and done nothing else: twenty lives cost seconds, and
each reads its run from the disk as a new process does. The product knows nothing of this: the instants are calls of
functions that a life replaces by ones that kill it. Prints one JSON line a life.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

import train
from kidney_core.common import files
from kidney_core.runs import run_folder, training_state
from kidney_core.runs.run_folder import Run
from kidney_core.training import trainer, training_log


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_call(owner: object, name: str, fatal: Callable, *, count: int, when: Callable[..., bool] | None = None) -> None:
    """Replace a function so that its call number `count`, among those `when` is true of, is `fatal`."""
    real, seen = getattr(owner, name), 0

    def counted(*arguments, **options):
        nonlocal seen
        if when is None or when(*arguments):
            seen += 1
            if seen == count:
                return fatal(real, *arguments, **options)
        return real(*arguments, **options)

    setattr(owner, name, counted)


def before(_real, *_arguments, **_options):
    die()


def after(real, *arguments, **options):
    real(*arguments, **options)
    die()


def half_a_file(real, tensors, path, **options):
    """What a kill within the write leaves: the first half of the bytes."""
    real(tensors, path, **options)
    os.truncate(path, Path(path).stat().st_size // 2)
    die()


def half_a_line(_real, run, measurement):
    with (run.folder / "metrics.jsonl").open("ab") as file:
        file.write(json.dumps(measurement).encode()[:25])
    die()


def half_a_text(real, path, text, **options):
    real(path, text[: len(text) // 2], **options)
    die()


def _to(name: str) -> Callable[[Path, Path], bool]:
    return lambda _source, target: Path(target).name == name


def _of(name: str) -> Callable[..., bool]:
    return lambda path, _text: f".{name}." in Path(path).name


# What is going on when the kill comes: how to arrange it, given the number of the fatal call.
INSTANTS: dict[str, Callable[[int], None]] = {
    "step: gradients computed": lambda n: on_call(torch.Tensor, "backward", after, count=n),
    "step: before the update": lambda n: on_call(torch.optim.Adam, "step", before, count=n),
    "step: weights updated": lambda n: on_call(torch.optim.Adam, "step", after, count=n),
    "checkpoint: half written": lambda n: on_call(training_state, "save_file", half_a_file, count=n),
    "checkpoint: not in place": lambda n: on_call(os, "replace", before, count=n, when=_to(run_folder.LAST_FILE)),
    "checkpoint: just in place": lambda n: on_call(os, "replace", after, count=n, when=_to(run_folder.LAST_FILE)),
    "best weights: just in place": lambda n: on_call(os, "replace", after, count=1, when=_to(run_folder.BEST_FILE)),
    "metrics: half a line": lambda n: on_call(Run, "append_metrics", half_a_line, count=n),
    "metrics: line written": lambda n: on_call(Run, "append_metrics", after, count=n),
    "metrics: dropping what is newer": lambda n: on_call(os, "replace", before, count=1, when=_to("metrics.jsonl")),
    "state: half written": lambda n: on_call(Path, "write_text", half_a_text, count=n, when=_of("state.json")),
}
AT_RANDOM = "any moment, by the clock"


def live(run: Run, arrange: Callable[[], None]) -> int:
    """Fork a life of the real command line; its process id."""
    child = os.fork()
    if child:
        return child
    try:
        log = os.open(run.folder / "lives.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        arrange()
        status = train.main(["--resume", str(run.folder)])
    except BaseException:  # noqa: BLE001 - a fork must not return into its parent's code
        traceback.print_exc()
        status = 70
    os._exit(status)


def position_in(run: Run) -> int:
    """The step of the run's checkpoint, 0 without one."""
    from safetensors import safe_open

    path = run.folder / run_folder.LAST_FILE
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as stored:
        return json.loads(stored.metadata()["position"])["step"]


def main(folder: str, n_kills: int, seed: int) -> None:
    run, chance = Run(Path(folder)), random.Random(seed)
    training_log.STEPS_BETWEEN_MEASUREMENTS, training_log._SECONDS_BETWEEN_STATES = 1, 0.0
    names = [*INSTANTS, AT_RANDOM]
    plan = (names * (n_kills // len(names) + 1))[:n_kills]
    chance.shuffle(plan)
    for number, name in enumerate(plan, start=1):
        # Some lives write a checkpoint at every step, some only at the end of an epoch.
        trainer.SECONDS_BETWEEN_CHECKPOINTS = chance.choice((0.0, 0.0, 60.0))
        count, moment_s = chance.randint(1, 5), chance.uniform(0.05, 0.8)
        resumed_from = position_in(run)
        if name == AT_RANDOM:
            child = live(run, lambda: None)
            time.sleep(moment_s)
            os.kill(child, signal.SIGKILL)
        else:
            child = live(run, lambda name=name, count=count: INSTANTS[name](count))
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        last_row = (run.read_metrics()[0] or [{"step": 0}])[-1]
        row = {"kill": number, "instant": name, "killed": killed, "resumed_from": resumed_from}
        row |= {"measured_to": last_row["step"], "saved_at": position_in(run)}
        row["partial_files"] = len(list(run.folder.glob(".*.tmp")))
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    assert files.os is os  # a life replaces os.replace for all
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
