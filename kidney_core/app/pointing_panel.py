"""Do the heatmaps of a model point at lesions? What was measured for every method, beside what chance reaches."""

import shlex
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from kidney_core.app import charts, formatting, how_to_read, markdown, tables
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import CheckpointError
from kidney_core.metrics import chart_text, number_format

HOW_TO_READ = (
    "Hits: how often the maximum of the heatmap of the true label lies on the lesion or within 3 % of the image beside it, with "
    "its 95 % interval, which treats slices as independent. Heat inside: the share of the heatmap within the lesion. By "
    "chance: a random point of the body. Best null: what the best of four maps on the same grid that ignore the network hits "
    "(brightness, edges, noise, the heatmap mirrored). Correlation with shuffled weights: how similar the heatmaps stay when the trained "
    "weights are shuffled. It should be near 0; near 1, the heatmap shows edges of the image, not what the network learned."
)


def show(checkpoint: Checkpoint) -> None:
    """One chart and one table per dataset whose lesions are known."""
    try:
        explanations = checkpoint.explanations()
    except CheckpointError as error:
        st.error(markdown.text(error))
        return
    if explanations is None:
        st.info(
            f"How often the heatmaps of {markdown.text(checkpoint.name)} point at lesions was not measured. "
            f"To measure it, run {markdown.code(shlex.join(['kidney-ct', 'pointing', str(checkpoint.folder)]))}."
        )
        return
    from kidney_core.metrics import curve_plots

    how_to_read.folded().caption(HOW_TO_READ)
    by_set = {name: _table(explanations, measured) for name, measured in explanations["sets"].items()}
    for name, table in by_set.items():
        measured = explanations["sets"][name]
        st.markdown(f"## {markdown.text(name)}: {formatting.quantity(measured['n'], 'slice')}")
        st.markdown(_summary(table, measured))
        hits = {str(method): float(rate) for method, rate in table["rate"].items()}
        charts.draw(
            curve_plots.pointing_figure(table, measured["chance_hit"]),
            f"Maps that point at the lesion, as in the table below: {chart_text.shares(hits)}; by chance "
            f"{number_format.percent(measured['chance_hit'])}.",
            key=f"pointing_{name}",
        )
        st.table(markdown.cells(_in_words(table, measured)))
    everything = pd.concat(by_set, names=["set", "method"]).reset_index()
    st.download_button(
        "Heatmap hits (CSV)",
        tables.csv_bytes(everything),
        f"{checkpoint.name}-pointing.csv",
        "text/csv",
        on_click="ignore",
    )


def _table(explanations: dict[str, Any], measured: dict[str, Any]) -> pd.DataFrame:
    """One row per method: rate, low, high, best_null, beats, heat_inside, likeness (the correlation with shuffled weights)."""
    from kidney_core.checkpoints import pointing

    rows = {}
    for method, row in measured["methods"].items():
        rate, low, high = pointing.hit_rate(row["hits"], measured["n"])
        shuffled = explanations["shuffled"][method]
        likeness = shuffled["likeness"] if shuffled["n"] >= pointing.LEAST_SHUFFLED else np.nan
        null = (
            row["nulls"][row["best_null"]]["hits"] / measured["n"] if "nulls" in row else np.nan
        )  # measured since 0.6
        rows[method] = {
            "rate": rate,
            "low": low,
            "high": high,
            "best_null": null,
            "beats": row.get("beats", low > measured["chance_hit"]),
            "heat_inside": row["heat_inside"],
            "likeness": likeness,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _summary(table: pd.DataFrame, measured: dict[str, Any]) -> str:
    """The best method, and how many methods are better than chance."""
    chance = measured["chance_hit"]
    best = table["rate"].idxmax()
    n_better, opponent = int(table["beats"].sum()), "chance" if table["best_null"].isna().all() else "every null map"
    comparison = (
        f"{n_better} of {len(table)} methods are better than {opponent}."
        if n_better
        else f"No method is better than {opponent}: nothing here shows that the heatmaps of this model find the lesion."
    )
    return f"**{markdown.text(best)}** hits best, {number_format.percent(table['rate'].max(), 0)}; chance {number_format.percent(chance, 0)}. {comparison}"


def _in_words(table: pd.DataFrame, measured: dict[str, Any]) -> pd.DataFrame:
    ranges = zip(table["rate"], table["low"], table["high"], strict=True)
    shown = pd.DataFrame(
        {
            "Hits": [
                f"{number_format.percent(rate)} ({number_format.percent_range(low, high)})"
                for rate, low, high in ranges
            ],
            "Best null": [_percent_or_dash(null) for null in table["best_null"]],
            "Heat inside": [number_format.percent(share) for share in table["heat_inside"]],
            "Correlation with shuffled weights": [
                "–" if pd.isna(value) else f"{value:.2f}" for value in table["likeness"]
            ],
        },
        index=table.index,
    )
    shown.loc["by chance"] = [
        number_format.percent(measured["chance_hit"]),
        "–",
        number_format.percent(measured["chance_inside"]),
        "–",
    ]
    return shown


def _percent_or_dash(share: float) -> str:
    return "–" if pd.isna(share) else number_format.percent(share)
