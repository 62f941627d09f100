"""Do the grades of a checkpoint's heatmaps say more than those of null maps, which know nothing of the network?

A grade that brightness, edges, noise or the mirrored map reach as well tells nothing of the map, and is not shown for it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.data import lesions
from kidney_core.data.lesions import AnnotatedSlice
from kidney_core.imaging.body import body_mask
from kidney_core.imaging.framing import FramedImage
from kidney_core.metrics import intervals
from kidney_core.networks import explanation, map_grades, preprocessing
from kidney_core.networks.explanation import Heatmap
from kidney_core.networks.map_grades import Probability
from kidney_core.networks.null_maps import MIRRORED, NULLS, null_maps

N_GRADED = 100  # slices
MAP = "map"  # key of the heatmap itself, beside `NULLS`

Key = tuple[str, str]
Values = dict[str, dict[str, list[float]]]  # title of a grade -> MAP or a null -> its value on each slice


def probability_of(model: nn.Module, target: int, temperature: float, against: int | None = None) -> Probability:
    """(B, 3, S, S) -> (B,) the calibrated probability of a label; compared with another one, of these two alone."""

    def probability(images: Tensor) -> np.ndarray:
        logits = model(images).double() / temperature
        chosen = logits if against is None else logits[:, [target, against]]
        return chosen.softmax(dim=1)[:, target if against is None else 0].detach().cpu().numpy()

    return probability


def measure(
    checkpoint: Checkpoint,
    model: nn.Module,
    graded: Sequence[tuple[AnnotatedSlice, FramedImage]],
    methods: Sequence[str],
    *,
    progress: Callable[[], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """Method -> title of a grade -> its mean over slices for the map and for each null, see `compare`.

    Args:
        graded: slices with a lesion, as the network sees them.
        progress: called after each slice.
    """
    titles = (map_grades.FAITHFUL, map_grades.SUFFICIENT)
    values: dict[str, Values] = {
        method: {title: {name: [] for name in (MAP, *NULLS)} for title in titles} for method in methods
    }
    for number, (annotated, framed) in enumerate(graded):
        _grade(checkpoint, model, annotated, framed, values, seed=number)
        if progress:
            progress()
    scans = lesions.scan_numbers([annotated for annotated, _ in graded])
    return {
        method: {title: compare(each, scans) for title, each in of_method.items()}
        for method, of_method in values.items()
    }


def _grade(
    checkpoint: Checkpoint,
    model: nn.Module,
    annotated: AnnotatedSlice,
    framed: FramedImage,
    values: dict[str, Values],
    *,
    seed: int,
) -> None:
    """Add the values of one slice's maps and their nulls to `values`, by method."""
    image, target = preprocessing.input_of(framed), checkpoint.labels.index(annotated.label)
    maps, keys = maps_and_nulls(model, framed, target, list(values), seed=seed)
    body = framed.fit_mask(body_mask(annotated.image.network_grey8())) > 0.5
    probability = probability_of(model, target, checkpoint.temperature)
    graded = map_grades.graded_by_probability(probability, image, list(maps.values()), body)
    for title, of_maps in graded.items():
        by_key = dict(zip(maps, of_maps, strict=True))
        for (method, name), key in keys.items():
            values[method][title][name].append(by_key[key])


def maps_and_nulls(
    model: nn.Module, framed: FramedImage, target: int, methods: Sequence[str], *, seed: int
) -> tuple[dict[Key, Heatmap], dict[Key, Key]]:
    """The maps of a slice by several methods with their nulls: key -> map, and (method, MAP or a null) -> its key.

    Methods of one grid share all nulls but the mirrored one.
    """
    maps: dict[Key, Heatmap] = {}
    keys: dict[Key, Key] = {}
    for method in methods:
        heatmap = explanation.explain(model, preprocessing.input_of(framed), target, method=method)
        for name, each in {MAP: heatmap, **null_maps(heatmap, framed.square, seed=seed)}.items():
            key = (method if name in (MAP, MIRRORED) else str(each.evidence.shape), name)
            maps[key], keys[method, name] = each, key
    return maps, keys


def compare(values: dict[str, list[float]], scans: np.ndarray) -> dict[str, Any]:
    """n slices, n_scans, map and nulls (means over slices), best_null, and beats: whether the map does better than the best null.

    It does where the 95 % interval of the mean difference, by bootstrap over scans, lies above zero.
    """
    means = {name: float(np.mean(each)) for name, each in values.items()}
    best = max(NULLS, key=means.__getitem__)
    difference = np.array(values[MAP]) - np.array(values[best])
    low, _ = mean_interval(difference, scans)
    return {
        "n": len(difference),
        "n_scans": len(np.unique(scans)),
        MAP: means[MAP],
        "nulls": {name: means[name] for name in NULLS},
        "best_null": best,
        "beats": low is not None and low > 0,
    }


def mean_interval(values: np.ndarray, scans: np.ndarray) -> tuple[float | None, float | None]:
    """The 95 % interval of a mean over slices, by bootstrap over their scans: (low, high); None with too few scans.

    Args:
        values, scans: (N,) of each slice.
    """
    if intervals.effective_number(np.unique(scans, return_counts=True)[1]) < intervals.MIN_SERIES:
        return None, None
    low, high = np.percentile(intervals.resampled_means(values, scans), intervals.ENDS)
    return float(low), float(high)
