"""The presets of the training form: one press fills it; what the user changes afterwards is named."""

from collections.abc import Iterator
from typing import Any

import streamlit as st

from kidney_core.app import architecture_choice, formatting, markdown, streamlit_internals, training_options
from kidney_core.metrics.splits import GROUPED, RANDOM
from kidney_core.runs import durations, recipes, run_folder
from kidney_core.runs.presets import PRESETS, Preset
from kidney_core.runs.recipes import TrainingConfig

PRESET, SPLIT, FOLDS, SEEDS = "training_preset", "training_protocol", "training_folds", "training_seeds"  # session keys
_FILLING = "training_filling"  # session key: key of a field -> its value before and after, until all are drawn
BOTH = "both"
_SLICES = 1000  # of which a duration is told
_SECONDS_KEPT = 60.0


def show() -> None:
    """The presets side by side; a press fills the form."""
    current = st.session_state[PRESET]
    for column, (name, preset) in zip(st.columns(len(PRESETS)), PRESETS.items(), strict=True):
        with column.container(border=True, gap="xsmall", height="stretch"):
            st.button(
                markdown.text(preset.title),
                icon=":material/check:" if name == current else None,
                width="stretch",
                key=f"training_preset_{name}",
                on_click=_fill,
                args=(name,),
                help="Fills the form. Folder, extra data and initial weights stay.",
            )
            st.caption(markdown.text(f"{preset.purpose}{_duration_in_words(preset)}"))
            changed = ", ".join(_changed(preset)) if name == current else ""
            if changed:
                st.caption(f"**Changed:** {markdown.text(changed)}")


def recipe() -> str:
    """The recipe of the preset that the form began with."""
    return PRESETS[st.session_state[PRESET]].recipe


def values_of(name: str) -> dict[str, Any]:
    """Session key -> value of every field that a preset fills."""
    preset = PRESETS[name]
    split = BOTH if set(preset.protocols) == {GROUPED, RANDOM} else preset.protocols[0]
    return {PRESET: name, **_values(preset.config, preset.architecture, split)}


def fill_with(config: TrainingConfig) -> None:
    """Fill the form with a configuration; called before its fields are drawn again. Folder and initial weights stay."""
    _fill_fields(_values(config, config.architecture, config.protocol))


def _values(config: TrainingConfig, architecture: str, split: str) -> dict[str, Any]:
    return {
        architecture_choice.CHOSEN: [architecture],
        SPLIT: split,
        FOLDS: config.n_folds,
        SEEDS: str(config.seed),
        **training_options.values_of(config),
    }


def go_on_filling() -> None:
    """Fill again what the browser did not get yet; called before the fields are drawn.

    A press or an entry that comes at once interrupts the run that fills them, and brings the old values of all fields along.
    What was changed meanwhile stays.
    """
    for key, (before, value) in st.session_state.get(_FILLING, {}).items():
        if st.session_state.get(key, before) == before:
            st.session_state[key] = value


def end_filling() -> None:
    """The fields are drawn with what was filled in."""
    st.session_state.pop(_FILLING, None)


def _fill(name: str) -> None:
    _fill_fields(values_of(name))


@streamlit_internals.uninterrupted()
def _fill_fields(values: dict[str, Any]) -> None:
    st.session_state[_FILLING] = {key: (st.session_state.get(key), value) for key, value in values.items()}
    st.session_state.update(values)


def _changed(preset: Preset) -> Iterator[str]:
    """The titles of the fields that hold something else than the preset filled in."""
    titles = {
        architecture_choice.CHOSEN: "Architectures",
        SPLIT: "Split",
        FOLDS: "Cross-validation folds",
        SEEDS: "Seeds",
        **{training_options.key(name): recipes.title(name) for name in training_options.NAMES},
    }
    name = next(name for name, each in PRESETS.items() if each is preset)
    for key, value in values_of(name).items():
        if key in titles and st.session_state[key] != value:
            yield titles[key]


def _duration_in_words(preset: Preset) -> str:
    """How long its jobs take together, where runs of this machine tell; empty otherwise."""
    seconds = durations.training_seconds(preset.config, _SLICES, _known())
    if seconds is None:
        return ""
    jobs = formatting.quantity(len(preset.protocols), "job")
    return f" Here {durations.in_words(seconds * len(preset.protocols))} for {_SLICES:,} slices, {jobs}."


@st.cache_data(ttl=_SECONDS_KEPT, show_spinner=False)
def _known() -> dict[tuple[Any, ...], float]:
    """The speed of this machine by the newest finished runs; kept for a while, since every run is read."""
    return durations.slice_seconds(run_folder.list_runs())
