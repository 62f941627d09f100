"""The verdict of a whole scan from the predictions for its slices: what drives it, and what it may hide."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kidney_core.common.labels import NORMAL
from kidney_core.diagnosis.outcomes import Outcome, outcome_of
from kidney_core.diagnosis.verdict import (
    CONFIDENCE,
    EACH_KIDNEY,
    FAILED,
    IMAGE,
    KIDNEYS,
    OOD_CHECK,
    PASSED,
    SEEN,
    UNCHECKED,
    WARNED,
    Step,
    fault_in_words,
    never_answered,
    required_confidence,
)
from kidney_core.kidneys.found import LEFT, RIGHT, UNKNOWN_SIDE
from kidney_core.kidneys.stack_kidneys import KidneyAlongStack, StackKidneys
from kidney_core.metrics import number_format
from kidney_core.metrics.predictions import labels_of, probabilities_of, probability_column

SLICES = "Slices"  # title of the check of what was read
N_DRIVING = 5
MIN_RUN = 3  # neighbouring slices
MIN_CROPPED_SHARE = 0.9  # of the slices of a series cropped to the kidneys show one
LIKELY = 0.5  # the probability that a slice of a run exceeds
_POOLING = (
    "The label is the mean over the slices. It was measured on the public dataset, where every slice has the label of its "
    "scan. In a whole scan a lesion shows on a few slices only, and the mean hides it: look at the peak of each label too."
)


@dataclass(frozen=True)
class Driver:
    """A slice that drives the verdict: its row, its probability of the scan's label, its share of the sum of all."""

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

    @property
    def counts(self) -> bool:
        """Whether enough neighbouring slices show the label; fewer may be a flicker."""
        return self.n_in_run >= MIN_RUN


@dataclass(frozen=True)
class KidneyVerdict:
    """What one kidney of a scan is predicted to be, by a network that reads kidneys one by one.

    Attributes:
        label: the lesion with the longest run of neighbouring slices that counts, else the most probable label on average.
        probability: the mean over its slices; of a lesion with a run, the highest.
        run: first and last row of the run; None without one.
    """

    side: str
    label: str
    probability: float
    run: tuple[int, int] | None

    @property
    def in_words(self) -> str:
        """ "left: Cyst on slices 21 to 27, up to 91 %"."""
        percent = f"{100 * self.probability:.0f} %"
        if self.run is None:
            return f"{self.side}: {self.label}, {percent} on average"
        return f"{self.side}: {self.label} on slices {self.run[0] + 1} to {self.run[1] + 1}, up to {percent}"


@dataclass(frozen=True)
class StackVerdict:
    """The verdict of a whole scan.

    Attributes:
        probabilities: label -> mean of the calibrated probabilities of the accepted slices; empty without any.
        predicted_label: the most probable label; None without an accepted slice.
        share_refused: of the readable slices, 0 to 1; NaN without any.
        steps: the checks, each with its outcome and reason.
        driving: the slices that contribute most to the label's mean, most first.
        peaks: for each label but Normal; empty without an accepted slice.
        is_whole_scan: whether the stack goes beyond the kidneys.
        by_kidney: the verdict of each kidney, right before left; empty where the network does not read each.
    """

    outcome: Outcome
    probabilities: dict[str, float]
    predicted_label: str | None
    share_refused: float
    steps: tuple[Step, ...]
    driving: tuple[Driver, ...]
    peaks: tuple[Peak, ...]
    is_whole_scan: bool = False
    by_kidney: tuple[KidneyVerdict, ...] = ()

    @property
    def result(self) -> str:
        """What is found, in words: "Cyst on slices 21 to 27"; of each kidney where the network reads each."""
        label = self.predicted_label
        if label is None:
            return ""
        if self.by_kidney:
            words = "; ".join(each.in_words for each in self.by_kidney)
            return words[:1].upper() + words[1:]
        peak = next((each for each in self.peaks if each.label == label), None)
        if self.is_whole_scan and peak and peak.run and peak.counts:
            return f"{label} on slices {peak.run[0] + 1} to {peak.run[1] + 1}"
        return f"{label} · {number_format.percent(self.probabilities[label])}, mean over its slices"

    @property
    def what(self) -> str:
        """What was judged: a whole scan, a part of one, or a series cropped to the kidneys."""
        if any(step.title == SLICES and step.outcome == WARNED for step in self.steps):
            return "Part of a scan, see Slices below"
        return "Whole scan" if self.is_whole_scan else "Series of kidney slices"

    @property
    def abstains(self) -> bool:
        """Whether the confidence is below the threshold of the model."""
        return any(step.title == CONFIDENCE and step.outcome == WARNED for step in self.steps)


