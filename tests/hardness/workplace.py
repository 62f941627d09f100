"""Where faults are made: a dataset, folders of runs and caches of its own, and what must hold of them afterwards."""

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import torch
from safetensors.torch import load_file

from kidney_core.common.errors import KidneyError
from kidney_core.engines import jobs, local_engine
from kidney_core.runs import run_lock
from kidney_core.runs.run_folder import FINISHED, LAST_FILE, QUEUED, RUNNING, Run
from tests.conftest import ROOT, tiny_run, write_series_dataset
from tests.hardness.table import Figures

PATIENCE_S = 600.0  # of a busy machine
_NO_SENTENCE = re.compile(r"Traceback|Errno|Unexpected|uncaught|None|\bError\b|\(os error")
_REMEDY = re.compile(r"\b(resumes?|try again|start|make|set|choose|free|check|wait|mount)\b", re.I)


@dataclass
class Found:
    """What came of the faults: counts, and the first thing that was not as it must be."""

    counted: Counter[str] = field(default_factory=Counter)
    odd: str = ""

    def check(self, figure: str, is_well: bool, what: str) -> None:
        """Count one thing under `figure` where it is not well."""
        self.counted[figure] += not is_well
        if not is_well:
            print(f"  {figure}: {what}", file=sys.stderr, flush=True)
            self.odd = self.odd or f"{figure}: {what}".replace("|", "/").replace("\n", " ")[:300]

    def check_clear(self, said: str, *parts: str) -> None:
        """Count what is no sentence on what happened, where (`parts` are patterns of both), and what to do."""
        clear = said.endswith(".") and _REMEDY.search(said) and not _NO_SENTENCE.search(said) and len(said) < 400
        self.check("unclear", bool(clear) and all(re.search(part, said) for part in parts), said or "nothing was said")
        self.counted["told"] += 1

    def figures(self, *names: str, **more: float) -> Figures:
        told: Figures = {name: self.counted[name] for name in names}
        told |= {"told": self.counted["told"], **more}
        return told | ({"first_odd": self.odd} if self.odd else {})


@dataclass(frozen=True)
class Workplace:
    """A folder with a small dataset; `kidney_core` finds its runs and its cache there."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "dataset"

    def run(self, name: str, **changes: Any) -> Run:
        made = tiny_run(self.data, name, **{**LONG, **changes})
        _here.append(made)
        return made


_here: list[Run] = []  # of this process
LONG = {"n_epochs": 40, "augmentation": "strong", "schedule": "one-cycle"}  # some seconds of training


@contextmanager
def workplace() -> Iterator[Workplace]:
    """A workplace, in which no job is left at the end."""
    with tempfile.TemporaryDirectory(prefix="hardness-") as folder:
        place = Workplace(Path(folder).resolve())
        write_series_dataset(place.data)
        with runs_in(place.folder / "runs"), mock.patch.dict(os.environ, KIDNEY_CACHE=f"{place.folder}/cache"):
            yield place


@contextmanager
def runs_in(folder: Path) -> Iterator[None]:
    """Let runs live in a folder; their jobs are ended at the end."""
    set_here = {"KIDNEY_RUNS": str(folder), "KIDNEY_ENGINE": "local", "OMP_NUM_THREADS": "1"}
    with mock.patch.dict(os.environ, set_here):
        n_before = len(_here)
        try:
            yield
        finally:
            for run in _here[n_before:]:
                local_engine.kill_tree(local_engine.process_of(run))
            del _here[n_before:]


@functools.cache
def undisturbed(**changes: Any) -> tuple[dict[str, torch.Tensor], dict]:
    """The last checkpoint and the report of a run of `Workplace.run` that nothing happened to."""
    with workplace() as place:
        run = place.run("undisturbed", **changes)
        command = [sys.executable, "train.py", "--resume", str(run.folder)]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        return load_file(run.folder / LAST_FILE), run.report()


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
    """Whether a condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        _hurry()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _hurry() -> None:
    """Take back what jobs yield to the app, where this user may: on a busy machine they would wait for ever."""
    for run in _here:
        process = local_engine.process_of(run)
        with suppress(psutil.Error, OSError):
            if process and process.nice() > os.nice(0):
                for thread in process.threads():  # Linux yields thread by thread
                    os.setpriority(os.PRIO_PROCESS, thread.id, os.nice(0))


def trains(run: Run) -> bool:
    """Whether a run is past its first steps."""
    return run.state().get("step", 0) > 0


def is_over(run: Run) -> bool:
    return jobs.status(run) not in (QUEUED, RUNNING) and not run_lock.is_alive(run)


def refusal(do: Callable[[], object]) -> str:
    """The sentence with which something is refused."""
    try:
        do()
    except KidneyError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - this is what is counted
        return f"uncaught {type(error).__name__}: {error}"
    return ""


def check_folder(found: Found, run: Run) -> None:
    """Count what cannot be read in a run's folder on which nobody works, and half files that take room."""
    for name in ("config.json", "state.json", "data.json", "job.json", "report.json"):
        path = run.folder / name
        found.check("corrupt", not path.exists() or _is_json(path), f"{path} is no JSON")
    for path in run.folder.glob("*.safetensors"):
        found.check("corrupt", bool(_tensors(path)), f"{path} cannot be read")


def check_resumes(found: Found, run: Run, **changes: Any) -> None:
    """Go on with a run to its end: count one that does not come to it, and one whose weights differ there."""
    said = refusal(lambda: jobs.submit(run))
    check_ends(found, run, said, **changes)


def check_ends(found: Found, run: Run, said: str = "", **changes: Any) -> None:
    """Count a run that does not come to its end, and one that differs there from an undisturbed one."""
    ended = not said and wait_for(lambda: is_over(run)) and jobs.status(run) == FINISHED
    found.check("not_resumed", ended, f"{run.name}: {said or jobs.status(run)}, {jobs.message(run)}")
    check_folder(found, run)
    if ended:
        weights, report = undisturbed(**changes)
        there = _tensors(run.folder / LAST_FILE)
        same = there.keys() == weights.keys() and all(torch.equal(there[name], weights[name]) for name in weights)
        found.check("corrupt", same and run.report() == report, f"{run.name} differs from an undisturbed run")
        left = [path.name for path in run.folder.glob(".*.tmp")]
        found.check(
            "corrupt", not [name for name in left if not name.startswith((".state", ".job"))], f"{left} left over"
        )
    found.counted["resumed"] += ended


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it cannot be read
        return {}


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True
