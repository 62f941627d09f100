"""A training run on disk: a folder that a person can read and a kill cannot break.

runs/<name>/
    config.json         what was asked for (TrainingConfig)
    data.json           what was found in the dataset: counts, series, parts, unreadable files
    state.json          where it stands: state, step, message; replaced whole
    job.json            which engine's job works on it
    trained-on.txt      short SHA-256 of every file that was trained or validated on
    split.csv           every slice with its label, series and part
    metrics.jsonl       one line a measurement, appended; readers ignore a torn last line
    log.txt             what the process printed
    last.safetensors    everything needed to go on; replaced whole
    best.safetensors    the weights that will be reported
    reference.safetensors  what the gate and the search of seen scans compare with, once finished
    predictions.csv     test slices with their probabilities, once finished
    report.json         the figures, once finished
"""

import json
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from kidney_core import shortage
from kidney_core.errors import RunError
from kidney_core.files import overwrite_json, remove_left_over, write_json, write_whole
from kidney_core.recipes import RETIRED_RECIPES, TrainingConfig

QUEUED, RUNNING, STOPPED, FINISHED, FAILED = "queued", "running", "stopped", "finished", "failed"
CANCEL_FILE = "cancel"  # its presence asks the process that works on the run to stop
TRAINED_ON_FILE = "trained-on.txt"
STATE_FILE, JOB_FILE = "state.json", "job.json"  # the two files that the app writes as well as the job
CRASHED = "crashed"  # never written: a folder says running or queued and no process holds its lock


def runs_folder() -> Path:
    """Where runs live: $KIDNEY_RUNS, or ./runs."""
    return Path(os.environ.get("KIDNEY_RUNS", "runs"))


