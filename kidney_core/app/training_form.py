"""The form that starts training jobs: preset, folder, architectures, splits, options."""

import streamlit as st

from kidney_core.app import (
    architecture_choice,
    form_memory,
    formatting,
    initial_weights,
    job_check,
    job_files,
    job_start,
    markdown,
    path_inputs,
    preset_gallery,
    sweep,
    training_options,
)
from kidney_core.app.preset_gallery import BOTH
from kidney_core.common.errors import KidneyError
from kidney_core.metrics.splits import FOLDER, GROUPED, PROTOCOL_NAMES, RANDOM
from kidney_core.runs import presets, recipes
from kidney_core.runs.recipes import TrainingConfig

OPTIONS = "training_recipe_options"  # session key: whether they are open
_START, _WEIGHTS, _EXTRA = "training_start", "training_weights", "training_extra_data"
_AT_FIRST = {_START: initial_weights.AT_FIRST, _WEIGHTS: "", _EXTRA: "", **preset_gallery.values_of(presets.DEFAULT)}


def show() -> None:
    """The form; its button submits one job per architecture, seed, protocol and fold."""
    form_memory.start(_AT_FIRST)
    preset_gallery.go_on_filling()
    preset_gallery.show()
    left, right = st.columns(2)
    with left:
        folder = path_inputs.opened_folder_input("training_folder")
    with right:
        architectures = architecture_choice.show()
    left, middle, right = st.columns(3)
    with left:
        protocol = st.selectbox(
            "Split",
            [BOTH, GROUPED, RANDOM, FOLDER],
            format_func=lambda name: PROTOCOL_NAMES.get(name, name),
            key=preset_gallery.SPLIT,
            help="“Both” trains two networks: comparing their accuracy shows how much data leakage adds. “Split of the folder” needs folders such as train and test.",
        )
    with middle:
        init = initial_weights.choose(start_key=_START, file_key=_WEIGHTS)
    with right:
        seeds = st.text_input(
            "Seeds",
            key=preset_gallery.SEEDS,
            help="Separated by commas. One job per seed; several seeds show how much results vary by chance.",
        )
    with st.expander("Options", key=OPTIONS, on_change="rerun") as opened:
        extra, n_folds, engine = _beyond_the_recipe()
        # two dozen inputs take the browser longer than the rest of the page
        options = training_options.show() if opened.open else training_options.entered()
    form_memory.keep(_AT_FIRST)
    preset_gallery.end_filling()
    if init == initial_weights.RANDOM and options["trainable"] != "all":
        st.info("With random weights all layers must be trained, so “Trainable” is set to “all”.")
        options["trainable"] = "all"
    try:
        options |= {
            "data": folder or job_start.NO_FOLDER,
            "extra_data": extra,
            "init": init,
            **job_start.remembered_classes(folder, extra),
        }
        configs = sweep.configs(
            preset_gallery.recipe(),
            options,
            architectures=architectures,
            seeds=seeds,
            protocols=(GROUPED, RANDOM) if protocol == BOTH else (protocol,),
            n_folds=n_folds,
        )
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    _start(folder, configs, engine)


def _start(folder: str, configs: list[TrainingConfig], engine: str) -> None:
    """The buttons, with the jobs and their commands folded below them, and what a check showed."""
    buttons, found = st.container(horizontal=True), st.container()
    jobs, commands = st.columns(2)
    selected = configs
    if len(configs) > 1:
        with jobs, st.expander(formatting.quantity(len(configs), "job")):
            selected = sweep.choose(configs)
    with commands, st.expander("Commands and file"):
        job_files.show(selected, engine)
    with buttons:
        starts = st.button(
            f"Start {formatting.quantity(len(selected), 'job')}",
            type="primary",
            disabled=not selected,
            key="training_submit",
        )
        checks = st.button(
            "Check",
            disabled=not selected,
            key="training_check",
            help="Weights, folder, classes, the split of every job, kidneys and disk. Start checks them too.",
        )
    with found:
        if starts:
            job_start.start(selected, engine)
        if checks or job_check.is_due():
            job_start.check(selected, engine)
        with st.container():  # what is drawn below stays where it is
            job_check.show(folder, selected)


def _beyond_the_recipe() -> tuple[str, int, str]:
    """Extra data, number of folds, and engine."""
    left, right = st.columns(2)
    with left:
        extra = path_inputs.path_input(
            "Extra training data",
            key=_EXTRA,
            several=True,
            placeholder="none",
            help=markdown.text(recipes.help_text("extra_data")),
        )
    n_folds = right.number_input(
        "Cross-validation folds",
        0,
        20,
        key=preset_gallery.FOLDS,
        help="0 for no cross-validation; otherwise 2 or more. 5 adds five jobs per architecture, so that every scan is tested once by a network that was not "
        "trained on it.",
    )
    return extra, int(n_folds), job_start.choose_engine()
