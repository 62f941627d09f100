"""Point 12: kill -9 of app, jobs and decoders at random instants; everything goes on, and nothing of them is left.

python -m tests.hardness.kills decode FOLDER        decode the images of a folder again and again, as the app does

python -m tests.hardness.kills kill N_KILLS SEED    the line of the table with another seed, and the log of it

A browser uploads nothing here: the decoder's processes that are killed are those of a process that decodes as the app
does, and the server that a real app has started.
"""

import functools
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from unittest import mock

import psutil

from benchmarks.browser import running_app
from kidney_core.common import errors
from kidney_core.engines import jobs, local_engine
from kidney_core.imaging.slices import read_slice
from kidney_core.runs import launch
from kidney_core.runs.run_folder import FINISHED, RUNNING, Run
from tests.conftest import ROOT
from tests.hardness import deaths, workplace
from tests.hardness.table import Figures, Options, told
from tests.hardness.workplace import Found, Workplace

N_KILLS, SEED = 100, 12
_BY_HAND_SAID = "by-hand.txt"
_SHORTEST_PAUSE_S = 0.05
_ALIVE_AT_MOST_S = 10.0  # after the one that they belong to was killed
_LONGER = {"n_epochs": 120}  # than most lives
_TRAINING = {"alone": _LONGER, "by hand": _LONGER, "two": {**_LONGER, "n_processes": 2}}
_TRAINERS = {"job": "alone", "training by hand": "by hand", "launcher": "two"}
_WORKER = "worker of two"
_ROOTS = ("app", "decoding process", *_TRAINERS)
_ENDED_WELL, _SAID_WHY = "exit status 0", "exit status 1"


@dataclass
class World:
    """Everything of the workbench that is alive: an app, a process that decodes, and a training of each kind."""

    place: Workplace
    found: Found = field(default_factory=Found)
    made: dict[str, list[Run]] = field(default_factory=lambda: {kind: [] for kind in _TRAINING})
    by_hand: subprocess.Popen | None = None
    decoding: subprocess.Popen | None = None
    app: subprocess.Popen | None = None
    stack: ExitStack = field(default_factory=ExitStack)
    killed: Counter[str] = field(default_factory=Counter)
    log: deaths.Log = field(default_factory=deaths.Log)
    judged: set[psutil.Process] = field(default_factory=set)
    of_others: set[psutil.Process] = field(default_factory=lambda: set(_ours()))  # left by somebody before

    def mend(self) -> None:
        """Start again what is not alive."""
        if self.app is None or self.app.poll() is not None:
            _, self.app = self.stack.enter_context(running_app())
        if self.decoding is None or self.decoding.poll() is not None:
            self.decoding = self.started(
                "-m", "tests.hardness.kills", "decode", str(self.place.data), said=subprocess.DEVNULL
            )
        for kind, changes in _TRAINING.items():
            kept = self.made[kind]
            if not kept or jobs.status(kept[-1]) == FINISHED:
                kept.append(self.place.run(f"{kind.replace(' ', '-')}-{len(kept)}", **changes))
            self.go_on(kind, kept[-1])
        self.follow(self.victims())

    def started(self, *arguments: str, said: int | IO[str]) -> subprocess.Popen:
        """A process that does not outlive this measurement, however that ends."""
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def go_on(self, kind: str, run: Run) -> None:
        """Resume a run on which nobody works."""
        if not workplace.is_over(run):
            return
        if kind == "by hand":
            if self.by_hand is None or self.by_hand.poll() is not None:
                with (self.place.folder / _BY_HAND_SAID).open("w", encoding="utf-8") as said:
                    self.by_hand = self.started("train.py", "--resume", str(run.folder), said=said)
        elif jobs.status(run) != FINISHED:
            said = workplace.refusal(lambda: jobs.submit(run))
            self.found.check("not_resumed", not said, said)

    def victims(self) -> dict[str, psutil.Process]:
        """The processes that are alive, by what they are."""
        alone, two = (local_engine.process_of(self.made[kind][-1]) for kind in ("alone", "two"))
        roots = {"app": self.app, "decoding process": self.decoding, "training by hand": self.by_hand}
        found = {name: psutil.Process(each.pid) for name, each in roots.items() if each and each.poll() is None}
        found |= {name: each for name, each in (("job", alone), ("launcher", two)) if each}
        for name, root in list(found.items()):
            for child in _below(root):
                command = " ".join(_command(child))
                if "decoder_server" in command:
                    is_worker = child not in _children(root)
                    found[f"decoder {'worker' if is_worker else 'server'} of {name}"] = child
                elif launch.TRAIN_MODULE in command and "--standalone" not in command:
                    found[_WORKER] = child
        return found

    def follow(self, processes: dict[str, psutil.Process]) -> None:
        """Note the end of each of these processes, with the last words that it leaves."""
        for name, process in processes.items():
            said = self.place.folder / _BY_HAND_SAID
            if name in ("job", "launcher"):
                said = self.made[_TRAINERS[name]][-1].folder / "log.txt"
            self.log.follow(name, process, functools.partial(_last_line, said) if name in _TRAINERS else str)

    def kill_one(self, chance: random.Random) -> None:
        """Kill one of them; what belongs to it must end, and what does not must live."""
        victims = self.victims()
        self.follow(victims)
        name = chance.choice(sorted(victims))
        victim = victims[name]
        below = _below(victim)
        if not self.log.kill(victim):
            return
        self.killed[name] += 1
        left = psutil.wait_procs(below, timeout=_ALIVE_AT_MOST_S)[1]
        self.found.check("orphans", not left, f"{[_command(each) for each in left]} outlive the {name}")
        self.found.check("orphans", self.log.wait(victim, _ALIVE_AT_MOST_S), f"the {name} outlives its kill")
        self.judge()

    def judge(self) -> None:
        """Count each process that has ended without a reason: neither killed, nor done, nor by a kill below it."""
        for life in self.log.ended():
            if life.name in _ROOTS and life.process not in self.judged:
                self.judged.add(life.process)
                self.found.check("others_failed", self._has_reason(life), f"{life}\n    {self.log.around(life)}")

    def _has_reason(self, life: deaths.Life) -> bool:
        """Whether what ended was killed, or a training that was done, or ended as it should with what it needs.

        A launcher ends with each of its processes. A training whose decoder is killed twice in a row says so and ends.
        The app and the process that decodes go on whatever happens to their decoder.
        """
        if life.killed_s is not None:
            return True
        if life.name not in _TRAINERS:
            return False
        killed = {each.name for each in self.log.killed_below(life)}
        if life.name == "launcher" and _WORKER in killed:
            return True
        return life.how == _ENDED_WELL or (life.how == _SAID_WHY and any("decoder" in name for name in killed))

    def end(self) -> None:
        """Let every training come to its end, end the rest, and look who is left."""
        for kind, made in self.made.items():
            for run in made:
                if jobs.status(run) != FINISHED:
                    workplace.wait_for(lambda run=run: workplace.is_over(run) or jobs.status(run) == RUNNING)
                while jobs.status(run) != FINISHED and not self.found.counted["not_resumed"]:
                    self.go_on(kind, run)
                    over = workplace.wait_for(lambda run=run: workplace.is_over(run))
                    self.found.check("not_resumed", over, f"{run.name}: {jobs.message(run)}")
                workplace.check_ends(self.found, run, **_TRAINING[kind])
        self.judge()
        self.decoding.terminate()
        self.decoding.wait()
        self.stack.close()
        left = _wait_until_none(lambda: [each for each in _ours() if each not in self.of_others])
        self.found.check("orphans", not left, f"{[_command(each) for each in left]} are left")


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return lines[-1][-200:] if lines else ""


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _ours() -> list[psutil.Process]:
    """Processes of the workbench in this folder that do not belong to this one."""
    mine = {psutil.Process(), *_below(psutil.Process()), *psutil.Process().parents()}
    found = []
    for process in psutil.process_iter():
        command = " ".join(_command(process))
        try:
            is_ours = process.cwd() == str(ROOT) and ("kidney_core" in command or "train.py" in command)
        except psutil.Error:
            continue
        if is_ours and process not in mine:
            found.append(process)
    return found


