"""The form that starts training jobs: folder, architectures, recipe with its options, protocols."""

import os
import zlib
from dataclasses import asdict, fields, replace

import pandas as pd
import streamlit as st

from kidney_core import access, cross_validation, figures, jobs, recipes, recording, ui
from kidney_core.errors import KidneyError, RunError
from kidney_core.labels import LABELS
from kidney_core.paper import ARCHITECTURE_NAMES
from kidney_core.recipes import RECIPE_DESCRIPTIONS, RECIPES, TrainingConfig
from kidney_core.runs import Run
from kidney_core.splits import GROUPED, PROTOCOL_NAMES, RANDOM

DOWNLOADED, RANDOM_WEIGHTS = "imagenet", "scratch"  # every other start is a file
STARTS = {
    "ImageNet weights (downloaded by timm)": DOWNLOADED,
    "A safetensors file": "file",
    "Random weights": RANDOM_WEIGHTS,
}
BOTH = "both, one after the other"
DEFAULT_RECIPE = "robust"
OPTIONS = {option.name: option for option in fields(TrainingConfig)}


def _check_folder(folder: str) -> tuple[str, str, list[tuple[str, str]]]:
    """What is wrong with a folder, else what it holds, and the files in it that cannot be read, with the reasons."""
    from kidney_core import dataset, series

    try:
        found = dataset.read_dataset(folder, progress=ui.progress_bar("Reading images"))
        dataset.require_classes(found)
        n_series = int(series.group_series(found).max()) + 1
    except KidneyError as error:
        return str(error), "", []
    counts = ", ".join(f"{count:,} {label}" for label, count in found.counts().items())
    return "", f"{len(found):,} slices in {n_series:,} series: {counts}.", list(found.unreadable)


def _show_check(folder: str) -> None:
    """What the last check found, as long as the same folder is named."""
    checked, problem, holds, unreadable = st.session_state.get("training_checked", ("", "", "", []))
    if not folder or checked != folder:
        return
    if problem:
        st.error(problem)
        return
    st.success(holds)
    if unreadable:
        with st.expander(f"{len(unreadable)} files cannot be read and are left out"):
            st.dataframe(pd.DataFrame(unreadable, columns=["File", "Reason"]), hide_index=True)


def _number(name: str, value, **kwargs):
    """An input for a numeric option, within the limits of the configuration."""
    option = OPTIONS[name]
    low, high = (type(value)(limit) for limit in option.metadata["limits"])
    help_text = option.metadata["help"].capitalize()
    return st.number_input(
        name.removeprefix("n_").replace("_px", " (px)").replace("_", " ").capitalize(),
        low,
        high,
        value,
        help=help_text,
        key=f"training_{name}_{_recipe_key()}",
        **kwargs,
    )


def _choice(name: str, value: str) -> str:
    option = OPTIONS[name]
    choices = option.metadata["choices"]
    label = name.replace("_", " ").capitalize()
    return st.selectbox(
        label,
        choices,
        choices.index(value),
        help=option.metadata["help"].capitalize(),
        key=f"training_{name}_{_recipe_key()}",
    )


def _recipe_key() -> str:
    return st.session_state.get("training_recipe", DEFAULT_RECIPE)


def _recipe_fields(recipe: str) -> dict:
    """The options of a recipe, which the user may change; another recipe brings its own defaults."""
    base = TrainingConfig(**RECIPES[recipe])
    chosen = {}
    left, middle, right = st.columns(3)
    with left:
        chosen["trainable"] = _choice("trainable", base.trainable)
        chosen["augmentation"] = _choice("augmentation", base.augmentation)
        chosen["image_size_px"] = _number("image_size_px", base.image_size_px, step=32)
        chosen["framing"] = _choice("framing", base.framing)
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
            "Best by",
            [*recipes.BEST_BY, *(f"{recipes.RECALL_OF}{label}" for label in LABELS)],
            accept_new_options=True,
            help=OPTIONS["best_by"].metadata["help"].capitalize(),
            key=f"training_best_by_{_recipe_key()}",
        )
        chosen["patience"] = _number("patience", base.patience)
        chosen["n_processes"] = _number("n_processes", base.n_processes)
    return chosen


