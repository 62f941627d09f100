"""The form that starts training jobs: folder, architectures, recipe with its options, protocols."""

from dataclasses import fields

import pandas as pd
import streamlit as st

from kidney_core import cross_validation, figures, jobs, recipes, ui
from kidney_core.errors import KidneyError, RunError
from kidney_core.paper import ARCHITECTURE_NAMES
from kidney_core.recipes import RECIPE_DESCRIPTIONS, RECIPES, TrainingConfig
from kidney_core.runs import Run
from kidney_core.splits import GROUPED, RANDOM

STARTS = {
    "ImageNet weights (downloaded by timm)": "imagenet",
    "A safetensors file": "file",
    "Random weights": "scratch",
}
BOTH = "both, one after the other"
OPTIONS = {option.name: option for option in fields(TrainingConfig)}


def _check_folder(folder: str) -> None:
    """Show what a folder holds, or what was expected of it."""
    from kidney_core import dataset, series

    try:
        found = dataset.read_dataset(folder, progress=ui.progress_bar("Reading images"))
        dataset.require_classes(found)
        n_series = int(series.group_series(found).max()) + 1
    except KidneyError as error:
        st.error(str(error))
        return
    counts = ", ".join(f"{count:,} {label}" for label, count in found.counts().items())
    st.success(f"{len(found):,} slices in {n_series:,} series: {counts}.")
    if found.unreadable:
        with st.expander(f"{len(found.unreadable)} files cannot be read and are left out"):
            st.dataframe(pd.DataFrame(found.unreadable, columns=["File", "Reason"]), hide_index=True)


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
    return st.session_state.get("training_recipe", "paper")


def _recipe_fields(recipe: str) -> dict:
    """The options of a recipe, which the user may change; another recipe brings its own defaults."""
    base = TrainingConfig(**RECIPES[recipe])
    chosen = {}
    left, middle, right = st.columns(3)
    with left:
        chosen["trainable"] = _choice("trainable", base.trainable)
        chosen["augmentation"] = _choice("augmentation", base.augmentation)
        chosen["image_size_px"] = _number("image_size_px", base.image_size_px, step=32)
        chosen["seed"] = _number("seed", base.seed)
        chosen["class_weights"] = _choice("class_weights", base.class_weights)
    with middle:
        chosen["n_epochs"] = _number("n_epochs", base.n_epochs)
        chosen["batch_size"] = _number("batch_size", base.batch_size)
        chosen["test_fraction"] = _number("test_fraction", base.test_fraction, step=0.05)
        chosen["validation_fraction"] = _number("validation_fraction", float(base.validation_fraction), step=0.05)
        chosen["label_smoothing"] = _number("label_smoothing", base.label_smoothing, step=0.05)
    with right:
        chosen["optimizer"] = _choice("optimizer", base.optimizer)
        chosen["schedule"] = _choice("schedule", base.schedule)
        chosen["learning_rate"] = _number("learning_rate", base.learning_rate, format="%.5f", step=1e-4)
        chosen["weight_decay"] = _number("weight_decay", base.weight_decay, format="%.3f", step=0.01)
        chosen["precision"] = _choice("precision", base.precision)
        chosen["reported_epoch"] = _choice("reported_epoch", base.reported_epoch)
        chosen["n_processes"] = _number("n_processes", base.n_processes)
    chosen["extra_data"] = st.text_input(
        "Extra training data",
        key="training_extra_data",
        placeholder="demo-data",
        help=OPTIONS["extra_data"].metadata["help"].capitalize(),
    ).strip()
    return chosen


def draw() -> None:
    """Draw the form; its button submits one job for each architecture and protocol."""
    folder = ui.folder_input("training_folder")
    if folder and st.button("Check the folder", key="training_check"):
        _check_folder(folder)
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
    recipe = left.selectbox("Recipe", list(RECIPES), key="training_recipe", help="A named set of defaults")
    protocol = middle.selectbox(
        "Protocol", [BOTH, GROUPED, RANDOM], key="training_protocol", help="Both gives the honest pair of figures"
    )
    start = right.selectbox("Start from", list(STARTS), key="training_start")
    st.caption(f"The recipe's own settings, where nothing else is chosen here: {RECIPE_DESCRIPTIONS[recipe]}")
    init = STARTS[start]
    if init == "file":
        init = st.text_input("Safetensors file of timm's weights", key="training_weights").strip()
    with st.expander("Recipe options"):
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
    engine = _engine()
    count = len(names) * (len(protocols) + (n_folds if n_folds > 1 else 0))
    if st.button(f"Start {ui.counted(count, 'job')}", type="primary", disabled=not count, key="training_submit"):
        _submit(folder, names, protocols, recipe, {**options, "init": init}, n_folds=int(n_folds), engine=engine)


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


def _submit(
    folder: str,
    names: list[str],
    protocols: tuple[str, ...],
    recipe: str,
    options: dict,
    *,
    n_folds: int,
    engine: str,
) -> None:
    try:
        from kidney_core import dataset, models

        if not folder:
            raise RunError("Name the folder of images first.")
        if not options["init"]:
            raise RunError("Name the safetensors file to start from, or choose another start.")
        dataset.require_classes(dataset.read_dataset(folder, progress=ui.progress_bar("Reading images")))
        if options["extra_data"]:
            dataset.read_dataset(options["extra_data"], progress=ui.progress_bar("Reading extra images"))
        configs = []
        for architecture in [models.timm_name(name) for name in names]:
            base = {**options, "data": folder, "architecture": architecture}
            configs += [recipes.config_from_recipe(recipe, **base, protocol=protocol) for protocol in protocols]
            if n_folds > 1:
                folds = recipes.config_from_recipe(recipe, **base, protocol=GROUPED, n_folds=n_folds)
                configs += cross_validation.fold_configs(folds)
        for config in configs:
            jobs.submit(Run.create(config), engine)
    except KidneyError as error:
        st.error(str(error))
        return
    st.toast(f"{ui.counted(len(configs), 'job')} started")
