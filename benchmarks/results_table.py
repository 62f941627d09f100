"""The generated tables of README.md and docs/: `python -m benchmarks.results_table`.

The shipped checkpoints come from their cards, the paper's recipe from docs/paper-recipe/, speeds from
docs/training-speed.json, docs/inference-speed.json and docs/app-speed.json, where the benchmarks of those names keep them,
the options of a training and the environment variables from the code.
"""

import itertools
import json
import statistics
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

from benchmarks import paper_recipe
from kidney_core.checkpoints import hospital_results
from kidney_core.checkpoints.checkpoint import Checkpoint, list_checkpoints
from kidney_core.common import paper, settings
from kidney_core.kidneys import finder
from kidney_core.metrics import intervals
from kidney_core.metrics.number_format import model_name, percent, percent_range
from kidney_core.metrics.splits import RANDOM
from kidney_core.networks.explanation import DEFAULT_METHOD
from kidney_core.runs.recipes import RECIPES, TrainingConfig
from kidney_core.training.finder_evaluation import MEASURES

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "docs" / "results.md"
SPEED = ROOT / "docs" / "speed.md"
COMMAND_LINE = ROOT / "docs" / "command-line.md"
SETTINGS = ROOT / "docs" / "settings.md"
FINDER_PAGE = ROOT / "docs" / "kidney-finder.md"
START, END = "<!-- results: make results -->", "<!-- end of results -->"
TRAINING_SPEED = ROOT / "docs" / "training-speed.json"
INFERENCE_SPEED = ROOT / "docs" / "inference-speed.json"
APP_SPEED = ROOT / "docs" / "app-speed.json"
SPEED_START, SPEED_END = "<!-- speed: make results -->", "<!-- end of speed -->"
OPTIONS_START, OPTIONS_END = "<!-- options: make results -->", "<!-- end of options -->"
SETTINGS_START, SETTINGS_END = "<!-- settings: make results -->", "<!-- end of settings -->"
PICTURES_START, PICTURES_END = "<!-- picture check: make results -->", "<!-- end of picture check -->"
FINDER_START, FINDER_END = "<!-- kidney finder: make results -->", "<!-- end of kidney finder -->"
HOSPITALS_START, HOSPITALS_END = "<!-- other hospitals: make results -->", "<!-- end of other hospitals -->"
ANSWERS_START, ANSWERS_END = "<!-- answers: make results -->", "<!-- end of answers -->"
HEATMAPS_START, HEATMAPS_END = "<!-- heatmaps: make results -->", "<!-- end of heatmaps -->"
PAPER_START, PAPER_END = "<!-- paper's recipe: make results -->", "<!-- end of paper's recipe -->"


