"""The README's tables of results: `python -m benchmarks.results_table`.

The shipped checkpoints come from their cards, the paper's recipe from docs/paper-recipe.json.
"""

import json
import sys
from pathlib import Path

from kidney_core import paper
from kidney_core.checkpoint import Checkpoint, list_checkpoints
from kidney_core.figures import model_name, percent, percent_range
from kidney_core.splits import RANDOM

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAPER_RECIPE = ROOT / "docs" / "paper-recipe.json"
START, END = "<!-- results: make results -->", "<!-- end of results -->"
PAPER_START, PAPER_END = "<!-- paper's recipe: make results -->", "<!-- end of paper's recipe -->"


def table(checkpoints: list[Checkpoint]) -> str:
    """One row a checkpoint, both protocols side by side."""
    lines = [
        "| checkpoint | start | random split: accuracy | balanced | **scans never seen: accuracy** | **balanced** | recall on scans never seen (Cyst, Normal, Stone, Tumor) |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_row(checkpoint) for checkpoint in checkpoints])


def _row(checkpoint: Checkpoint) -> str:
    cells = [f"{model_name(checkpoint.card['architecture'])}, {checkpoint.size_px} px"]
    cells.append("ImageNet" if checkpoint.card["training"]["init"] != "scratch" else "random")
    found = checkpoint.figures(RANDOM)
    cells += [percent(found["accuracy"]), percent(found["balanced_accuracy"])] if found else ["–", "–"]
    honest, ranges = checkpoint.honest_figures(), checkpoint.intervals(checkpoint.honest or "")
    for name in ("accuracy", "balanced_accuracy"):
        interval = f" ({percent_range(*ranges[name])})" if None not in ranges.get(name, [None]) else ""
        cells.append(f"**{percent(honest[name])}**{interval}" if honest else "–")
    recalls = [percent(honest["per_label"][label]["recall"], 0) for label in checkpoint.labels] if honest else []
    return "| " + " | ".join([*cells, ", ".join(recalls)]) + " |"


def paper_table(runs: list[dict]) -> str:
    """The paper's Table 1 beside ours: precision / recall / F1 of each class under both protocols."""
    lines = [f"| model | source | {' | '.join(paper.COLUMNS)} | accuracy |", "|---" * (len(paper.COLUMNS) + 3) + "|"]
    for architecture, printed in paper.TABLE_1.items():
        cells = [paper.cell(printed[column]) for column in paper.COLUMNS]
        lines.append(
            f"| {model_name(architecture)} | paper, random split | {' | '.join(cells)} | {printed['accuracy']:.2f} |"
        )
        for run in (run for run in runs if run["architecture"] == architecture):
            found = run["figures"]
            source = "ours, random split" if run["protocol"] == RANDOM else "**ours, scans never seen**"
            shown = paper.cells(found)
            cells = [shown[column] for column in paper.COLUMNS]
            lines.append(f"| | {source} | {' | '.join(cells)} | {found['accuracy']:.3f} |")
    return "\n".join(lines)


def replaced(text: str, start: str, end: str, content: str) -> str:
    """`text` with `content` between two markers."""
    before, rest = text.split(start)
    return f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"


def main() -> int:
    """Rewrite the tables in README.md."""
    text = replaced(README.read_text(), START, END, table(list_checkpoints()[0]))
    text = replaced(text, PAPER_START, PAPER_END, paper_table(json.loads(PAPER_RECIPE.read_text())))
    README.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
