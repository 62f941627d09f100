"""What a training run can be asked to do, and the named sets of defaults."""

import json
import os
import shlex
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from kidney_core.errors import RunError
from kidney_core.files import listed_paths


def _option(default: Any, help: str, choices: tuple[str, ...] | None = None, limits: tuple | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices, "limits": limits})


BEST_BY, RECALL_OF = ("loss", "accuracy", "balanced_accuracy"), "recall:"


@dataclass(frozen=True)
class TrainingConfig:
    """What a training run is asked to do; the defaults are the paper's recipe.

    `python train.py --data FOLDER --architecture mobilenetv2_100` trains it as published: ImageNet
    weights, new head, early layers frozen, 224 x 224, horizontal flip, random 80/20 split,
    batch 32, 10 epochs, cross-entropy. The paper names no optimizer: Adam at 1e-3 is our choice.
    """

    data: str = _option("", "folder with one folder of images per class")
    architecture: str = _option("mobilenetv2_100", "timm name, or ResNet18, MobileNetV2, EfficientNet-B0")
    recipe: str = _option("paper", "named set of defaults that the other options change", ("paper", "robust"))
    init: str = _option("imagenet", "imagenet (downloads), scratch, or the path of a safetensors file")
    trainable: str = _option("last-block", "which layers learn", ("head", "last-block", "all"))
    image_size_px: int = _option(224, "side of the square the network sees", limits=(32, 1024))
    framing: str = _option(
        "whole",
        "what of an image the network sees: whole, or body: the table and the air around are cut off",
        ("whole", "body"),
    )
    n_epochs: int = _option(10, "passes over the training part", limits=(1, 1000))
    batch_size: int = _option(32, "images a step", limits=(1, 4096))
    optimizer: str = _option("adam", "update rule", ("adam", "adamw", "sgd"))
    learning_rate: float = _option(1e-3, "peak learning rate", limits=(1e-7, 10.0))
    weight_decay: float = _option(0.0, "decay of the weights per unit of learning rate", limits=(0.0, 1.0))
    schedule: str = _option("constant", "course of the learning rate", ("constant", "one-cycle"))
    label_smoothing: float = _option(0.0, "share of each target spread over all classes", limits=(0.0, 0.5))
    class_weights: str = _option(
        "none", "weight of each class in the loss; balanced: inverse to its slices", ("none", "balanced")
    )
    sampling: str = _option(
        "each-once",
        "each-once: an epoch visits every training slice; balanced: as many draws as the dataset has training slices, "
        "rare classes and short scans more often",
        ("each-once", "balanced"),
    )
    weight_averaging: float = _option(
        0.0,
        "decay a step of a running mean of the weights, which is what is validated and reported; 0 for none",
        limits=(0.0, 0.99999),
    )
    augmentation: str = _option("flip", "random changes of the training images", ("none", "flip", "strong"))
    protocol: str = _option("random", "random (the paper) or grouped (no scan on both sides)", ("random", "grouped"))
    test_fraction: float = _option(
        0.2,
        "share of the slices that is tested on; 0 tests nothing: for the weights one uses, once folds told their worth",
        limits=(0.0, 0.5),
    )
    validation_fraction: float = _option(
        0.0,
        "share kept to calibrate and to choose the best epoch; 0 watches the test part, as the paper",
        limits=(0, 0.4),
    )
    reported_epoch: str = _option(
        "last",
        "whose weights are reported: the last epoch's, or the best's by validation loss after calibration",
        ("last", "best"),
    )
    best_by: str = _option(
        "loss",
        "figure of the validation part by which the best epoch is chosen: loss (after calibration), accuracy, "
        "balanced_accuracy, or recall:LABEL",
    )
    patience: int = _option(0, "stop after so many epochs without a better one; 0 trains all epochs", limits=(0, 1000))
    n_folds: int = _option(0, "cross-validation: test a fold of this many; 0 for one split", limits=(0, 20))
    fold: int = _option(0, "which fold is tested, from 0", limits=(0, 19))
    extra_data: str = _option(
        "",
        "folders used for training only (another export of the data, simulated slices), separated by "
        f"“{os.pathsep}”; what may be of a tested scan is left out",
    )
    seed: int = _option(0, "seed of split, order, augmentation and weights", limits=(0, 2**31 - 1))
    device: str = _option("auto", "auto, cuda, mps or cpu")
    n_processes: int = _option(1, "processes that share every batch, one a GPU", limits=(1, 1024))
    precision: str = _option(
        "auto", "auto (bf16 on CUDA, else fp32), or bf16 on a CPU with AVX-512 BF16 or AMX", ("auto", "fp32", "bf16")
    )

    @property
    def extra_folders(self) -> list[str]:
        """The folders that `extra_data` names."""
        return listed_paths(self.extra_data)

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
        if self.n_folds == 1 or self.fold >= max(self.n_folds, 1):
            raise RunError(
                f"fold {self.fold} of {self.n_folds} folds is impossible: give 2 folds or more, numbered from 0."
            )
        if not self.test_fraction and not self.validation_fraction:
            raise RunError(
                "Without a test part the run needs a validation part to be watched and calibrated by. Give a validation_fraction."
            )
        if self.reported_epoch == "best" and not self.validation_fraction:
            raise RunError(
                "reported_epoch “best” needs a validation part: choosing by the test part would make the test figure too "
                "good. Give a validation_fraction, or report the last epoch."
            )
        if self.best_by not in BEST_BY and not self.best_by.startswith(RECALL_OF):
            raise RunError(f"best_by must be one of {', '.join(BEST_BY)}, or {RECALL_OF}LABEL; it is “{self.best_by}”.")
        if self.patience and self.reported_epoch != "best":
            raise RunError(
                "patience stops at the best epoch, and reported_epoch “last” asks for the last one. Report the best, or give "
                "patience 0."
            )
        if self.batch_size < 2 * self.n_processes:
            raise RunError(
                f"batch_size {self.batch_size} leaves {self.n_processes} processes less than two images each. "
                "Raise batch_size, or lower n_processes."
            )
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
    "robust": {
        "trainable": "all",
        "image_size_px": 224,
        "framing": "body",
        "n_epochs": 8,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "schedule": "one-cycle",
        "label_smoothing": 0.05,
        "sampling": "balanced",
        "weight_averaging": 0.998,
        "augmentation": "strong",
        "protocol": "grouped",
        "validation_fraction": 0.1,
    },
}
# Names in the files of older versions, which hold every option that the recipe set: read as changes of the defaults.
RETIRED_RECIPES = {"augmented": "paper"}
RECIPE_DESCRIPTIONS = {
    "paper": "As published: frozen early layers, 224 px, flips, random 80/20 split, 10 epochs.",
    "robust": "The best on scans never seen: cut to the body, 224 px, all layers, strong augmentation, rare classes and short "
    "scans more often, averaged weights. Name every export of the data you have as extra data.",
}


