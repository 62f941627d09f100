"""A training run on disk: a folder that a person can read and a kill cannot break.

runs/<name>/
    config.json         what was asked for (TrainingConfig)
    data.json           what was found in the dataset: counts, series, parts, unreadable files
    state.json          where it stands: state, step, message; replaced whole
    split.csv           every slice with its label, series and part
    metrics.jsonl       one line a measurement, appended; readers ignore a torn last line
    log.txt             what the process printed
    last.safetensors    everything needed to go on; replaced whole
    best.safetensors    the weights that will be reported
    predictions.csv     test slices with their probabilities, once finished
    report.json         the figures, once finished
"""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kidney_core.errors import RunError

QUEUED, RUNNING, STOPPED, FINISHED, FAILED = "queued", "running", "stopped", "finished", "failed"
CRASHED = "crashed"  # never written: a folder says running or queued and no process holds its lock


def _option(default: Any, help: str, choices: tuple[str, ...] | None = None, limits: tuple | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices, "limits": limits})


@dataclass(frozen=True)
class TrainingConfig:
    """What a training run is asked to do; the defaults are the paper's recipe.

    `python train.py --data FOLDER --architecture mobilenetv2_100` trains it as published: ImageNet
    weights, new head, early layers frozen, 224 x 224, horizontal flip, random 80/20 split,
    batch 32, 10 epochs, cross-entropy. The paper names no optimizer: Adam at 1e-3 is our choice.
    """

    data: str = _option("", "folder with one folder of images per class")
    architecture: str = _option("mobilenetv2_100", "timm name, or ResNet18, MobileNetV2, EfficientNet-B0")
    recipe: str = _option("paper", "named set of defaults that the other options change", ("paper", "augmented"))
    init: str = _option("imagenet", "imagenet (downloads), scratch, or the path of a safetensors file")
    trainable: str = _option("last-block", "which layers learn", ("head", "last-block", "all"))
    image_size_px: int = _option(224, "side of the square the network sees", limits=(32, 1024))
    n_epochs: int = _option(10, "passes over the training part", limits=(1, 1000))
    batch_size: int = _option(32, "images a step", limits=(1, 4096))
    optimizer: str = _option("adam", "update rule", ("adam", "adamw", "sgd"))
    learning_rate: float = _option(1e-3, "peak learning rate", limits=(1e-7, 10.0))
    weight_decay: float = _option(0.0, "decay of the weights per unit of learning rate", limits=(0.0, 1.0))
    schedule: str = _option("constant", "course of the learning rate", ("constant", "one-cycle"))
    label_smoothing: float = _option(0.0, "share of each target spread over all classes", limits=(0.0, 0.5))
    augmentation: str = _option("flip", "random changes of the training images", ("none", "flip", "strong"))
    protocol: str = _option("random", "random (the paper) or grouped (no scan on both sides)", ("random", "grouped"))
    test_fraction: float = _option(0.2, "share of the slices that is tested on", limits=(0.05, 0.5))
    validation_fraction: float = _option(
        0.0, "share kept to choose the best epoch and calibrate; 0 watches the test part, as the paper", limits=(0, 0.4)
    )
    extra_data: str = _option("", "second folder, used for training only (simulated slices, say)")
    seed: int = _option(0, "seed of split, order, augmentation and weights", limits=(0, 2**31 - 1))
    device: str = _option("auto", "auto, cuda, mps or cpu")

    def validated(self) -> "TrainingConfig":
        """Return self, or raise RunError naming the first option out of its range."""
        for option in fields(self):
            value, choices, limits = getattr(self, option.name), option.metadata["choices"], option.metadata["limits"]
            if choices and value not in choices:
                raise RunError(f"{option.name} must be one of {', '.join(choices)}; it is “{value}”.")
            if limits and not limits[0] <= value <= limits[1]:
                raise RunError(f"{option.name} must be between {limits[0]} and {limits[1]}; it is {value}.")
        if not self.data:
            raise RunError("No dataset is given. Name the folder that holds one folder of images per class.")
        if self.test_fraction + self.validation_fraction > 0.8:
            raise RunError("Test and validation take more than 80 % of the slices. Lower one of the fractions.")
        if self.init == "scratch" and self.trainable != "all":
            raise RunError(
                f"init “scratch” with trainable “{self.trainable}” would keep random layers frozen for ever. "
                "Choose trainable “all”, or start from weights."
            )
        return self


# What each recipe changes from the defaults above.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "augmented": {
        "trainable": "all",
        "image_size_px": 160,
        "n_epochs": 8,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "schedule": "one-cycle",
        "augmentation": "strong",
        "protocol": "grouped",
        "validation_fraction": 0.1,
    },
}
RECIPE_DESCRIPTIONS = {
    "paper": "As published: frozen early layers, 224 px, flips, random 80/20 split, 10 epochs.",
    "augmented": "All layers learn, 160 px, strong augmentation, one-cycle AdamW, best epoch chosen on a validation part.",
}


def config_from_recipe(recipe: str, **changes: Any) -> TrainingConfig:
    """The configuration of a recipe with some options changed.

    Raises: RunError for an unknown recipe or an option out of range.
    """
    if recipe not in RECIPES:
        raise RunError(f"There is no recipe “{recipe}”. Choose one of {', '.join(RECIPES)}.")
    return replace(TrainingConfig(recipe=recipe, **RECIPES[recipe]), **changes).validated()


