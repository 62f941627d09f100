"""Do a checkpoint's heatmaps point at the lesion? Measured for every method on slices whose lesion is known.

    kidney-ct pointing CHECKPOINT_FOLDER... [--boxes FOLDER] [--masks FOLDER]      writes explanations.json beside the card

The pointing game asks whether the brightest place of the map of the true label lies on the lesion, give or take 3 %
of the image, Source: Zhang et al. 2018, IJCV 126:1084. The share of heat is how much of the map lies inside it. Both
are measured for null maps too (see `null_maps`), on the same grid. On the same slices, the maps are compared with those of the
same network with shuffled weights, the grades of the maps with those of null maps, and the scale of a bright map is measured.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from scipy.stats import binomtest
from torch import Tensor, nn
from tqdm import tqdm

from kidney_core.checkpoints import null_comparison
from kidney_core.checkpoints.checkpoint import EXPLANATIONS_FILE, Checkpoint, load_model, read_checkpoint
from kidney_core.checkpoints.null_comparison import MAP, N_GRADED
from kidney_core.common import digests
from kidney_core.common.entry_point import command
from kidney_core.common.errors import ModelError
from kidney_core.common.files import write_json
from kidney_core.common.labels import LABELS
from kidney_core.common.typed_paths import path_argument
from kidney_core.data import lesions, remembered_labels
from kidney_core.data.lesions import TOLERANCE, AnnotatedSlice
from kidney_core.imaging.body import body_mask
from kidney_core.imaging.framing import FramedImage
from kidney_core.kidneys import finder as finders
from kidney_core.kidneys.kidney_view import frame_slices
from kidney_core.networks import batch_norm, explanation, map_grades, preprocessing
from kidney_core.networks.explanation import Heatmap
from kidney_core.networks.null_maps import NULLS

FORMAT = 2  # 1 had no null maps
N_PHANTOMS = 60  # a label
N_SHUFFLED = 40  # slices for the sanity check
N_MASKED = 100  # slices with masks
LEAST_SHUFFLED = N_SHUFFLED // 2  # fewer with a map are too few to judge by
FULL_SCALE_PERCENT = 95.0


def methods_of(model: nn.Module, image: Tensor) -> list[str]:
    """The methods that suit a network; `image` is (1, 3, S, S). Raises ModelError when none does."""
    methods, reason = [], ""
    for method in explanation.METHODS:
        try:
            explanation.explain(model, image, 0, method=method)
            methods.append(method)
        except ModelError as error:
            reason = str(error)
    if not methods:
        raise ModelError(reason)
    return methods


def measure(
    checkpoint: Checkpoint, sets: dict[str, list[AnnotatedSlice]], *, progress: Callable[[], object] | None = None
) -> dict[str, Any]:
    """The content of explanations.json: the methods that suit the network, on every set.

    Args:
        sets: name -> slices whose label the checkpoint knows.
        progress: called after each slice and method, and after each slice that is graded.

    Raises: ModelError when no method suits the network.
    """
    model = load_model(checkpoint).requires_grad_(False)
    slices = [each for one_set in sets.values() for each in one_set]
    methods = methods_of(model, _input_of(checkpoint, slices[0]))
    peaks: dict[str, list[float]] = {method: [] for method in methods}
    measured = {name: _measure_set(checkpoint, model, each, peaks, progress) for name, each in sets.items()}
    return {
        "format": FORMAT,
        "weights_sha256": checkpoint.card["weights_sha256"],
        "sets": measured,
        "full_scale": {method: float(np.percentile(peaks[method], FULL_SCALE_PERCENT)) for method in methods},
        "shuffled": measure_shuffled(checkpoint, slices, methods),
        "grades": null_comparison.measure(
            checkpoint,
            model,
            [(each, _framed(checkpoint, each)) for each in spread(slices, N_GRADED)],
            methods,
            progress=progress,
        ),
    }


def spread(slices: Sequence[AnnotatedSlice], n: int) -> list[AnnotatedSlice]:
    """At most n slices, spread evenly over all of them."""
    return [slices[position] for position in np.unique(np.linspace(0, len(slices) - 1, n).astype(int))]


def _measure_set(
    checkpoint: Checkpoint,
    model: nn.Module,
    slices: list[AnnotatedSlice],
    peaks: dict[str, list[float]],
    progress: Callable[[], object] | None,
) -> dict[str, Any]:
    """How often and how much the maps of each method lie on the lesion; the strongest evidence of each joins `peaks`."""
    names = (MAP, *NULLS)
    hits: dict[str, dict[str, list[bool]]] = {method: {name: [] for name in names} for method in peaks}
    heat: dict[str, dict[str, list[float]]] = {method: {name: [] for name in names} for method in peaks}
    chances, areas = [], []
    for number, annotated in enumerate(slices):
        near, body = _near(annotated.network_lesion), body_mask(annotated.image.network_grey8())
        chances.append(float((near & body).sum() / body.sum()))
        areas.append(float((annotated.network_lesion & body).sum() / body.sum()))
        framed = _framed(checkpoint, annotated)
        target = checkpoint.labels.index(annotated.label)
        maps, keys = null_comparison.maps_and_nulls(model, framed, target, list(peaks), seed=number)
        pointed = {key: _pointed(framed, each, near, annotated.network_lesion) for key, each in maps.items()}
        for (method, name), key in keys.items():
            is_hit, share = pointed[key]
            hits[method][name].append(is_hit)
            heat[method][name].append(share)
        for method in peaks:
            peaks[method].append(maps[keys[method, MAP]].peak)
            if progress:
                progress()
    scans = lesions.scan_numbers(slices)
    return {
        "n": len(slices),
        "n_scans": len(np.unique(scans)),
        "chance_hit": float(np.mean(chances)),
        "chance_inside": float(np.mean(areas)),
        "methods": {method: _of_method(hits[method], heat[method], scans) for method in peaks},
    }


def _pointed(framed: FramedImage, heatmap: Heatmap, near: np.ndarray, lesion: np.ndarray) -> tuple[bool, float]:
    """Whether the brightest place of a map is near the lesion, and the share of its heat in it; near, lesion: (H, W) bool."""
    on_image = framed.to_image(heatmap.scaled())
    is_hit = not heatmap.is_empty and near[np.unravel_index(on_image.argmax(), on_image.shape)]
    return bool(is_hit), map_grades.inside(on_image, lesion)


def _of_method(hits: dict[str, list[bool]], heat: dict[str, list[float]], scans: np.ndarray) -> dict[str, Any]:
    """hits and heat_inside (means over slices) of a method and of its nulls, and whether its hits beat those of every null."""
    compared = null_comparison.compare({name: [float(each) for each in of_map] for name, of_map in hits.items()}, scans)
    return {
        "hits": sum(hits[MAP]),
        "heat_inside": float(np.mean(heat[MAP])),
        "nulls": {name: {"hits": sum(hits[name]), "heat_inside": float(np.mean(heat[name]))} for name in NULLS},
        "best_null": compared["best_null"],
        "beats": compared["beats"],
    }


def _framed(checkpoint: Checkpoint, annotated: AnnotatedSlice) -> FramedImage:
    """The slice as the network sees it; of the two images of a network that reads each kidney, the one with the lesion."""
    view = checkpoint.view
    finder = finders.open_installed() if view.needs_kidneys else None
    (frames,) = frame_slices(view, [annotated.image.network_grey8()], finder)
    return max(frames, key=lambda framed: framed.frame.crop(annotated.network_lesion).sum())


def _input_of(checkpoint: Checkpoint, annotated: AnnotatedSlice) -> Tensor:
    return preprocessing.input_of(_framed(checkpoint, annotated))


def measure_shuffled(
    checkpoint: Checkpoint, slices: list[AnnotatedSlice], methods: list[str]
) -> dict[str, dict[str, float | int]]:
    """Method -> how its maps correlate with those of shuffled weights, on `n` slices; those without a map do not count.

    Source: Adebayo et al. 2018, arXiv:1810.03292.
    """
    chosen = slices[:: max(1, len(slices) // N_SHUFFLED)][:N_SHUFFLED]
    batches = [_input_of(checkpoint, annotated) for annotated in chosen]
    model = load_model(checkpoint).requires_grad_(False)
    shuffled = shuffled_weights(load_model(checkpoint, fold=False), torch.cat(batches)).requires_grad_(False)
    shuffled = batch_norm.fold_batch_norms(shuffled, checkpoint.size_px)  # as the other, which FullGrad needs
    correlations: dict[str, dict[str, float | int]] = {}
    for method in methods:
        values = []
        for annotated, batch in zip(chosen, batches, strict=True):
            target = checkpoint.labels.index(annotated.label)
            ours, theirs = (
                explanation.explain(each, batch, target, method=method).evidence for each in (model, shuffled)
            )
            if min(np.ptp(ours), np.ptp(theirs)) > 0:
                values.append(abs(map_grades.correlation(ours, theirs)))
        correlations[method] = {"likeness": float(np.mean(values)) if values else 0.0, "n": len(values)}
    return correlations


@torch.no_grad()
def shuffled_weights(model: nn.Module, images: Tensor) -> nn.Module:
    """A network with the numbers of each of its tensors in a random order, in place: it has learned nothing.

    The statistics of its batch norms are measured anew on the images, (B, 3, S, S), so that its activations neither die
    nor explode.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    for start in range(0, len(images), 8):
        model(images[start : start + 8])
    return model.eval()


