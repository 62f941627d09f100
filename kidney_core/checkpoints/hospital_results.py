"""What was measured of a checkpoint on other hospitals, in words; see `diagnosis.other_hospitals` for the measuring."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import CheckpointError
from kidney_core.metrics.number_format import percent

SLICES, SCANS = "slices", "reported scans"  # the two kinds of sources
ALL, ENHANCED, UNENHANCED = "all", "with contrast agent", "without contrast agent"
PHASES = (ALL, ENHANCED, UNENHANCED)
KIDNEY, SCAN = "kidney", "scan"  # what an AUROC is of
ANY_LESION = "any of the three"
FEWEST_KIDNEYS = 5  # with a finding, and without: an AUROC of fewer says nothing


class Headline(NamedTuple):
    """One result of a source: "AUROC of any of the three", "0.53 (0.28 to 0.76)", "25 scans"."""

    source: str
    what: str
    value: str
    tested_on: str

    @property
    def short(self) -> str:
        """The value without its interval."""
        return self.value.split(" (")[0]


def has_whole_scans(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint was measured on whole scans; False where its file is damaged."""
    try:
        measured = checkpoint.other_hospitals()
    except CheckpointError:
        return False
    return any(source["kind"] == SCANS for source in (measured or {}).get("sources", {}).values())


def headlines(measured: dict[str, Any], *, findings: bool = False) -> list[Headline]:
    """What to say first of each source: of reported scans how well lesions are told, of slices what is correct by label.

    Args:
        findings: of reported scans every finding in every phase.
    """
    lines = []
    for source, each in measured["sources"].items():
        if each["kind"] == SCANS:
            named = dict.fromkeys((row["finding"], row["phase"]) for row in each["auroc"])
            for finding, phase in named if findings else [(ANY_LESION, ALL)]:
                row = best_row(each, finding, phase)
                if row:
                    lines.append(_of_scans(source, row))
            continue
        lines += [
            Headline(
                source,
                f"{label}, correct",
                percent_in_words(row["correct"], row["interval"]),
                f"{row['n']} slices of {row['n_scans']} {'scan' if row['n_scans'] == 1 else 'scans'}",
            )
            for label, row in each["labels"].items()
        ]
    return lines


def _of_scans(source: str, row: dict[str, Any]) -> Headline:
    name = "a lesion" if row["finding"] == ANY_LESION else row["finding"]
    phase = "" if row["phase"] == ALL else f", {row['phase']}"
    n = f"{row['n_with']} {row['unit']}s with it, {row['n_without']} without"
    return Headline(source, f"AUROC of {name}{phase}", auroc_in_words(row), n)


def best_row(source: dict[str, Any], finding: str, phase: str) -> dict[str, Any] | None:
    """The AUROC of a finding: per kidney where it was measured, else per scan; None where neither was."""
    rows = {row["unit"]: row for row in source["auroc"] if (row["finding"], row["phase"]) == (finding, phase)}
    return rows.get(KIDNEY) or rows.get(SCAN)


def summary(name: str, measured: dict[str, Any]) -> str:
    """The measures of a checkpoint as lines of text."""
    lines = [f"{name} on other hospitals"]
    for source, each in measured["sources"].items():
        if each["kind"] == SCANS:
            lines.append(f"{source}: {each['n_scans']} scans, {each['n_kidneys']} kidneys found")
            lines += [
                f"  AUROC of {row['finding']}, {row['phase']}, per {row['unit']}: {auroc_in_words(row)} "
                f"({row['n_with']} with it, {row['n_without']} without)"
                for row in each["auroc"]
            ]
            lines += [
                f"  healthy {side} kidneys predicted: "
                + ", ".join(f"{label} {percent(share, 0)}" for label, share in shares.items())
                for side, shares in each["predicted_on_healthy"].items()
            ]
            continue
        known = f", {each['n_trained_on']} of them in the training data: no test" if each["n_trained_on"] else ""
        lines.append(
            f"{source}: {each['n_slices']} slices{known}, {each['n_without_kidney']} without a kidney left out; "
            f"{percent(each['refused'], 0)} of the others refused"
        )
        for label, row in each["labels"].items():
            wrong = "" if row["wrong"] is None else f", of which {percent(row['wrong'], 0)} are wrong"
            lines.append(
                f"  {label}: {percent_in_words(row['correct'], row['interval'])} of {row['n']} slices of {row['n_scans']} scans correct; "
                f"{percent(row['answered'], 0)} answered{wrong}"
            )
    return "\n".join(lines)


def auroc_in_words(row: dict[str, Any]) -> str:
    """An AUROC with its 95 % interval, where it has one: "0.81 (0.70 to 0.90)"; "too few" of fewer than FEWEST_KIDNEYS."""
    if min(row["n_with"], row["n_without"]) < FEWEST_KIDNEYS:
        return "too few"
    value, (low, high) = row["value"], row["interval"]
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"


def percent_in_words(value: float, interval: Sequence[float | None]) -> str:
    """The same of a share, 0 to 1: "55 % (40 to 70)"."""
    low, high = interval
    if low is None or high is None:
        return percent(value, 0)
    return f"{percent(value, 0)} ({100 * low:.0f} to {100 * high:.0f})"