def compact_table(checkpoints: list[Checkpoint]) -> str:
    """One row a checkpoint: both protocols and the headlines of other hospitals, each with its 95 % interval where it has one."""
    rows, hospitals = [], []
    for checkpoint in checkpoints:
        unseen = checkpoint.unseen_protocol or ""
        row = {
            "random split: accuracy": _with_interval(checkpoint, RANDOM, "accuracy"),
            "**unseen scans: balanced accuracy**": f"**{_with_interval(checkpoint, unseen, 'balanced_accuracy')}**",
            "**per scan**": f"**{_per_scan(checkpoint, unseen)}**",
        }
        measured = checkpoint.other_hospitals()
        of_hospitals = {
            f"{line.source}: {line.what}": line.value
            for line in hospital_results.headlines(measured or {"sources": {}})
        }
        rows.append((_name(checkpoint), row, of_hospitals))
        hospitals += list(of_hospitals)
    titles = [*rows[0][1], *dict.fromkeys(hospitals)]
    lines = [f"| checkpoint | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name, row, of_hospitals in rows:
        cells = [(row | of_hospitals).get(title, "–").replace(" to ", "–") for title in titles]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(checkpoints: list[Checkpoint]) -> str:
    """One row a checkpoint: both protocols with intervals, initial weights, and the recall of each label."""
    lines = [
        "| checkpoint | initial weights | random split: accuracy | random split: balanced accuracy | **unseen scans: accuracy** "
        "| **unseen scans: balanced accuracy** | unseen scans: recall of Cyst, Normal, Stone, Tumor | **unseen scans: balanced accuracy per scan** |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_row(checkpoint) for checkpoint in checkpoints])


def _row(checkpoint: Checkpoint) -> str:
    measures, unseen = ("accuracy", "balanced_accuracy"), checkpoint.unseen_protocol or ""
    cells = [_name(checkpoint), "ImageNet" if checkpoint.card["training"]["init"] != "scratch" else "random"]
    cells += [_with_interval(checkpoint, RANDOM, measure) for measure in measures]
    cells += [f"**{_with_interval(checkpoint, unseen, measure)}**" for measure in measures]
    metrics = checkpoint.metrics(unseen)
    recalls = [percent(metrics["per_label"][label]["recall"], 0) for label in checkpoint.labels] if metrics else []
    return "| " + " | ".join([*cells, ", ".join(recalls), f"**{_per_scan(checkpoint, unseen)}**"]) + " |"


def _name(checkpoint: Checkpoint) -> str:
    return f"{model_name(checkpoint.card['architecture'])}, {checkpoint.size_px} px"


def _per_scan(checkpoint: Checkpoint, protocol: str) -> str:
    """The balanced accuracy of the mean prediction for each scan, with its 95 % interval; a dash where it was not measured."""
    predictions = checkpoint.predictions(protocol) if protocol else None
    if predictions is None:
        return "–"
    found = intervals.intervals(predictions.per_series())["balanced_accuracy"]
    return percent(found.value) + ("" if found.low is None else f" ({percent_range(found.low, found.high)})")


def _with_interval(checkpoint: Checkpoint, protocol: str, measure: str) -> str:
    """A metric of the card with its 95 % interval in brackets, where it has one; a dash where it was not measured."""
    metrics = checkpoint.metrics(protocol)
    if not metrics:
        return "–"
    low, high = checkpoint.intervals(protocol).get(measure, (None, None))
    return percent(metrics[measure]) + ("" if low is None else f" ({percent_range(low, high)})")


def hospitals_table(checkpoints: list[Checkpoint]) -> str:
    """One row a result on another hospital, one column a checkpoint; of reported scans every finding in every phase."""
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for checkpoint in checkpoints:
        measured = checkpoint.other_hospitals()
        for line in hospital_results.headlines(measured, findings=True) if measured else []:
            cells.setdefault((line.source, line.what, line.tested_on), {})[checkpoint.name] = line.value
    names = [checkpoint.name for checkpoint in checkpoints]
    titles = [model_name(checkpoint.card["architecture"]) for checkpoint in checkpoints]
    lines = [f"| hospital | measure | tested on | {' | '.join(titles)} |", "|---" * (len(names) + 3) + "|"]
    for (source, what, tested_on), values in cells.items():
        lines.append(f"| {source} | {what} | {tested_on} | {' | '.join(values.get(name, '–') for name in names)} |")
    return "\n".join(lines)


def answers_table(checkpoints: list[Checkpoint]) -> str:
    """One row a checkpoint and label: from which confidence it is answered, and how often that is wrong, measured nested."""
    lines = [
        "| checkpoint | answer | given from | wrong on unseen scans (95 % interval over scans) | answers tested |",
        "|---|---|---|---|---|",
    ]
    for checkpoint in checkpoints:
        entry = checkpoint.card["abstention"]
        for label, row in entry["by_label"].items():
            threshold, (low, high) = entry["thresholds"][label], row["interval"]
            interval = "" if low is None else f" ({percent_range(low, high)})"
            cells = [
                model_name(checkpoint.card["architecture"]),
                label,
                "never" if threshold is None else percent(threshold, 0),
                "–" if row["error"] is None else f"{percent(row['error'])}{interval}",
                f"{row['n']:,} slices of {row['n_scans']} scans",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def heatmaps_table(checkpoints: list[Checkpoint]) -> str:
    """One row a checkpoint and set of slices: how often the default method points at the lesion, and the best null map."""
    lines = [
        f"| checkpoint, {DEFAULT_METHOD} | slices | hits | best null map | better than every null map |",
        "|---|---|---|---|---|",
    ]
    for checkpoint in checkpoints:
        for name, measured in ((checkpoint.explanations() or {}).get("sets", {})).items():
            row = measured["methods"].get(DEFAULT_METHOD)
            if row is None or "nulls" not in row:
                continue
            null = row["best_null"]
            cells = [
                model_name(checkpoint.card["architecture"]),
                f"{measured['n']} of {name}",
                percent(row["hits"] / measured["n"], 0),
                f"{percent(row['nulls'][null]['hits'] / measured['n'], 0)} ({null})",
                "yes" if row["beats"] else "no",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TASKS = {"paper": "paper's recipe (last block)", "head": "head only", "full": "all layers, strong augmentation"}


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
        "| what is trained | network | slices, px, epochs, seeds | reference loop | workbench | speed-up | peak memory | random split: accuracy |",
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
    """Accuracy of both loops after the same batches, pooled over the seeds and seed by seed."""
    measured = by_seed([row for row in rows if row["task"].startswith(SAME_DRAWS)])
    if not measured:
        return ""
    lines = [
        "| same batches and flips in both loops | network | slices, px, seeds | reference loop: accuracy, random split | workbench: accuracy, random split | same prediction |",
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
        f"{listed}. A straight line fits: {start:.0f} s, plus {1000 * slope:.0f} s for every 1,000 slices (R² {explained:.4f})."
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


def app_speed(measured: dict) -> str:
    """The times a user waits, and the memory of the server."""
    app = measured["app"]
    warm = ", ".join(
        f"{name} {values[f'with {DEFAULT_METHOD}']:.0f} ms ({values[f'ratio, {DEFAULT_METHOD}']:.1f} times the bare forward pass)"
        for name, values in measured["diagnosis"].items()
    )
    return (
        f"A new server answers after {app['server answers'] / 1000:.1f} s and paints its first page "
        f"{app['first paint'] / 1000:.1f} s later. The first diagnosis takes {app['first diagnosis'] / 1000:.1f} s from the click "
        f"to the verdict with its heatmap. Later ones, in the core and with a heatmap: {warm}. Another page: "
        f"{app['page switch'] / 1000:.1f} s. Memory with every checkpoint loaded: {app['peak memory, MiB'] / 1024:.1f} GiB."
    )


def page_speed_table(measured: dict) -> str:
    """How long each page takes to its first useful content."""
    warm, cold = measured["warm"], measured["cold"]
    lines = [
        "| page | first useful content, new server | after a click | compared with the fastest page |",
        "|---|---|---|---|",
    ]
    for title, milliseconds in warm.items():
        ratio = milliseconds / min(warm.values())
        lines.append(f"| {title} | {cold[title] / 1000:.1f} s | {milliseconds / 1000:.2f} s | {ratio:.1f} x |")
    return "\n".join([*lines, "", f"On {measured['machine']}; load before: {measured['load']} a core."])


def speed() -> str:
    """Every speed measurement, with the machine."""
    training, inference = (
        json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        for path in (TRAINING_SPEED, INFERENCE_SPEED)
    )
    app = json.loads(APP_SPEED.read_text(encoding="utf-8")) if APP_SPEED.is_file() else None
    machines = sorted({row["machine"] for row in [*training, *inference, *([app] if app else [])]})
    parts = [
        training_speed_table(training),
        equality_table(training),
        growth(training),
        inference_speed_table(inference),
        app_speed(app) if app else "",
        page_speed_table(app["pages"]) if app and "pages" in app else "",
    ]
    return "\n\n".join([*(part for part in parts if part), f"Everything else was measured on: {'; '.join(machines)}."])


def options_table() -> str:
    """One row an option of `kidney-ct train`, with its default in each recipe."""
    titles = [f"`{name}`" for name in RECIPES]
    lines = [f"| option | {' | '.join(titles)} | meaning |", "|---|" + "---|" * len(RECIPES) + "---|"]
    for option in fields(TrainingConfig):
        of_recipes = [changes.get(option.name, option.default) for changes in RECIPES.values()]
        defaults = [f"`{value}`" if value != "" else "–" for value in of_recipes]
        if option.name == "recipe":
            defaults = titles
        lines.append(f"| `--{option.name.replace('_', '-')}` | {' | '.join(defaults)} | {option.metadata['help']} |")
    return "\n".join(lines)


def settings_table() -> str:
    """One row an environment variable: its default, its meaning, and the modules that read it."""
    constants = {setting: name for name, setting in vars(settings).items() if isinstance(setting, settings.Setting)}
    sources = {
        path.relative_to(ROOT): path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "kidney_core").rglob("*.py"))
    }
    lines = ["| variable | default | what it sets | read by |", "|---|---|---|---|"]
    for setting in settings.SETTINGS:
        name = constants[setting]
        used = (f"settings.{name}.", f"settings.{name.lower()}_folder(")
        readers = [f"`{path}`" for path, text in sources.items() if any(each in text for each in used)]
        cells = [f"`{setting.name}`", setting.default, setting.meaning]
        lines.append(f"| {' | '.join(cells)} | {', '.join(readers) or '`kidney_core/common/settings.py`'} |")
    return "\n".join(lines)


def finder_table() -> str:
    """The figures of the shipped kidney finder by plane, each the mean over the volumes and the lowest of them."""
    card = finder.read_card(settings.SHIPPED_CHECKPOINTS / finder.FOLDER)
    planes = list(card["metrics"])
    lines = [f"Protocol: {card['protocol']}. Mean over the volumes (lowest of them).", ""]
    lines += [f"| measure | {' | '.join(planes)} |", f"|---|{'---|' * len(planes)}"]
    for name, title in MEASURES.items():
        cells = [card["metrics"][plane][name] for plane in planes]
        shown = [f"{each['mean']:.3f} ({each['lowest']:.3f})" for each in cells]
        lines.append(f"| {title} | {' | '.join(shown)} |")
    return "\n".join(lines)


def picture_check_table() -> str:
    """How well the finder's check tells turned pictures and contact sheets, by source."""
    measured = finder.read_card(settings.SHIPPED_CHECKPOINTS / finder.FOLDER)["picture_check"]
    names = ("upright_refused", "turned_found", "several_found")
    lines = [
        f"Protocol: {measured['protocol']}.",
        "",
        "| source | slices | scans | upright slices refused | turned ones found | contact sheets found |",
        "|---|---|---|---|---|---|",
    ]
    for source, row in measured["metrics"].items():
        shares = " | ".join(f"{100 * row[name]:.1f} %" for name in names)
        lines.append(f"| {source} | {row['n']:,} | {row['n_scans']} | {shares} |")
    return "\n".join(lines)


def replaced(text: str, start: str, end: str, content: str) -> str:
    """`text` with `content` between two markers."""
    before, rest = text.split(start)
    return f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"


def rewrite(page: Path, start: str, end: str, content: str) -> None:
    """Replace what a page holds between two markers."""
    page.write_text(replaced(page.read_text(encoding="utf-8"), start, end, content), encoding="utf-8")


def main() -> int:
    """Rewrite the tables."""
    checkpoints = list_checkpoints()[0]
    rewrite(README, START, END, compact_table(checkpoints))
    rewrite(RESULTS, START, END, table(checkpoints))
    rewrite(RESULTS, HOSPITALS_START, HOSPITALS_END, hospitals_table(checkpoints))
    rewrite(RESULTS, ANSWERS_START, ANSWERS_END, answers_table(checkpoints))
    rewrite(RESULTS, HEATMAPS_START, HEATMAPS_END, heatmaps_table(checkpoints))
    rewrite(RESULTS, PAPER_START, PAPER_END, paper_recipe.table())
    rewrite(COMMAND_LINE, OPTIONS_START, OPTIONS_END, options_table())
    rewrite(SETTINGS, SETTINGS_START, SETTINGS_END, settings_table())
    rewrite(FINDER_PAGE, FINDER_START, FINDER_END, finder_table())
    rewrite(FINDER_PAGE, PICTURES_START, PICTURES_END, picture_check_table())
    if any(path.is_file() for path in (TRAINING_SPEED, INFERENCE_SPEED, APP_SPEED)):
        rewrite(SPEED, SPEED_START, SPEED_END, speed())
    return 0


if __name__ == "__main__":
    sys.exit(main())