def config_from_recipe(recipe: str, **changes: Any) -> TrainingConfig:
    """The configuration of a recipe with some options changed.

    Raises: RunError for an unknown recipe or an option out of range.
    """
    if recipe not in RECIPES:
        raise RunError(f"There is no recipe “{recipe}”. Choose one of {', '.join(RECIPES)}.")
    return replace(TrainingConfig(recipe=recipe, **RECIPES[recipe]), **changes).validated()


def command_line(config: TrainingConfig) -> str:
    """The command that asks for the same: its recipe, and what differs from it."""
    words = ["python", "train.py", "--recipe", config.recipe]
    plain = TrainingConfig(recipe=config.recipe, **RECIPES[config.recipe])
    for option in fields(config):
        value = getattr(config, option.name)
        if value != getattr(plain, option.name):
            words += [f"--{option.name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def to_file(config: TrainingConfig) -> bytes:
    """A configuration as a file to keep and to share: JSON, all options by name."""
    return (json.dumps(asdict(config), indent=1, ensure_ascii=False) + "\n").encode()


def from_file(content: bytes) -> TrainingConfig:
    """The configuration of a file that `to_file` wrote; options that a newer version added take the recipe's default.

    Raises: RunError when it is no such file, or an option is unknown, of the wrong type or out of range.
    """
    try:
        stored = json.loads(content)
        recipe = stored.pop("recipe")
        recipe = RETIRED_RECIPES.get(recipe, recipe)
        known = {option.name: type(option.default) for option in fields(TrainingConfig)}
        for name, value in stored.items():
            if name not in known:
                raise RunError(f"The configuration has the option “{name}”, which this version does not know.")
            whole = known[name] is float and isinstance(value, int) and not isinstance(value, bool)
            if type(value) is not known[name] and not whole:
                raise RunError(f"{name} must be of type {known[name].__name__}; it is “{value}”.")
        return config_from_recipe(recipe, **stored)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError("This is no configuration of a training run. Choose a file that was saved here.") from error
