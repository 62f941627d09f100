"""The README's tables of results: `python -m benchmarks.results_table`.

The shipped checkpoints come from their cards, the paper's recipe from docs/paper-recipe.json, speeds from
docs/training-speed.json, docs/inference-speed.json and docs/app-speed.json, where the benchmarks of those names keep them.
"""

import itertools
import json
import statistics
import sys
from pathlib import Path

import numpy as np

from kidney_core import paper
from kidney_core.checkpoint import Checkpoint, list_checkpoints
from kidney_core.explanation import DEFAULT_METHOD
from kidney_core.figures import model_name, percent, percent_range
from kidney_core.splits import RANDOM

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAPER_RECIPE = ROOT / "docs" / "paper-recipe.json"
START, END = "<!-- results: make results -->", "<!-- end of results -->"
TRAINING_SPEED = ROOT / "docs" / "training-speed.json"
INFERENCE_SPEED = ROOT / "docs" / "inference-speed.json"
APP_SPEED = ROOT / "docs" / "app-speed.json"
SPEED_START, SPEED_END = "<!-- speed: make results -->", "<!-- end of speed -->"
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
        ours = [run for run in runs if run["architecture"] == architecture]
        for run in sorted(ours, key=lambda run: run["protocol"] != RANDOM):
            found = run["figures"]
            source = "ours, random split" if run["protocol"] == RANDOM else "**ours, scans never seen**"
            shown = paper.cells(found)
            cells = [shown[column] for column in paper.COLUMNS]
            lines.append(f"| | {source} | {' | '.join(cells)} | {found['accuracy']:.3f} |")
    return "\n".join(lines)


TASKS = {"paper": "the paper's recipe (last block)", "head": "head only", "full": "all layers, strong augmentation"}


def by_seed(rows: list[dict]) -> dict[tuple[str, str, int, int], list[dict]]:
    """(task, architecture, slices, px) -> one row a seed."""
    grouped: dict[tuple[str, str, int, int], list[dict]] = {}
    for row in rows:
        key = (row["task"], row["architecture"], row["n_slices"], row["image_size_px"])
        grouped.setdefault(key, []).append(row)
    return grouped


