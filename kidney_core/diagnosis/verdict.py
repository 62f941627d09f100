"""Can the prediction for a slice be used? A chain of checks, each with its outcome and its reason."""

from dataclasses import dataclass
from typing import Any

import torch

from kidney_core.checkpoints import ood
from kidney_core.checkpoints.card import calibration_source
from kidney_core.checkpoints.ood import Reference, TrainingMatch
from kidney_core.diagnosis.inference import Diagnosis, Predictor
from kidney_core.diagnosis.outcomes import Outcome, outcome_of
from kidney_core.imaging.slices import Slice
from kidney_core.kidneys import picture_check
from kidney_core.kidneys.found import UNKNOWN_SIDE, mask_area_cm2
from kidney_core.metrics import abstention

PASSED, WARNED, FAILED, UNCHECKED = "passed", "warning", "failed", "not checked"
# The titles name the checks; none says how its check turned out.
IMAGE, KIDNEYS, OOD_CHECK, SEEN = "Image", "Kidneys", "Out-of-distribution check", "Seen in training"
CALIBRATION, CONFIDENCE, EACH_KIDNEY = "Calibration", "Confidence", "Each kidney"
DEFAULT_THRESHOLD = 0.5  # where a card has no confidence threshold


@dataclass(frozen=True)
class Step:
    """One check: its title, its outcome, and the reason in a sentence or two."""

    title: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Whether a prediction can be used, and why.

    Attributes:
        steps: the checks in order; after one of the first three has failed there are no others.
        refused: the image is no upright slice, shows no kidney or is out of distribution, so its probabilities mean nothing.
        abstains: the confidence is below the threshold of the model.
        seen: the file or its scan was in the training data, so the prediction says nothing about new patients.
        training_match: the nearest training slices; None where the checkpoint has no reference.
    """

    steps: tuple[Step, ...]
    refused: bool
    abstains: bool
    seen: bool
    training_match: TrainingMatch | None

    @property
    def shows_no_kidney(self) -> bool:
        """Whether the finder saw no kidney, which ends the checks."""
        return any(step.title == KIDNEYS and step.outcome == FAILED for step in self.steps)

    @property
    def outcome(self) -> Outcome:
        return outcome_of(no_kidney=self.shows_no_kidney, refused=self.refused, seen=self.seen, abstains=self.abstains)


def judge(
    predictor: Predictor,
    image: Slice,
    answer: Diagnosis,
    *,
    trained_on_file: bool = False,
    sides: tuple[str, ...] | None = None,
) -> Verdict:
    """Check the prediction for a slice.

    Args:
        answer: the prediction.
        trained_on_file: this very file was in the training data.
        sides: the kidneys that the slice shows by the whole stack it belongs to, which knows better; None for a slice alone.
    """
    card, reference = predictor.checkpoint.card, predictor.reference
    fault = answer.kidneys.fault if answer.kidneys else picture_check.UPRIGHT
    refusal = image.unusable_because or (fault_in_words(fault) if fault else "")
    if refusal:
        return Verdict((Step(IMAGE, FAILED, refusal),), refused=True, abstains=True, seen=False, training_match=None)
    read = f" The network reads it {image.upright.in_words}." if image.upright.in_words else ""
    steps = [Step(IMAGE, PASSED, f"{image.width_px} × {image.height_px} px, {_format(image)}.{read}")]
    steps.append(_check_kidneys(answer, image, sides))
    match = _training_match(predictor, answer)
    steps.append(_check_distribution(match, predictor, trained_on_file))
    if any(step.outcome == FAILED for step in steps):
        return Verdict(tuple(steps), refused=True, abstains=True, seen=False, training_match=match)
    steps.append(_check_seen(match, reference, trained_on_file))
    steps.append(_check_calibration(card))
    confidence = _check_confidence(answer.predicted_label, answer.probabilities[answer.predicted_label], card)
    steps.append(confidence)
    if answer.by_kidney:
        steps.append(_explain_kidneys(answer))
    return Verdict(
        tuple(steps),
        refused=False,
        abstains=confidence.outcome != PASSED,
        seen=any(step.title == SEEN and step.outcome == WARNED for step in steps),
        training_match=match,
    )


def required_confidence(card: dict[str, Any], label: str) -> float | None:
    """The confidence from which a model answers a label, by its card; None where it never does."""
    entry = card.get("abstention")
    if entry:
        return abstention.threshold_of(entry, label)
    return None if card.get("metrics") == {} else DEFAULT_THRESHOLD  # of an imported network nothing was ever measured


def never_answered(card: dict[str, Any], label: str) -> str:
    """Why a model never answers a label, in a sentence."""
    if "abstention" not in card:
        return f"This model was never evaluated here, so the error rate of its {label} answers is unknown: the model abstains."
    entry = card["abstention"]
    accepted = f"{100 * entry['accepted_error']:.0f} %"
    error = entry.get("by_label", {}).get(label, {}).get("error")
    if error is None:
        return f"No threshold kept the error of {label} answers on unseen scans at {accepted} or less, so the model abstains."
    return (
        f"On unseen scans {100 * error:.0f} % of the {label} answers were wrong, more than the accepted {accepted}, so the "
        "model abstains."
    )


def fault_in_words(fault: int, what: str = "The image seems") -> str:
    """That images are no upright slices, and what to do; `fault` is a key of `picture_check.FAULTS`."""
    return (
        f"{what} to be {picture_check.FAULTS[fault]}, or no CT slice of the abdomen. The network reads one upright slice: spine down "
        f"if axial, head up if coronal or sagittal. {'Cut out one slice' if fault == picture_check.SEVERAL else 'Turn it'} and upload it again."
    )


@torch.inference_mode()
def _training_match(predictor: Predictor, answer: Diagnosis) -> TrainingMatch | None:
    if predictor.reference is None:
        return None
    return predictor.reference.match(ood.slice_features(predictor.network, answer.answering.square[None]))[0]


def _format(image: Slice) -> str:
    return (
        f"{image.facts.get('Format', 'unknown format')}, {'Hounsfield units' if image.unit == 'HU' else 'grey values'}"
    )


def _check_kidneys(answer: Diagnosis, image: Slice, sides: tuple[str, ...] | None) -> Step:
    if answer.kidneys is None:
        return Step(KIDNEYS, UNCHECKED, "Not looked for: no kidney finder is installed.")
    areas = {side: mask_area_cm2(mask, image) for side, mask in answer.kidney_masks.items()}
    seen = tuple(areas) if sides is None else sides
    if not seen:
        where = "this slice" if sides is None else "this slice of the scan"
        return Step(KIDNEYS, FAILED, f"No kidney is visible in {where}, so it gets no label.")
    named = [_kidney_in_words(side, areas.get(side)) for side in seen]
    view = (
        "" if image.letters or UNKNOWN_SIDE in seen else " Sides as in radiological view, since the image names none."
    )
    return Step(KIDNEYS, PASSED, f"Visible: {' and '.join(named)}.{view}")


def _kidney_in_words(side: str, area_cm2: float | None) -> str:
    name = "a kidney" if side == UNKNOWN_SIDE else f"{side} kidney"
    return f"{name} ({area_cm2:.0f} cm²)" if area_cm2 else name


def _check_distribution(match: TrainingMatch | None, predictor: Predictor, trained_on_file: bool) -> Step:
    title, reference = OOD_CHECK, predictor.reference
    if match is None or reference is None:
        return Step(title, UNCHECKED, "Not possible: this checkpoint has no reference of its training slices.")
    measured_on_unseen = predictor.checkpoint.card.get("familiarity", {})
    rate = ""
    if "test_foreign" in measured_on_unseen:
        rate = f" This check rejects {100 * measured_on_unseen['test_foreign']:.1f} % of slices of unseen scans"
        of_scans = measured_on_unseen.get("scans_mostly_refused")
        rate += "." if of_scans is None else f", and most slices of {100 * of_scans:.1f} % of these scans."
    if not match.is_out_of_distribution:
        return Step(
            title,
            PASSED,
            f"In distribution: distance {match.distance:.1f} to the nearest training slice, limit {reference.max_distance:.1f}.{rate}",
        )
    measured = (
        f"distance {match.distance:.1f}, limit {reference.max_distance:.1f}"
        if match.distance > reference.max_distance
        else f"unexplained features {match.residual:.2f}, limit {reference.max_residual:.2f}"
    )
    if trained_on_file:
        return Step(
            title,
            FAILED,
            f"This very file was in the training data, but it is out of distribution even so ({measured}), so its prediction is "
            f"not used.{rate}",
        )
    return Step(
        title,
        FAILED,
        f"Out of distribution: this image is unlike the CT slices of the kidney region in the training data ({measured}). "
        f"The kind of image, the body region, the window or the orientation may differ. Any label would be a guess.{rate}",
    )


def _check_seen(match: TrainingMatch | None, reference: Reference | None, trained_on_file: bool) -> Step:
    title = SEEN
    if trained_on_file:
        return Step(
            title,
            WARNED,
            "This very file was used to train or validate the model. The prediction says nothing about new patients.",
        )
    if match is None or reference is None:
        return Step(
            title, UNCHECKED, "Only exact copies of training files are recognised, not other slices of the same scans."
        )
    if match.is_seen_scan:
        closest = match.closest
        named = f"“{closest.path}” ({closest.label})" if closest.path else f"an extra slice ({closest.label})"
        return Step(
            title,
            WARNED,
            f"Yes: {named} of the training data is at distance {closest.distance:.1f}, and slices of "
            f"one scan are within {reference.seen_distance:.1f}. The model has probably seen this scan, so the prediction says nothing about new "
            "patients.",
        )
    return Step(
        title,
        PASSED,
        f"No: no training slice is as near as the slices of one scan are (within {reference.seen_distance:.1f}).",
    )


def _check_calibration(card: dict[str, Any]) -> Step:
    if calibration_source(card):
        return Step(
            CALIBRATION, PASSED, f"Temperature {card['temperature']:.2f}, fitted on {calibration_source(card)}."
        )
    return Step(
        CALIBRATION,
        UNCHECKED,
        f"Not calibrated, for lack of {'validation data' if card['metrics'] else 'any evaluation here'}: only the order of the "
        "probabilities counts.",
    )


def _check_confidence(label: str, confidence: float, card: dict[str, Any]) -> Step:
    threshold, entry = required_confidence(card, label), card.get("abstention")
    if threshold is None:
        return Step(CONFIDENCE, WARNED, f"{100 * confidence:.0f} %. {never_answered(card, label)}")
    digits = 0 if abs(confidence - threshold) > 0.01 else 1  # so that the two do not read alike
    compared = f"{100 * confidence:.{digits}f} %, threshold {100 * threshold:.{digits}f} %"
    if not entry:
        reason = f"{compared}, which was not measured for this model"
        return Step(CONFIDENCE, PASSED, f"{reason}.") if confidence >= threshold else _abstains(reason)
    if confidence >= threshold:
        return Step(CONFIDENCE, PASSED, f"{compared}. {_error_in_words(label, entry)}")
    return _abstains(
        f"{compared}, above which the error on unseen scans was {100 * entry['accepted_error']:.0f} % or less"
    )


def _error_in_words(label: str, entry: dict[str, Any]) -> str:
    """How often such answers were wrong; cards of 0.5 know it of all labels together."""
    row = entry.get("by_label", {}).get(label)
    if row is None:
        return (
            f"On unseen scans, {100 * entry['coverage']:.0f} % of the predictions were above it, and {100 * entry['error']:.0f} % of "
            "these were wrong."
        )
    low, high = row["interval"]
    interval = "" if low is None else f" (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"
    return f"On unseen scans, {100 * row['error']:.0f} % of the {label} answers were wrong{interval}, of {row['n_scans']} scans."


def _explain_kidneys(answer: Diagnosis) -> Step:
    """What each kidney is predicted to be, by a network that reads them one by one."""
    each = [f"{side}: {label} ({100 * p:.0f} %)" for side, (label, p) in answer.label_by_kidney.items()]
    which = " The label of the slice is that of the kidney that is least likely normal." if len(each) > 1 else ""
    return Step(EACH_KIDNEY, UNCHECKED, f"{', '.join(each)}.{which}")


def _abstains(reason: str) -> Step:
    return Step(CONFIDENCE, WARNED, f"{reason}: the model abstains.")
