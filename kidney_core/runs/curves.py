"""The curves of a run: what it measured, on an axis of epochs, steps or minutes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from kidney_core.runs.run_folder import METRICS_FILE, USAGE_FILE, Run

EPOCH, STEP, MINUTES = "epoch", "step", "minutes"
AXES = (EPOCH, STEP, MINUTES)
Measurement = dict[str, Any]
Point = tuple[float, float]


@dataclass
class Curves:
    """What a run has measured so far; `read` adds what is new.

    Attributes:
        metrics: its measurements of steps and epochs (`Run.read_metrics`).
        usage: what it logged by time, and its starts; empty for runs before 0.6 and for the curves of a card.
    """

    metrics: list[Measurement] = field(default_factory=list)
    usage: list[Measurement] = field(default_factory=list)
    _offsets: dict[str, int] = field(default_factory=dict)

    def read(self, run: Run) -> "Curves":
        """The same curves with the lines that were appended since the last call."""
        for name, rows in ((METRICS_FILE, self.metrics), (USAGE_FILE, self.usage)):
            path, offset = run.folder / name, self._offsets.get(name, 0)
            if path.exists() and path.stat().st_size < offset:
                rows.clear()  # a resumed run dropped the lines after its checkpoint
                offset = 0
            new, self._offsets[name] = run.read_lines(name, offset)
            rows += new
        return self

    @property
    def epochs(self) -> list[Measurement]:
        """One measurement per finished epoch."""
        return [row for row in self.metrics if row.get("kind") == "epoch" and "epoch" in row]

    @property
    def steps(self) -> list[Measurement]:
        """Measurements of single steps, of every tenth and of those logged by time, in order."""
        rows = {row["step"]: row for row in self._current_usage() if "step" in row}
        rows |= {row["step"]: row for row in self.metrics if row.get("kind") == "step" and "step" in row}
        return [rows[step] for step in sorted(rows)]

    def of_epochs(self, name: str, axis: str) -> list[Point]:
        """(x, value) of a quantity at the end of each epoch that measured it."""
        return self._points(self.epochs, name, axis)

    def of_steps(self, name: str, axis: str) -> list[Point]:
        """(x, value) of a quantity of single steps."""
        return self._points(self.steps, name, axis)

    def by_time(self, name: str, axis: str) -> list[Point]:
        """(x, value) of a quantity that is logged every few seconds."""
        return self._points(self._current_usage(), name, axis)

    def seconds(self) -> float | None:
        """How long the run has trained, its interruptions left out; None before its first measurement."""
        clock = _Clock(self)
        times = [row["time"] for row in (*self.metrics, *self.usage) if "time" in row]
        return clock.seconds(max(times)) if times else None

    def started_at(self) -> float | None:
        """When the first step began, in seconds since 1970; None before it."""
        sessions = _Clock(self).sessions
        return sessions[0][0] if sessions else None

    def _points(self, rows: list[Measurement], name: str, axis: str) -> list[Point]:
        clock = _Clock(self) if axis == MINUTES else None
        per_epoch = self._steps_per_epoch() if axis == EPOCH else None
        points = []
        for row in rows:
            x = self._place(row, axis, clock, per_epoch)
            if x is not None and isinstance(row.get(name), int | float):
                points.append((x, float(row[name])))
        return points

    @staticmethod
    def _place(row: Measurement, axis: str, clock: "_Clock | None", per_epoch: float | None) -> float | None:
        if axis == STEP:
            return row.get("step")
        if clock is not None:
            return clock.seconds(row["time"]) / 60 if "time" in row else None
        if row.get("kind") == "epoch":
            return row["epoch"]
        return row["step"] / per_epoch if per_epoch else None

    def _steps_per_epoch(self) -> float | None:
        epochs = self.epochs
        if epochs and epochs[0].get("step"):
            return epochs[0]["step"] / epochs[0]["epoch"]
        return next((row["steps_per_epoch"] for row in self.steps if row.get("steps_per_epoch")), None)

    def _current_usage(self) -> list[Measurement]:
        """The lines by time without those of steps that a resumed run computed again."""
        rows: list[Measurement] = []
        for row in self.usage:
            if row.get("kind") == "start":
                rows = [earlier for earlier in rows if earlier.get("step", 0) <= row.get("step", 0)]
            else:
                rows.append(row)
        return rows


class _Clock:
    """Seconds of training by the time of day: what lies between a stop and the next start does not count."""

    def __init__(self, curves: Curves) -> None:
        starts = [row["time"] for row in curves.usage if row.get("kind") == "start" and "time" in row]
        times = sorted(row["time"] for row in (*curves.metrics, *curves.usage) if "time" in row)
        if not starts and times:  # of a run before 0.6, or a card
            first = next(row for row in curves.metrics if row.get("time") == times[0])
            starts = [times[0] - float(first.get("duration_s", 0.0))]
        self.sessions: list[tuple[float, float]] = []  # (when it began, seconds of training before)
        before = 0.0
        for start, following in pairwise([*sorted(starts), float("inf")]):
            self.sessions.append((start, before))
            last = max((time for time in times if start <= time < following), default=start)
            before += last - start

    def seconds(self, time: float) -> float:
        """Seconds of training before a time of day."""
        start, before = next(
            (each for each in reversed(self.sessions) if each[0] <= time),
            self.sessions[0] if self.sessions else (time, 0),
        )
        return before + max(0.0, time - start)


def smoothed(points: list[Point], weight: float) -> list[Point]:
    """The exponential moving average of the values; at the beginning over those that are there.

    Args:
        weight: of what came before, 0 (no smoothing) to below 1.

    Source: Kingma & Ba 2015, arXiv:1412.6980, section 3 (bias correction); as the slider of TensorBoard.
    """
    mean, result = 0.0, []
    for number, (x, value) in enumerate(points, start=1):
        mean = weight * mean + (1 - weight) * value
        result.append((x, mean / (1 - weight**number)))
    return result


def mean_and_range(curves: Iterable[list[Point]]) -> list[tuple[float, float, float, float]]:
    """(x, mean, lowest, highest) of curves that measured at the same epochs; the n-th point of each belongs together.

    Points that only some of the curves have yet are left out.
    """
    together = []
    for points in zip(*curves, strict=False):
        values = [value for _, value in points]
        x = sum(x for x, _ in points) / len(points)
        together.append((x, sum(values) / len(values), min(values), max(values)))
    return together
