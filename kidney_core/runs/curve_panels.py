"""From the curves of runs to the panels of a chart: which quantities, on which axis, smoothed, averaged over repetitions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kidney_core.metrics.curve_charts import PLAIN, RATE, SINGLE, STEPS, TRAINING, VALIDATION, Line, Panel
from kidney_core.runs.curves import AXES, EPOCH, MINUTES, STEP, Curves, Point, mean_and_range, smoothed

LOSS, ACCURACY = "loss", "accuracy"
_MAX_POINTS = 400  # of a line; a screen shows no more
_X_TITLES = {EPOCH: "epoch", STEP: "step", MINUTES: "minute"}
__all__ = ["ACCURACY", "AXES", "LOSS", "Choice", "draw", "quantities", "x_title"]


@dataclass(frozen=True)
class _Quantity:
    """Attributes: kind, unit and scale of its values; `of_steps` and `by_time` say where finer measurements are."""

    title: str
    kind: str = PLAIN
    unit: str = ""
    scale: float = 1.0
    can_be_log: bool = False
    of_steps: bool = False
    by_time: bool = False


@dataclass(frozen=True)
class Choice:
    """How curves are drawn.

    Attributes:
        axis: EPOCH, STEP or MINUTES.
        smoothing: weight of the exponential moving average, 0 for none.
        log: a logarithmic axis for losses and learning rates.
        parts: of VALIDATION, TRAINING and STEPS, those that are drawn.
    """

    axis: str = EPOCH
    smoothing: float = 0.0
    log: bool = False
    parts: tuple[str, ...] = (VALIDATION, TRAINING, STEPS)


_QUANTITIES = {
    LOSS: _Quantity("loss", can_be_log=True),
    ACCURACY: _Quantity("accuracy", RATE),
    "balanced_accuracy": _Quantity("balanced accuracy", RATE),
    "calibrated_validation_loss": _Quantity("validation loss after calibration", can_be_log=True),
    "learning_rate": _Quantity("learning rate", can_be_log=True, of_steps=True),
    "images_per_s": _Quantity("speed", unit="images/s", by_time=True),
    "memory_mib": _Quantity("memory", unit="GiB", scale=1 / 1024, by_time=True),
    "cpu_percent": _Quantity("processor use", RATE, scale=0.01, by_time=True),
    "gpu_percent": _Quantity("GPU use", RATE, scale=0.01, by_time=True),
    "gpu_memory_mib": _Quantity("GPU memory", unit="GiB", scale=1 / 1024, by_time=True),
    "duration_s": _Quantity("time of an epoch", unit="s"),
}
_RECALL = "recall_"


def quantities(runs: Mapping[str, Curves]) -> dict[str, str]:
    """What these runs measured: quantity -> its title; loss and accuracy in any case, which every run measures soon."""
    measured = {name for curves in runs.values() for row in (*curves.metrics, *curves.usage) for name in row}
    named = {
        name: each.title
        for name, each in _QUANTITIES.items()
        if name in (LOSS, ACCURACY) or {name, *_parts_of(name).values()} & measured
    }
    recalls = sorted(name.removeprefix("validation_") for name in measured if name.startswith(f"validation_{_RECALL}"))
    at = list(named).index("balanced_accuracy") + 1 if "balanced_accuracy" in named else len(named)
    items = list(named.items())
    return dict([*items[:at], *((name, _quantity(name).title) for name in recalls), *items[at:]])


def x_title(axis: str) -> str:
    """The title of an axis of `AXES`."""
    return _X_TITLES[axis]


def draw(groups: Mapping[str, list[Curves]], chosen: list[str], choice: Choice) -> list[Panel]:
    """One panel for each chosen quantity that has a point.

    Args:
        groups: label -> the curves of a run, or of several whose mean and range are drawn.
        chosen: of `quantities`.
    """
    panels = []
    for name in chosen:
        lines = tuple(
            line
            for place, (label, members) in enumerate(groups.items())
            for line in _lines(name, label, place, members, choice)
        )
        if any(line.points for line in lines):
            each = _quantity(name)
            panels.append(Panel(each.title, lines, each.kind, each.can_be_log, each.unit))
    return panels


def _quantity(name: str) -> _Quantity:
    if name.startswith(_RECALL):
        return _Quantity(f"recall of {name.removeprefix(_RECALL)}", RATE)
    return _QUANTITIES[name]


def _parts_of(name: str) -> dict[str, str]:
    """Part -> the name of its measurement."""
    return {TRAINING: f"train_{name}", VALIDATION: f"validation_{name}", SINGLE: name}


def _lines(name: str, label: str, place: int, members: list[Curves], choice: Choice) -> list[Line]:
    lines = []
    if name == LOSS and STEPS in choice.parts and len(members) == 1:
        lines.append(Line(label, place, STEPS, _thinned(members[0].of_steps("train_loss", choice.axis))))
    for part, measurement in _parts_of(name).items():
        if part != SINGLE and part not in choice.parts:
            continue
        read = _reader(name, measurement, choice.axis)
        lines.append(_line(label, place, part, [read(curves) for curves in members], name, choice))
    return [line for line in lines if line.points]


def _reader(name: str, measurement: str, axis: str) -> Callable[[Curves], list[Point]]:
    """Reads the finest measurements of a quantity that a run has."""
    each = _quantity(name)

    def read(curves: Curves) -> list[Point]:
        fine = curves.by_time(measurement, axis) if each.by_time else []
        fine = fine or (curves.of_steps(measurement, axis) if each.of_steps else [])
        points = fine or curves.of_epochs(measurement, axis)
        return [(x, each.scale * value) for x, value in points]

    return read


def _line(label: str, place: int, part: str, members: list[list[Point]], name: str, choice: Choice) -> Line:
    weight = 0.0 if name == "learning_rate" else choice.smoothing
    members = [smoothed(points, weight) if weight else points for points in members if points]
    if len(members) < 2:
        return Line(label, place, part, _thinned(members[0]) if members else [])
    together = mean_and_range(members)
    band = [(x, low, high) for x, _, low, high in together]
    return Line(label, place, part, _thinned([(x, mean) for x, mean, _, _ in together]), tuple(_thinned(band)))


def _thinned(points: list[Any]) -> list[Any]:
    """At most about `_MAX_POINTS` of them, the last one included."""
    every = max(1, -(-len(points) // _MAX_POINTS))
    return points if every == 1 else points[(len(points) - 1) % every :: every]
