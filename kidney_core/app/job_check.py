"""Can these jobs be trained? What their folder holds, what stops which of them, and what its class names stand for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from kidney_core.app import formatting, labelling_panel, markdown, progress, tables
from kidney_core.common.errors import RunError, UnclearTable
from kidney_core.engines import local_engine
from kidney_core.metrics.splits import TEST, TRAIN, VALIDATION
from kidney_core.runs import differences
from kidney_core.runs.recipes import TrainingConfig

if TYPE_CHECKING:
    from kidney_core.data.dataset import Dataset

_KEPT, _DUE = "training_checked", "training_check_due"


@dataclass(frozen=True)
class Checked:
    """What a check of the jobs showed.

    Attributes:
        configs: those that were checked; of these, `problems` are told.
        contents: how many slices and scans their folder holds, in a sentence; empty where it cannot be read.
        problems: a sentence each, with the jobs that it stops.
        unreadable: (file, reason) of those that could not be read.
        class_names: as in `Dataset`.
        unclear: the table whose columns the user must choose.
    """

    configs: tuple[TrainingConfig, ...]
    contents: str = ""
    problems: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    class_names: dict[str, tuple[str, int]] = field(default_factory=dict)
    unclear: UnclearTable | None = None


def check_and_keep(configs: Sequence[TrainingConfig], ready: Sequence[TrainingConfig], engine: str) -> bool:
    """Check jobs in every way and keep what that showed for `show`; whether all of them can be trained.

    Args:
        configs: as the user entered them.
        ready: the same with resolved paths and timm's names.
    """
    from kidney_core.training import readiness

    found = readiness.check(ready, progress.progress_bar)
    problems = dict(found.problems)
    for config in ready if engine == "local" else ():
        try:
            local_engine.require_gpus(config)
        except RunError as error:
            problems.setdefault(str(error), []).append(config)
    told = tuple(_problem_in_words(sentence, stopped, ready) for sentence, stopped in problems.items())
    contents, unreadable = "", tuple[tuple[str, str], ...]()
    if found.dataset is not None and found.table is not None:
        counts = ", ".join(f"{count:,} {label}" for label, count in found.dataset.counts().items())
        n_scans = found.table["series"].nunique()
        contents = f"{len(found.dataset):,} slices in {n_scans:,} scans: {counts}.{_split_in_words(found.dataset)}"
        unreadable = tuple(found.dataset.unreadable)
    st.session_state[_KEPT] = Checked(tuple(configs), contents, told, unreadable, found.class_names, found.unclear)
    return not told


def is_due() -> bool:
    """Whether the jobs are to be checked again, since the user said what class names stand for."""
    return bool(st.session_state.pop(_DUE, False))


def forget() -> None:
    """Show the last check no longer."""
    st.session_state.pop(_KEPT, None)


def show(folder: str, configs: Sequence[TrainingConfig]) -> None:
    """The result of the last check: of the folder as long as that is entered, of the jobs as long as these are chosen."""
    checked: Checked | None = st.session_state.get(_KEPT)
    if checked is None or checked.configs[0].data != folder:
        return
    is_same = checked.configs == tuple(configs)
    for problem in checked.problems if is_same else ():
        st.error(markdown.text(problem))
    if checked.contents:
        can = f" {formatting.quantity(len(configs), 'job')} can be trained."
        st.success(markdown.text(checked.contents) + (can if is_same and not checked.problems else ""))
    if labelling_panel.ask(folder, checked.class_names, checked.unclear, key="training"):
        st.session_state[_DUE] = True  # with the new labels, once the form has them
        st.rerun()
    if checked.unreadable:
        with st.expander(f"{len(checked.unreadable)} files cannot be read and are left out"):
            st.dataframe(tables.drawn(pd.DataFrame(checked.unreadable, columns=["File", "Reason"])), hide_index=True)


def _problem_in_words(sentence: str, stopped: Sequence[TrainingConfig], configs: Sequence[TrainingConfig]) -> str:
    """A problem with the jobs that it stops, where it does not stop all of them."""
    if len(stopped) == len(configs):
        return sentence
    labels = differences.labels({str(place): config for place, config in enumerate(configs)})
    jobs_of = [labels[str(configs.index(config))] for config in stopped]
    return f"{sentence} This stops {formatting.quantity(len(stopped), 'job')}: {'; '.join(jobs_of)}."


def _split_in_words(images: "Dataset") -> str:
    """The split that a folder brings along; empty where it has none."""
    if "folder_part" not in images.table:
        return ""
    sizes = images.table["folder_part"].value_counts()
    named = ", ".join(f"{sizes[part]:,} {part}" for part in (TRAIN, VALIDATION, TEST) if part in sizes)
    return f" It has a split of its own: {named}."
