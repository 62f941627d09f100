"""How far a heatmap can be trusted: its grades, each with a number and what it means in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kidney_core.networks import perturbation
from kidney_core.networks.explanation import Heatmap

Probability = Callable[[Tensor], np.ndarray]

GOOD, FAIR, POOR = "good", "fair", "poor"
FAITHFUL, SUFFICIENT = "Faithful", "Sufficient"  # titles of grades
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the body that are blurred, or shown alone
_N_RANDOM = 8  # orders of patches that the map has to beat
_RANDOM_CELLS = 10  # patches along a side, in a random order
_SHIFT_PX = 4


@dataclass(frozen=True)
class Grade:
    """One property of a map: its title, its value (the reason has its unit), how good that is, and why."""

    title: str
    value: float
    outcome: str
    reason: str


def inside(evidence: np.ndarray, region: np.ndarray) -> float:
    """The share of a map's evidence within a region of the same shape, 0 to 1; 0 for an empty map."""
    total = float(evidence.sum())
    return float(evidence[region].sum()) / total if total > 0 else 0.0


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson correlation of two maps of the same shape, -1 to 1; 0 where one of them is flat."""
    a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 0 else 0.0


def at_size(heatmap: Heatmap, size_px: int) -> np.ndarray:
    """The evidence over the square input: (size_px, size_px) float32."""
    small = torch.from_numpy(heatmap.evidence)[None, None]
    return F.interpolate(small, size=(size_px, size_px), mode="bilinear", align_corners=False)[0, 0].numpy()


def faithfulness(probability: Probability, image: Tensor, heatmap: Heatmap, body: np.ndarray) -> Grade:
    """Does the probability fall where the map is bright, more than where patches are blurred at random? (Deletion.)

    The value is how much further the probability falls, averaged over `SHARES`, when the body's brightest pixels are
    blurred than when as many are blurred in random patches, as a share of the probability itself.
    Sources: Petsiuk et al. 2018, arXiv:1806.07421 (deletion); Fong and Vedaldi 2017, arXiv:1704.03296 (blur).

    Args:
        probability: (B, 3, S, S) -> (B,) of what the map explains.
        image: (1, 3, S, S) normalised; body: (S, S) bool.
    """
    before, by_map, at_random = _deleted(probability, image, [heatmap], body)
    value, middle = _faithful(before, by_map, at_random)[0], SHARES.index(0.2)
    reason = (
        f"Blurring the brightest 20 % of the body takes the probability from {_percent(before)} to "
        f"{_percent(by_map[0, middle])}; blurring 20 % in random patches, to {_percent(at_random[:, middle].mean())}."
    )
    return Grade(FAITHFUL, value, GOOD if value >= 0.2 else FAIR if value >= 0.05 else POOR, reason)


def sufficiency(probability: Probability, image: Tensor, heatmap: Heatmap, body: np.ndarray) -> Grade:
    """Does the network predict the label again when only the brightest part is sharp? (Insertion.)

    The value is the probability, averaged over `SHARES`, minus that of random patches. Arguments as for `faithfulness`.
    """
    by_map, at_random = _inserted(probability, image, [heatmap], body)
    value, middle = _sufficient(by_map, at_random)[0], SHARES.index(0.2)
    reason = (
        f"With only the brightest 20 % of the body sharp, the probability is {_percent(by_map[0, middle])}; with 20 % in "
        f"random patches, {_percent(at_random[:, middle].mean())}."
    )
    return Grade(SUFFICIENT, value, GOOD if value >= 0.1 else FAIR if value >= 0 else POOR, reason)


def graded_by_probability(
    probability: Probability, image: Tensor, heatmaps: Sequence[Heatmap], body: np.ndarray
) -> dict[str, list[float]]:
    """The values of `faithfulness` and `sufficiency` by title, for several maps of one input at once."""
    before, deleted, deleted_at_random = _deleted(probability, image, heatmaps, body)
    inserted, inserted_at_random = _inserted(probability, image, heatmaps, body)
    return {
        FAITHFUL: _faithful(before, deleted, deleted_at_random),
        SUFFICIENT: _sufficient(inserted, inserted_at_random),
    }


def _deleted(
    probability: Probability, image: Tensor, heatmaps: Sequence[Heatmap], body: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The probability as it is, and with `SHARES` blurred: (n_maps, 6) by each map and (8, 6) in random patches."""
    blurred = perturbation.blur(image)
    return float(probability(image)[0]), *_filled(probability, image, blurred, heatmaps, body, seed=0)