def draw() -> None:
    """Draw the form; its button submits one job for each architecture and protocol."""
    folder = ui.folder_input("training_folder")
    extra = ui.path_input(
        "Extra training data",
        key="training_extra_data",
        several=True,
        placeholder="none, or other exports of the same scans, or simulated slices",
        help=OPTIONS["extra_data"].metadata["help"].capitalize(),
    )
    if folder and st.button("Check the folder", key="training_check"):
        st.session_state["training_checked"] = (folder, *_check_folder(folder))
    with st.container():  # what is drawn below stays where it is
        _show_check(folder)
    names = st.multiselect(
        "Architectures",
        list(ARCHITECTURE_NAMES),
        default=["mobilenetv2_100"],
        format_func=figures.model_name,
        key="training_architectures",
    )
    other = st.text_input(
        "Other timm architectures, separated by commas", key="training_other", placeholder="convnext_atto, resnet34"
    )
    names += [name.strip() for name in other.split(",") if name.strip()]
    left, middle, right = st.columns(3)
    recipe = left.selectbox(
        "Recipe",
        list(RECIPES),
        list(RECIPES).index(DEFAULT_RECIPE),
        key="training_recipe",
        help="A named set of defaults: robust is the best on scans never seen, paper is the published one",
    )
    protocol = middle.selectbox(
        "Protocol",
        [BOTH, GROUPED, RANDOM],
        format_func=lambda name: PROTOCOL_NAMES.get(name, name),
        key="training_protocol",
        help="Both gives the honest pair of figures",
    )
    start = right.selectbox("Start from", list(STARTS), key="training_start")
    st.caption(f"The recipe's own settings, where nothing else is chosen here: {RECIPE_DESCRIPTIONS[recipe]}")
    init = STARTS[start]
    if init == "file":
        init = ui.path_input("Safetensors file of timm's weights", key="training_weights")
    with st.expander("Recipe options", key="training_recipe_options"):
        options = _recipe_fields(recipe)
    if init == "scratch" and options["trainable"] != "all":
        st.info("Random weights need trainable “all”: it will be used.")
        options["trainable"] = "all"
    protocols = (GROUPED, RANDOM) if protocol == BOTH else (protocol,)
    n_folds = st.number_input(
        "Folds of a cross-validation besides",
        0,
        20,
        0,
        key="training_folds",
        help="0 for none; 5 adds five jobs an architecture, after which every scan was tested once by a network that never saw it",
    )
    seeds = st.text_input(
        "Seeds, separated by commas",
        "0",
        key="training_seeds",
        help="One job for each; several show luck",
    )
    engine = _engine()
    try:
        configs = _configs(
            folder, names, protocols, recipe, {**options, "extra_data": extra, "init": init}, int(n_folds), seeds
        )
    except KidneyError as error:
        st.error(str(error))
        return
    wanted = _sweep(configs)
    if st.button(f"Start {ui.counted(len(wanted), 'job')}", type="primary", disabled=not wanted, key="training_submit"):
        _submit(folder, wanted, engine)
    _as_file(configs)


def _configs(
    folder: str, names: list[str], protocols: tuple[str, ...], recipe: str, options: dict, n_folds: int, seeds: str
) -> list[TrainingConfig]:
    """One configuration for each architecture, seed, protocol and fold. Raises RunError, ModelError."""
    configs = []
    for architecture in names:
        for seed in _seeds(seeds):
            base = {**options, "data": folder or "FOLDER", "architecture": architecture, "seed": seed}
            base["init"] = base["init"] or "FILE"
            configs += [recipes.config_from_recipe(recipe, **base, protocol=protocol) for protocol in protocols]
            if n_folds > 1:
                folds = recipes.config_from_recipe(recipe, **base, protocol=GROUPED, n_folds=n_folds)
                configs += cross_validation.fold_configs(folds)
    return configs


