"""The README's table of results, written from the cards of the checkpoints: `python -m benchmarks.results_table`."""

import sys
from pathlib import Path

from kidney_core.checkpoint import Checkpoint, list_checkpoints
from kidney_core.figures import model_name, percent

README = Path(__file__).resolve().parent.parent / "README.md"
START, END = "<!-- results: make results -->", "<!-- end of results -->"


def row(checkpoint: Checkpoint) -> str:
    """One line of the table: both protocols side by side."""
    cells = [f"{model_name(checkpoint.card['architecture'])}, {checkpoint.card['preprocessing']['size_px']} px"]
    cells.append("ImageNet" if checkpoint.card["training"]["init"] != "scratch" else "random")
    for protocol in ("random", "grouped"):
        found = checkpoint.figures(protocol)
        cells += [percent(found["accuracy"]), percent(found["balanced_accuracy"])] if found else ["–", "–"]
    grouped = checkpoint.figures("grouped")
    recalls = [percent(grouped["per_label"][label]["recall"], 0) for label in checkpoint.labels] if grouped else []
    return "| " + " | ".join([*cells, ", ".join(recalls)]) + " |"


def table(checkpoints: list[Checkpoint]) -> str:
    """The Markdown between the markers."""
    lines = [
        "| checkpoint | start | random split: accuracy | balanced | **scans never seen: accuracy** | **balanced** | recall on scans never seen (Cyst, Normal, Stone, Tumor) |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [row(checkpoint) for checkpoint in checkpoints])


def main() -> int:
    """Rewrite the table in README.md."""
    text = README.read_text()
    before, rest = text.split(START)
    _, after = rest.split(END)
    README.write_text(f"{before}{START}\n{table(list_checkpoints()[0])}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