def _inserted(
    probability: Probability, image: Tensor, heatmaps: Sequence[Heatmap], body: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The probability with `SHARES` alone sharp: (n_maps, 6) by each map and (8, 6) in random patches."""
    return _filled(probability, perturbation.blur(image), image, heatmaps, body, seed=1)


def _faithful(before: float, by_map: np.ndarray, at_random: np.ndarray) -> list[float]:
    return [float((at_random.mean(axis=0) - each).mean()) / max(before, 1e-6) for each in by_map]


def _sufficient(by_map: np.ndarray, at_random: np.ndarray) -> list[float]:
    return [float((each - at_random.mean(axis=0)).mean()) for each in by_map]


def in_body(heatmap: Heatmap, body: np.ndarray) -> Grade:
    """How much of the heat lies outside the body, where no lesion can be. body: (S, S) bool."""
    outside = 1 - inside(at_size(heatmap, len(body)), body)
    share_outside = 1 - float(body.mean())
    reason = f"{_percent(outside)} of the heat lies outside the body, which is {_percent(share_outside)} of the image."
    return Grade("Within the body", outside, GOOD if outside <= 0.1 else FAIR if outside <= 0.25 else POOR, reason)


def in_kidneys(heatmap: Heatmap, kidneys: np.ndarray) -> Grade:
    """How much of the heat lies in the kidneys, against what a map of chance would have there.

    Args:
        kidneys: (S, S) bool, with some True, the finder's outline in the square input.
    """
    within, by_chance = inside(at_size(heatmap, len(kidneys)), kidneys), float(kidneys.mean())
    gain = within / by_chance
    reason = (
        f"{_percent(within)} of the heat lies in the kidneys, which are {_percent(by_chance)} of the image: {gain:.1f} times what "
        "chance gives."
    )
    return Grade("Within the kidneys", within, GOOD if gain >= 4 else FAIR if gain >= 2 else POOR, reason)


def stability(draw: Callable[[Tensor], Heatmap], image: Tensor, heatmap: Heatmap) -> Grade:
    """Does the map move with the image, when that moves by 4 pixels?

    Args:
        draw: draws the map of a (1, 3, S, S) input for the label of `heatmap`.
    """
    size = image.shape[-1]
    padded = F.pad(image, (_SHIFT_PX,) * 4, mode="replicate")
    here = at_size(heatmap, size)
    correlations = []
    for down, right in ((_SHIFT_PX, 0), (-_SHIFT_PX, 0), (0, _SHIFT_PX), (0, -_SHIFT_PX)):
        moved = padded[..., _SHIFT_PX - down :, _SHIFT_PX - right :][..., :size, :size]
        there = np.roll(at_size(draw(moved), size), (-down, -right), axis=(0, 1))
        edge = slice(_SHIFT_PX, size - _SHIFT_PX)
        correlations.append(correlation(here[edge, edge], there[edge, edge]))
    value = float(np.mean(correlations))
    reason = f"When the image moves by {_SHIFT_PX} pixels, the map moves with it: mean correlation {value:.2f}."
    return Grade("Stable", value, GOOD if value >= 0.9 else FAIR if value >= 0.7 else POOR, reason)


def agreement(here: np.ndarray, others: dict[str, np.ndarray]) -> Grade:
    """Do the maps of other models show the same place for the label?

    Args:
        here: (H, W) the map over the slice; others: model name -> its map of the same shape.
    """
    correlations = {name: correlation(here, there) for name, there in others.items()}
    value = float(np.mean(list(correlations.values()))) if correlations else 0.0
    each = ", ".join(f"{name} {correlated:.2f}" for name, correlated in correlations.items())
    reason = (
        f"Correlation with the maps of the other models: {each}."
        if correlations
        else "There is no other model to compare with."
    )
    return Grade("Models agree", value, GOOD if value >= 0.6 else FAIR if value >= 0.3 else POOR, reason)


def depends_on_training(correlation_with_shuffled: float, n_slices: int) -> Grade:
    """The sanity check of a checkpoint: do its maps differ from those of the same network with shuffled weights?

    Source: Adebayo et al. 2018, arXiv:1810.03292. A method whose maps stay the same draws edges, not what was learned.
    """
    outcome = GOOD if correlation_with_shuffled <= 0.3 else FAIR if correlation_with_shuffled <= 0.6 else POOR
    reason = (
        f"The maps of the same network with shuffled weights correlate {correlation_with_shuffled:.2f} with its own "
        f"(measured on {n_slices} slices; near 0 is good)."
    )
    return Grade("Depends on what was learned", correlation_with_shuffled, outcome, reason)


def _by_map(rng: np.random.Generator, heatmap: Heatmap, size: int) -> np.ndarray:
    """(size, size) the order of pixels by a map; ties are broken at random."""
    spread = at_size(heatmap, size)
    return spread + rng.random(spread.shape, dtype=np.float32) * 1e-6 * max(float(spread.max()), 1e-12)


@torch.no_grad()
def _filled(
    probability: Probability, image: Tensor, fill: Tensor, heatmaps: Sequence[Heatmap], body: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities when the first `SHARES` of the body are replaced by `fill`: (n_maps, 6) by maps, (8, 6) at random."""
    rng, size = np.random.default_rng(seed), len(body)
    orders = [_random_patches(rng, size) for _ in range(_N_RANDOM)] + [_by_map(rng, each, size) for each in heatmaps]
    probabilities = []
    for order in orders:
        ranked = np.argsort(-np.where(body, order, -np.inf).ravel(), kind="stable")
        masks = np.zeros((len(SHARES), body.size), bool)
        for mask, share in zip(masks, SHARES, strict=True):
            mask[ranked[: round(share * body.sum())]] = True
        chosen = torch.from_numpy(masks.reshape(len(SHARES), 1, *body.shape)).to(image.device)
        probabilities.append(probability(torch.where(chosen, fill, image)))
    return np.array(probabilities[_N_RANDOM:]), np.array(probabilities[:_N_RANDOM])


def _random_patches(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size) a random order of square patches."""
    cells = rng.permutation(_RANDOM_CELLS**2).reshape(_RANDOM_CELLS, _RANDOM_CELLS).astype(np.float32)
    place = np.arange(size) * _RANDOM_CELLS // size
    return cells[np.ix_(place, place)]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
