"""The table of runs: its columns, and one row a run with everything known of it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from kidney_core.common.labels import LABELS
from kidney_core.engines import housekeeping, jobs
from kidney_core.metrics.splits import PROTOCOL_NAMES, TEST, TRAIN, VALIDATION
from kidney_core.runs import recipes
from kidney_core.runs.curves import Curves
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import QUEUED, RUNNING, Run

TEXT, NUMBER, PERCENT, PROGRESS, TIME, SECONDS = "text", "number", "percent", "progress", "time", "seconds"


@dataclass(frozen=True)
class Column:
    """Attributes: the title and the kind of value of a column (TEXT, NUMBER, PERCENT, PROGRESS, TIME or SECONDS)."""

    title: str
    kind: str = TEXT


_STANDING = {
    "run": Column("Run"),
    "state": Column("State"),
    "place": Column("Place in the queue", NUMBER),
    "progress": Column("Progress", PROGRESS),
    "epoch": Column("Epoch"),
    "time_left": Column("Time left", SECONDS),
    "message": Column("Message"),
}
_FIGURES = {
    "test_accuracy": Column("Test accuracy", PERCENT),
    "test_balanced_accuracy": Column("Test balanced accuracy", PERCENT),
    "test_macro_f1": Column("Test macro F1", PERCENT),
    "test_macro_auc": Column("Test macro AUC", PERCENT),
    **{f"test_recall_{label}": Column(f"Test recall of {label}", PERCENT) for label in LABELS},
    "best_validation_loss": Column("Best validation loss", NUMBER),
    "last_validation_loss": Column("Last validation loss", NUMBER),
    "last_validation_accuracy": Column("Last validation accuracy", PERCENT),
    "last_training_loss": Column("Last training loss", NUMBER),
    "tested_epoch": Column("Tested epoch", NUMBER),
}
_ABOUT = {
    "dataset": Column("Dataset"),
    "training_slices": Column("Training slices", NUMBER),
    "validation_slices": Column("Validation slices", NUMBER),
    "test_slices": Column("Test slices", NUMBER),
    "started": Column("Started", TIME),
    "duration": Column("Duration", SECONDS),
    "images_per_s": Column("Images/s", NUMBER),
    "memory_gib": Column("Memory (GiB)", NUMBER),
    "gpu_memory_gib": Column("GPU memory (GiB)", NUMBER),
    "engine": Column("Engine"),
    "tags": Column("Tags"),
    "note": Column("Note"),
}
_OPTIONS = {
    option.name: Column(recipes.title(option.name), NUMBER if isinstance(option.default, int | float) else TEXT)
    for option in fields(TrainingConfig)
}
_OPTIONS["protocol"] = Column("Split")
_OPTIONS["data"] = Column("Data folder")
COLUMNS: dict[str, Column] = {**_STANDING, **_FIGURES, **_ABOUT, **_OPTIONS}
SHOWN_AT_FIRST = (
    "run",
    "state",
    "progress",
    "epoch",
    "time_left",
    "best_validation_loss",
    "test_accuracy",
    "test_balanced_accuracy",
    "protocol",
    "learning_rate",
    "architecture",
    "started",
    "duration",
    "tags",
)


def row(run: Run, curves: Curves) -> dict[str, Any]:
    """Everything known of a run, by the keys of `COLUMNS`; fractions in per cent, what is not known yet is None.

    Raises: RunError where the folder is not a run.
    """
    state, config = run.state(), run.config()
    status, note = jobs.status(run), housekeeping.read_note(run)
    is_running = status == RUNNING
    n_steps, memory = state.get("n_steps"), state.get("memory_mib")
    gpu_memory = state.get("gpu_memory_mib")
    return {
        "run": run.name,
        "state": status,
        "place": jobs.queue_place(run) if status == QUEUED else None,
        "progress": round(100 * state.get("step", 0) / n_steps) if n_steps else 0,
        "epoch": f"{state.get('epoch', 0)} / {state.get('n_epochs', config.n_epochs)}",
        "time_left": state.get("seconds_left") if is_running else None,
        "message": jobs.message(run),
        **_figures(run, curves),
        **_dataset(run, config),
        **_times(curves),
        "images_per_s": state.get("images_per_s") if is_running else _last(curves, "images_per_s"),
        "memory_gib": memory / 1024 if is_running and memory else None,
        "gpu_memory_gib": gpu_memory / 1024 if is_running and gpu_memory else None,
        "engine": run.job().get("engine", ""),
        "tags": " ".join(note.tags),
        "note": note.text,
        **asdict(config),
        "protocol": PROTOCOL_NAMES[config.protocol],
        "fold": config.fold + 1 if config.n_folds else None,
    }


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Running runs, then those that wait, the next one first; then the others as they were given."""
    rank = {RUNNING: 0, QUEUED: 1}
    return sorted(rows, key=lambda each: (rank.get(each["state"], 2), each["place"] or 0))


def _figures(run: Run, curves: Curves) -> dict[str, Any]:
    report = run.report() or {}
    figures = report.get("figures") or {}
    losses = [each["validation_loss"] for each in curves.epochs if "validation_loss" in each]
    macro = figures.get("macro", {})
    found = {
        "test_accuracy": figures.get("accuracy"),
        "test_balanced_accuracy": figures.get("balanced_accuracy"),
        "test_macro_f1": macro.get("f1"),
        "test_macro_auc": macro.get("roc_auc"),
        **{f"test_recall_{label}": figures.get("per_label", {}).get(label, {}).get("recall") for label in LABELS},
        "last_validation_accuracy": _last(curves, "validation_accuracy"),
    }
    return {
        **{name: None if value is None else 100 * value for name, value in found.items()},
        "best_validation_loss": min(losses, default=None),
        "last_validation_loss": losses[-1] if losses else None,
        "last_training_loss": _last(curves, "train_loss"),
        "tested_epoch": report.get("best_epoch"),
    }


def _dataset(run: Run, config: TrainingConfig) -> dict[str, Any]:
    data = run.data()
    parts = data.get("parts", {})
    return {
        "dataset": data.get("name") or Path(config.data).name,
        "training_slices": parts.get(TRAIN),
        "validation_slices": parts.get(VALIDATION),
        "test_slices": parts.get(TEST),
    }


def _times(curves: Curves) -> dict[str, Any]:
    started = curves.started_at()
    return {
        "started": datetime.fromtimestamp(started) if started else None,
        "duration": curves.seconds(),
    }


def _last(curves: Curves, name: str) -> Any:
    return next((each[name] for each in reversed(curves.epochs) if name in each), None)


def table(rows: list[dict[str, Any]], columns: Iterable[str]) -> pd.DataFrame:
    """The rows under the titles of their columns."""
    names = list(columns)
    found = pd.DataFrame(rows, columns=names)
    for name in names:
        if COLUMNS[name].kind in (NUMBER, PERCENT, SECONDS):
            found[name] = pd.to_numeric(found[name])
        if COLUMNS[name].kind == TIME:
            found[name] = pd.to_datetime(found[name])
    return found.rename(columns={name: COLUMNS[name].title for name in names})
