"""Checks and starts training jobs: who may, which paths, where they run."""

import os
from collections.abc import Sequence
from dataclasses import asdict, replace

import streamlit as st

from kidney_core.app import (
    access,
    audit_recorder,
    formatting,
    initial_weights,
    job_check,
    markdown,
    path_inputs,
    runs_table,
)
from kidney_core.common.errors import KidneyError, RunError
from kidney_core.common.labelling import Labelling
from kidney_core.common.typed_paths import clean_paths
from kidney_core.engines import jobs
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import Run

NO_FOLDER = "FOLDER"  # stands in a command for what is not entered yet


def choose_engine() -> str:
    """Where the jobs run; the user chooses where there are several engines."""
    engines = {engine.name: engine.title for engine in jobs.available_engines()}
    try:
        default = jobs.default_engine()
    except RunError as error:
        st.warning(markdown.text(error))
        default = "local"
    if len(engines) < 2:
        return default
    names = list(engines)
    return st.selectbox(
        "Train on",
        names,
        names.index(default) if default in names else 0,
        format_func=engines.__getitem__,
        key="training_engine",
        help="A cluster must see the same folders under the same paths.",
    )


def check(configs: Sequence[TrainingConfig], engine: str) -> None:
    """Check jobs in every way; `job_check.show` tells what that showed."""
    try:
        job_check.check_and_keep(configs, ready(configs), engine)
    except KidneyError as error:
        st.error(markdown.text(error))


def start(configs: Sequence[TrainingConfig], engine: str) -> None:
    """Start jobs, once it is sure that every one of them can be trained."""
    try:
        allowed = ready(configs)
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    if not job_check.check_and_keep(configs, allowed, engine):
        return
    job_check.forget()
    try:
        started: list[str] = []
        for config in allowed:
            audit_recorder.job(asdict(config), engine=engine)
            run = Run.create(config)
            runs_table.select(started := [*started, run.name])
            jobs.submit(run, engine)
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    st.toast(f"{formatting.quantity(len(configs), 'job')} started")


def ready(configs: Sequence[TrainingConfig]) -> list[TrainingConfig]:
    """The jobs with their paths resolved and timm's names. Raises KidneyError for what is not filled in or not allowed."""
    from kidney_core.networks import models

    access.require(access.RESEARCHER)
    if configs[0].data in ("", NO_FOLDER):
        raise RunError("Enter the folder of images first.")
    if initial_weights.NO_FILE in {config.init for config in configs}:
        raise RunError("Enter the file of weights, or choose other initial weights.")
    return [
        replace(_with_allowed_paths(config), architecture=models.timm_name(config.architecture)).validated()
        for config in configs
    ]


def remembered_classes(folder: str, extra: str) -> dict[str, str]:
    """The options that say what the class names of the folders stand for, as the user stated it before. Raises DatasetError."""
    from kidney_core.data import remembered_labels

    stated = remembered_labels.recall(folder) if folder else Labelling()
    extra_classes = remembered_labels.recall_classes(clean_paths(extra))
    return {"classes": stated.classes_text, "table": stated.table_text, "extra_classes": extra_classes}


def _with_allowed_paths(config: TrainingConfig) -> TrainingConfig:
    """The same configuration with its paths checked and resolved. Raises PathError, AccessError."""
    init = (
        config.init
        if config.init in (initial_weights.DOWNLOADED, initial_weights.RANDOM)
        else path_inputs.allowed_path(config.init)
    )
    extra = os.pathsep.join(path_inputs.allowed_path(folder) for folder in config.extra_folders)
    return replace(config, data=path_inputs.allowed_path(config.data), extra_data=extra, init=init)
