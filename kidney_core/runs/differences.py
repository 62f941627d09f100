"""In what the configurations of runs differ, in words: the legend of their curves, and the groups of seeds and folds."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from kidney_core.metrics.number_format import model_name
from kidney_core.metrics.splits import PROTOCOL_NAMES
from kidney_core.runs.recipes import TrainingConfig

REPEATS = ("seed", "fold")  # what differs between repetitions of one recipe
_SHORT = {
    "learning_rate": "lr",
    "weight_decay": "wd",
    "batch_size": "batch",
    "image_size_px": "px",
    "n_epochs": "epochs",
}
_FIRST, _LAST, _MANY = ("architecture", "protocol", "learning_rate"), ("fold", "seed"), 3
_PATHS = ("data", "init", "extra_data")


def differing(configs: list[TrainingConfig]) -> list[str]:
    """The options in which any of the configurations differ, in the order of `TrainingConfig`."""
    return [
        option.name
        for option in fields(TrainingConfig)
        if len({getattr(config, option.name) for config in configs}) > 1
    ]


def labels(configs: dict[str, TrainingConfig], *, but: tuple[str, ...] = ()) -> dict[str, str]:
    """A label for each run that says in what it differs from the others; its name where nothing does.

    Where they differ in many options, only as many are told as tell the runs apart.

    Args:
        configs: name of the run -> its configuration.
        but: options that are not told.
    """
    told = [name for name in differing(list(configs.values())) if name not in but and name != "recipe"]
    told.sort(key=lambda name: (name in _LAST, (*_FIRST, name).index(name)))
    if len(told) > _MANY:
        told = _enough(told, list(configs.values()))
    found = {name: ", ".join(_in_words(option, config) for option in told) for name, config in configs.items()}
    counts = list(found.values())
    return {
        name: label if label and counts.count(label) == 1 else ", ".join(filter(None, (label, name)))
        for name, label in found.items()
    }


def _enough(options: list[str], configs: list[TrainingConfig]) -> list[str]:
    """The first of these options that tell apart what all of them tell apart."""
    kept: list[str] = []
    for option in options:
        if len(_values(configs, [*kept, option])) > len(_values(configs, kept)):
            kept.append(option)
    return kept


def _values(configs: list[TrainingConfig], options: list[str]) -> set[tuple[Any, ...]]:
    return {tuple(getattr(config, option) for option in options) for config in configs}


def repetitions(configs: dict[str, TrainingConfig]) -> list[list[str]]:
    """The names of runs that differ in seed and fold only, together; in the order in which they are given."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, config in configs.items():
        key = tuple(value for option, value in asdict(config).items() if option not in REPEATS)
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def _in_words(option: str, config: TrainingConfig) -> str:
    value = getattr(config, option)
    if option == "architecture":
        return model_name(value)
    if option == "protocol":
        return PROTOCOL_NAMES[value]
    if option == "fold":
        return f"fold {value + 1}" if config.n_folds else "no folds"
    if option in _PATHS:
        return Path(value).name or f"no {option.replace('_', ' ')}"
    if isinstance(value, str):
        return (
            value if option in ("recipe", "augmentation", "framing", "greys") else f"{option.replace('_', ' ')} {value}"
        )
    return f"{_SHORT.get(option, option.removeprefix('n_').replace('_', ' '))} {value:g}"
