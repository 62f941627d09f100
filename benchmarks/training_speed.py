"""Training speed against a reference loop: `python -m benchmarks.training_speed FOLDER …`.

    --init mobilenetv2_100=FILE   initial weights of an architecture; random ones, in a file, by default
    --tasks, --architectures, --seeds, --n-slices    what to measure; each is one row of docs/training-speed.json
    --same-draws                  the same batches and flips in both loops, to compare accuracy instead of speed
    --image-size-px               another size than the task's
    --sizes 1000 2000 5000 10000  seconds of a run of the workbench by number of slices, for one architecture

Both loops are whole processes, timed from start to end: imports, reading and decoding the folder with an empty cache,
training, validation after each epoch, testing. The baseline is `benchmarks.reference_loop`; it gets the
workbench's configuration and split. `make results` writes the table of docs/speed.md from the JSON file.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from safetensors.torch import save_file

from benchmarks.results_file import store_row
from kidney_core.common.paper import ARCHITECTURE_NAMES
from kidney_core.data.dataset import read_dataset
from kidney_core.networks import models
from kidney_core.runs.recipes import config_from_recipe
from kidney_core.runs.run_folder import Run

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "training-speed.json"
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("paper", {}),
    "head": ("paper", {"trainable": "head"}),
    "full": ("paper", {"trainable": "all", "image_size_px": 160, "augmentation": "strong"}),
}


def run_measured(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Seconds of a command, peak memory of it and its children (PSS, MiB), and its output.

    Raises: RuntimeError with the output when it fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    peak, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            pss_bytes = 0
            for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                try:
                    pss_bytes += each.memory_full_info().pss
                except psutil.Error:  # it has just ended
                    continue
            peak[0] = max(peak[0], pss_bytes / 2**20)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    ended.set()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output[-3000:]}")
    return seconds, peak[0], output


def copy_subset(folder: Path, n_slices: int, target: Path) -> Path:
    """Copy `n_slices` slices of a dataset, evenly spaced in file order."""
    paths = read_dataset(folder).table["path"].tolist()
    for i in np.linspace(0, len(paths) - 1, n_slices).astype(int):
        copy = target / paths[i]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / paths[i], copy)
    return target


def initial_weights(task: str, architecture: str, given: dict[str, str], folder: Path) -> str:
    """The given file of weights, or random weights, which do as well for timing.

    The workbench refuses random frozen layers, so random weights are in a file; both loops then set the norms.
    """
    if architecture in given:
        return given[architecture]
    if TASKS[task][1].get("trainable") == models.ALL:
        return models.SCRATCH
    file = folder / f"{architecture}.safetensors"
    if not file.is_file():
        torch.manual_seed(0)
        save_file(models.build_model(architecture, 4).state_dict(), file)
    return str(file)


def train_with_workbench(task: str, **given: Any) -> tuple[Run, float, float]:
    """A finished run of the workbench on a task, its seconds and its memory; `given` are options of its configuration."""
    recipe, changes = TASKS[task]
    config = config_from_recipe(recipe, **{**changes, **given})
    run = Run.create(config, name=f"{task}-{config.architecture}-{config.seed}")
    with tempfile.TemporaryDirectory() as cache:
        environment = {"KIDNEY_CACHE": cache}
        seconds, memory, _ = run_measured([sys.executable, "train.py", "--resume", str(run.folder)], environment)
    return run, seconds, memory


def compare_loops(task: str, *, same_draws: bool = False, **given: Any) -> dict[str, Any]:
    """Both loops on the same task, as a row of the results."""
    run, ours_s, ours_mb = train_with_workbench(task, **given)
    command = [sys.executable, "-m", "benchmarks.reference_loop", str(run.folder)]
    baseline_s, baseline_mb, output = run_measured(command + ["--same-draws"] * same_draws, {})
    theirs, ours = json.loads(output.strip().splitlines()[-1]), run.finished_report()["figures"]
    y_pred = pd.read_csv(run.folder / "predictions.csv")["predicted"].map(run.data()["labels"].index).to_numpy()
    row = {
        "task": f"same-draws-{task}" if same_draws else task,
        "architecture": run.config().architecture,
        "seed": run.config().seed,
        "n_slices": run.data()["n_slices"],
        "n_epochs": run.config().n_epochs,
        "image_size_px": run.config().image_size_px,
        "machine": machine(),
        "n_tested": len(y_pred),
        "baseline_accuracy": round(theirs["accuracy"], 4),
        "ours_accuracy": round(ours["accuracy"], 4),
        "same_answers": int((y_pred == np.array(theirs["y_pred"])).sum()),
    }
    if same_draws:
        return row
    seconds = {"baseline_s": round(baseline_s, 1), "ours_s": round(ours_s, 1)}
    return row | seconds | {"baseline_mb": round(baseline_mb), "ours_mb": round(ours_mb)}


def machine() -> str:
    """A description of this machine."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return f"{cpu}, {os.cpu_count()} cores, torch {torch.__version__}"


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--init", nargs="*", default=[], metavar="ARCHITECTURE=FILE")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--architectures", nargs="*", default=list(ARCHITECTURE_NAMES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--n-slices", type=int, default=0, help="0: the whole folder")
    parser.add_argument("--same-draws", action="store_true")
    parser.add_argument("--image-size-px", type=int, default=0, help="0: as the task says")
    parser.add_argument("--sizes", nargs="*", type=int, default=[])
    options = parser.parse_args()
    given = dict(each.split("=", 1) for each in options.init)
    size = {"image_size_px": options.image_size_px} if options.image_size_px else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["KIDNEY_RUNS"] = str(folder / "runs")
        for n_slices in options.sizes:
            architecture = options.architectures[0]
            data = copy_subset(options.folder, n_slices, folder / f"data-{n_slices}")
            init = initial_weights(options.tasks[0], architecture, given, folder)
            run, seconds, memory = train_with_workbench(
                options.tasks[0], data=str(data), architecture=architecture, init=init, seed=n_slices
            )
            row = {
                "task": f"size-{options.tasks[0]}",
                "architecture": architecture,
                "n_slices": n_slices,
                "machine": machine(),
            }
            row |= {"ours_s": round(seconds, 1), "ours_mb": round(memory), "n_epochs": run.config().n_epochs}
            store_row(RESULTS, row, ("task", "architecture", "n_slices"))
            print(json.dumps(row), flush=True)
        if options.sizes:
            return
        data = copy_subset(options.folder, options.n_slices, folder / "data") if options.n_slices else options.folder
        for seed in options.seeds:
            for task in options.tasks:
                for architecture in options.architectures:
                    init = initial_weights(task, architecture, given, folder)
                    changes = {"data": str(data), "architecture": architecture, "init": init, "seed": seed, **size}
                    row = compare_loops(task, same_draws=options.same_draws, **changes)
                    store_row(RESULTS, row, ("task", "architecture", "image_size_px", "n_slices", "seed"))
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
