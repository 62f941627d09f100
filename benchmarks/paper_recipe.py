"""Collect finished runs of the paper's recipe into docs/paper-recipe.json: `python -m benchmarks.paper_recipe RUN...`.

`make results` writes the table of docs/results.md from that file.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks.results_file import store_row
from benchmarks.results_table import PAPER_RECIPE
from kidney_core.runs.run_folder import Run


def table_row(run: Run) -> dict[str, Any]:
    """A run as a row of the table."""
    config, data = run.config(), run.data()
    return {
        "architecture": config.architecture,
        "protocol": config.protocol,
        "init": "scratch" if config.init == "scratch" else "imagenet",
        "trainable": config.trainable,
        "image_size_px": config.image_size_px,
        "n_epochs": config.n_epochs,
        "data": data["name"],
        "n_slices": data["n_slices"],
        "test_series": data["test_series"],
        "figures": run.finished_report()["figures"],
    }


def main() -> int:
    """Add or replace the runs named on the command line."""
    for path in sys.argv[1:]:
        store_row(PAPER_RECIPE, table_row(Run(Path(path))), ("architecture", "protocol"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
