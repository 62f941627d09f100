"""The configuration of a training run, and recipes: named sets of defaults."""

import json
import os
import shlex
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from kidney_core.common.errors import RunError
from kidney_core.common.labelling import Labelling
from kidney_core.common.paper import TIMM_NAMES
from kidney_core.common.typed_paths import clean_path, clean_paths

if TYPE_CHECKING:
    from kidney_core.imaging.framing import View


def _option(
    default: Any, help: str, choices: tuple[str, ...] | None = None, limits: tuple[float, float] | None = None
) -> Any:
    """A field of TrainingConfig; its help is shown by the command line and on the Training page."""
    return field(default=default, metadata={"help": help, "choices": choices, "limits": limits})


BEST_BY, RECALL_OF = ("loss", "accuracy", "balanced_accuracy"), "recall:"


@dataclass(frozen=True)
class TrainingConfig:
    """The configuration of a training run; the defaults are the paper's recipe.

    `kidney-ct train --data FOLDER --architecture mobilenetv2_100` trains it as published: ImageNet
    weights, new head, early layers frozen, 224 x 224, horizontal flip, random 80/20 split,
    batch 32, 10 epochs, cross-entropy. The paper names no optimizer: Adam at 1e-3 is our choice.
    """

    data: str = _option(
        "", "folder with one folder of images per class, or with images and a CSV file of their classes"
    )
    classes: str = _option(
        "",
        "what class names of the folder stand for, as NAME=LABEL,NAME=LABEL, such as 0=Cyst,1=Normal; NAME= leaves a class out. Names "
        "such as Cyst, kidney_stone or Normal_images need none",
    )
    table: str = _option(
        "",
        "CSV file below the folder that names the class of each image: FILE, or FILE,PATHS,CLASSES with its two columns where these "
        "are not clear",
    )
    architecture: str = _option("mobilenetv2_100", "timm name, or ResNet18, MobileNetV2, EfficientNet-B0")
    recipe: str = _option("paper", "named set of defaults, which the other options change", ("paper", "travel"))
    init: str = _option(
        "imagenet",
        "initial weights: imagenet (timm downloads them), scratch (random), or a file: safetensors, or PyTorch (.pth, .pt, .bin) of timm or torchvision",
    )
    trainable: str = _option(
        "last-block", "layers that are trained; the others are frozen", ("head", "last-block", "all")
    )
    image_size_px: int = _option(224, "side of the square that the network sees, in pixels", limits=(32, 1024))
    framing: str = _option(
        "whole",
        "part of the image that the network sees: whole; stretched (the whole image without padding, as in the paper; distorts what is not square); body (without the table and the air around the patient); kidneys "
        "(both, with a margin); or each-kidney (one image per kidney; the one that is less likely normal gives the prediction)",
        ("whole", "stretched", "body", "kidneys", "each-kidney"),
    )
    greys: str = _option(
        "original",
        "grey values that the network sees: original; equalized (contrast, by CLAHE); or relative (to the median of the "
        "kidneys)",
        ("original", "equalized", "relative"),
    )
    slices: str = _option(
        "all",
        "slices to train and test on: all, or kidneys (where the kidney finder sees one; always so where the network looks at "
        "kidneys alone)",
        ("all", "kidneys"),
    )
    n_epochs: int = _option(10, "passes over the training part", limits=(1, 1000))
    batch_size: int = _option(32, "images per step", limits=(1, 4096))
    optimizer: str = _option("adam", "optimizer: adam, adamw, or sgd with momentum 0.9", ("adam", "adamw", "sgd"))
    learning_rate: float = _option(1e-3, "peak learning rate", limits=(1e-7, 10.0))
    weight_decay: float = _option(0.0, "weight decay of the optimizer", limits=(0.0, 1.0))
    schedule: str = _option("constant", "learning rate schedule", ("constant", "one-cycle"))
    label_smoothing: float = _option(0.0, "label smoothing of the cross-entropy", limits=(0.0, 0.5))
    class_weights: str = _option(
        "none",
        "weights of the classes in the loss: none, or balanced (inverse to the number of slices)",
        ("none", "balanced"),
    )
    sampling: str = _option(
        "each-once",
        "each-once: every training slice once per epoch; balanced: as many draws, with rare classes and short scans drawn "
        "more often",
        ("each-once", "balanced"),
    )
    weight_averaging: float = _option(
        0.0,
        "EMA decay: decay per step of an exponential moving average of the weights, which is validated and reported; 0 "
        "turns it off",
        limits=(0.0, 0.99999),
    )
    augmentation: str = _option(
        "flip",
        "random changes of the training images: none, flip (left-right), strong (moved, shaded), or scanners (also sharpness, "
        "contrast and noise)",
        ("none", "flip", "strong", "scanners"),
    )
    drawn_lesions: float = _option(
        0.0,
        "healthy kidneys that are added to each batch, per slice of it; two of three get a cyst, stone or mass drawn in. Slices whose "
        "lesions are marked are added with these painted over, as Normal. Needs framing each-kidney",
        limits=(0.0, 8.0),
    )
    protocol: str = _option(
        "random",
        "split: random (slice-level, as in the paper), grouped (scan-level: tested on unseen scans) or folder (as in the folders train, "
        "val and test)",
        ("random", "grouped", "folder"),
    )
    test_fraction: float = _option(
        0.2,
        "fraction of the slices for the test part; 0 for a final model whose recipe was cross-validated before",
        limits=(0.0, 0.5),
    )
    validation_fraction: float = _option(
        0.0,
        "fraction of the slices for the validation part, which chooses the best epoch and calibrates; 0 shows the test part "
        "during training, as in the paper",
        limits=(0, 0.4),
    )
    reported_epoch: str = _option(
        "last",
        "epoch whose weights are tested and kept: the last, or the best on the validation part",
        ("last", "best"),
    )
    best_by: str = _option(
        "loss",
        "validation metric that chooses the best epoch: loss (after calibration), accuracy, balanced_accuracy, or "
        "recall:LABEL",
    )
    patience: int = _option(
        0, "early-stopping patience: epochs without improvement before training stops; 0 turns it off", limits=(0, 1000)
    )
    n_folds: int = _option(0, "folds of a cross-validation; 0 for one split", limits=(0, 20))
    fold: int = _option(0, "number of the fold that is tested, from 0", limits=(0, 19))
    extra_data: str = _option(
        "",
        "more folders to train on (another export of the data, simulated slices), separated by "
        f"“{os.pathsep}”; slices that may be of a tested scan are left out",
    )
    extra_classes: str = _option("", "what class names of the extra folders stand for, as in classes")
    seed: int = _option(0, "random seed of split, order, augmentation and weights", limits=(0, 2**31 - 1))
    device: str = _option("auto", "auto, cuda, mps or cpu")
    n_processes: int = _option(1, "processes that share every batch, each with its own GPU", limits=(1, 1024))
    precision: str = _option(
        "auto",
        "auto (the faster of both, timed at the start where the processor computes in bfloat16), fp32 or bf16",
        ("auto", "fp32", "bf16"),
    )

    @property
    def extra_folders(self) -> list[str]:
        """The folders that `extra_data` names."""
        return clean_paths(self.extra_data)

    @property
    def labelling(self) -> Labelling:
        """What the user said about the classes of the folder. Raises DatasetError where it cannot be read."""
        return Labelling.from_text(classes=self.classes, table=self.table)

    @property
    def extra_labelling(self) -> Labelling:
        """The same of the extra folders."""
        return Labelling.from_text(classes=self.extra_classes)

    @property
    def view(self) -> "View":
        """How the network sees an image."""
        from kidney_core.imaging.framing import View  # here, since a job that waits in the queue needs no NumPy

        return View(self.image_size_px, self.framing, self.greys)

    @property
    def only_kidneys(self) -> bool:
        """Whether slices without a kidney are left out."""
        return self.slices == "kidneys" or self.view.needs_kidneys

    def validated(self) -> "TrainingConfig":
        """Return self, or raise RunError naming the first option out of its range, DatasetError for unreadable class names."""
        for option in fields(self):
            value, choices, limits = getattr(self, option.name), option.metadata["choices"], option.metadata["limits"]
            if choices and value not in choices:
                raise RunError(f"{option.name} must be one of {', '.join(choices)}; it is “{value}”.")
            if limits and not limits[0] <= value <= limits[1]:
                raise RunError(f"{option.name} must be between {limits[0]} and {limits[1]}; it is {value}.")
        _ = self.labelling, self.extra_labelling
        if not self.data:
            raise RunError("No dataset is given. Give the folder that holds one folder of images per class.")
        if self.n_folds == 1:
            raise RunError("n_folds is 1, which is not a cross-validation. Give 2 folds or more, or 0 for one split.")
        if self.fold >= max(self.n_folds, 1):
            raise RunError(
                f"fold {self.fold} of {self.n_folds} folds is impossible: give 2 folds or more, numbered from 0."
            )
        if self.n_folds and self.protocol == "folder":
            raise RunError(
                "protocol “folder” is one split, so it has no folds. Set n_folds to 0, or choose the protocol “grouped”."
            )
        if not self.test_fraction and not self.validation_fraction:
            raise RunError("Without a test part the run needs a validation part. Give a validation_fraction.")
        if self.reported_epoch == "best" and not self.validation_fraction:
            raise RunError(
                "reported_epoch “best” needs a validation part: choosing by the test part would inflate the test "
                "metrics. Give a validation_fraction, or report the last epoch."
            )
        if self.best_by not in BEST_BY and not self.best_by.startswith(RECALL_OF):
            raise RunError(f"best_by must be one of {', '.join(BEST_BY)}, or {RECALL_OF}LABEL; it is “{self.best_by}”.")
        if self.drawn_lesions and self.framing != "each-kidney":
            raise RunError(
                f"drawn_lesions needs framing “each-kidney”, but framing is “{self.framing}”. Change it, or set drawn_lesions to 0."
            )
        if self.patience and self.reported_epoch != "best":
            raise RunError(
                "patience stops at the best epoch, but reported_epoch is “last”. Set reported_epoch to “best”, or patience "
                "to 0."
            )
        if self.batch_size < 2 * self.n_processes:
            raise RunError(
                f"batch_size {self.batch_size} gives {self.n_processes} processes fewer than two images each. "
                "Raise batch_size, or lower n_processes."
            )
        if self.test_fraction + self.validation_fraction > 0.8:
            raise RunError("Test and validation take more than 80 % of the slices. Lower one of the fractions.")
        if self.init == "scratch" and self.trainable != "all":
            raise RunError(
                f"init “scratch” with trainable “{self.trainable}” would leave random layers frozen. "
                "Choose trainable “all”, or other initial weights."
            )
        return self


