"""The curves of the selected runs, on one crosshair, with a legend that says in what the runs differ."""

import html

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kidney_core.app import charts, markdown
from kidney_core.metrics import chart_text, curve_charts, echarts
from kidney_core.metrics.curve_charts import STEPS, TRAINING, VALIDATION
from kidney_core.runs import curve_panels, differences
from kidney_core.runs.curve_panels import ACCURACY, LOSS, Choice
from kidney_core.runs.curves import EPOCH, Curves
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import Run

_PART_WORDS = {VALIDATION: "validation", TRAINING: "training", STEPS: "single steps"}
_KEY_COLOR = "#808080"


def show(runs: list[Run], curves: dict[str, Curves]) -> None:
    """The charts and their controls.

    Args:
        runs: in the order of their colours; one without a measurement yet has its place in the legend already.
        curves: name of a run -> what it has measured.
    """
    if len(runs) > curve_charts.MAX_RUNS:
        runs = [run for run in runs if curves[run.name].metrics or curves[run.name].steps]
        if len(runs) > curve_charts.MAX_RUNS:
            st.caption(f"The charts show the first {curve_charts.MAX_RUNS} of {len(runs)} runs.")
    runs = runs[: curve_charts.MAX_RUNS]
    configs, curves = {run.name: run.config() for run in runs}, {run.name: curves[run.name] for run in runs}
    available = curve_panels.quantities(curves)
    choice, averages, chosen = _controls(available, differences.repetitions(configs))
    groups = _groups(configs, curves, averages)
    draw(groups, chosen, choice, key="training")
    if any(not config.validation_fraction for config in configs.values()):
        st.caption("Without a validation part, “validation” is the test part, as in the paper.")
    _show_confusion(runs, curves, differences.labels(configs))


def draw(groups: dict[str, list[Curves]], chosen: list[str], choice: Choice, *, key: str) -> None:
    """The legend and the chart.

    Args:
        groups: label -> the curves of a run, or of several whose mean is drawn.
        chosen: quantities, of `curve_panels.quantities`.
        key: of the elements.
    """
    panels = curve_panels.draw(groups, chosen, choice)
    if not panels:
        st.info("None of these quantities has been measured yet.")
        return
    parts = [part for part in _PART_WORDS if any(line.part == part for panel in panels for line in panel.lines)]
    is_mean = any(line.band for panel in panels for line in panel.lines)
    st.html(_legend(list(groups), parts, is_mean))
    with st.container(key=f"{key}_charts"):
        _fit_height(len(panels), key)
        x_title = curve_panels.x_title(choice.axis)
        charts.draw(
            curve_charts.options(panels, x_title=x_title, whole_numbers=choice.axis == EPOCH, log=choice.log),
            # without figures: it stays the same while a run goes on, and so does the chart
            f"Curves of {', '.join(panel.title for panel in panels)} by {x_title}: {', '.join(groups)}.",
            key=f"{key}_curves",
            numbers=lambda: curve_charts.numbers(panels, x_title),
            height=curve_charts.height_px(len(panels), n_columns=min(2, len(panels))),
        )


def _controls(available: dict[str, str], repetitions: list[list[str]]) -> tuple[Choice, bool, list[str]]:
    """How the curves are drawn, whether repetitions are averaged, and the quantities."""
    axis_place, smooth_place, more_place = st.columns([3, 3, 6], vertical_alignment="bottom")
    axis = axis_place.segmented_control(
        "Horizontal axis",
        curve_panels.AXES,
        default=EPOCH,
        format_func=lambda name: markdown.text(name.capitalize()),
        key="training_axis",
    )
    smoothing = smooth_place.slider(
        "Smoothing", 0.0, 0.99, 0.0, 0.01, key="training_smoothing", help="Weight of an exponential moving average."
    )
    with more_place:
        chosen = st.multiselect(
            "Curves",
            list(available),
            default=[LOSS, ACCURACY],
            format_func=lambda name: available[name].capitalize(),
            key="training_quantities",
        )
    with st.container(horizontal=True):
        log = st.toggle("Logarithmic axis", key="training_log", help="For losses and learning rates.")
        shows_training = st.toggle("Training", value=True, key="training_show_training")
        shows_steps = st.toggle("Single steps", value=True, key="training_show_steps")
        averages = len(repetitions) < sum(map(len, repetitions)) and st.toggle(
            "Average seeds and folds",
            key="training_average",
            help="One curve for runs that differ in seed and fold only: their mean, with a band from the lowest to the highest.",
        )
    parts = (VALIDATION, *([TRAINING] if shows_training else []), *([STEPS] if shows_steps else []))
    return Choice(axis or EPOCH, smoothing, log, parts), averages, [name for name in chosen if name in available]