def usable_name(name: str) -> bool:
    """True for a name that can be a folder's: up to 100 letters, digits, dots, dashes and underscores."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) is not None


@dataclass(frozen=True)
class Run:
    """One run's folder. Reading never fails on what a kill leaves behind."""

    folder: Path

    @classmethod
    def create(cls, config: TrainingConfig, *, folder: Path | None = None, name: str | None = None) -> "Run":
        """Make the folder of a new run, in state "queued".

        Raises: RunError when a given name is taken or not usable as a folder's name.
        """
        config.validated()
        parent = folder or runs_folder()
        if name is not None and not usable_name(name):
            raise RunError(f"“{name}” cannot name a run: use up to 100 letters, digits, dots, dashes and underscores.")
        fold = f"-fold-{config.fold + 1}" if config.n_folds else ""
        made = f"{config.architecture.replace('/', '_')}-{config.protocol}{fold}"
        stem = name or f"{time.strftime('%Y%m%d-%H%M%S')}-{made}"
        for number in range(1, 1000):
            path = parent / (stem if number == 1 else f"{stem}-{number}")
            try:
                path.mkdir(parents=True)
            except FileExistsError as error:
                if name:
                    raise RunError(
                        f"A run named “{name}” exists already in “{parent}”. Choose another name."
                    ) from error
                continue
            except OSError as error:
                raise RunError(
                    f"The run folder “{path}” cannot be made ({error.strerror}). Check “{parent}”."
                ) from error
            run = cls(path)
            try:
                with shortage.told_as(RunError, path):
                    write_json(path / "config.json", asdict(config))
                    run.write_state(QUEUED)
            except RunError:
                shutil.rmtree(path, ignore_errors=True)
                raise
            return run
        raise RunError(f"There are a thousand runs named “{stem}”. Delete some of them.")

    @property
    def name(self) -> str:
        return self.folder.name

    def config(self) -> TrainingConfig:
        """Raises RunError when config.json is missing or not a configuration."""
        try:
            stored = json.loads((self.folder / "config.json").read_text())
            known = {option.name for option in fields(TrainingConfig)}
            config = TrainingConfig(**{name: value for name, value in stored.items() if name in known})
            return replace(config, recipe=RETIRED_RECIPES.get(config.recipe, config.recipe))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(f"“{self.folder}” is not a training run: config.json cannot be read ({error}).") from error

    def state(self) -> dict[str, Any]:
        """The last written state; "queued" for a folder so young that it has none."""
        return self._read_json(STATE_FILE) or {"state": QUEUED}

    def standing(self) -> dict[str, Any]:
        """How far the run has come: what every later state keeps of the last one."""
        state = self.state()
        return {key: state[key] for key in ("epoch", "n_epochs", "step", "n_steps") if key in state}

    def write_state(self, state: str, **more: Any) -> None:
        """Replace the state; `more` may give message, epoch, step, n_steps, seconds_left.

        A full disk hears it as well: that it is full is what there is to say.
        """
        path, told = self.folder / STATE_FILE, {"state": state, "updated_at": time.time(), **more}
        try:
            write_json(path, told)
        except OSError as error:
            if not shortage.is_full(error) or not path.is_file():
                raise
            overwrite_json(path, told)

    def fail(self, message: str) -> None:
        """Say why the run failed, where the folder can still be written."""
        with suppress(OSError):
            self.write_state(FAILED, **{**self.standing(), "message": message})

    def job(self) -> dict[str, Any]:
        """Who works on the run, as its engine wrote it: engine, job_id, submitted_at; empty for a run without a job."""
        return self._read_json(JOB_FILE) or {}

    def write_job(self, engine: str, job_id: str = "", **more: Any) -> None:
        """Note which engine's job works on the run, so that an app that is started later finds it."""
        write_json(self.folder / JOB_FILE, {"engine": engine, "job_id": job_id, **more})

    def append_metrics(self, measurement: dict[str, Any]) -> None:
        """Append one line; written at once, so that a kill loses nothing that was appended."""
        with (self.folder / "metrics.jsonl").open("ab") as file:
            file.write((json.dumps({**measurement, "time": round(time.time(), 3)}) + "\n").encode())

    def read_metrics(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The measurements after byte `offset`, and the offset to go on from.

        A torn last line is left for the next call.
        """
        try:
            with (self.folder / "metrics.jsonl").open("rb") as file:
                file.seek(offset)
                content = file.read()
        except OSError:
            return [], offset
        whole = content[: content.rfind(b"\n") + 1]
        measurements = []
        for line in whole.splitlines():
            try:
                measurements.append(json.loads(line))
            except ValueError:
                continue  # a line torn by a kill, with later lines behind it
        return measurements, offset + len(whole)

    def epochs(self) -> list[dict[str, Any]]:
        """One measurement a finished epoch."""
        return [row for row in self.read_metrics()[0] if row.get("kind") == "epoch"]

    def drop_metrics_after(self, step: int) -> None:
        """Forget measurements newer than the checkpoint that a resumed run starts from."""
        kept = [row for row in self.read_metrics()[0] if row.get("step", 0) <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_whole(self.folder / "metrics.jsonl", lambda partial: partial.write_text(text))

    def remove_left_over(self) -> None:
        """Delete the half-written files of killed processes; for the process that holds the run, at its start."""
        remove_left_over(self.folder, nobody_writes=lambda name: name not in (STATE_FILE, JOB_FILE))

    def report(self) -> dict[str, Any] | None:
        """The figures of a finished run, or None."""
        return self._read_json("report.json")

    def data(self) -> dict[str, Any]:
        """What the run found in its dataset; empty before it has read it."""
        return self._read_json("data.json") or {}

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return None

    def log_tail(self, n_lines: int = 200) -> str:
        """The end of the log; at most 200 kB are read."""
        try:
            with (self.folder / "log.txt").open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 200_000))
                lines = file.read().decode(errors="replace").rstrip("\n").split("\n")
        except OSError:
            return ""
        # A progress bar returns to the start of its line; only its last state is worth showing.
        return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines[-n_lines:])


class WatchedRun(Run):
    """A run as all processes but the first of its training see it: they read its folder and leave it as it is."""

    def write_state(self, state: str, **more: Any) -> None:
        pass

    def append_metrics(self, measurement: dict[str, Any]) -> None:
        pass

    def drop_metrics_after(self, step: int) -> None:
        pass

    def remove_left_over(self) -> None:
        pass


def list_runs(folder: Path | None = None) -> list[Run]:
    """All runs in a folder, newest first; folders without a configuration are left out."""
    parent = folder or runs_folder()
    try:
        entries = [entry for entry in os.scandir(parent) if entry.is_dir()]
    except OSError:
        return []
    with_config = [Path(entry.path) for entry in entries if (Path(entry.path) / "config.json").is_file()]
    return [Run(path) for path in sorted(with_config, key=_made_at, reverse=True)]


def _made_at(folder: Path) -> tuple[int, str]:
    """When a run was made: its configuration is written once."""
    try:
        return (folder / "config.json").stat().st_mtime_ns, folder.name
    except OSError:  # deleted in between
        return 0, folder.name
