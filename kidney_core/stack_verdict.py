"""What the slices of a stack say together: the verdict of the whole series, what drives it, and what it may hide."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kidney_core import evaluation
from kidney_core.labels import NORMAL
from kidney_core.verdict import (
    CONFIDENCE,
    LIKENESS,
    MEMORY,
    PASSED,
    REFUSED,
    UNCHECKED,
    WARNED,
    Step,
    confidence_asked,
)

N_DRIVING = 5
LIKELY = 0.5  # the probability that a slice of a run exceeds
_POOLING = (
    "The mean over the slices was measured on the public dataset, in which every slice of a series has the series' label. "
    "In a whole scan a lesion shows on few slices, and the mean hides it: look at the peak of each label too."
)


@dataclass(frozen=True)
class Driver:
    """A slice that drives the verdict: its row, its probability of the series' label, its share of their sum."""

    index: int
    probability: float
    share: float


@dataclass(frozen=True)
class Peak:
    """Where a label is most probable.

    Attributes:
        index: the row of the slice with the highest probability.
        run: first and last row of the longest run of neighbouring accepted slices above 50 %; None where there is none.
    """

    label: str
    index: int
    probability: float
    run: tuple[int, int] | None

    @property
    def n_in_run(self) -> int:
        return self.run[1] - self.run[0] + 1 if self.run else 0


@dataclass(frozen=True)
class StackVerdict:
    """What a network says of a whole stack.

    Attributes:
        in_a_word: "refused", "memory", "undecided" or "answered", as `verdict.Verdict.in_a_word`.
        probabilities: label -> mean of the calibrated probabilities of the accepted slices; empty without any.
        predicted_label: the most probable label; None without an accepted slice.
        share_refused: of the readable slices, 0 to 1; NaN without any.
        steps: the questions that were asked, each with its outcome and reason.
        driving: the slices that contribute most to the label's mean, most first.
        peaks: for each label but Normal; empty without an accepted slice.
    """

    in_a_word: str
    probabilities: dict[str, float]
    predicted_label: str | None
    share_refused: float
    steps: tuple[Step, ...]
    driving: tuple[Driver, ...]
    peaks: tuple[Peak, ...]

    @property
    def abstains(self) -> bool:
        """Whether its confidence is below the one from which its answers are good enough."""
        return any(step.title == CONFIDENCE and step.outcome == WARNED for step in self.steps)

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(step.reason for step in self.steps)


def judge_stack(table: pd.DataFrame, card: dict, *, n_slices: int, has_reference: bool) -> StackVerdict:
    """The verdict of a stack from the rows of its slices (see `stack_reading.StackReading`).

    Slices that were refused are left out of the mean. The series is refused when more than half of its readable slices
    are, and memory when one of the accepted ones was itself in training, or more than half of them are like a scan that was.

    Args:
        n_slices: in the stack, of which `table` may hold the first ones.
        has_reference: the checkpoint could tell refused and seen slices.
    """
    readable = table[table["problem"] == ""]
    accepted = readable[~readable["refused"]]
    share_refused = float(readable["refused"].mean()) if len(readable) else float("nan")
    steps = [_read(table, n_slices), _known_kind(readable, has_reference)]
    if accepted.empty:
        return StackVerdict("refused", {}, None, share_refused, tuple(steps), (), ())
    labels = evaluation.labels_of(table)
    means = evaluation.probabilities_of(accepted).mean(axis=0)  # as evaluation.per_series
    label, top = labels[int(means.argmax())], float(means.max())
    steps += [_seen_before(accepted, has_reference), _sure(top, card), _pooled(label, accepted, labels)]
    return StackVerdict(
        in_a_word=_word(steps, remembers=_remembers(accepted)),
        probabilities={each: float(p) for each, p in zip(labels, means, strict=True)},
        predicted_label=label,
        share_refused=share_refused,
        steps=tuple(steps),
        driving=_driving(accepted, label),
        peaks=tuple(_peak(accepted, each) for each in labels if each != NORMAL),
    )


def words(table: pd.DataFrame, card: dict) -> list[str]:
    """What becomes of each slice by itself: "unreadable", "refused", "memory", "undecided" or "answered"."""
    asked = confidence_asked(card)
    confidence = evaluation.probabilities_of(table).max(axis=1) if len(table) else []
    return [
        "unreadable"
        if row.problem
        else "refused"
        if row.refused
        else "memory"
        if row.seen
        else "answered"
        if asked is not None and top >= asked
        else "undecided"
        for row, top in zip(table.itertuples(), confidence, strict=True)
    ]


def _word(steps: list[Step], *, remembers: bool) -> str:
    _, known_kind, _, sure, _ = (step.outcome for step in steps)
    if known_kind == REFUSED:
        return "refused"
    return "memory" if remembers else "undecided" if sure == WARNED else "answered"


