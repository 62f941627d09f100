"""The table of runs: one row a run with everything known of it, and two runs side by side."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from kidney_core.common import settings
from kidney_core.common.files import write_json
from kidney_core.common.labels import LABELS
from kidney_core.engines import housekeeping, jobs
from kidney_core.metrics.splits import PROTOCOL_NAMES, TEST, TRAIN, VALIDATION
from kidney_core.runs import recipes
from kidney_core.runs.curves import Curves
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import QUEUED, RUNNING, Run

TEXT, NUMBER, PERCENT, PROGRESS, TIME, SECONDS = "text", "number", "percent", "progress", "time", "seconds"
WHAT, DIFFERS = "Option or figure", "Differs?"  # no run can have such a name
_COLUMNS_FILE = ".columns.json"  # beside the runs: who wants to see which columns


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
GROUPED_BY: tuple[str, ...] = (
    "architecture",
    "protocol",
    "recipe",
    "dataset",
    "learning_rate",
    "image_size_px",
    "augmentation",
)
GROUPED_BY += ("trainable", "state", "tags")


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


def search(rows: Iterable[dict[str, Any]], text: str, *, states: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The rows in which every word of a text occurs somewhere, upper or lower case, and that are in one of the states.

    A word such as `learning_rate=0.001` or `split=unseen` asks one column, by its key or its title without blanks.
    """
    states = set(states)
    words = text.lower().split()
    return [each for each in rows if (not states or each["state"] in states) and all(_has(each, w) for w in words)]


def _has(row: dict[str, Any], word: str) -> bool:
    name, equals, wanted = word.partition("=")
    if equals:
        titles = {column.title.lower().replace(" ", ""): key for key, column in COLUMNS.items()}
        value = row.get(titles.get(name, name))
        if isinstance(value, int | float):
            try:
                return value == float(wanted)
            except ValueError:
                return False
        return wanted in str("" if value is None else value).lower()
    return any(word in str(value).lower() for value in row.values() if value is not None)


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


def groups(rows: list[dict[str, Any]], by: str) -> tuple[pd.DataFrame, list[tuple[str, ...]]]:
    """One row for each value of a column, and the names of its runs.

    Columns: the value, Runs, Finished, and mean, standard deviation and best of the test figures and the lowest of the
    validation losses. The standard deviation is that of a sample; empty for one run.
    """
    everything = pd.DataFrame(rows)
    keys = everything[by].map(lambda value: "–" if value is None or value == "" or value != value else value)
    found, members = [], []
    for value, of_value in everything.groupby(keys, sort=False):
        accuracy = pd.to_numeric(of_value["test_accuracy"])
        balanced = pd.to_numeric(of_value["test_balanced_accuracy"])
        found.append(
            {
                COLUMNS[by].title: str(value),
                "Runs": len(of_value),
                "Finished": int((of_value["state"] == "finished").sum()),
                "Mean test accuracy": accuracy.mean(),
                "Mean test balanced accuracy": balanced.mean(),
                "SD of test balanced accuracy": balanced.std(),
                "Best test balanced accuracy": balanced.max(),
                "Best validation loss": pd.to_numeric(of_value["best_validation_loss"]).min(),
            }
        )
        members.append(tuple(of_value["run"]))
    return pd.DataFrame(found), members


def side_by_side(rows: list[dict[str, Any]], *, only_differences: bool) -> pd.DataFrame:
    """Runs as columns and everything known of them as rows: what they are of, their options, their figures.

    Columns: `WHAT`, one per run (text), and `DIFFERS`, true or false.
    """
    left_out = {"run", "place", "message", "progress", "epoch", "time_left", "note"}
    lines = []
    for name, column in COLUMNS.items():
        if name in left_out:
            continue
        texts = [in_words(row[name], column.kind) for row in rows]
        differs = len(set(texts)) > 1
        if (differs or not only_differences) and any(texts):
            lines.append(
                {
                    WHAT: column.title,
                    **dict(zip((row["run"] for row in rows), texts, strict=True)),
                    DIFFERS: differs,
                }
            )
    return pd.DataFrame(lines, columns=[WHAT, *(row["run"] for row in rows), DIFFERS])


def in_words(value: Any, kind: str) -> str:
    """A value of the table as text; empty for None."""
    if value is None or value != value:
        return ""
    if kind == PERCENT:
        return f"{value:.1f} %"
    if kind == SECONDS:
        return f"{value:,.0f} s"
    if kind == TIME:
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def read_columns(person: str) -> list[str]:
    """The columns that somebody chose last; `SHOWN_AT_FIRST` before the first choice."""
    try:
        stored = json.loads((settings.runs_folder() / _COLUMNS_FILE).read_text(encoding="utf-8"))[person]
        chosen = [name for name in stored if name in COLUMNS]
    except (OSError, ValueError, KeyError, TypeError):
        chosen = []
    return chosen or list(SHOWN_AT_FIRST)


def write_columns(person: str, columns: list[str]) -> None:
    """Remember the columns that somebody chose; nothing where the folder cannot be written, since only a view is lost."""
    path = settings.runs_folder() / _COLUMNS_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = {}
    try:
        write_json(path, {**(stored if isinstance(stored, dict) else {}), person: columns})
    except OSError:
        return