# What each recipe changes from the defaults above.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "travel": {
        "trainable": "all",
        "image_size_px": 112,
        "framing": "each-kidney",
        "greys": "relative",
        "n_epochs": 2,
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 6e-4,
        "weight_decay": 0.05,
        "schedule": "one-cycle",
        "label_smoothing": 0.05,
        "sampling": "balanced",
        "weight_averaging": 0.99,
        "augmentation": "scanners",
        "drawn_lesions": 2.5,
        "protocol": "grouped",
        "validation_fraction": 0.1,
    },
}
# Recipes of older versions. Their files hold every option, so they are read as changes of the defaults.
RETIRED_RECIPES = {"augmented": "paper", "robust": "paper"}
RECIPE_DESCRIPTIONS = {
    "paper": "As published: frozen early layers, 224 px, flips, random 80/20 split, 10 epochs.",
    "travel": "Best of those tried on other hospitals: each kidney by itself, grey values relative to it, lesions drawn into healthy kidneys "
    "and painted out of others.",
}


_TITLES = {"weight_averaging": "EMA decay", "patience": "Early-stopping patience"}


def title(name: str) -> str:
    """An option's name as people read it: "n_epochs" -> "Epochs"."""
    return _TITLES.get(name) or name.removeprefix("n_").replace("_px", " (px)").replace("_", " ").capitalize()


