"""The jobs of a sweep: one for each architecture, seed, split and fold, and which of them are started."""

import zlib
from typing import Any

import pandas as pd
import streamlit as st

from kidney_core.app import tables
from kidney_core.common.errors import RunError
from kidney_core.metrics.splits import GROUPED, PROTOCOL_NAMES
from kidney_core.runs import cross_validation, recipes
from kidney_core.runs.recipes import TrainingConfig


def configs(
    recipe: str,
    options: dict[str, Any],
    *,
    architectures: list[str],
    seeds: str,
    protocols: tuple[str, ...],
    n_folds: int,
) -> list[TrainingConfig]:
    """One configuration for each architecture, seed, protocol and fold.

    Args:
        options: of all of them.
        seeds: whole numbers, separated by commas.
        n_folds: of a cross-validation beside the protocols; 0 for none.

    Raises: RunError, ModelError.
    """
    made = []
    for architecture in architectures:
        for seed in _seeds(seeds):
            base = {**options, "architecture": architecture, "seed": seed}
            made += [recipes.config_from_recipe(recipe, **base, protocol=protocol) for protocol in protocols]
            if n_folds:
                folds = recipes.config_from_recipe(recipe, **base, protocol=GROUPED, n_folds=n_folds)
                made += cross_validation.fold_configs(folds)
    return made


def choose(jobs: list[TrainingConfig]) -> list[TrainingConfig]:
    """A table of the jobs in which the user can unselect some; the selected ones."""
    table = pd.DataFrame(
        {
            "Start": True,
            "Architecture": [config.architecture for config in jobs],
            "Split": [PROTOCOL_NAMES[config.protocol] for config in jobs],
            "Fold": [f"{config.fold + 1} of {config.n_folds}" if config.n_folds else "–" for config in jobs],
            "Seed": [config.seed for config in jobs],
        }
    )
    names = "-".join(f"{config.architecture}{config.protocol}{config.fold}{config.seed}" for config in jobs)
    kept = st.data_editor(
        tables.drawn(table),
        hide_index=True,
        disabled=[name for name in table.columns if name != "Start"],
        key=f"training_sweep_{zlib.crc32(names.encode())}",
    )
    return [config for config, start in zip(jobs, kept["Start"], strict=True) if start]


def _seeds(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(each) for each in text.split(",") if each.strip())) or [0]
    except ValueError as error:
        raise RunError(f"“{text}” is not a list of seeds. Enter whole numbers, separated by commas.") from error
