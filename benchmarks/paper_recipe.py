"""The paper's recipe on the paper's images: its table, from the predictions that were kept of each run.

    python -m benchmarks.paper_recipe RUN...    keep the predictions of finished runs in docs/paper-recipe/

`make results` writes the table of docs/results.md from docs/paper-recipe/: runs.json says what each run was, and
ARCHITECTURE-PROTOCOL.csv.gz holds its test slices with the probabilities of every class, from which each cell is computed.
"""

import gzip
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.results_file import store_row
from kidney_core.common import paper
from kidney_core.common.files import write_atomically
from kidney_core.metrics import evaluation, intervals
from kidney_core.metrics.number_format import model_name, percent, percent_range
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import GROUPED, RANDOM
from kidney_core.runs import recipes
from kidney_core.runs.cross_validation import tested_predictions
from kidney_core.runs.curves import Curves
from kidney_core.runs.run_folder import Run

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "paper-recipe"
RUNS_FILE = "runs.json"
_SAID_ELSEWHERE = {"data", "architecture", "init", "protocol"}  # options that are told in other words


def keep(run: Run, folder: Path = FOLDER) -> None:
    """Keep the test predictions of a finished run, and what it was.

    Raises: RunError where the run is not finished.
    """
    config, data = run.config(), run.data()
    published = recipes.config_from_recipe(config.recipe, data=config.data)
    last = Curves().read(run).epochs[-1]
    row = {
        "architecture": config.architecture,
        "protocol": config.protocol,
        "initial_weights": Path(config.init).name,
        "recipe": config.recipe,
        "differs": {
            name: value
            for name, value in asdict(config).items()
            if value != getattr(published, name) and name not in _SAID_ELSEWHERE
        },
        "precision": {part: each["chosen"] for part, each in data["precision"].items()},
        "data": data["name"],
        "n_slices": data["n_slices"],
        "training_loss": last["train_loss"],
        "training_accuracy": last["train_accuracy"],
    }
    predictions = gzip.compress(tested_predictions(run).csv_bytes(), mtime=0)
    folder.mkdir(exist_ok=True)
    write_atomically(
        predictions_file(config.architecture, config.protocol, folder), lambda part: part.write_bytes(predictions)
    )
    store_row(folder / RUNS_FILE, row, ("architecture", "protocol"))


def predictions_file(architecture: str, protocol: str, folder: Path = FOLDER) -> Path:
    """Where the predictions of a run are kept."""
    return folder / f"{architecture}-{protocol}.csv.gz"


def kept_runs(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """What is kept of each run, as `keep` wrote it."""
    runs: list[dict[str, Any]] = json.loads((folder / RUNS_FILE).read_text(encoding="utf-8"))
    return runs


def table(folder: Path = FOLDER) -> str:
    """The paper's Table 1 beside ours, as Markdown: precision / recall / F1 of each class, and figures of the training."""
    titles = (
        "model",
        "source",
        *paper.COLUMNS,
        "accuracy (95 % interval over scans)",
        "training loss",
        "training accuracy",
    )
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    runs = kept_runs(folder)
    for architecture, printed in paper.TABLE_1.items():
        cells = [paper.format_cell(printed[column]) for column in paper.COLUMNS]
        of_training = f"{printed['training_loss']:.4f} | {percent(printed['training_accuracy'], 2)}"
        lines.append(
            f"| {model_name(architecture)} | paper, random split | {' | '.join(cells)} | "
            f"{percent(printed['accuracy'], 0)} | {of_training} |"
        )
        for protocol, source in ((RANDOM, "ours, random split"), (GROUPED, "**ours, unseen scans**")):
            for run in runs:
                if (run["architecture"], run["protocol"]) == (architecture, protocol):
                    lines.append(f"| | {source} | {_cells(run, folder)} |")
    return "\n".join(lines)


def _cells(run: dict[str, Any], folder: Path) -> str:
    predictions = Predictions.read_csv(predictions_file(run["architecture"], run["protocol"], folder))
    shown = paper.format_row(evaluation.metrics(predictions))
    accuracy = intervals.intervals(predictions)["accuracy"]
    return " | ".join(
        [
            *(shown[column] for column in paper.COLUMNS),
            f"{percent(accuracy.value)} ({percent_range(accuracy.low, accuracy.high)})",
            f"{run['training_loss']:.4f}",
            percent(run["training_accuracy"], 2),
        ]
    )


def main() -> int:
    """Keep the runs named on the command line."""
    for path in sys.argv[1:]:
        keep(Run(Path(path)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