def training_speed_table(rows: list[dict]) -> str:
    """One row a task and architecture: both loops, the medians over their seeds."""
    lines = [
        "| what learns | network | slices, px, epochs, seeds | loop one would write | workbench | times as fast | memory | random split: accuracy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    measured = by_seed([row for row in rows if "baseline_s" in row])
    sizes = sorted({key[2:] for key in measured})
    for task, title in TASKS.items():
        for architecture, (n_slices, size_px) in itertools.product(paper.ARCHITECTURE_NAMES, sizes):
            seeds = measured.get((task, architecture, n_slices, size_px))
            if not seeds:
                continue
            one = seeds[0]
            middle = {
                name: statistics.median(row[name] for row in seeds) for name in one if name.startswith(("ours", "base"))
            }
            mean = {whose: statistics.mean(row[f"{whose}_accuracy"] for row in seeds) for whose in ("baseline", "ours")}
            ratio = statistics.median(row["baseline_s"] / row["ours_s"] for row in seeds)
            lines.append(
                f"| {title} | {model_name(architecture)} | {n_slices:,}, {size_px}, {one['n_epochs']}, "
                f"{len(seeds)} | {middle['baseline_s']:.0f} s | {middle['ours_s']:.0f} s | **{ratio:.1f}** | "
                f"{middle['baseline_mb'] / 1024:.1f} → {middle['ours_mb'] / 1024:.1f} GiB | "
                f"{percent(mean['baseline'], 2)} → {percent(mean['ours'], 2)} |"
            )
    return "\n".join(lines)


SAME_DRAWS = "same-draws-"


def equality_table(rows: list[dict]) -> str:
    """What both loops make of the same batches, over all seeds and one by one."""
    measured = by_seed([row for row in rows if row["task"].startswith(SAME_DRAWS)])
    if not measured:
        return ""
    lines = [
        "| same batches and flips in both loops | network | slices, px, seeds | loop one would write: random split, accuracy | workbench | same answer |",
        "|---|---|---|---|---|---|",
    ]
    for (task, architecture, n_slices, size_px), seeds in measured.items():
        cells = [TASKS[task.removeprefix(SAME_DRAWS)], model_name(architecture)]
        cells.append(f"{n_slices:,}, {size_px}, {len(seeds)}")
        n_tested = sum(row["n_tested"] for row in seeds)
        for whose in ("baseline", "ours"):
            mean = sum(row[f"{whose}_accuracy"] * row["n_tested"] for row in seeds) / n_tested
            cells.append(f"**{percent(mean, 2)}** ({', '.join(percent(row[f'{whose}_accuracy']) for row in seeds)})")
        cells.append(f"{sum(row['same_answers'] for row in seeds):,} of {n_tested:,}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def growth(rows: list[dict]) -> str:
    """Seconds against the number of slices, and the straight line through them."""
    sizes = sorted((row for row in rows if row["task"].startswith("size-")), key=lambda row: row["n_slices"])
    if len(sizes) < 3:
        return ""
    n, seconds = (np.array([row[name] for row in sizes], float) for name in ("n_slices", "ours_s"))
    slope, start = np.polyfit(n, seconds, 1)
    explained = 1 - ((seconds - start - slope * n) ** 2).sum() / ((seconds - seconds.mean()) ** 2).sum()
    listed = ", ".join(f"{row['n_slices']:,} slices {row['ours_s']:.0f} s" for row in sizes)
    return (
        f"{model_name(sizes[0]['architecture'])}, {TASKS[sizes[0]['task'].removeprefix('size-')]}, {sizes[0]['n_epochs']} epochs: "
        f"{listed}; a straight line of {start:.0f} s and {1000 * slope:.0f} s for every 1,000 slices (R² {explained:.4f})."
    )


def inference_speed_table(rows: list[dict]) -> str:
    """Slices a second, one row a checkpoint."""
    ways = list(dict.fromkeys(way for row in rows for way in row["slices_per_s"]))
    lines = [f"| slices a second | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
    for row in rows:
        rates = row["slices_per_s"]
        cells = [f"{rates[way]:.0f} ({rates[way] / rates['baseline']:.1f} x)" if way in rates else "–" for way in ways]
        lines.append(f"| {model_name(row['architecture'])}, {row['image_size_px']} px | {' | '.join(cells)} |")
    return "\n".join(lines)


def app_speed(found: dict) -> str:
    """What a user waits for."""
    app = found["app"]
    warm = ", ".join(
        f"{name} {values[f'with {DEFAULT_METHOD}']:.0f} ms ({values[f'ratio, {DEFAULT_METHOD}']:.1f} times the bare forward pass)"
        for name, values in found["diagnosis"].items()
    )
    return (
        f"The app: a fresh server answers after {app['server answers'] / 1000:.1f} s and shows its first page "
        f"{app['first paint'] / 1000:.1f} s later; the first diagnosis, asked for at once, takes "
        f"{app['first diagnosis'] / 1000:.1f} s from the click to the verdict with its map. Later ones in the core, with a map: "
        f"{warm}. Another page: {app['page switch'] / 1000:.1f} s. Memory with every checkpoint loaded: "
        f"{app['peak memory, MiB'] / 1024:.1f} GiB."
    )


def speed() -> str:
    """All that was measured of speed, with the machine."""
    training, inference = (
        json.loads(path.read_text()) if path.is_file() else [] for path in (TRAINING_SPEED, INFERENCE_SPEED)
    )
    app = json.loads(APP_SPEED.read_text()) if APP_SPEED.is_file() else None
    machines = sorted({row["machine"] for row in [*training, *inference, *([app] if app else [])]})
    parts = [
        training_speed_table(training),
        equality_table(training),
        growth(training),
        inference_speed_table(inference),
        app_speed(app) if app else "",
    ]
    return "\n\n".join([*(part for part in parts if part), f"Measured on: {'; '.join(machines)}."])


def replaced(text: str, start: str, end: str, content: str) -> str:
    """`text` with `content` between two markers."""
    before, rest = text.split(start)
    return f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"


def main() -> int:
    """Rewrite the tables in README.md."""
    text = replaced(README.read_text(), START, END, table(list_checkpoints()[0]))
    text = replaced(text, PAPER_START, PAPER_END, paper_table(json.loads(PAPER_RECIPE.read_text())))
    if any(path.is_file() for path in (TRAINING_SPEED, INFERENCE_SPEED, APP_SPEED)):
        text = replaced(text, SPEED_START, SPEED_END, speed())
    README.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
