"""The form that starts training jobs: folder, architectures, recipe with its options, protocols."""

import os
import zlib
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

from kidney_core.app import (
    access,
    audit_recorder,
    formatting,
    job_check,
    markdown,
    packed_uploads,
    path_inputs,
    runs_table,
    tables,
)
from kidney_core.common.errors import KidneyError, RunError
from kidney_core.common.labelling import Labelling
from kidney_core.common.labels import LABELS
from kidney_core.common.paper import ARCHITECTURE_NAMES
from kidney_core.common.typed_paths import clean_paths
from kidney_core.engines import jobs
from kidney_core.metrics import number_format
from kidney_core.metrics.splits import FOLDER, GROUPED, PROTOCOL_NAMES, RANDOM
from kidney_core.runs import cross_validation, recipes
from kidney_core.runs.recipes import RECIPE_DESCRIPTIONS, RECIPES, TrainingConfig
from kidney_core.runs.run_folder import Run

DOWNLOADED, RANDOM_WEIGHTS, FILE = "imagenet", "scratch", "file"
STARTS = {
    "ImageNet weights (downloaded by timm)": DOWNLOADED,
    "A file": FILE,
    "Random weights": RANDOM_WEIGHTS,
}
BOTH = "both"
NO_FOLDER, NO_FILE = "FOLDER", "FILE"  # stand in the command for what is not entered yet
DEFAULT_RECIPE = "travel"
Number = TypeVar("Number", int, float)
OPTIONS = {option.name: option for option in fields(TrainingConfig)}


def _number(name: str, value: Number, **options: Any) -> Number:
    """An input for a numeric option, within the limits of the configuration."""
    option = OPTIONS[name]
    low, high = (type(value)(limit) for limit in option.metadata["limits"])
    return st.number_input(
        markdown.text(recipes.title(name)),
        low,
        high,
        value,
        help=markdown.text(recipes.help_text(name)),
        key=f"training_{name}_{_recipe_key()}",
        **options,
    )


def _choice(name: str, value: str) -> str:
    option = OPTIONS[name]
    choices = option.metadata["choices"]
    return st.selectbox(
        markdown.text(recipes.title(name)),
        choices,
        choices.index(value),
        help=markdown.text(recipes.help_text(name)),
        key=f"training_{name}_{_recipe_key()}",
    )


def _recipe_key() -> str:
    return st.session_state.get("training_recipe", DEFAULT_RECIPE)


def _recipe_options(recipe: str) -> dict[str, Any]:
    """The options of a recipe as the user changed them; another recipe brings its own defaults."""
    base = TrainingConfig(**RECIPES[recipe])
    chosen: dict[str, Any] = {}
    left, middle, right = st.columns(3)
    with left:
        chosen["trainable"] = _choice("trainable", base.trainable)
        chosen["augmentation"] = _choice("augmentation", base.augmentation)
        chosen["image_size_px"] = _number("image_size_px", base.image_size_px, step=32)
        chosen["framing"] = _choice("framing", base.framing)
        chosen["greys"] = _choice("greys", base.greys)
        chosen["slices"] = _choice("slices", base.slices)
        chosen["drawn_lesions"] = _number("drawn_lesions", base.drawn_lesions, step=0.5)
        chosen["class_weights"] = _choice("class_weights", base.class_weights)
    with middle:
        chosen["n_epochs"] = _number("n_epochs", base.n_epochs)
        chosen["batch_size"] = _number("batch_size", base.batch_size)
        chosen["sampling"] = _choice("sampling", base.sampling)
        chosen["test_fraction"] = _number("test_fraction", base.test_fraction, step=0.05)
        chosen["validation_fraction"] = _number("validation_fraction", float(base.validation_fraction), step=0.05)
        chosen["label_smoothing"] = _number("label_smoothing", base.label_smoothing, step=0.05)
    with right:
        chosen["optimizer"] = _choice("optimizer", base.optimizer)
        chosen["schedule"] = _choice("schedule", base.schedule)
        chosen["learning_rate"] = _number("learning_rate", base.learning_rate, format="%.5f", step=1e-4)
        chosen["weight_decay"] = _number("weight_decay", base.weight_decay, format="%.3f", step=0.01)
        chosen["weight_averaging"] = _number("weight_averaging", base.weight_averaging, format="%.4f", step=0.001)
        chosen["precision"] = _choice("precision", base.precision)
        chosen["reported_epoch"] = _choice("reported_epoch", base.reported_epoch)
        chosen["best_by"] = st.selectbox(
            "Best epoch by",
            [*recipes.BEST_BY, *(f"{recipes.RECALL_OF}{label}" for label in LABELS)],
            accept_new_options=True,
            help=markdown.text(recipes.help_text("best_by")),
            key=f"training_best_by_{_recipe_key()}",
        )
        chosen["patience"] = _number("patience", base.patience)
        chosen["n_processes"] = _number("n_processes", base.n_processes)
    return chosen


