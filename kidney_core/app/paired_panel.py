"""Paired tests of models on the same slices: a table of one figure, all the others on request, and what cannot be compared."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from kidney_core.app import formatting, how_to_read, markdown, tables
from kidney_core.common.errors import KidneyError
from kidney_core.metrics import number_format

if TYPE_CHECKING:
    from kidney_core.metrics.comparison import Compared, Comparison
    from kidney_core.metrics.predictions import Predictions

_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro.f1": "Macro F1",
    "weighted.f1": "Weighted F1",
    "recall": "Recall",
    "precision": "Precision",
    "f1": "F1",
    "roc_auc": "ROC AUC",
}
_HOW_TO_READ = (
    "Both models predicted the same slices. p over scans: permutation test that swaps their predictions on whole scans. "
    "Corrected (Holm): for all pairs of this figure, and for all tests. p over slices: McNemar's test, which treats slices "
    "of one scan as independent and is therefore optimistic."
)


def show(compared: "Compared", figure: str, *, key: str) -> None:
    """The paired tests of one figure, those of all others folded, and the pairs that cannot be compared."""
    own = compared.of(figure)
    if own:
        st.dataframe(tables.drawn(pd.DataFrame([_row(each) for each in own])), hide_index=True, key=key)
    elif compared.tests:
        st.info("No pair has this figure: no slice that both were tested on has this label.")
    for each in compared.left_out:
        st.caption(markdown.text(f"Not compared: {each.first} and {each.second}. {each.reason}"))
    if not compared.tests:
        return
    n_tests = formatting.quantity(len(compared.tests), "test")
    with st.expander(f"Every figure ({n_tests})"):
        everything = pd.DataFrame([{"Figure": title_of(each.figure), **_row(each)} for each in compared.tests])
        st.dataframe(tables.drawn(everything), hide_index=True, key=f"{key}_all")
        st.download_button(
            "All tests (CSV)",
            tables.csv_bytes(table_of(compared)),
            "paired-tests.csv",
            "text/csv",
            key=f"{key}_csv",
            on_click="ignore",
        )
    how_to_read.folded().caption(_HOW_TO_READ)


def show_disagreements(predictions: "dict[str, Predictions]", *, key: str) -> None:
    """The slices of which two models say different labels, one by one."""
    from kidney_core.metrics import disagreement

    names = list(predictions)
    if not st.toggle("Slices on which two models disagree", key=f"{key}_asked"):  # they take a moment
        return
    with st.container(border=True):
        left, right = st.columns(2)
        first = left.selectbox("First", names, key=f"{key}_first")
        second = right.selectbox("Second", [name for name in names if name != first], key=f"{key}_second")
        try:
            table = disagreement.disagreements(predictions[first], predictions[second])
        except KidneyError as error:
            st.info(markdown.text(error))
            return
        counts = table["who"].value_counts()
        kinds = [disagreement.FIRST_RIGHT, disagreement.SECOND_RIGHT, disagreement.BOTH_WRONG]
        kind = st.segmented_control(
            "Show",
            ["all", *kinds],
            default="all",
            required=True,
            format_func=lambda name: markdown.text(
                f"{name} ({counts.get(name, 0) if name != 'all' else len(table):,})"
            ),
            key=f"{key}_kind",
            label_visibility="collapsed",
        )
        least = st.slider("Both at least this confident (%)", 0, 100, 0, 5, key=f"{key}_least")
        shown = table if kind == "all" else table[table["who"] == kind]
        shown = shown[np.minimum(shown["first_confidence"], shown["second_confidence"]) >= least / 100]
        tables.show_table(shown, key=f"{key}_table", percents=("first_confidence", "second_confidence"))
        st.download_button(
            "Disagreements (CSV)",
            tables.csv_bytes(shown),
            "disagreements.csv",
            "text/csv",
            key=f"{key}_disagreements_csv",
            on_click="ignore",
        )


def title_of(figure: str) -> str:
    """ "per_label.Stone.recall" -> "Recall of Stone"."""
    if not figure.startswith("per_label."):
        return _NAMES[figure]
    _, label, name = figure.split(".")
    return f"{_NAMES[name]} of {label}"


def table_of(compared: "Compared") -> pd.DataFrame:
    """Every test with its numbers, for a file."""
    return pd.DataFrame(
        [
            {
                "first": each.first,
                "second": each.second,
                "figure": each.figure,
                "difference": each.difference.value,
                "low": each.difference.low,
                "high": each.difference.high,
                "pvalue_scans": each.p_series,
                "pvalue_corrected_pairs": each.p_corrected,
                "pvalue_corrected_all": each.p_corrected_all,
                "pvalue_slices_mcnemar": each.p_slices,
                "slices": each.n_slices,
                "scans": each.n_series,
            }
            for each in compared.tests
        ]
    )


def _row(test: "Comparison") -> dict[str, str | int]:
    return {
        "First": test.first,
        "Second": test.second,
        "First minus second": _in_points(test.difference.value),
        "95 % interval": number_format.percent_range(test.difference.low, test.difference.high, signed=True),
        "p, over scans": number_format.p_value(test.p_series),
        "corrected, pairs": number_format.p_value(test.p_corrected),
        "corrected, all tests": number_format.p_value(test.p_corrected_all),
        "p, over slices (optimistic)": number_format.p_value(test.p_slices),
        "Slices": test.n_slices,
        "Scans": test.n_series,
    }


def _in_points(difference: float | None) -> str:
    """0.225 -> "+22.5 points"."""
    return "–" if difference is None else f"{100 * difference:+.1f} points"
