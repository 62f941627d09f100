"""Does a model's map point at the lesion? What was measured for every method, beside what chance would reach."""

import numpy as np
import pandas as pd
import streamlit as st

from kidney_core import figures, ui
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import CheckpointError

HOW_TO_READ = (
    "Points: the brightest place of the map of the true label lies on the lesion, give or take 3 % of the image; in brackets the "
    "95 % interval. Heat inside: how much of the map lies within the lesion. A random place of the body reaches the figures of "
    "“by chance”. The intervals take slices as independent. Likeness to shuffled weights: how alike the maps stay when all that was "
    "learned is shuffled; near 0 is right, and near 1 the map shows edges, whatever the network knows."
)


def draw(checkpoint: Checkpoint) -> None:
    """One table a set of slices whose lesions are known."""
    try:
        found = checkpoint.explanations()
    except CheckpointError as error:
        st.error(str(error))
        return
    if found is None:
        st.info(
            f"Whether the maps of {checkpoint.name} point at lesions was not measured. "
            f"Run `python -m kidney_core.pointing {checkpoint.folder}`."
        )
        return
    from kidney_core import curve_figures

    st.caption(f"How to read this. {HOW_TO_READ}")
    tables = {name: _table(found, measured) for name, measured in found["sets"].items()}
    for name, table in tables.items():
        measured = found["sets"][name]
        best = table["rate"].idxmax()
        better = int((table["low"] > measured["chance_hit"]).sum())
        st.markdown(f"#### {name}: {ui.counted(measured['n'], 'slice')}")
        st.markdown(
            f"**{best}** points best, at {figures.percent(table.loc[best, 'rate'], 0)}; by chance it would be "
            f"{figures.percent(measured['chance_hit'], 0)}. {_counted_better(better, len(table))}"
        )
        st.plotly_chart(
            curve_figures.pointing_figure(table, measured["chance_hit"]),
            config={"displayModeBar": False},
            key=f"pointing_{name}",
        )
        st.table(_shown(table, measured))
    everything = pd.concat(tables, names=["set", "method"]).reset_index()
    st.download_button(
        "Pointing (CSV)", ui.csv_bytes(everything), f"{checkpoint.name}-pointing.csv", "text/csv", on_click="ignore"
    )


def _table(found: dict, measured: dict) -> pd.DataFrame:
    """One row a method: rate, low, high, heat_inside, likeness."""
    from kidney_core import pointing

    rows = {}
    for method, row in measured["methods"].items():
        rate, low, high = pointing.hit_rate(row["hits"], measured["n"])
        rows[method] = {
            "rate": rate,
            "low": low,
            "high": high,
            "heat_inside": row["heat_inside"],
            "likeness": found["shuffled"][method]["likeness"]
            if found["shuffled"][method]["n"] >= pointing.LEAST_SHUFFLED
            else np.nan,
        }
    return pd.DataFrame(rows).T


def _shown(table: pd.DataFrame, measured: dict) -> pd.DataFrame:
    shown = pd.DataFrame(
        {
            "Points": [
                f"{figures.percent(row.rate)} ({figures.percent_range(row.low, row.high)})"
                for row in table.itertuples()
            ],
            "Heat inside": table["heat_inside"].map(figures.percent).to_numpy(),
            "Likeness to shuffled weights": table["likeness"]
            .map(lambda value: "–" if pd.isna(value) else f"{value:.2f}")
            .to_numpy(),
        },
        index=table.index,
    )
    shown.loc["by chance"] = [figures.percent(measured["chance_hit"]), figures.percent(measured["chance_inside"]), "–"]
    return shown


def _counted_better(better: int, total: int) -> str:
    if not better:
        return "No method is better than chance: the maps of this model show nothing of the lesion."
    return f"{better} of {total} methods are better than chance."
