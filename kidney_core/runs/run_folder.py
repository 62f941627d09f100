"""A training run on disk: a folder that a person can read and a kill cannot break.

runs/<name>/
    config.json         its configuration (TrainingConfig)
    data.json           its dataset: counts, series, parts, unreadable files
    state.json          its state, step and message; replaced atomically
    job.json            the engine and the job that work on it
    trained-on.txt      short SHA-256 of every file that was trained or validated on
    split.csv           every slice with its label, series and part
    metrics.jsonl       one line per measurement, appended; readers ignore a torn last line
    usage.jsonl         one line every few seconds: loss, speed, memory, processor; and one at each start
    log.txt             what the process printed
    last.safetensors    everything needed to resume; replaced atomically
    best.safetensors    the weights that are reported
    reference.safetensors  training slices for the out-of-distribution check, once finished
    gate.csv            how far test slices are from those training slices, once finished
    predictions.csv     test slices with their predicted probabilities, once finished
    report.json         the test metrics, once finished
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

from kidney_core.common import os_errors, settings
from kidney_core.common.errors import KidneyError, RunError
from kidney_core.common.files import overwrite_json, remove_leftovers, write_atomically, write_json
from kidney_core.runs.recipes import RETIRED_RECIPES, TrainingConfig

QUEUED, RUNNING, STOPPED, FINISHED, FAILED = "queued", "running", "stopped", "finished", "failed"
CANCEL_FILE = "cancel"  # its presence asks the process that works on the run to stop
LAST_FILE, BEST_FILE = "last.safetensors", "best.safetensors"
TRAINED_ON_FILE = "trained-on.txt"
GATE_FILE = "gate.csv"
METRICS_FILE, USAGE_FILE = "metrics.jsonl", "usage.jsonl"
STATE_FILE, JOB_FILE = "state.json", "job.json"  # the two files that the app writes as well as the job
CRASHED = "crashed"  # never written: a folder says running or queued and no process holds its lock


def check_name(name: str, *, noun: str, error: type[KidneyError] = RunError) -> None:
    """Raise `error` for a name that cannot be a folder's; `noun` says of what it is the name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise error(
            f"“{name}” cannot be the name of a {noun}: use up to 100 letters, digits, dots, dashes and underscores."
        )


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
        parent = folder or settings.runs_folder()
        if name is not None:
            check_name(name, noun="run")
        fold = f"-fold-{config.fold + 1}" if config.n_folds else ""
        described = f"{config.architecture.replace('/', '_')}-{config.protocol}{fold}"
        stem = name or f"{time.strftime('%Y%m%d-%H%M%S')}-{described}"
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
                    f"The run folder “{path}” cannot be created ({error.strerror}). Check “{parent}”."
                ) from error
            run = cls(path)
            try:
                with os_errors.reraise_as(RunError, path):
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
            stored = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            names = {option.name for option in fields(TrainingConfig)}
            config = TrainingConfig(**{name: value for name, value in stored.items() if name in names})
            return replace(config, recipe=RETIRED_RECIPES.get(config.recipe, config.recipe))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(f"“{self.folder}” is not a training run: config.json cannot be read ({error}).") from error

    def state(self) -> dict[str, Any]:
        """The last written state; "queued" for a folder so young that it has none."""
        return self._read_json(STATE_FILE) or {"state": QUEUED}

    def standing(self) -> dict[str, Any]:
        """How far the run has come: the part of the last state that every later one keeps."""
        state = self.state()
        return {key: state[key] for key in ("epoch", "n_epochs", "step", "n_steps") if key in state}

    def write_state(self, state: str, **more: Any) -> None:
        """Replace the state; `more` may give message, epoch, step, n_steps, seconds_left.

        On a full disk the file is overwritten in place: the message then says that the disk is full.
        """
        path, content = self.folder / STATE_FILE, {"state": state, "updated_at": time.time(), **more}
        try:
            write_json(path, content)
        except OSError as error:
            if not os_errors.is_disk_full(error) or not path.is_file():
                raise
            overwrite_json(path, content)

    def fail(self, message: str) -> None:
        """Write why the run failed, if the folder can still be written."""
        with suppress(OSError):
            self.write_state(FAILED, **{**self.standing(), "message": message})

    def job(self) -> dict[str, Any]:
        """The job of the run, as its engine wrote it: engine, job_id, submitted_at; empty for a run without a job."""
        return self._read_json(JOB_FILE) or {}

    def write_job(self, engine: str, job_id: str = "", **more: Any) -> None:
        """Store the engine and the job that work on the run, so that an app that is started later finds them."""
        write_json(self.folder / JOB_FILE, {"engine": engine, "job_id": job_id, **more})

    def append_metrics(self, measurement: dict[str, Any]) -> None:
        """Append one line; written at once, so that a kill loses nothing that was appended."""
        self._append(METRICS_FILE, measurement)

    def append_usage(self, measurement: dict[str, Any]) -> None:
        """Append one line to what is logged by time; kept apart, since a resumed run does not repeat it to the bit."""
        self._append(USAGE_FILE, measurement)

    def _append(self, name: str, measurement: dict[str, Any]) -> None:
        with (self.folder / name).open("ab") as file:
            file.write((json.dumps({**measurement, "time": round(time.time(), 3)}) + "\n").encode())

    def read_metrics(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The measurements after byte `offset`, and the offset for the next call.

        A torn last line is left for the next call.
        """
        return self.read_lines(METRICS_FILE, offset)

    def read_lines(self, name: str, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The same of METRICS_FILE or USAGE_FILE; nothing where the run has no such file."""
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(offset)
                content = file.read()
        except OSError:
            return [], offset
        whole = content[: content.rfind(b"\n") + 1]
        measurements = []
        for line in whole.splitlines():
            try:
                measurement = json.loads(line)
            except ValueError:
                continue  # a line torn by a kill, with later lines behind it
            if isinstance(measurement, dict):
                measurements.append(measurement)
        return measurements, offset + len(whole)

    def epochs(self) -> list[dict[str, Any]]:
        """One measurement per finished epoch."""
        return [row for row in self.read_metrics()[0] if row.get("kind") == "epoch"]

    def drop_metrics_after(self, step: int) -> None:
        """Delete measurements newer than the checkpoint from which the run resumes."""
        kept = [row for row in self.read_metrics()[0] if row.get("step", 0) <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self.folder / METRICS_FILE, lambda partial: partial.write_text(text, encoding="utf-8"))

    def remove_leftovers(self) -> None:
        """Delete the half-written files of killed processes; for the process that holds the run, at its start."""
        remove_leftovers(self.folder, is_abandoned=lambda name: name not in (STATE_FILE, JOB_FILE))

    def report(self) -> dict[str, Any] | None:
        """The report of a finished run, or None."""
        return self._read_json("report.json")

    def finished_report(self) -> dict[str, Any]:
        """The report of a finished run.

        Raises: RunError where the run is not finished.
        """
        report = self.report()
        if report is None or self.state()["state"] != FINISHED:
            raise RunError(f"The run “{self.name}” is not finished. Resume it, or choose another one.")
        return report

    def data(self) -> dict[str, Any]:
        """The dataset of the run: counts, series, parts; empty before the run has read it."""
        return self._read_json("data.json") or {}

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
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
        # A progress bar returns to the start of its line; only its last state is shown.
        return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines[-n_lines:])


class ReadOnlyRun(Run):
    """A run for all processes of its training but the first: they read its folder and do not write it."""

    def write_state(self, state: str, **more: Any) -> None:
        pass

    def append_metrics(self, measurement: dict[str, Any]) -> None:
        pass

    def append_usage(self, measurement: dict[str, Any]) -> None:
        pass

    def drop_metrics_after(self, step: int) -> None:
        pass

    def remove_leftovers(self) -> None:
        pass


def list_runs(folder: Path | None = None) -> list[Run]:
    """All runs in a folder, newest first; folders without a configuration are left out."""
    parent = folder or settings.runs_folder()
    try:
        entries = [entry for entry in os.scandir(parent) if entry.is_dir()]
    except OSError:
        return []
    with_config = [Path(entry.path) for entry in entries if (Path(entry.path) / "config.json").is_file()]
    return [Run(path) for path in sorted(with_config, key=_created_at, reverse=True)]


def _created_at(folder: Path) -> tuple[int, str]:
    """When a run was created: its configuration is written once."""
    try:
        return (folder / "config.json").stat().st_mtime_ns, folder.name
    except OSError:  # deleted in between
        return 0, folder.name
