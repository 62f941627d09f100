"""May this network speak about this slice? Four questions in order, each with its reason, and the answer last."""

from dataclasses import dataclass

import torch

from kidney_core import familiarity, preprocessing
from kidney_core.card import fitted_on
from kidney_core.diagnosis import Diagnosis, Reader
from kidney_core.familiarity import Familiarity, Reference
from kidney_core.slices import Slice

PASSED, WARNED, REFUSED, UNCHECKED = "passed", "warned", "refused", "unchecked"
# What the questions are about; none of the titles says how its question was answered.
IMAGE, LIKENESS, MEMORY, CALIBRATION, CONFIDENCE = "Image", "Likeness", "Memory", "Calibration", "Confidence"
UNDECIDED_BELOW = 0.5  # where a card states no confidence from which the model answers


@dataclass(frozen=True)
class Step:
    """One question of the chain: what it is about, its outcome, and the reason in a sentence or two."""

    title: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """What may be made of a network's answer.

    Attributes:
        steps: in the order they were asked; a refusal ends them.
        refused: the slice is unlike what the network learned from: its probabilities mean nothing.
        abstains: its confidence is below the one from which its answers are good enough.
        seen: the answer is memory, since the file or its scan was in training.
        familiarity: the nearest training slices; None where the checkpoint has no reference.
    """

    steps: tuple[Step, ...]
    refused: bool
    abstains: bool
    seen: bool
    familiarity: Familiarity | None

    @property
    def in_a_word(self) -> str:
        """ "refused", "memory", "undecided" or "answered"; memory outranks undecided."""
        if self.refused:
            return "refused"
        return "memory" if self.seen else "undecided" if self.abstains else "answered"


def judge(reader: Reader, image: Slice, answer: Diagnosis, *, trained_on_file: bool = False) -> Verdict:
    """Ask the questions about a slice that was read.

    Args:
        answer: what the network says of it.
        trained_on_file: this very file was in training.
    """
    card, reference = reader.checkpoint.card, reader.reference
    steps = [Step(IMAGE, PASSED, f"{image.width_px} × {image.height_px} px, {_format(image)}.")]
    found = _familiarity(reader, image)
    steps.append(_known_kind(found, reader, trained_on_file))
    if steps[-1].outcome == REFUSED:
        return Verdict(tuple(steps), refused=True, abstains=True, seen=False, familiarity=found)
    steps.append(_seen_before(found, reference, trained_on_file))
    steps.append(_calibrated(card))
    steps.append(_answer(answer, card))
    return Verdict(
        tuple(steps),
        refused=False,
        abstains=steps[-1].outcome != PASSED,
        seen=steps[2].outcome == WARNED,
        familiarity=found,
    )


def confidence_asked(card: dict) -> float | None:
    """The confidence from which a model answers, by its card; None where no confidence was good enough."""
    abstention = card.get("abstention")
    return abstention["threshold"] if abstention else UNDECIDED_BELOW


@torch.inference_mode()
def _familiarity(reader: Reader, image: Slice) -> Familiarity | None:
    if reader.reference is None:
        return None
    square = preprocessing.square_of(image, reader.checkpoint.view)
    return reader.reference.look_up(familiarity.slice_features(reader.model, square[None]))[0]


def _format(image: Slice) -> str:
    return (
        f"{image.facts.get('Format', 'unknown format')}, {'Hounsfield units' if image.unit == 'HU' else 'grey values'}"
    )


def _known_kind(found: Familiarity | None, reader: Reader, trained_on_file: bool) -> Step:
    title, reference = LIKENESS, reader.reference
    if found is None or reference is None:
        return Step(title, UNCHECKED, "This checkpoint ships nothing to compare with, so any image is let through.")
    refuses = reader.checkpoint.card.get("familiarity", {}).get("test_foreign")
    rarely = "" if refuses is None else f" Of slices of unseen scans it refuses {100 * refuses:.1f} %."
    if not found.is_foreign:
        return Step(
            title,
            PASSED,
            f"Like the CT slices it learned from: distance {found.distance:.1f}, accepted up to {reference.far:.1f}.{rarely}",
        )
    measured = (
        f"distance {found.distance:.1f}, accepted up to {reference.far:.1f}"
        if found.distance > reference.far
        else f"unexplained features {found.residual:.2f}, accepted up to {reference.odd:.2f}"
    )
    if trained_on_file:
        return Step(
            title,
            REFUSED,
            f"This very file was in its training, yet it is unlike the others there ({measured}): what the model says of it is "
            f"memory at best.{rarely}",
        )
    return Step(
        title,
        REFUSED,
        f"This image is unlike the CT slices of the kidney region this network learned from ({measured}). Another kind of "
        f"picture, region, window or orientation would explain it. Any label would be a guess.{rarely}",
    )


def _seen_before(found: Familiarity | None, reference: Reference | None, trained_on_file: bool) -> Step:
    title = MEMORY
    if trained_on_file:
        return Step(
            title,
            WARNED,
            "This very file was used to train or validate this model: its answer is memory, not diagnosis.",
        )
    if found is None or reference is None:
        return Step(
            title, UNCHECKED, "Only the very file is recognised; other slices of a scan it was trained on are not."
        )
    if found.is_seen:
        nearest = found.nearest[0]
        return Step(
            title,
            WARNED,
            f"So like “{nearest.path}” ({nearest.label}) as only slices of one scan are (distance {nearest.distance:.1f}, within "
            f"a scan up to {reference.near:.1f}): the model has seen this scan, and its answer is memory, not diagnosis.",
        )
    return Step(
        title,
        PASSED,
        f"A scan it has not seen: no training slice is as near as slices of one scan are (up to {reference.near:.1f}).",
    )


def _calibrated(card: dict) -> Step:
    title = CALIBRATION
    if fitted_on(card):
        return Step(title, PASSED, f"Temperature {card['temperature']:.2f}, fitted on {fitted_on(card)}.")
    return Step(title, UNCHECKED, "There was no validation part to calibrate on: read the probabilities as an order.")


def _answer(answer: Diagnosis, card: dict) -> Step:
    title = CONFIDENCE
    top, asked, abstention = (
        answer.probabilities[answer.predicted_label],
        confidence_asked(card),
        card.get("abstention"),
    )
    if not abstention:
        return Step(
            title,
            PASSED if top >= asked else WARNED,
            f"{100 * top:.0f} %; no threshold was measured, {100 * asked:.0f} % is asked.",
        )
    accepted = 100 * abstention["accepted_error"]
    if asked is None:
        return Step(
            title,
            WARNED,
            f"{100 * top:.0f} %, but no confidence of this model kept its error on unseen scans at {accepted:.0f} % or less: it abstains.",
        )
    if top >= asked:
        return Step(
            title,
            PASSED,
            f"{100 * top:.0f} %. From {100 * asked:.0f} % on, it was wrong on {100 * abstention['error']:.0f} % of "
            f"the slices of unseen scans that it answered, {100 * abstention['coverage']:.0f} % of all.",
        )
    return Step(
        title,
        WARNED,
        f"{100 * top:.0f} %, and {100 * asked:.0f} % is asked, which kept its error on unseen scans at "
        f"{accepted:.0f} % or less: it abstains.",
    )