def judge_stack(
    table: pd.DataFrame,
    card: dict[str, Any],
    *,
    n_read: int,
    has_reference: bool,
    kidneys: StackKidneys | None = None,
    within: tuple[int, int] | None = None,
    notes: Sequence[str] = (),
) -> StackVerdict:
    """The verdict of a stack from the rows of its slices (see `stack_reading.StackReading`).

    Only slices with a prediction count: those that show a kidney. Where nearly all do, the stack is a series cropped to the
    kidneys, and its label is the mean over its slices, as measured on the public dataset. Otherwise it is a whole scan, and a
    lesion counts where three or more neighbouring slices show it. Slices out of distribution are left out. A stack counts
    as seen in training when one accepted slice was itself in the training data, or more than half are near a scan of it.

    Args:
        n_read: slices that were looked at.
        has_reference: whether the checkpoint can recognise refused and seen slices.
        kidneys: of the stack; None where nobody looked for them.
        within: first and last row that count; all by default.
        notes: what may be wrong with the stack, such as missing slices, in sentences.
    """
    readable = table[table["problem"] == ""]
    judged = readable[readable["predicted"].notna()]
    is_whole = kidneys is not None and (readable["sides"] != "").mean() < MIN_CROPPED_SHARE
    if within:
        judged = judged.loc[within[0] : within[1]]
    accepted = judged[~judged["refused"]]
    share_refused = float(judged["refused"].mean()) if len(judged) else float("nan")
    steps = [_check_read(table, n_read, notes)]
    fault = readable["fault"].to_numpy(int)
    if fault.any():
        steps.append(_check_faults(fault))
    if steps[-1].outcome == FAILED:
        return StackVerdict(Outcome.REFUSED, {}, None, share_refused, tuple(steps), (), ())
    steps.append(_check_kidneys(kidneys, len(table)))
    if steps[-1].outcome == FAILED:
        return StackVerdict(Outcome.NO_KIDNEY, {}, None, share_refused, tuple(steps), (), ())
    if judged.empty and _waits_for_prediction(readable).any():
        steps.append(Step(OOD_CHECK, UNCHECKED, "No slice has been predicted yet."))
        return StackVerdict(Outcome.PENDING, {}, None, share_refused, tuple(steps), (), ())
    steps.append(_check_distribution(judged, has_reference))
    if accepted.empty:
        return StackVerdict(Outcome.REFUSED, {}, None, share_refused, tuple(steps), (), ())
    labels = labels_of(table)
    means = dict(
        zip(labels, map(float, probabilities_of(accepted).mean(axis=0)), strict=True)
    )  # as Predictions.per_series
    peaks = tuple(_peak(accepted, each) for each in labels if each != NORMAL)
    label = _label_of_whole_scan(means, peaks) if is_whole else max(means, key=means.__getitem__)
    steps += [
        _check_seen(accepted, has_reference),
        _check_whole_scan(means[label]) if is_whole else _check_confidence(label, means[label], card),
        _explain_runs(label, peaks) if is_whole else _explain_mean(label, peaks),
    ]
    by_kidney = _judge_kidneys(accepted, labels)
    if by_kidney:
        steps.append(Step(EACH_KIDNEY, UNCHECKED, f"{'; '.join(each.in_words for each in by_kidney)}."))
    return StackVerdict(
        outcome=outcome_of(
            no_kidney=False,
            refused=False,
            seen=_is_seen(accepted),
            abstains=any(step.title == CONFIDENCE and step.outcome == WARNED for step in steps),
        ),
        probabilities=means,
        predicted_label=label,
        share_refused=share_refused,
        steps=tuple(steps),
        driving=_driving(accepted, label, peaks),
        peaks=peaks,
        is_whole_scan=is_whole,
        by_kidney=by_kidney,
    )


def is_faulty(fault: np.ndarray) -> bool:
    """Whether most pictures of a stack are no upright slices, by (N,) keys of `picture_check.FAULTS`."""
    return bool((fault != 0).mean() > 0.5)


def kidney_column(side: str, label: str) -> str:
    """The column of a label's probability for one kidney: ("right", "Cyst") -> "right_p_Cyst"."""
    return f"{side}_{probability_column(label)}"


def kidney_columns(labels: Sequence[str]) -> list[str]:
    """The columns of all labels' probabilities for the right kidney, then for the left one."""
    return [kidney_column(side, label) for side in (RIGHT, LEFT) for label in labels]


def _judge_kidneys(accepted: pd.DataFrame, labels: tuple[str, ...]) -> tuple[KidneyVerdict, ...]:
    """The verdict of each kidney that was read on its own."""
    verdicts = []
    for side in (RIGHT, LEFT):
        columns = [kidney_column(side, label) for label in labels]
        if not set(columns) <= set(accepted.columns):
            continue
        own = accepted[columns].dropna().set_axis(list(map(probability_column, labels)), axis=1)
        if own.empty:
            continue
        means = dict(zip(labels, map(float, own.mean()), strict=True))
        peaks = tuple(_peak(own, label) for label in labels if label != NORMAL)
        label = _label_of_whole_scan(means, peaks)
        peak = next((each for each in peaks if each.label == label and each.counts), None)
        verdicts.append(
            KidneyVerdict(side, label, peak.probability if peak else means[label], peak.run if peak else None)
        )
    return tuple(verdicts)