def help_text(name: str) -> str:
    """What an option does, as a sentence without its full stop."""
    text = next(option for option in fields(TrainingConfig) if option.name == name).metadata["help"]
    return text[:1].upper() + text[1:]


def config_from_recipe(recipe: str, **changes: Any) -> TrainingConfig:
    """The configuration of a recipe with some options changed; an architecture by its name in the paper gets timm's.

    Raises: RunError for an unknown recipe or an option out of range.
    """
    if recipe not in RECIPES:
        raise RunError(f"There is no recipe “{recipe}”. Choose one of {', '.join(RECIPES)}.")
    config = replace(TrainingConfig(recipe=recipe, **RECIPES[recipe]), **changes)
    config = replace(config, data=clean_path(config.data), init=clean_path(config.init))
    return replace(config, architecture=TIMM_NAMES.get(config.architecture, config.architecture)).validated()


def command_line(config: TrainingConfig) -> str:
    """The command that trains this configuration: its recipe, and the options that differ from it."""
    words = ["kidney-ct", "train", "--recipe", config.recipe]
    defaults = TrainingConfig(recipe=config.recipe, **RECIPES[config.recipe])
    for option in fields(config):
        value = getattr(config, option.name)
        if value != getattr(defaults, option.name):
            words += [f"--{option.name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def to_file(config: TrainingConfig) -> bytes:
    """A configuration as a JSON file with all options, to save and to share."""
    return (json.dumps(asdict(config), indent=1, ensure_ascii=False) + "\n").encode()


def from_file(content: bytes) -> TrainingConfig:
    """The configuration in a file that `to_file` wrote; options that the file lacks get the recipe's default.

    Raises: RunError when it is not such a file, or an option is unknown, of the wrong type or out of range.
    """
    try:
        stored = json.loads(content)
        json.dumps(stored, ensure_ascii=False).encode()  # a lone surrogate cannot be written again
        recipe = stored.pop("recipe")
        recipe = RETIRED_RECIPES.get(recipe, recipe)
        types = {option.name: type(option.default) for option in fields(TrainingConfig)}
        for name, value in stored.items():
            if name not in types:
                raise RunError(f"The configuration has the option “{name}”, which this version does not know.")
            is_whole = types[name] is float and isinstance(value, int) and not isinstance(value, bool)
            if type(value) is not types[name] and not is_whole:
                raise RunError(f"{name} must be of type {types[name].__name__}; it is “{value}”.")
        return config_from_recipe(recipe, **stored)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError("This is not a configuration of a training run. Choose a file that was saved here.") from error
