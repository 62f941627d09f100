"""The form of a new search: what is trained, what is varied in which range, how often, and what is made best."""

from dataclasses import replace
from typing import Any

import streamlit as st

from kidney_core.app import initial_weights, job_start, markdown, path_inputs, progress
from kidney_core.common.paper import ARCHITECTURE_NAMES
from kidney_core.engines import jobs
from kidney_core.metrics import number_format
from kidney_core.runs import recipes
from kidney_core.runs.recipes import RECIPES, TrainingConfig
from kidney_core.search import search_command, space
from kidney_core.search.search_folder import MAX_TRIALS, OBJECTIVE_TITLES, Plan, comparable

_A_THIRD = 3  # ranges in a row


def show() -> Plan:
    """The plan as it is entered; its paths are not resolved yet, see `ready`.

    Raises: KidneyError for what cannot be read.
    """
    folder = path_inputs.folder_input("search_folder", last=st.session_state.get("training_folder", ""))
    left, middle, right = st.columns(3)
    architecture = left.selectbox(
        "Architecture",
        list(ARCHITECTURE_NAMES),
        format_func=number_format.model_name,
        accept_new_options=True,
        key="search_architecture",
        help="One of these, or any timm name",
    )
    recipe = middle.selectbox("Recipe", list(RECIPES), key="search_recipe")
    with right:
        init = initial_weights.choose(start_key="search_start_from", file_key="search_weights")
    options = st.text_input(
        "Other options of every trial",
        key="search_options",
        placeholder="--n-epochs 5 --batch-size 16",
        help="As for kidney-ct train. Without them the recipe decides.",
    )
    varied = _varied()
    left, middle, right = st.columns(3)
    n_trials = left.number_input("Trials", 1, MAX_TRIALS, 20, key="search_n_trials")
    objective = middle.selectbox(
        "Choose by", list(OBJECTIVE_TITLES), format_func=OBJECTIVE_TITLES.__getitem__, key="search_objective"
    )
    seed = right.number_input("Seed of the search", 0, 2**31 - 1, 0, key="search_seed")
    given = {"protocol": "grouped", "recipe": recipe, "architecture": architecture, "init": init}
    given |= search_command.read_options(options)
    given |= {"data": folder or job_start.NO_FOLDER}
    config = comparable(recipes.config_from_recipe(given.pop("recipe"), **given))
    return Plan(
        config=config,
        varied=varied,
        n_trials=int(n_trials),
        objective=objective,
        seed=int(seed),
        engine=jobs.default_engine(),
    )


def _varied() -> dict[str, str]:
    """What is varied, each with its range as text."""
    names = st.multiselect(
        "Vary",
        space.VARIED,
        default=space.CHOSEN_AT_FIRST,
        format_func=recipes.title,
        key="search_varied",
    )
    found: dict[str, str] = {}
    columns = st.columns(_A_THIRD)
    for place, name in enumerate(names):
        found[name] = (
            columns[place % _A_THIRD]
            .text_input(
                markdown.text(recipes.title(name)),
                space.default_range(name),
                key=f"search_range_{name}",
                help="A range such as 1e-5..1e-2, or a list such as 96,128",
            )
            .strip()
        )
    return found


def ready(plan: Plan, *, varies: bool = True) -> Plan:
    """The plan with resolved paths, once it is sure that all its trials can be trained; draws progress meanwhile.

    Args:
        varies: False to check its configuration alone, as for a range test.

    Raises: KidneyError for what is not filled in, not allowed, or cannot be trained.
    """
    from kidney_core.training import readiness

    (config,) = job_start.ready([plan.config])
    config = _with_labelling(config)
    plan = replace(plan, config=config)
    if varies:
        plan.validated()
    configs = space.extremes(config, plan.ranges) if varies else [config.validated()]
    readiness.require_all_trainable(configs, progress.progress_bar)
    return plan


def _with_labelling(config: TrainingConfig) -> TrainingConfig:
    """The configuration with what the user said before about the class names of its folders, where its options say nothing."""
    before: dict[str, Any] = job_start.remembered_classes(config.data, config.extra_data)
    if config.classes or config.table:
        before |= {"classes": config.classes, "table": config.table}
    if config.extra_classes:
        before["extra_classes"] = config.extra_classes
    return replace(config, **before)
