"""The speed of training against the loop that one would write: `python -m benchmarks.training_speed FOLDER …`.

    --init mobilenetv2_100=FILE   ImageNet weights; an architecture without any starts from random ones in a file
    --tasks, --architectures, --seeds, --n-slices    what is measured; one row each is kept in docs/training-speed.json
    --same-draws                  the same batches and flips through both loops, for their accuracy instead of their speed
    --image-size-px               another size than the task's
    --sizes 1000 2000 5000 10000  seconds of the workbench's run against the number of slices, one architecture

Both loops are whole processes, timed from start to end: imports, reading and decoding the folder with an empty cache,
training, the watched part after each epoch, the test part. The baseline is `benchmarks.reference_loop`; it gets the
workbench's configuration and split. `make results` writes the README's table from the JSON file.
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

from benchmarks.kept import keep
from kidney_core import models
from kidney_core.paper import ARCHITECTURE_NAMES
from kidney_core.recipes import config_from_recipe
from kidney_core.runs import Run

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "training-speed.json"
TASKS = {
    "paper": ("paper", {}),
    "head": ("paper", {"trainable": "head"}),
    "full": ("paper", {"trainable": "all", "image_size_px": 160, "augmentation": "strong"}),
}


def measured(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Seconds of a command, the most memory that it and its children held (PSS, MiB), and what it printed.

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
            held = 0
            for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                try:
                    held += each.memory_full_info().pss
                except psutil.Error:  # it has just ended
                    continue
            peak[0] = max(peak[0], held / 2**20)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    ended.set()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output[-3000:]}")
    return seconds, peak[0], output


def part_of(folder: Path, n_slices: int, target: Path) -> Path:
    """A copy of `n_slices` of a folder, evenly taken in file order from every class."""
    files = [file for each in sorted(folder.iterdir()) if each.is_dir() for file in sorted(each.iterdir())]
    for i in np.linspace(0, len(files) - 1, n_slices).astype(int):
        copy = target / files[i].relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[i], copy)
    return target


def start_of(task: str, architecture: str, given: dict[str, str], folder: Path) -> str:
    """What to start from: the given file of weights, or random ones, which serve as well for timing.

    Frozen layers may not be random by the workbench's rules, so that these come as a file, of which both loops set the norms.
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


def our_run(task: str, **given: Any) -> tuple[Run, float, float]:
    """A finished run of the workbench on a task, with its seconds and its memory; `given` goes into its configuration."""
    recipe, changes = TASKS[task]
    config = config_from_recipe(recipe, **{**changes, **given})
    run = Run.create(config, name=f"{task}-{config.architecture}-{config.seed}")
    with tempfile.TemporaryDirectory() as cache:
        environment = {"KIDNEY_CACHE": cache}
        seconds, memory, _ = measured([sys.executable, "train.py", "--resume", str(run.folder)], environment)
    return run, seconds, memory


def compared(task: str, *, same_draws: bool = False, **given: Any) -> dict:
    """One row: both loops on the same task."""
    run, ours_s, ours_mb = our_run(task, **given)
    command = [sys.executable, "-m", "benchmarks.reference_loop", str(run.folder)]
    baseline_s, baseline_mb, output = measured(command + ["--same-draws"] * same_draws, {})
    theirs, ours = json.loads(output.strip().splitlines()[-1]), run.report()["figures"]
    answered = pd.read_csv(run.folder / "predictions.csv")["predicted"].map(run.data()["labels"].index).to_numpy()
    row = {
        "task": f"same-draws-{task}" if same_draws else task,
        "architecture": run.config().architecture,
        "seed": run.config().seed,
        "n_slices": run.data()["n_slices"],
        "n_epochs": run.config().n_epochs,
        "image_size_px": run.config().image_size_px,
        "machine": machine(),
        "n_tested": len(answered),
        "baseline_accuracy": round(theirs["accuracy"], 4),
        "ours_accuracy": round(ours["accuracy"], 4),
        "same_answers": int((answered == np.array(theirs["answers"])).sum()),
    }
    if same_draws:
        return row
    seconds = {"baseline_s": round(baseline_s, 1), "ours_s": round(ours_s, 1)}
    return row | seconds | {"baseline_mb": round(baseline_mb), "ours_mb": round(ours_mb)}


def machine() -> str:
    """What it was measured on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{cpu}, {os.cpu_count()} cores, torch {torch.__version__}"


def main() -> None:
    """Measure what the command line asks for."""
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
            data = part_of(options.folder, n_slices, folder / f"data-{n_slices}")
            init = start_of(options.tasks[0], architecture, given, folder)
            run, seconds, memory = our_run(
                options.tasks[0], data=str(data), architecture=architecture, init=init, seed=n_slices
            )
            row = {
                "task": f"size-{options.tasks[0]}",
                "architecture": architecture,
                "n_slices": n_slices,
                "machine": machine(),
            }
            row |= {"ours_s": round(seconds, 1), "ours_mb": round(memory), "n_epochs": run.config().n_epochs}
            keep(RESULTS, row, ("task", "architecture", "n_slices"))
            print(json.dumps(row), flush=True)
        if options.sizes:
            return
        data = part_of(options.folder, options.n_slices, folder / "data") if options.n_slices else options.folder
        for seed in options.seeds:
            for task in options.tasks:
                for architecture in options.architectures:
                    init = start_of(task, architecture, given, folder)
                    run_of = {"data": str(data), "architecture": architecture, "init": init, "seed": seed, **size}
                    row = compared(task, same_draws=options.same_draws, **run_of)
                    keep(RESULTS, row, ("task", "architecture", "image_size_px", "n_slices", "seed"))
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
