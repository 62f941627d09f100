"""Point 12: too little memory, a dataset that vanishes, a clock that jumps, two apps on one folder of runs.

Some faults are made within a training's own process, as `tests.killing` does it; the product knows nothing of them:

python -m tests.hardness.faults live HOW RUN      train a run, and let HOW happen to it meanwhile
python -m tests.hardness.faults submit RUN…       submit runs as an app does, print who was taken, and stay alive
"""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

import train
from kidney_core.common.errors import RunError
from kidney_core.data import dataset, pixel_cache
from kidney_core.engines import jobs, local_engine
from kidney_core.runs.run_folder import CRASHED, FAILED, FINISHED, QUEUED, RUNNING, Run
from kidney_core.training import trainer
from tests.conftest import ROOT
from tests.hardness import workplace
from tests.hardness.table import Figures, Options
from tests.hardness.workplace import Found
from tests.killing import on_call

_DAY_S = 24 * 3600.0
_TOO_LITTLE_FOR_TORCH = 1024**3  # bytes of addresses, of which torch takes three times as many
_TOO_LITTLE_FOR_A_STEP = 64 * 1024**2  # beyond what is taken before the first
_MEMORY_BEYOND = {"image_size_px": 512, "batch_size": 48, "n_epochs": 1}  # activations of gigabytes
_FIGURES = ("unclear", "corrupt", "others_failed", "not_resumed")


# --- what is made to happen within a training's process -----------------------------------------


def _vanish_before(owner: object, count: int) -> Callable[[Run], None]:
    """The dataset is renamed away before a call that reads some of its files."""

    def arrange(run: Run) -> None:
        def vanish(real, *arguments, **options):
            Path(run.config().data).rename(f"{run.config().data}-away")
            return real(*arguments, **options)

        on_call(owner, "read_slices", vanish, count=count)

    return arrange


def _let_the_clock_jump(_run: Run) -> None:
    """Every 0.2 s another day: this one, tomorrow, yesterday."""
    began, now, now_ns = time.monotonic(), time.time, time.time_ns

    def days() -> int:
        return (0, 1, -1)[int((time.monotonic() - began) / 0.2) % 3]

    time.time = lambda: now() + days() * _DAY_S
    time.time_ns = lambda: now_ns() + int(days() * _DAY_S * 1e9)


def _have_little_memory(_run: Run) -> None:
    def limit(real, *arguments, **options):
        _limit_memory(psutil.Process().memory_info().vms + _TOO_LITTLE_FOR_A_STEP)
        return real(*arguments, **options)

    on_call(trainer, "train_step", limit, count=1)


def _limit_memory(n_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


HOW: dict[str, Callable[[Run], None]] = {
    "vanishes while listed": _vanish_before(dataset, 2),
    "vanishes while decoded": _vanish_before(pixel_cache, 2),
    "clock": _let_the_clock_jump,
    "little memory": _have_little_memory,
}


def _live(how: str, run: Run) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.hardness.faults", "live", how, str(run.folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _start_in_little_memory(run: Run) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "train.py", "--resume", str(run.folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: _limit_memory(_TOO_LITTLE_FOR_TORCH),
    )


# --- lines --------------------------------------------------------------------------------------


def measure_memory(_options: Options) -> Figures:
    """Too few addresses to start and to train, and the kernel's way to end what takes too much."""
    found = Found()
    with workplace.workplace() as place:
        for name in ("to-start", "to-train"):
            run = place.run(name, **_MEMORY_BEYOND)
            (_start_in_little_memory(run) if name == "to-start" else _live("little memory", run)).wait(
                workplace.PATIENCE_S
            )
            found.check("unclear", jobs.status(run) == FAILED, f"{name}: {jobs.status(run)}, {run.log_tail(3)}")
            found.check_clear(jobs.message(run), "Memory ran out", run.name, "smaller")
            workplace.check_folder(found, run)
        run, next_in_line = place.run("killed"), place.run("next", n_epochs=1)
        for each in (run, next_in_line):
            jobs.submit(each)
        found.check("not_resumed", workplace.wait_for(lambda: workplace.trains(run)), run.log_tail())
        os.kill(local_engine.process_of(run).pid, signal.SIGKILL)
        workplace.wait_for(lambda: workplace.is_over(run))
        found.check("unclear", jobs.status(run) == CRASHED, jobs.status(run))
        found.check_clear(jobs.message(run), "process", "killed", "memory")
        workplace.check_ends(found, next_in_line, n_epochs=1)
        workplace.check_resumes(found, run)
    return found.figures(*_FIGURES, resumed=found.counted["resumed"])


