"""How well a kidney finder does on annotated volumes that it was not trained on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from kidney_core.data.annotated_volumes import AXIAL, CORONAL, Volume, reformat
from kidney_core.kidneys import stack_kidneys
from kidney_core.kidneys.finder import KidneyFinder
from kidney_core.kidneys.found import NONE, PICTURE_LEFT, PICTURE_RIGHT, FoundKidneys

# What is measured of each volume and plane, each 0 to 1 and the higher the better.
MEASURES = {
    "dice_right": "Dice of the right kidney over the volume",
    "dice_left": "Dice of the left kidney over the volume",
    "presence_auroc": "AUROC of “a kidney is visible” over the slices",
    "sensitivity": "slices with a kidney where one is found",
    "specificity": "slices without a kidney where none is found",
    "side_correct": "pixels of kidneys found whose side is right",
}
_PLANES = (AXIAL, CORONAL)  # a sagittal slice has no sides


def measure(finder: KidneyFinder, volume: Volume) -> list[dict[str, Any]]:
    """The measures of a volume, slice by slice in each plane and, for axial slices, as a stack ("axial stack")."""
    rows = []
    for plane in _PLANES:
        pixels, truth = reformat(volume, plane)
        maps = finder.find(list(pixels))
        found = np.stack([_codes(each.find()) for each in maps])
        presence = [each.presence for each in maps]
        rows.append({"volume": volume.name, "plane": plane, **_compare(found, truth, presence)})
        if plane == AXIAL:
            stack = stack_kidneys.along_stack([stack_kidneys.reduce_map(each) for each in maps])
            shows = np.array([bool(stack.sides_at(index)) for index in range(len(maps))])
            in_stack = np.where(shows[:, None, None], found, NONE).astype(np.uint8)
            rows.append({"volume": volume.name, "plane": "axial stack", **_compare(in_stack, truth, presence)})
    return rows


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By plane: each measure's mean, lowest value, and 95 % interval of the mean over the volumes (bootstrap)."""
    summary: dict[str, dict[str, Any]] = {}
    rng = np.random.default_rng(0)
    for plane in dict.fromkeys(row["plane"] for row in rows):
        of_plane = [row for row in rows if row["plane"] == plane]
        summary[plane] = {"n_volumes": len(of_plane)}
        for name in MEASURES:
            values = np.array([row[name] for row in of_plane if row[name] is not None])
            if not len(values):
                continue
            draws = rng.integers(len(values), size=(2000, len(values)))
            low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
            summary[plane][name] = {
                "mean": round(float(values.mean()), 4),
                "lowest": round(float(values.min()), 4),
                "interval": [round(float(low), 4), round(float(high), 4)],
            }
    return summary


def _codes(found: FoundKidneys) -> np.ndarray:
    return (PICTURE_LEFT * found.picture_left + PICTURE_RIGHT * found.picture_right).astype(np.uint8)


def _compare(found: np.ndarray, truth: np.ndarray, presence: Sequence[float]) -> dict[str, float | None]:
    """The measures of (N, H, W) codes found against true ones; None where a volume cannot show one."""
    has_kidney, has_found = (truth != NONE).any(axis=(1, 2)), (found != NONE).any(axis=(1, 2))
    both = (found != NONE) & (truth != NONE)
    knows_both = has_kidney.any() and not has_kidney.all()
    values = {
        "dice_right": _dice(found == PICTURE_LEFT, truth == PICTURE_LEFT),
        "dice_left": _dice(found == PICTURE_RIGHT, truth == PICTURE_RIGHT),
        "presence_auroc": roc_auc_score(has_kidney, presence) if knows_both else None,
        "sensitivity": has_found[has_kidney].mean() if has_kidney.any() else None,
        "specificity": 1 - has_found[~has_kidney].mean() if not has_kidney.all() else None,
        "side_correct": (found[both] == truth[both]).mean() if both.any() else None,
    }
    return {name: None if value is None else round(float(value), 4) for name, value in values.items()}


def _dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Source: Dice 1945; 1 where both are empty."""
    total = found.sum() + truth.sum()
    return 2 * float((found & truth).sum()) / float(total) if total else 1.0
