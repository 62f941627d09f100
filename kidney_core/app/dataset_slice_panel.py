"""One slice of a dataset, opened from a thumbnail or a table: what it is called, and its neighbours in the scan."""

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from kidney_core.app import charts, markdown
from kidney_core.common.errors import SliceError
from kidney_core.imaging import rendering
from kidney_core.imaging.slices import Slice, read_slices
from kidney_core.metrics.plots import apply_layout

if TYPE_CHECKING:
    from kidney_core.data.leak_audit import Audit

_OPEN, _PICKED = "dataset_open_row", "dataset_picked_row"
_N_BESIDE = 3
_PER_ROW, _TILE_HEIGHT_PX = 24, 58


def open_slice(row: int) -> None:
    """Choose the slice that `show` shows."""
    st.session_state[_OPEN] = row


def pick_from_strip(audit: "Audit", rows: np.ndarray) -> None:
    """Thumbnails of some rows that open their slice when they are clicked."""
    series = audit.table["series"].to_numpy()[rows]
    strip = rendering.series_strip(audit.dataset.thumbnails[rows], series, per_row=_PER_ROW)
    n_rows, (height, width) = -(-len(rows) // _PER_ROW), strip.shape[:2]
    tile_height, tile_width = height / n_rows, width / _PER_ROW
    numbers = np.arange(len(rows))
    figure = go.Figure(
        go.Scatter(
            x=(numbers % _PER_ROW + 0.5) * tile_width,
            y=(numbers // _PER_ROW + 0.5) * tile_height,
            mode="markers",
            marker={"size": 26, "opacity": 0, "symbol": "square"},
            customdata=[[number] for number in series],
            hovertemplate="scan %{customdata[0]}<extra></extra>",
        )
    )
    figure.add_layout_image(
        source=Image.fromarray(strip), x=0, y=0, sizex=width, sizey=height, xref="x", yref="y", layer="below"
    )
    figure.update_xaxes(range=[0, width], visible=False, fixedrange=True)
    figure.update_yaxes(range=[height, 0], visible=False, fixedrange=True, scaleanchor="x")
    apply_layout(figure, height=_TILE_HEIGHT_PX * n_rows + 16)
    figure.update_layout(clickmode="event+select", dragmode=False)
    listed = audit.table.iloc[rows][["path", "label", "series"]].set_axis(["File", "Label", "Scan"], axis=1)
    key = f"dataset_strip_{int(rows[0])}"
    event = charts.draw(
        figure,
        f"Thumbnails of {len(rows)} slices of {len(set(series))} scans, in file order.",
        key=key,
        on_select="rerun",
        selection_mode="points",
    )
    by_keys = charts.show_numbers(listed, key=key, on_select="rerun", selection_mode="single-row")
    points = by_keys["selection"]["rows"] or [point["point_index"] for point in event["selection"]["points"]]
    picked = int(rows[points[0]]) if points else None
    if picked is not None and picked != st.session_state.get(_PICKED):  # a selection stays, and buttons go on from it
        open_slice(picked)
    st.session_state[_PICKED] = picked


def show(audit: "Audit", *, n_kidneys: np.ndarray | None) -> None:
    """The opened slice, its facts and its neighbours; nothing where none is open."""
    row = st.session_state.get(_OPEN)
    if row is None or not 0 <= row < len(audit.table):
        return
    of_scan = np.flatnonzero(audit.table["series"] == audit.table["series"].iat[row])
    at = int(np.searchsorted(of_scan, row))
    with st.container(border=True, key="dataset_open_slice"):
        picture, facts = st.columns([1, 1], gap="large")
        near = of_scan[max(0, at - _N_BESIDE) : at + _N_BESIDE + 1]
        read = dict(zip(near.tolist(), _read(audit, near), strict=True))
        with picture:
            _show_picture(read[row])
        with facts:
            _show_facts(audit, row, at, len(of_scan), n_kidneys)
            before, after, close = st.columns(3)
            if before.button("Previous", key="dataset_before", disabled=at == 0, width="stretch"):
                open_slice(int(of_scan[at - 1]))
                st.rerun()
            if after.button("Next", key="dataset_after", disabled=at + 1 == len(of_scan), width="stretch"):
                open_slice(int(of_scan[at + 1]))
                st.rerun()
            if close.button("Close", key="dataset_close", width="stretch"):
                st.session_state[_OPEN] = None
                st.rerun()
        st.caption("Its neighbours in the scan, in file order:")
        with st.container(key="dataset_neighbours_compact"):
            for column, (neighbour, image) in zip(st.columns(2 * _N_BESIDE + 1), read.items(), strict=False):
                with column:
                    _show_picture(image, caption="this slice" if neighbour == row else f"{neighbour - row:+d}")


def _show_facts(audit: "Audit", row: int, at: int, n_of_scan: int, n_kidneys: np.ndarray | None) -> None:
    """Name, label and scan as text: they come from the names of files, which may hold Markdown."""
    entry = audit.table.iloc[row]
    facts = {
        "File": str(entry["path"]),
        "Label": str(entry["label"]),
        "Scan": f"{entry['series']}, slice {at + 1} of {n_of_scan}",
        "Plane": str(entry["plane"]),
        "SHA-256": str(entry["sha256"])[:12],
    }
    if n_kidneys is not None:
        facts["Visible kidneys"] = str(int(n_kidneys[row]))
    st.text("\n".join(f"{name}: {value}" for name, value in facts.items()))


def _read(audit: "Audit", rows: np.ndarray) -> list[tuple[Slice, bytes] | SliceError]:
    return read_slices([audit.dataset.root / str(path) for path in audit.table["path"].iloc[rows]])


def _show_picture(read: tuple[Slice, bytes] | SliceError, *, caption: str | None = None) -> None:
    if isinstance(read, SliceError):
        st.error(markdown.text(read))
    else:
        st.image(
            read[0].grey8(),
            caption=markdown.text(caption) if caption else None,
            width="stretch",
            alt=f"CT slice, {caption}" if caption else "The opened CT slice",
        )