def _label_of_whole_scan(means: dict[str, float], peaks: tuple[Peak, ...]) -> str:
    """The lesion with the longest run of neighbouring slices; without such a run the most probable label on average."""
    lesions = [peak for peak in peaks if peak.counts]
    if lesions:
        return max(lesions, key=lambda peak: (peak.n_in_run, peak.probability)).label
    return max(means, key=means.__getitem__)


def _waits_for_prediction(table: pd.DataFrame) -> "pd.Series[bool]":
    """Readable rows that were not predicted though they may show a kidney."""
    return table["predicted"].isna() & (table["sides"] != "") & (table["problem"] == "") & (table["fault"] == 0)


def slice_outcomes(table: pd.DataFrame, card: dict[str, Any]) -> list[Outcome]:
    """The outcome of each slice by itself."""
    confidence = probabilities_of(table).max(axis=1) if len(table) else np.empty(0)
    thresholds = {label: required_confidence(card, label) for label in table["predicted"].dropna().unique()}
    required = table["predicted"].map(thresholds).astype(float).fillna(np.inf)
    abstains = ~(confidence >= required)
    outcomes = [
        outcome_of(
            no_kidney=bool(row.sides == ""), refused=bool(row.refused), seen=bool(row.seen), abstains=bool(unsure)
        )
        for row, unsure in zip(table.itertuples(), abstains, strict=True)
    ]
    unreadable, waits = table["problem"] != "", _waits_for_prediction(table)
    return [
        Outcome.UNREADABLE if bad else Outcome.PENDING if pending else outcome
        for outcome, bad, pending in zip(outcomes, unreadable, waits, strict=True)
    ]


def _is_seen(accepted: pd.DataFrame) -> bool:
    """One slice of the training data gives the whole scan away; distance alone errs on single slices."""
    return bool(accepted["trained"].any() or accepted["seen"].mean() > 0.5)


def _check_read(table: pd.DataFrame, n_read: int, notes: Sequence[str]) -> Step:
    n_bad, n_left = int((table["problem"] != "").sum()), len(table) - n_read
    reason = f"{n_read - n_bad} of {len(table)} slices were read."
    if n_bad:
        reason += f" {n_bad} could not be decoded and are left out; the table gives the reasons."
    if n_left:
        reason += f" {n_left} have not been read yet: this verdict is of a part of the scan."
    return Step(SLICES, WARNED if n_bad or n_left or notes else PASSED, " ".join((reason, *notes)))


def _check_faults(fault: np.ndarray) -> Step:
    """How many pictures are no upright slices; fails where most are."""
    n_faulty, most = int((fault != 0).sum()), int(np.bincount(fault[fault != 0]).argmax())
    reason = fault_in_words(most, f"{n_faulty} of {len(fault)} slices seem")
    return Step(IMAGE, FAILED if is_faulty(fault) else WARNED, reason)


def _check_kidneys(kidneys: StackKidneys | None, n_slices: int) -> Step:
    """Which kidneys the stack shows, and where."""
    if kidneys is None:
        return Step(KIDNEYS, UNCHECKED, "Not looked for yet, or no kidney finder is installed.")
    if not kidneys.kidneys:
        return Step(KIDNEYS, FAILED, f"No kidney was found on {n_slices} slices, so the scan gets no label.")
    found = [
        f"{'a kidney' if each.side == UNKNOWN_SIDE else each.side} on slices {each.first + 1} to {each.last + 1}{_size_in_words(each)}"
        for each in kidneys.kidneys
    ]
    missing = [side for side in (RIGHT, LEFT) if side not in kidneys.sides and UNKNOWN_SIDE not in kidneys.sides]
    not_found = f" No {missing[0]} kidney was found." if missing else ""
    return Step(KIDNEYS, WARNED if missing else PASSED, f"Found: {'; '.join(found)}.{not_found}")


def _size_in_words(kidney: KidneyAlongStack) -> str:
    length = f"{kidney.length_mm / 10:.1f} cm along the scan" if kidney.length_mm else ""
    volume = f"{kidney.volume_ml:.0f} ml" if kidney.volume_ml else ""
    both = ", ".join(filter(None, (length, volume)))
    return f" ({both})" if both else ""


