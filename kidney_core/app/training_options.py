"""The inputs for every option of a recipe, each within the limits of the configuration."""

from dataclasses import fields
from typing import Any

import streamlit as st

from kidney_core.app import form_memory, markdown
from kidney_core.common.labels import LABELS
from kidney_core.runs import recipes
from kidney_core.runs.recipes import TrainingConfig

_FIELDS = {option.name: option for option in fields(TrainingConfig)}
# Title of a column -> its options, each with how its number is entered.
_COLUMNS: dict[str, dict[str, dict[str, Any]]] = {
    "What the network sees": {
        "image_size_px": {"step": 32},
        "framing": {},
        "greys": {},
        "slices": {},
        "sampling": {},
        "augmentation": {},
        "drawn_lesions": {"step": 0.5},
        "class_weights": {},
    },
    "How it learns": {
        "trainable": {},
        "n_epochs": {},
        "batch_size": {},
        "optimizer": {},
        "learning_rate": {"format": "%.5f", "step": 1e-4},
        "schedule": {},
        "weight_decay": {"format": "%.3f", "step": 0.01},
        "label_smoothing": {"step": 0.05},
        "weight_averaging": {"format": "%.4f", "step": 0.001},
    },
    "How it is tested": {
        "test_fraction": {"step": 0.05},
        "validation_fraction": {"step": 0.05},
        "reported_epoch": {},
        "best_by": {},
        "patience": {},
        "precision": {},
        "n_processes": {},
    },
}
NAMES = tuple(name for names in _COLUMNS.values() for name in names)


def key(name: str) -> str:
    """The session key of an option's input."""
    return f"training_option_{name}"


def values_of(config: TrainingConfig) -> dict[str, Any]:
    """Session key -> value of each option here, as a configuration has it."""
    return {key(name): _typed(name, getattr(config, name)) for name in NAMES}


def entered() -> dict[str, Any]:
    """Option -> value as it was last entered or filled in, while no input is drawn."""
    values = {name: st.session_state[key(name)] for name in NAMES}
    form_memory.set_aside(key(name) for name in NAMES)
    return values


def show() -> dict[str, Any]:
    """The inputs, a column a subject; option -> value."""
    chosen: dict[str, Any] = {}
    for column, (title, names) in zip(st.columns(len(_COLUMNS)), _COLUMNS.items(), strict=True):
        with column:
            st.markdown(f"**{title}**")
            for name, how in names.items():
                chosen[name] = _input(name, how)
    return chosen


def _input(name: str, how: dict[str, Any]) -> Any:
    title, explained = markdown.text(recipes.title(name)), markdown.text(recipes.help_text(name))
    if name == "best_by":
        offered = [*recipes.BEST_BY, *(f"{recipes.RECALL_OF}{label}" for label in LABELS)]
        return st.selectbox("Best epoch by", offered, accept_new_options=True, help=explained, key=key(name))
    if choices := _FIELDS[name].metadata["choices"]:
        return st.selectbox(title, choices, help=explained, key=key(name))
    low, high = (_typed(name, limit) for limit in _FIELDS[name].metadata["limits"])
    return st.number_input(title, low, high, help=explained, key=key(name), **how)


def _typed(name: str, value: Any) -> Any:
    """A value in the type of its option: a number that is entered keeps the type it began with."""
    return float(value) if isinstance(_FIELDS[name].default, float) else value