def _wait_until_none(look: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    workplace.wait_for(lambda: not look(), _ALIVE_AT_MOST_S)
    return look()


def _pause_s(chance: random.Random, longest_s: float) -> float:
    """Log-uniform: as often within a tenth of a second as within seconds, so that a kill also meets what is mended."""
    return _SHORTEST_PAUSE_S * (longest_s / _SHORTEST_PAUSE_S) ** chance.random()


def measure(options: Options, n_kills: int | None = None, seed: int = SEED, *, log: IO[str] | None = None) -> Figures:
    """Kill again and again, mend, and let all end: see `World`; kills and ends are written to `log`."""
    chance, n_kills = random.Random(seed), n_kills or (N_KILLS if options.thorough else 10)
    with workplace.workplace() as place, mock.patch.dict(os.environ, KIDNEY_SLOTS="3"), ExitStack() as stack:
        world = World(place, stack=stack, log=stack.enter_context(deaths.Log(log)))
        began = time.monotonic()
        world.mend()
        workplace.wait_for(lambda: workplace.trains(world.made["two"][-1]))
        start_s = time.monotonic() - began  # of a training
        tried = 0
        while world.killed.total() < n_kills and tried < 3 * n_kills:
            tried += 1
            world.mend()
            workplace.wait_for(lambda: False, _pause_s(chance, start_s / 4))
            world.kill_one(chance)
        world.end()
    return world.found.figures(
        *("corrupt", "orphans", "not_resumed", "others_failed"),
        kills=world.killed.total(),
        victims=len(world.killed),
        trainings=sum(map(len, world.made.values())),
        seconds=round(time.monotonic() - began),
    )


def _decode(folder: Path) -> None:
    while True:
        for path in sorted(folder.glob("*/*.png")):
            try:
                read_slice(path)
            except errors.DecoderError:  # its server may be killed twice in a row
                continue


if __name__ == "__main__":
    if sys.argv[1] == "decode":
        _decode(Path(sys.argv[2]))
    print(told(measure(Options(), int(sys.argv[2]), int(sys.argv[3]), log=sys.stdout)))