def show() -> None:
    """The form; its button submits one job per architecture, seed, protocol and fold."""
    folder = path_inputs.folder_input("training_folder")
    extra = path_inputs.path_input(
        "Extra training data",
        key="training_extra_data",
        several=True,
        placeholder="none",
        help=markdown.text(recipes.help_text("extra_data")),
    )
    names = st.multiselect(
        "Architectures",
        list(ARCHITECTURE_NAMES),
        default=["mobilenetv2_100"],
        format_func=number_format.model_name,
        key="training_architectures",
    )
    other = st.text_input(
        "Other timm architectures",
        key="training_other",
        placeholder="convnext_atto, resnet34",
        help="Names separated by commas",
    )
    names += [name.strip() for name in other.split(",") if name.strip()]
    left, middle, right = st.columns(3)
    recipe = left.selectbox(
        "Recipe",
        list(RECIPES),
        list(RECIPES).index(DEFAULT_RECIPE),
        key="training_recipe",
        help="  \n".join(f"**{name}**: {description}" for name, description in RECIPE_DESCRIPTIONS.items()),
    )
    protocol = middle.selectbox(
        "Split",
        [BOTH, GROUPED, RANDOM, FOLDER],
        format_func=lambda name: PROTOCOL_NAMES.get(name, name),
        key="training_protocol",
        help="“Both” trains two networks: the accuracy on unseen scans shows what data leakage adds to that of a random split. “Split of the folder” needs folders such as train and test.",
    )
    start = right.selectbox("Initial weights", list(STARTS), key="training_start")
    init = STARTS[start]
    if init == FILE:
        init = path_inputs.path_input(
            "File of weights",
            key="training_weights",
            placeholder="/models/weights.pth",
            help="safetensors, or PyTorch (.pth, .pt, .bin), with the names of timm or torchvision. Its head is replaced.",
        )
    with st.expander("Recipe options", key="training_recipe_options"):
        options = _recipe_options(recipe)
    if init == RANDOM_WEIGHTS and options["trainable"] != "all":
        st.info("Random weights are trained in all layers: “Trainable” is set to “all”.")
        options["trainable"] = "all"
    protocols = (GROUPED, RANDOM) if protocol == BOTH else (protocol,)
    n_folds = st.number_input(
        "Cross-validation folds",
        0,
        20,
        0,
        key="training_folds",
        help="0 for no cross-validation; otherwise 2 or more. 5 adds five jobs per architecture, so that every scan is tested once by a network that was not "
        "trained on it.",
    )
    seeds = st.text_input(
        "Seeds",
        "0",
        key="training_seeds",
        help="Separated by commas. One job per seed; several seeds show how much results vary by chance.",
    )
    engine = _engine()
    try:
        options |= {"extra_data": extra, "init": init, **_labelling(folder, extra)}
        configs = _configs(folder, names, protocols, recipe, options, int(n_folds), seeds)
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    selected = _sweep(configs)
    with st.container(horizontal=True):
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
    if starts:
        _submit(selected, engine)
    if checks or job_check.is_due():
        _check(selected, engine)
    with st.container():  # what is drawn below stays where it is
        job_check.show(folder, selected)
    _as_file(configs, engine)


def _labelling(folder: str, extra: str) -> dict[str, str]:
    """The options that say what the class names of the folders stand for, as the user stated it before. Raises DatasetError."""
    from kidney_core.data import remembered_labels

    stated = remembered_labels.recall(folder) if folder else Labelling()
    extra_classes = remembered_labels.recall_classes(clean_paths(extra))
    return {"classes": stated.classes_text, "table": stated.table_text, "extra_classes": extra_classes}


def _configs(
    folder: str,
    names: list[str],
    protocols: tuple[str, ...],
    recipe: str,
    options: dict[str, Any],
    n_folds: int,
    seeds: str,
) -> list[TrainingConfig]:
    """One configuration for each architecture, seed, protocol and fold. Raises RunError, ModelError."""
    configs = []
    for architecture in names:
        for seed in _seeds(seeds):
            base = {**options, "data": folder or NO_FOLDER, "architecture": architecture, "seed": seed}
            base["init"] = base["init"] or NO_FILE
            configs += [recipes.config_from_recipe(recipe, **base, protocol=protocol) for protocol in protocols]
            if n_folds:
                folds = recipes.config_from_recipe(recipe, **base, protocol=GROUPED, n_folds=n_folds)
                configs += cross_validation.fold_configs(folds)
    return configs


