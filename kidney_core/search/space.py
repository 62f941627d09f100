"""What a search may vary: for each option of a training a range of numbers, or a list of values.

learning_rate  1e-5..1e-2        a range; of logarithms where its end is ten times its start or more
n_epochs       1..3              whole numbers where the option takes these
augmentation   none,flip,strong  a list
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from kidney_core.common.errors import RunError
from kidney_core.common.paper import TIMM_NAMES
from kidney_core.runs.recipes import TrainingConfig

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

TO, OR = "..", ","
_LOG_FROM = 10.0  # times from start to end of a range, from which on its logarithm is drawn
OPTIONS = {option.name: option for option in fields(TrainingConfig)}
# What these say must be the same in all trials, or their validation figures could not be compared.
FIXED: tuple[str, ...] = (
    "data",
    "classes",
    "table",
    "extra_data",
    "extra_classes",
    "recipe",
    "init",
    "seed",
    "device",
    "n_processes",
)
FIXED += ("protocol", "test_fraction", "validation_fraction", "n_folds", "fold", "reported_epoch", "best_by", "slices")
VARIED = tuple(name for name in OPTIONS if name not in FIXED)
# Those that are asked for most, with ranges that suit networks with pretrained weights.
DEFAULTS = {
    "learning_rate": "1e-5..1e-2",
    "weight_decay": "1e-6..1e-1",
    "augmentation": "none,flip,strong",
    "trainable": "head,last-block,all",
    "image_size_px": "96,128,160,224",
    "n_epochs": "5..15",
    "batch_size": "16,32,64",
    "label_smoothing": "0..0.2",
}
CHOSEN_AT_FIRST = ("learning_rate", "weight_decay", "augmentation")


@dataclass(frozen=True)
class Range:
    """The values that one option may take.

    Attributes:
        low, high: ends of a range, both included; None for a list.
        log: whether the logarithm is drawn evenly.
        choices: the values of a list; empty for a range.
    """

    name: str
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def ends(self) -> tuple[Any, ...]:
        """The values of a list, or the two ends of a range: what must be possible for everything in between to be."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: "BaseTrial") -> Any:
        """The value of this option in a trial."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if self.low is None or self.high is None:
            raise ValueError(f"a range needs two ends, got {self}")
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


def read_space(texts: Mapping[str, str]) -> tuple[Range, ...]:
    """The ranges of options by their names.

    Raises: RunError where there is none, or for one that cannot be read.
    """
    if not texts:
        raise RunError("A search needs something to vary. Give at least one option with its range.")
    return tuple(read_range(name, text) for name, text in texts.items())


def read_range(name: str, text: str) -> Range:
    """The range of an option, from a text as at the top of this file.

    Raises: RunError for an unknown option, one that must stay the same, or a range that it cannot have.
    """
    name = name.strip().replace("-", "_")
    if name not in OPTIONS:
        raise RunError(f"There is no option “{name}” to vary. Choose from {', '.join(VARIED)}.")
    if name in FIXED:
        raise RunError(f"“{name}” must be the same in all trials of a search. Vary {', '.join(DEFAULTS)} or others.")
    start, is_range, end = text.partition(TO)
    option = OPTIONS[name]
    if not is_range:
        values = tuple(dict.fromkeys(_value(name, each) for each in text.split(OR) if each.strip()))
        if not values:
            raise RunError(f"No value is given for “{name}”. Give {_example(name)}.")
        return Range(name, choices=values)
    if option.metadata["choices"] or not isinstance(option.default, int | float):
        raise RunError(f"“{name}” has no range. Give a list, such as {_example(name)}.")
    low, high = _value(name, start), _value(name, end)
    if low >= high:
        raise RunError(f"The range “{text}” of “{name}” must begin with its lower end. Give {_example(name)}.")
    is_log = isinstance(option.default, float) and low > 0 and high / low >= _LOG_FROM
    return Range(name, low=low, high=high, log=is_log)


def _value(name: str, text: str) -> Any:
    """A value of an option. Raises RunError where it is not of its kind, its choices or its limits."""
    option, text = OPTIONS[name], text.strip()
    kind: type[Any] = type(option.default)
    choices, limits = option.metadata["choices"], option.metadata["limits"]
    try:
        value: Any = kind(text)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise RunError(f"“{text}” is not {what}, as “{name}” needs it. Give {_example(name)}.") from error
    if choices and value not in choices:
        raise RunError(f"“{name}” has no value “{text}”. Choose from {', '.join(choices)}.")
    if limits and not limits[0] <= value <= limits[1]:
        raise RunError(f"“{name}” must be between {limits[0]} and {limits[1]}; “{text}” is not.")
    return TIMM_NAMES.get(value, value) if name == "architecture" else value


def _example(name: str) -> str:
    if name in DEFAULTS:
        return f"“{DEFAULTS[name]}”"
    choices = OPTIONS[name].metadata["choices"]
    if choices:
        return f"“{OR.join(choices)}”"
    return "a range such as “1..3” or a list such as “1,3”"


def default_range(name: str) -> str:
    """A range to start from; for an option that is rarely varied all its choices, or its default."""
    choices = OPTIONS[name].metadata["choices"]
    return DEFAULTS.get(name) or (OR.join(choices) if choices else str(OPTIONS[name].default))


def with_values(config: TrainingConfig, values: Mapping[str, Any]) -> TrainingConfig:
    """A configuration with the values of a trial. Raises RunError where they do not go together."""
    return replace(config, **values).validated()


def extremes(config: TrainingConfig, ranges: tuple[Range, ...]) -> list[TrainingConfig]:
    """Configurations whose options, one at a time, are at each end of their range. Raises RunError for an impossible one.

    What a search would run into after hours is told before it starts: head with random weights, an image too small.
    """
    start = with_values(config, {each.name: each.ends()[-1] for each in ranges})
    return [start, *(with_values(start, {each.name: end}) for each in ranges for end in each.ends()[:-1])]
