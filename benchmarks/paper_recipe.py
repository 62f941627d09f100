"""Collect finished runs of the paper's recipe into docs/paper-recipe.json: `python -m benchmarks.paper_recipe RUN...`.

`make results` writes the README's table from that file.
"""

import json
import sys
from pathlib import Path

from benchmarks.results_table import PAPER_RECIPE
from kidney_core.files import write_json
from kidney_core.runs import Run


def described(run: Run) -> dict:
    """What the table shows of a run."""
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
        "figures": run.report()["figures"],
    }


def main() -> int:
    """Add or replace the runs named on the command line."""
    kept = json.loads(PAPER_RECIPE.read_text()) if PAPER_RECIPE.is_file() else []
    for path in sys.argv[1:]:
        new = described(Run(Path(path)))
        key = (new["architecture"], new["protocol"])
        kept = [old for old in kept if (old["architecture"], old["protocol"]) != key] + [new]
    write_json(PAPER_RECIPE, sorted(kept, key=lambda row: (row["architecture"], row["protocol"] != "random")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