def runs_folder() -> Path:
    """Where runs live: $KIDNEY_RUNS, or ./runs."""
    return Path(os.environ.get("KIDNEY_RUNS", "runs"))


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Replace a file in one step: `write` fills a file beside it, which then takes its place."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    write_whole(path, lambda partial: partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n"))


@dataclass(frozen=True)
class Run:
    """One run's folder. Reading never fails on what a kill leaves behind."""

    folder: Path

    @classmethod
    def create(cls, config: TrainingConfig, *, folder: Path | None = None, name: str | None = None) -> "Run":
        """Make the folder of a new run, in state "queued".

        Raises: RunError when a given name is taken or not usable as a folder's name.
        """
        config.validated()
        parent = folder or runs_folder()
        if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise RunError(f"“{name}” cannot name a run: use up to 100 letters, digits, dots, dashes and underscores.")
        stem = name or f"{time.strftime('%Y%m%d-%H%M%S')}-{config.architecture.replace('/', '_')}-{config.protocol}"
        for number in range(1, 1000):
            path = parent / (stem if number == 1 else f"{stem}-{number}")
            try:
                path.mkdir(parents=True)
            except FileExistsError as error:
                if name:
                    raise RunError(
                        f"A run named “{name}” exists already in “{parent}”. Choose another name."
                    ) from error
                continue
            except OSError as error:
                raise RunError(
                    f"The run folder “{path}” cannot be made ({error.strerror}). Check “{parent}”."
                ) from error
            run = cls(path)
            write_json(path / "config.json", asdict(config))
            run.write_state(QUEUED)
            return run
        raise RunError(f"There are a thousand runs named “{stem}”. Delete some of them.")

    @property
    def name(self) -> str:
        return self.folder.name

    def config(self) -> TrainingConfig:
        """Raises RunError when config.json is missing or not a configuration."""
        try:
            stored = json.loads((self.folder / "config.json").read_text())
            known = {option.name for option in fields(TrainingConfig)}
            return TrainingConfig(**{name: value for name, value in stored.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(f"“{self.folder}” is not a training run: config.json cannot be read ({error}).") from error

    def state(self) -> dict[str, Any]:
        """The last written state; "queued" for a folder so young that it has none."""
        return self._read_json("state.json") or {"state": QUEUED}

    def write_state(self, state: str, **more: Any) -> None:
        """Replace the state; `more` may give message, epoch, step, n_steps, seconds_left."""
        write_json(self.folder / "state.json", {"state": state, "updated_at": time.time(), **more})

    def append_metrics(self, measurement: dict[str, Any]) -> None:
        """Append one line; written at once, so that a kill loses nothing that was appended."""
        with (self.folder / "metrics.jsonl").open("ab") as file:
            file.write((json.dumps({**measurement, "time": round(time.time(), 3)}) + "\n").encode())

    def read_metrics(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The measurements after byte `offset`, and the offset to go on from.

        A torn last line is left for the next call.
        """
        try:
            with (self.folder / "metrics.jsonl").open("rb") as file:
                file.seek(offset)
                content = file.read()
        except OSError:
            return [], offset
        whole = content[: content.rfind(b"\n") + 1]
        measurements = []
        for line in whole.splitlines():
            try:
                measurements.append(json.loads(line))
            except ValueError:
                continue  # a line torn by a kill, with later lines behind it
        return measurements, offset + len(whole)

    def epochs(self) -> list[dict[str, Any]]:
        """One measurement a finished epoch."""
        return [row for row in self.read_metrics()[0] if row.get("kind") == "epoch"]

    def drop_metrics_after(self, step: int) -> None:
        """Forget measurements newer than the checkpoint that a resumed run starts from."""
        kept = [row for row in self.read_metrics()[0] if row.get("step", 0) <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_whole(self.folder / "metrics.jsonl", lambda partial: partial.write_text(text))

    def report(self) -> dict[str, Any] | None:
        """The figures of a finished run, or None."""
        return self._read_json("report.json")

    def data(self) -> dict[str, Any]:
        """What the run found in its dataset; empty before it has read it."""
        return self._read_json("data.json") or {}

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return None

    def log_tail(self, n_lines: int = 200) -> str:
        """The end of the log; at most 200 kB are read."""
        try:
            with (self.folder / "log.txt").open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 200_000))
                lines = file.read().decode(errors="replace").rstrip("\n").split("\n")
        except OSError:
            return ""
        # A progress bar returns to the start of its line; only its last state is worth showing.
        return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines[-n_lines:])


def list_runs(folder: Path | None = None) -> list[Run]:
    """All runs in a folder, newest first; folders without a configuration are left out."""
    parent = folder or runs_folder()
    try:
        entries = [entry for entry in os.scandir(parent) if entry.is_dir()]
    except OSError:
        return []
    with_config = [Path(entry.path) for entry in entries if (Path(entry.path) / "config.json").is_file()]
    return [Run(path) for path in sorted(with_config, key=_made_at, reverse=True)]


def _made_at(folder: Path) -> tuple[int, str]:
    """When a run was made: its configuration is written once."""
    try:
        return (folder / "config.json").stat().st_mtime_ns, folder.name
    except OSError:  # deleted in between
        return 0, folder.name