def _remembers(accepted: pd.DataFrame) -> bool:
    """One slice in training gives the whole scan away; likeness alone errs on single slices."""
    return bool(accepted["trained"].any() or accepted["seen"].mean() > 0.5)


def _read(table: pd.DataFrame, n_slices: int) -> Step:
    title, n_bad = "Slices", int((table["problem"] != "").sum())
    said = f"{len(table) - n_bad} of {n_slices} slices were read."
    if n_bad:
        said += f" {n_bad} could not be decoded and are left out; the reasons stand beside them."
    if len(table) < n_slices:
        said += f" {n_slices - len(table)} were not read yet: this is the verdict of a part of the stack."
    return Step(title, WARNED if n_bad or len(table) < n_slices else PASSED, said)


def _known_kind(readable: pd.DataFrame, has_reference: bool) -> Step:
    title, n_refused = LIKENESS, int(readable["refused"].sum())
    if readable.empty:
        return Step(title, REFUSED, "There is no slice to speak about.")
    if not has_reference:
        return Step(title, UNCHECKED, "This checkpoint ships nothing to compare with, so any image is let through.")
    share = n_refused / len(readable)
    said = f"{n_refused} of {len(readable)} slices ({100 * share:.0f} %) are unlike the CT slices of the kidney region it learned from"
    if share > 0.5:
        return Step(
            title,
            REFUSED,
            f"{said}: more than half, so the stack as a whole is refused. Choose the part of the scan that shows the kidneys.",
        )
    return Step(title, WARNED if n_refused else PASSED, f"{said}{' and are left out' if n_refused else ''}.")


def _seen_before(accepted: pd.DataFrame, has_reference: bool) -> Step:
    title, n_seen, n_trained = MEMORY, int(accepted["seen"].sum()), int(accepted["trained"].sum())
    if n_trained:
        return Step(
            title,
            WARNED,
            f"{n_trained} of {len(accepted)} accepted slices were themselves in its training: it knows this scan, and its answer is "
            "memory, not diagnosis.",
        )
    if n_seen > len(accepted) / 2:
        return Step(
            title,
            WARNED,
            f"{n_seen} of {len(accepted)} accepted slices are as like its training slices as only slices of one scan are: its answer "
            "is memory, not diagnosis.",
        )
    if not has_reference:
        return Step(
            title, UNCHECKED, "Only the very files are recognised; other slices of a scan it was trained on are not."
        )
    said = f"{n_seen} of {len(accepted)} accepted slices are as near to a training slice as slices of one scan are"
    if n_seen:
        return Step(
            title, WARNED, f"{said}: too few to be sure that it was trained on this scan, and too many to rule it out."
        )
    return Step(title, PASSED, f"{said}.")


def _sure(top: float, card: dict) -> Step:
    title, asked = CONFIDENCE, confidence_asked(card)
    if asked is None:
        return Step(
            title,
            WARNED,
            f"{100 * top:.0f} %, but no confidence kept its error on unseen scans low enough: it abstains.",
        )
    said = f"{100 * top:.0f} % on the mean, and {100 * asked:.0f} % is asked, a threshold that was measured on single slices"
    return Step(title, PASSED, f"{said}.") if top >= asked else Step(title, WARNED, f"{said}: it abstains.")


def _pooled(label: str, accepted: pd.DataFrame, labels: tuple[str, ...]) -> Step:
    """What the mean stands for, and the lesions it may hide."""
    hidden = [
        f"{each} on {peak.n_in_run} neighbouring slices, up to {100 * peak.probability:.0f} %"
        for each in labels
        if each not in (label, NORMAL) and (peak := _peak(accepted, each)).n_in_run > 1
    ]
    said = f" Other than {label}, it also says {'; '.join(hidden)}." if hidden else ""
    return Step("One label for all slices", WARNED if hidden else UNCHECKED, _POOLING + said)


def _driving(accepted: pd.DataFrame, label: str) -> tuple[Driver, ...]:
    p = accepted[evaluation.PROBABILITY_PREFIX + label]
    most = p.sort_values(ascending=False, kind="stable")[:N_DRIVING]
    return tuple(Driver(int(index), float(value), float(value / p.sum())) for index, value in most.items())


def _peak(accepted: pd.DataFrame, label: str) -> Peak:
    p = accepted[evaluation.PROBABILITY_PREFIX + label]
    return Peak(label, int(p.idxmax()), float(p.max()), _longest_run(p.index[p > LIKELY].to_numpy()))


def _longest_run(rows: np.ndarray) -> tuple[int, int] | None:
    """First and last of the longest run of consecutive numbers in (K,) rising ones; the first of equals."""
    if not len(rows):
        return None
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[0]), int(longest[-1])
