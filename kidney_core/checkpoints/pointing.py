"""Do a checkpoint's heat maps point at the lesion? Measured for every method where the lesion is known.

    python -m kidney_core.pointing CHECKPOINT_FOLDER... [--boxes FOLDER]      writes explanations.json beside the card

The pointing game asks whether the brightest place of the map of the true label lies on the lesion, give or take 3 %
of the image, Source: Zhang et al. 2018, IJCV 126:1084. The share of heat asks how much of the map lies inside. What a
map drawn at random would reach is measured beside both. The maps of the same network with its weights shuffled, and how
bright a bright map is, are measured on the same slices.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from scipy.stats import binomtest
from torch import Tensor, nn
from tqdm import tqdm

from kidney_core import digests, explanation, lesions, map_grades, preprocessing
from kidney_core.body import body_mask
from kidney_core.checkpoint import EXPLANATIONS_FILE, Checkpoint, load_model, read_checkpoint
from kidney_core.errors import command
from kidney_core.files import write_json
from kidney_core.labels import LABELS
from kidney_core.lesions import TOLERANCE, KnownLesion

FORMAT = 1
N_PHANTOMS = 60  # a label
N_SHUFFLED = 40  # slices for the sanity check
LEAST_SHUFFLED = N_SHUFFLED // 2  # fewer with a map tell nothing
FULL_SCALE_PERCENT = 95.0


def measure(
    checkpoint: Checkpoint, sets: dict[str, list[KnownLesion]], *, progress: Callable[[], object] | None = None
) -> dict[str, Any]:
    """The content of explanations.json.

    Args:
        sets: name -> slices whose label the checkpoint knows.
        progress: called after each slice and method.
    """
    model = load_model(checkpoint).requires_grad_(False)
    found: dict[str, Any] = {"format": FORMAT, "weights_sha256": checkpoint.card["weights_sha256"], "sets": {}}
    peaks: dict[str, list[float]] = {method: [] for method in explanation.METHODS}
    for name, slices in sets.items():
        hits = dict.fromkeys(explanation.METHODS, 0)
        heat: dict[str, list[float]] = {method: [] for method in explanation.METHODS}
        chances, areas = [], []
        for known in slices:
            near, body = _near(known.lesion), body_mask(known.image.network_grey8())
            chances.append(float((near & body).sum() / body.sum()))
            areas.append(float((known.lesion & body).sum() / body.sum()))
            seen = checkpoint.view.see(known.image.network_grey8())
            batch = preprocessing.input_of(seen)
            target = checkpoint.labels.index(known.label)
            for method in explanation.METHODS:
                drawn = explanation.explain(model, batch, target, method=method)
                laid = seen.over(drawn.scaled())
                hits[method] += int(not drawn.is_empty and near[np.unravel_index(laid.argmax(), laid.shape)])
                heat[method].append(map_grades.inside(laid, known.lesion))
                peaks[method].append(drawn.peak)
                if progress:
                    progress()
        found["sets"][name] = {
            "n": len(slices),
            "chance_hit": float(np.mean(chances)),
            "chance_inside": float(np.mean(areas)),
            "methods": {method: {"hits": hits[method], "heat_inside": float(np.mean(heat[method]))} for method in hits},
        }
    found["full_scale"] = {method: float(np.percentile(peaks[method], FULL_SCALE_PERCENT)) for method in peaks}
    found["shuffled"] = measure_shuffled(checkpoint, [each for slices in sets.values() for each in slices])
    return found


def measure_shuffled(checkpoint: Checkpoint, slices: list[KnownLesion]) -> dict[str, dict[str, float | int]]:
    """Method -> how alike its maps stay when the weights are shuffled, on `n` slices; those without a map do not count.

    Source: Adebayo et al. 2018, arXiv:1810.03292.
    """
    chosen = slices[:: max(1, len(slices) // N_SHUFFLED)][:N_SHUFFLED]
    batches = [preprocessing.input_of(checkpoint.view.see(known.image.network_grey8())) for known in chosen]
    model = load_model(checkpoint).requires_grad_(False)
    shuffled = shuffled_weights(load_model(checkpoint, fold=False), torch.cat(batches)).requires_grad_(False)
    found: dict[str, dict[str, float | int]] = {}
    for method in explanation.METHODS:
        alike = []
        for known, batch in zip(chosen, batches, strict=True):
            target = checkpoint.labels.index(known.label)
            ours, theirs = (
                explanation.explain(each, batch, target, method=method).evidence for each in (model, shuffled)
            )
            if min(np.ptp(ours), np.ptp(theirs)) > 0:
                alike.append(abs(map_grades.likeness(ours, theirs)))
        found[method] = {"likeness": float(np.mean(alike)) if alike else 0.0, "n": len(alike)}
    return found


@torch.no_grad()
def shuffled_weights(model: nn.Module, images: Tensor) -> nn.Module:
    """A network with the numbers of each of its tensors in a random order, in place: it knows nothing any more.

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
    parser = argparse.ArgumentParser(description="Measure whether heat maps point at known lesions.")
    parser.add_argument("checkpoints", type=Path, nargs="+", help="folders of checkpoints")
    parser.add_argument("--boxes", type=Path, help="folder in YOLO layout, all of whose boxes are stones")
    parser.add_argument("--phantoms", type=int, default=N_PHANTOMS, help=f"simulated slices a label ({N_PHANTOMS})")
    options = parser.parse_args(arguments)
    known = {"phantoms": lesions.phantoms(options.phantoms)}
    if options.boxes:
        known = {options.boxes.name: lesions.boxes(options.boxes, label=LABELS[2]), **known}
    for folder in options.checkpoints:
        checkpoint = read_checkpoint(folder)
        sets = {name: [each for each in slices if each.label in checkpoint.labels] for name, slices in known.items()}
        total = sum(map(len, sets.values())) * len(explanation.METHODS)
        with tqdm(total=total, desc=checkpoint.name, unit="map") as bar:
            found = measure(checkpoint, sets, progress=bar.update)
        write_json(folder / EXPLANATIONS_FILE, digests.sealed(found))
        for name, measured in found["sets"].items():
            print(f"{checkpoint.name}, {name}, {measured['n']} slices, by chance {100 * measured['chance_hit']:.0f} %")
            for method, row in measured["methods"].items():
                rate, low, high = hit_rate(row["hits"], measured["n"])
                print(
                    f"  {method:20} hits {100 * rate:5.1f} % ({100 * low:.0f} to {100 * high:.0f})  heat inside "
                    f"{100 * row['heat_inside']:5.1f} %  with shuffled weights {found['shuffled'][method]['likeness']:.2f}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