def _seeds(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(each) for each in text.split(",") if each.strip())) or [0]
    except ValueError as error:
        raise RunError(f"“{text}” is no list of seeds. Write whole numbers, separated by commas.") from error


def _sweep(configs: list[TrainingConfig]) -> list[TrainingConfig]:
    """The table of the jobs to come, of which any may be dropped; those that stay."""
    if len(configs) < 2:
        return configs
    table = pd.DataFrame(
        {
            "Start": True,
            "Architecture": [config.architecture for config in configs],
            "Protocol": [PROTOCOL_NAMES[config.protocol] for config in configs],
            "Fold": [f"{config.fold + 1} of {config.n_folds}" if config.n_folds else "–" for config in configs],
            "Seed": [config.seed for config in configs],
        }
    )
    names = "-".join(f"{config.architecture}{config.protocol}{config.fold}{config.seed}" for config in configs)
    with st.expander(f"{len(configs)} jobs, one after the other"):
        kept = st.data_editor(
            table,
            hide_index=True,
            disabled=[name for name in table.columns if name != "Start"],
            key=f"training_sweep_{zlib.crc32(names.encode())}",
        )
    return [config for config, start in zip(configs, kept["Start"], strict=True) if start]


def _as_file(configs: list[TrainingConfig]) -> None:
    """The same as a command line, and as a file to keep and to share; such a file may be started too."""
    with st.expander("As a command, as a file"):
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
            st.caption(f"The first of {len(configs)}.")
        given = st.file_uploader("Start from a saved configuration", type="json", key="training_config_file")
        if given is None:
            return
        try:
            config = recipes.from_file(given.getvalue())
            st.code(recipes.command_line(config), language="bash", wrap_lines=True)
            if st.button("Start this configuration", key="training_config_start"):
                _submit(config.data, [config], jobs.default_engine())
        except KidneyError as error:
            st.error(str(error))


def _engine() -> str:
    """Where the jobs run; asked where there is a choice."""
    engines = {engine.name: engine.title for engine in jobs.available_engines()}
    try:
        default = jobs.default_engine()
    except RunError as error:
        st.warning(str(error))
        default = "local"
    if len(engines) < 2:
        return default
    names = list(engines)
    return st.selectbox(
        "Train on",
        names,
        names.index(default) if default in names else 0,
        format_func=engines.get,
        key="training_engine",
        help="A cluster sees the same folders under the same paths",
    )


def _with_allowed_paths(config: TrainingConfig) -> TrainingConfig:
    """A configuration whose paths may be named here, also one that came as a file. Raises PathError."""
    init = config.init if config.init in (DOWNLOADED, RANDOM_WEIGHTS) else ui.allowed_path(config.init)
    extra = os.pathsep.join(ui.allowed_path(folder) for folder in config.extra_folders)
    return replace(config, data=ui.allowed_path(config.data), extra_data=extra, init=init)


def _submit(folder: str, configs: list[TrainingConfig], engine: str) -> None:
    try:
        access.require(access.RESEARCHER)
        from kidney_core import dataset, models

        if not folder:
            raise RunError("Name the folder of images first.")
        if "FILE" in {config.init for config in configs}:
            raise RunError("Name the safetensors file to start from, or choose another start.")
        configs = [_with_allowed_paths(config) for config in configs]
        dataset.require_classes(
            dataset.read_dataset(ui.allowed_path(folder), progress=ui.progress_bar("Reading images"))
        )
        for extra in sorted({folder for config in configs for folder in config.extra_folders}):
            dataset.read_dataset(extra, progress=ui.progress_bar("Reading extra images"))
        ready = [replace(config, architecture=models.timm_name(config.architecture)).validated() for config in configs]
        for config in ready:
            recording.job(asdict(config), engine=engine)
            jobs.submit(Run.create(config), engine)
    except KidneyError as error:
        st.error(str(error))
        return
    st.toast(f"{ui.counted(len(configs), 'job')} started")