def measure_vanished(_options: Options) -> Figures:
    """The dataset's folder is renamed away while it is listed, while it is decoded, and while it is trained on."""
    found = Found()
    with workplace.workplace() as place:
        away = place.data.with_name("dataset-away")
        run = place.run("vanished")
        for how in ("vanishes while listed", "vanishes while decoded"):
            _live(how, run).wait(workplace.PATIENCE_S)
            found.check("unclear", jobs.status(run) == FAILED, f"{how}: {jobs.status(run)}, {run.log_tail(3)}")
            found.check_clear(jobs.message(run), str(place.data), "vanished")
            workplace.check_folder(found, run)
            if away.exists():
                away.rename(place.data)
        jobs.submit(run)
        found.check("not_resumed", workplace.wait_for(lambda: workplace.trains(run)), run.log_tail())
        place.data.rename(away)
        workplace.check_ends(found, run)  # its pixels are in the cache
        missing = place.run("missing")
        found.check("others_failed", not workplace.refusal(lambda: jobs.submit(missing)), "a job is not taken")
        workplace.wait_for(lambda: workplace.is_over(missing))
        found.check_clear(jobs.message(missing), "no folder", str(place.data))
    return found.figures(*_FIGURES, resumed=found.counted["resumed"])


def measure_clock(_options: Options) -> Figures:
    """The clock of a training jumps by days, jobs are submitted yesterday, and one is to stop whose request is of tomorrow."""
    found = Found()
    with workplace.workplace() as place:
        run = place.run("jumps")
        life = _live("clock", run)
        while life.poll() is None:
            state = run.state()
            sane = state["state"] in (QUEUED, RUNNING, FINISHED) and 0 <= state.get("seconds_left", 0) < _DAY_S / 2
            found.check("insane", sane, str(state))
            time.sleep(0.05)
        workplace.check_ends(found, run)
        holder = place.run("holder")
        jobs.submit(holder)
        workplace.wait_for(lambda: holder.state()["state"] == RUNNING)
        os.kill(local_engine.process_of(holder).pid, signal.SIGSTOP)
        waiting = [place.run(f"waiting-{number}", n_epochs=1) for number in range(3)]
        for each, days in zip(waiting, (1, 0, -1), strict=True):
            with _clock_set(days):
                jobs.submit(each)
        places = [jobs.queue_place(each) for each in waiting]
        found.check(
            "out_of_order", places == [1, 2, 3], f"submitted one after the other, they have the places {places}"
        )
        with _clock_set(1):
            jobs.cancel(holder)
            tomorrow = time.time()
        os.utime(holder.folder / "cancel", (tomorrow, tomorrow))
        jobs.cancel(holder)  # the clock is set back: is it ten seconds later?
        over = workplace.wait_for(lambda: workplace.is_over(holder), 30)
        found.check("not_stopped", over, f"{jobs.status(holder)}: nobody can end it")
        for each in waiting:
            workplace.check_ends(found, each, n_epochs=1)
        workplace.check_resumes(found, holder)
    return found.figures("insane", "out_of_order", "not_stopped", "corrupt", "not_resumed")


@contextmanager
def _clock_set(days: int) -> Iterator[None]:
    now, now_ns = time.time, time.time_ns
    time.time, time.time_ns = lambda: now() + days * _DAY_S, lambda: now_ns() + int(days * _DAY_S * 1e9)
    try:
        yield
    finally:
        time.time, time.time_ns = now, now_ns


def measure_two_apps(options: Options) -> Figures:
    """Two apps submit the same runs at once; each is started once, and with one app killed all go on."""
    found, n_runs = Found(), 12 if options.thorough else 4
    with workplace.workplace() as place:
        made = [place.run(f"run-{number}", n_epochs=2) for number in range(n_runs)]
        orders = (made, made[::-1])
        apps = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.hardness.faults", "submit", *(str(run.folder) for run in order)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for order in orders
        ]
        try:
            taken = [json.loads(app.stdout.readline()) for app in apps]
            apps[0].kill()
            apps[0].wait()
            for run in made:
                said = [each[run.name] for each in taken]
                found.check("not_once", said.count("") == 1, f"{run.name}: {said}")
                workplace.check_ends(found, run, n_epochs=2)
                found.check("not_once", run.log_tail(1000).count(f"run {run.folder}") == 1, run.log_tail())
                for each in filter(None, said):
                    found.check_clear(each, run.name, "queued or running already|is finished")
            found.check("others_failed", apps[1].poll() is None, "the other app ended too")
        finally:
            for app in apps:
                app.kill()
                app.communicate()
    return found.figures("not_once", "unclear", "corrupt", "others_failed", "not_resumed", runs=n_runs)


def _submit(made: list[Run]) -> None:
    said = {}
    for run in made:
        try:
            jobs.submit(run)
            said[run.name] = ""
        except RunError as error:
            said[run.name] = str(error)
    print(json.dumps(said), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "submit":
        _submit([Run(Path(folder)) for folder in sys.argv[2:]])
    run_to_train = Run(Path(sys.argv[3]))
    HOW[sys.argv[2]](run_to_train)
    sys.exit(train.main(["--resume", str(run_to_train.folder)]))