def _groups(configs: dict[str, TrainingConfig], curves: dict[str, Curves], averages: bool) -> dict[str, list[Curves]]:
    """Label -> the curves of a run, or of the repetitions of a recipe."""
    if not averages:
        labels = differences.labels(configs)
        return {labels[name]: [curves[name]] for name in configs}
    repetitions = differences.repetitions(configs)
    first = {members[0]: configs[members[0]] for members in repetitions}
    labels = differences.labels(first, but=differences.REPEATS)
    return {
        f"{labels[members[0]]} ({len(members)} runs)" if len(members) > 1 else labels[members[0]]: [
            curves[name] for name in members
        ]
        for members in repetitions
    }


def _legend(labels: list[str], parts: list[str], is_mean: bool) -> str:
    """Runs with their colour and dash, then what solid, dashed and faint lines are."""
    entries = [_entry(label, curve_charts.color(place), place, VALIDATION, 1.0) for place, label in enumerate(labels)]
    n_lots = 1 + (len(labels) > len(curve_charts.COLORS))
    key = [
        _entry(
            _PART_WORDS[part] + (f", runs {6 * lot + 1} to {6 * lot + 6}" if n_lots > 1 and part != STEPS else ""),
            _KEY_COLOR,
            6 * lot,
            part,
            0.45 if part == STEPS else 1.0,
        )
        for part in parts
        for lot in range(1 if part == STEPS else n_lots)
    ]
    if is_mean:
        key.append("<span>band: lowest to highest</span>")
    rows = "".join(f'<div style="{_ROW}">{"".join(row)}</div>' for row in (entries, key))
    return f'<div role="list" aria-label="Legend" style="font-size:.85rem">{rows}</div>'


_ROW = "display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;margin-bottom:.25rem"


def _entry(label: str, color: str, place: int, part: str, opacity: float) -> str:
    thickness = 2 * curve_charts.width(part)
    background, at, stops = color, 0, []
    for number, length in enumerate(curve_charts.dash(place, part)):
        stops.append(f"{'transparent' if number % 2 else color} {at}px {at + length}px")
        at += length
    if stops:
        background = f"repeating-linear-gradient(90deg,{','.join(stops)})"
    swatch = f"display:inline-block;width:34px;height:{max(2, thickness / 2 + 0.6):.1f}px;background:{background};opacity:{opacity}"
    return (
        f'<span role="listitem" style="display:inline-flex;align-items:center;gap:.4rem"><span style="{swatch}"></span>'
        f"<span>{html.escape(label)}</span></span>"
    )


def _fit_height(n_panels: int, key: str) -> None:
    """Where the chart is narrow its panels stand one below the other, which takes more height."""
    element = f'.st-key-{key}_curves, .st-key-{key}_curves [data-testid="stFullScreenFrame"]'
    st.html(
        f"<style>.st-key-{key}_charts {{ container-type: inline-size; }}"
        f"@container (max-width: {curve_charts.ONE_COLUMN_PX}px) {{ {element} {{ height: "
        f"{curve_charts.height_px(n_panels, n_columns=1)}px !important; }} }}</style>"
    )


def _show_confusion(runs: list[Run], curves: dict[str, Curves], titles: dict[str, str]) -> None:
    """The confusion matrix of a run after each epoch."""
    measured = {
        run: rows for run in runs if (rows := [row for row in curves[run.name].epochs if "validation_confusion" in row])
    }
    if not measured:
        return
    with st.expander("Confusion matrix after each epoch", key="training_confusion_open"):
        left, right = st.columns(2)
        run = left.selectbox(
            "Run of the matrix", list(measured), format_func=lambda run: titles[run.name], key="training_confusion_run"
        )
        numbers = [row["epoch"] for row in measured[run]]
        epoch = _choose_epoch(right, run, numbers) if len(numbers) > 1 else numbers[-1]
        matrix = next(row for row in measured[run] if row["epoch"] == epoch)["validation_confusion"]
        labels = run.data().get("labels") or [str(number + 1) for number in range(len(matrix))]
        charts.draw(
            echarts.confusion_options(matrix, labels),
            f"Confusion matrix. {chart_text.confusion(matrix, labels)}",
            key="training_confusion",
            numbers=chart_text.confusion_table(matrix, labels),
            height=340,
            width=520,
        )


def _choose_epoch(place: DeltaGenerator, run: Run, numbers: list[int]) -> int:
    """The epoch on the slider; one that stands at the last epoch goes with it while the run trains."""
    key, last = f"training_confusion_epoch_{run.name}", f"training_confusion_last_{run.name}"
    if st.session_state.get(key) not in numbers or st.session_state[key] == st.session_state.get(last):
        st.session_state[key] = numbers[-1]
    st.session_state[last] = numbers[-1]
    return place.select_slider("Epoch", numbers, key=key)