def _seeds(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(each) for each in text.split(",") if each.strip())) or [0]
    except ValueError as error:
        raise RunError(f"“{text}” is not a list of seeds. Enter whole numbers, separated by commas.") from error


def _sweep(configs: list[TrainingConfig]) -> list[TrainingConfig]:
    """A table of the jobs in which the user can unselect some; the selected ones."""
    if len(configs) < 2:
        return configs
    table = pd.DataFrame(
        {
            "Start": True,
            "Architecture": [config.architecture for config in configs],
            "Split": [PROTOCOL_NAMES[config.protocol] for config in configs],
            "Fold": [f"{config.fold + 1} of {config.n_folds}" if config.n_folds else "–" for config in configs],
            "Seed": [config.seed for config in configs],
        }
    )
    names = "-".join(f"{config.architecture}{config.protocol}{config.fold}{config.seed}" for config in configs)
    with st.expander(f"{len(configs)} jobs"):
        kept = st.data_editor(
            tables.drawn(table),
            hide_index=True,
            disabled=[name for name in table.columns if name != "Start"],
            key=f"training_sweep_{zlib.crc32(names.encode())}",
        )
    return [config for config, start in zip(configs, kept["Start"], strict=True) if start]


def _as_file(configs: list[TrainingConfig], engine: str) -> None:
    """The configuration as a command and as a file; a saved file can be started too."""
    with st.expander("Command and configuration file"):
        for config in configs[:1]:
            st.code(recipes.command_line(config), language="bash", wrap_lines=True)
            st.download_button(
                "Save the configuration",
                recipes.to_file(config),
                "kidney-ct-training.json",
                "application/json",
                on_click="ignore",
            )
        if len(configs) > 1:
            st.caption(f"The first of {len(configs)} jobs.")
        upload = st.file_uploader("Start a saved configuration", type="json", key="training_config_file")
        if upload is None:
            return
        try:
            config = recipes.from_file(packed_uploads.content(upload))
            st.code(recipes.command_line(config), language="bash", wrap_lines=True)
            if st.button("Start this configuration", key="training_config_start"):
                _submit([config], engine)
                job_check.show(config.data, [config])
        except KidneyError as error:
            st.error(markdown.text(error))


def _engine() -> str:
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


def _with_allowed_paths(config: TrainingConfig) -> TrainingConfig:
    """The same configuration with its paths checked and resolved. Raises PathError, AccessError."""
    init = config.init if config.init in (DOWNLOADED, RANDOM_WEIGHTS) else path_inputs.allowed_path(config.init)
    extra = os.pathsep.join(path_inputs.allowed_path(folder) for folder in config.extra_folders)
    return replace(config, data=path_inputs.allowed_path(config.data), extra_data=extra, init=init)


def _ready(configs: list[TrainingConfig]) -> list[TrainingConfig]:
    """The jobs with their paths resolved and timm's names. Raises KidneyError for what is not filled in or not allowed."""
    from kidney_core.networks import models

    access.require(access.RESEARCHER)
    if configs[0].data in ("", NO_FOLDER):
        raise RunError("Enter the folder of images first.")
    if NO_FILE in {config.init for config in configs}:
        raise RunError("Enter the file of weights, or choose other initial weights.")
    configs = [_with_allowed_paths(config) for config in configs]
    return [replace(config, architecture=models.timm_name(config.architecture)).validated() for config in configs]


def _check(configs: list[TrainingConfig], engine: str) -> None:
    try:
        job_check.check_and_keep(configs, _ready(configs), engine)
    except KidneyError as error:
        st.error(markdown.text(error))


def _submit(configs: list[TrainingConfig], engine: str) -> None:
    """Start jobs, once it is sure that every one of them can be trained."""
    try:
        ready = _ready(configs)
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    if not job_check.check_and_keep(configs, ready, engine):
        return
    job_check.forget()
    try:
        started: list[str] = []
        for config in ready:
            audit_recorder.job(asdict(config), engine=engine)
            run = Run.create(config)
            runs_table.select(started := [*started, run.name])
            jobs.submit(run, engine)
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    st.toast(f"{formatting.quantity(len(configs), 'job')} started")