def _check_distribution(judged: pd.DataFrame, has_reference: bool) -> Step:
    title, n_refused = OOD_CHECK, int(judged["refused"].sum())
    if judged.empty:
        return Step(title, FAILED, "No slice has a prediction.")
    if not has_reference:
        return Step(title, UNCHECKED, "Not possible: this checkpoint has no reference of its training slices.")
    reason = (
        f"{n_refused} of {len(judged)} slices ({100 * n_refused / len(judged):.0f} %) are unlike the CT slices of the kidney region "
        "in the training data"
    )
    if n_refused == len(judged):
        return Step(title, FAILED, f"{reason}, so the scan gets no label.")
    return Step(title, WARNED if n_refused else PASSED, f"{reason}{' and are left out' if n_refused else ''}.")


def _check_seen(accepted: pd.DataFrame, has_reference: bool) -> Step:
    title, n_seen, n_trained = SEEN, int(accepted["seen"].sum()), int(accepted["trained"].sum())
    if n_trained:
        return Step(
            title,
            WARNED,
            f"Yes: {n_trained} of {len(accepted)} accepted slices are in the training data. The prediction says nothing about new "
            "patients.",
        )
    reason = f"{n_seen} of {len(accepted)} accepted slices are as near to a training slice as slices of one scan are"
    if n_seen > len(accepted) / 2:
        return Step(title, WARNED, f"Probably: {reason}. The prediction says nothing about new patients.")
    if not has_reference:
        return Step(
            title, UNCHECKED, "Only exact copies of training files are recognised, not other slices of the same scans."
        )
    if n_seen:
        return Step(
            title,
            WARNED,
            f"Unclear: {reason}; too few to be sure that the scan was in training, too many to rule it out.",
        )
    return Step(title, PASSED, f"No: {reason}.")


def _check_confidence(label: str, confidence: float, card: dict[str, Any]) -> Step:
    title, threshold = CONFIDENCE, required_confidence(card, label)
    if threshold is None:
        return Step(title, WARNED, f"{100 * confidence:.0f} % on average. {never_answered(card, label)}")
    reason = (
        f"{100 * confidence:.0f} % on average, threshold {100 * threshold:.0f} %, which was measured on single slices"
    )
    if confidence >= threshold:
        return Step(title, PASSED, f"{reason}.")
    return Step(title, WARNED, f"{reason}: the model abstains.")


def _check_whole_scan(mean: float) -> Step:
    return Step(
        CONFIDENCE,
        WARNED,
        f"{100 * mean:.0f} % on average over the slices that show a kidney. The threshold of the model was measured on series cropped "
        "to the kidneys, not on whole scans: the model abstains.",
    )


def _explain_mean(label: str, peaks: tuple[Peak, ...]) -> Step:
    """How the mean came about, and the lesions it may hide."""
    hidden = [_run_in_words(peak) for peak in peaks if peak.label != label and peak.counts]
    others = f" Besides {label}, it predicts {'; '.join(hidden)}." if hidden else ""
    return Step("One label for all slices", WARNED if hidden else UNCHECKED, _POOLING + others)


def _explain_runs(label: str, peaks: tuple[Peak, ...]) -> Step:
    """Which slices carry the label of a whole scan."""
    runs = [_run_in_words(peak) for peak in peaks if peak.counts]
    if not runs:
        reason = f"No lesion is predicted on {MIN_RUN} or more neighbouring slices; {label} is the most probable label on average."
    else:
        reason = f"Predicted on {MIN_RUN} or more neighbouring slices: {'; '.join(runs)}. Single slices do not count."
    return Step("Slices that carry the label", UNCHECKED, reason)


def _run_in_words(peak: Peak) -> str:
    first, last = peak.run or (peak.index, peak.index)
    return f"{peak.label} on slices {first + 1} to {last + 1}, up to {100 * peak.probability:.0f} %"


def _driving(accepted: pd.DataFrame, label: str, peaks: tuple[Peak, ...]) -> tuple[Driver, ...]:
    """The slices that contribute most; those of the run that carries the label, where there is one."""
    p = accepted[probability_column(label)]
    run = next((peak.run for peak in peaks if peak.label == label and peak.counts), None)
    candidates = p.loc[run[0] : run[1]] if run else p
    most = candidates.sort_values(ascending=False, kind="stable")[:N_DRIVING]
    return tuple(
        Driver(int(index), float(value), float(value / p.sum()))
        for index, value in zip(most.index.to_numpy(), most.to_numpy(), strict=True)
    )


def _peak(accepted: pd.DataFrame, label: str) -> Peak:
    p = accepted[probability_column(label)]
    return Peak(
        label, int(p.index.to_numpy()[p.argmax()]), float(p.max()), _longest_run(p.index[p > LIKELY].to_numpy())
    )


def _longest_run(rows: np.ndarray) -> tuple[int, int] | None:
    """First and last of the longest run of consecutive numbers in (K,) rising ones; the first of equals."""
    if not len(rows):
        return None
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[0]), int(longest[-1])