def one_a_scan_first(slices: Sequence[AnnotatedSlice], n: int) -> list[AnnotatedSlice]:
    """At most n slices, of as many scans as possible: the first one of each scan, then the second one of each, and so on."""
    rank = pd.Series(lesions.scan_numbers(slices)).pipe(lambda scans: scans.groupby(scans).cumcount())
    return [slices[position] for position in np.argsort(rank.to_numpy(), kind="stable")[:n]]


def hit_rate(hits: int, n: int) -> tuple[float, float, float]:
    """The share of hits with its 95 % interval (Wilson): (rate, low, high)."""
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return hits / n, float(interval.low), float(interval.high)


def _near(lesion: np.ndarray) -> np.ndarray:
    """The lesion and what lies within the tolerance of it, (H, W) bool."""
    return ndimage.distance_transform_edt(~lesion) <= TOLERANCE * max(lesion.shape)


@command
def main(arguments: list[str] | None = None) -> int:
    """Measure checkpoints from the command line."""
    parser = argparse.ArgumentParser(description="Measure whether heatmaps point at known lesions.")
    parser.add_argument("checkpoints", type=path_argument, nargs="+", help="folders of checkpoints")
    parser.add_argument("--boxes", type=path_argument, help="folder in YOLO layout, all of whose boxes are stones")
    parser.add_argument(
        "--masks", type=path_argument, help="folder of class folders with masks/ or labels/ beside them"
    )
    parser.add_argument("--phantoms", type=int, default=N_PHANTOMS, help=f"simulated slices a label ({N_PHANTOMS})")
    options = parser.parse_args(arguments)
    available = {"phantoms": lesions.draw_phantoms(options.phantoms)}
    if options.masks:
        annotated = lesions.read_annotated(remembered_labels.read(options.masks))
        available = {options.masks.name: one_a_scan_first(annotated, N_MASKED), **available}
    if options.boxes:
        available = {options.boxes.name: lesions.read_boxes(options.boxes, label=LABELS[2]), **available}
    for folder in options.checkpoints:
        checkpoint = read_checkpoint(folder)
        sets = {
            name: [each for each in slices if each.label in checkpoint.labels] for name, slices in available.items()
        }
        n_slices = sum(map(len, sets.values()))
        total = n_slices * len(explanation.METHODS) + min(n_slices, N_GRADED)
        with tqdm(total=total, desc=checkpoint.name, unit="map") as bar:
            measurements = measure(checkpoint, sets, progress=bar.update)
        write_json(folder / EXPLANATIONS_FILE, digests.add_seal(measurements))
        for name, measured in measurements["sets"].items():
            print(f"{checkpoint.name}, {name}, {measured['n']} slices, by chance {100 * measured['chance_hit']:.0f} %")
            for method, row in measured["methods"].items():
                rate, low, high = hit_rate(row["hits"], measured["n"])
                print(
                    f"  {method:20} hits {100 * rate:5.1f} % ({100 * low:.0f} to {100 * high:.0f})  heat inside "
                    f"{100 * row['heat_inside']:5.1f} %  with shuffled weights {measurements['shuffled'][method]['likeness']:.2f}  "
                    f"best null ({row['best_null']}) hits {100 * row['nulls'][row['best_null']]['hits'] / measured['n']:.1f} %"
                )
        for method, grades in measurements["grades"].items():
            each = ", ".join(
                f"{title} {row[MAP]:.2f} against {row['nulls'][row['best_null']]:.2f} ({row['best_null']})"
                for title, row in grades.items()
            )
            print(f"  {method:20} {each}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
