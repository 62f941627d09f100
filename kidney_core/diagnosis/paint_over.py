"""Does the prediction depend on the lesion? Slices with a known lesion are predicted as they are, with the lesion painted over, and
with the mirrored spot painted over instead.

    kidney-ct paint-over FOLDER [CHECKPOINT…]

A network that sees the lesion no longer predicts it once it is painted over, and does not mind what happens on the other side.
One that learned something else about the scans goes on as before.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kidney_core.checkpoints.checkpoint import chosen_checkpoints
from kidney_core.common.entry_point import command, progress_printer
from kidney_core.common.errors import DatasetError
from kidney_core.common.labels import LABELS
from kidney_core.common.typed_paths import path_argument
from kidney_core.data import lesions, remembered_labels
from kidney_core.data.lesions import AnnotatedSlice
from kidney_core.diagnosis import inference, stack_reading
from kidney_core.diagnosis.inference import Predictor
from kidney_core.imaging.painting import mirrored_spot, paint_over
from kidney_core.kidneys import finder
from kidney_core.kidneys.kidney_view import frame_slices
from kidney_core.metrics.number_format import percent

AS_IS, PAINTED, MIRRORED = "as it is", "lesion painted over", "mirrored spot painted over"
VERSIONS = (AS_IS, PAINTED, MIRRORED)
_BATCH = 16


@dataclass(frozen=True)
class PaintedOver:
    """What a network predicts for slices with a lesion.

    Attributes:
        n: slices.
        predicted: version of `VERSIONS` -> the share of the slices that are predicted as their label.
        probability: version -> the mean probability of the label.
        changed: PAINTED and MIRRORED -> the share of the slices whose predicted label is another one than of the slice as it is.
    """

    n: int
    predicted: dict[str, float]
    probability: dict[str, float]
    changed: dict[str, float]


def read_slices_with_lesions(root: Path, *, label: str | None = None) -> list[AnnotatedSlice]:
    """The slices of a folder whose lesion is marked: class folders with masks or boxes beside them, or the YOLO layout.

    Args:
        label: of every slice, which the YOLO layout needs.

    Raises: DatasetError where there are none, or as `lesions.lesion_mask`.
    """
    if (root / "images").is_dir():
        if label is None:
            raise DatasetError(f"“{root}” has boxes but no class folders. Say which label every slice has.")
        return lesions.read_boxes(root, label=label)
    annotated = lesions.read_annotated(remembered_labels.read(root))
    if not annotated:
        raise DatasetError(
            f"“{root}” has no marked lesions. Put masks below {lesions.MASKS_FOLDER}/, or boxes below {lesions.BOXES_FOLDER}/, under "
            "the paths of the slices."
        )
    return annotated


def measure(
    predictor: Predictor, slices: Sequence[AnnotatedSlice], *, progress: Callable[[int, int], None] | None = None
) -> PaintedOver:
    """Predict slices in all versions; those without a visible kidney are left out where the network needs one.

    Raises: DatasetError where no slice is left.
    """
    labels = predictor.checkpoint.labels
    answers: dict[str, list[np.ndarray]] = {version: [] for version in VERSIONS}
    positions: list[int] = []
    for start in range(0, len(slices), _BATCH):
        batch = [each for each in slices[start : start + _BATCH] if each.label in labels]
        squares: dict[str, list[np.ndarray]] = {version: [] for version in VERSIONS}
        for annotated, shown in zip(batch, _squares(predictor, batch), strict=True):
            if shown is not None:
                positions.append(labels.index(annotated.label))
                for version, square in zip(VERSIONS, shown, strict=True):
                    squares[version].append(square)
        for version, of_batch in squares.items():
            if of_batch:
                answers[version].append(stack_reading.predict_squares(predictor, np.stack(of_batch))[0])
        if progress:
            progress(min(start + _BATCH, len(slices)), len(slices))
    if not positions:
        raise DatasetError("No slice with a marked lesion shows a kidney and has a label that the network knows.")
    y = np.array(positions)
    probabilities = {version: np.concatenate(parts) for version, parts in answers.items()}
    predicted = {version: each.argmax(axis=1) for version, each in probabilities.items()}
    return PaintedOver(
        n=len(y),
        predicted={version: float((each == y).mean()) for version, each in predicted.items()},
        probability={version: float(each[np.arange(len(y)), y].mean()) for version, each in probabilities.items()},
        changed={each: float((predicted[each] != predicted[AS_IS]).mean()) for each in (PAINTED, MIRRORED)},
    )


def versions(annotated: AnnotatedSlice) -> tuple[np.ndarray, ...]:
    """The slice in each of `VERSIONS`, (H, W) uint8."""
    grey = annotated.image.network_grey8()
    return (
        grey,
        paint_over(grey, annotated.network_lesion),
        paint_over(grey, mirrored_spot(grey, annotated.network_lesion)),
    )


def _squares(predictor: Predictor, batch: Sequence[AnnotatedSlice]) -> list[list[np.ndarray] | None]:
    """Each slice as the network sees it in every version, with the kidneys of the slice as it is; None without a kidney."""
    view = predictor.checkpoint.view
    greys = [each.image.network_grey8() for each in batch]
    found = [each.find() for each in predictor.finder.find(greys)] if predictor.finder and view.needs_kidneys else None
    shown: list[list[np.ndarray] | None] = []
    for number, annotated in enumerate(batch):
        kidneys = found[number] if found else None
        if kidneys is not None and not kidneys.mask.any():
            shown.append(None)
            continue
        of_slice = None if kidneys is None else [kidneys] * len(VERSIONS)
        frames = frame_slices(view, versions(annotated), predictor.finder, found=of_slice)
        shown.append([view.as_array(each) for each in frames])
    return shown


def in_words(measured: PaintedOver) -> str:
    """The result in a sentence or two."""
    return (
        f"Of {measured.n} slices {percent(measured.predicted[AS_IS], 0)} are predicted as their label, "
        f"{percent(measured.predicted[PAINTED], 0)} with the lesion painted over, and "
        f"{percent(measured.predicted[MIRRORED], 0)} with the mirrored spot painted over. Painting over the lesion changes the "
        f"predicted label of {percent(measured.changed[PAINTED], 0)}, painting over the mirrored spot of "
        f"{percent(measured.changed[MIRRORED], 0)}."
    )


@command
def main(arguments: list[str] | None = None) -> int:
    """Measure checkpoints from the command line."""
    parser = argparse.ArgumentParser(
        description="Predict slices with a known lesion as they are, with the lesion painted over, and with the mirrored spot "
        "painted over."
    )
    parser.add_argument(
        "folder", type=path_argument, help="class folders with masks/ or labels/ beside them, or a YOLO layout"
    )
    parser.add_argument(
        "checkpoints", type=path_argument, nargs="*", help="folders of checkpoints (default: all published ones)"
    )
    parser.add_argument("--label", choices=LABELS, help="label of every slice of a YOLO layout")
    options = parser.parse_intermixed_args(arguments)
    slices = read_slices_with_lesions(options.folder, label=options.label)
    for checkpoint in chosen_checkpoints(options.checkpoints):
        predictor = inference.open_predictor(checkpoint, finder=finder.open_installed())
        measured = measure(predictor, slices, progress=progress_printer(f"Painting over, {checkpoint.name}"))
        print(f"{checkpoint.name} on {options.folder}. {in_words(measured)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
