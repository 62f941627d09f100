"""Training of the kidney finder on slices with masks of the kidneys; an interrupted training goes on where it stopped."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from kidney_core.data.annotated_volumes import (
    ANNOTATED,
    AXIAL,
    CORONAL,
    PSEUDO_LABELLED,
    SAGITTAL,
    SIMULATED,
    UNSURE,
    AnnotatedSlices,
    is_kidney,
)
from kidney_core.kidneys.finder_network import KIDNEY, SIDE, FinderNetwork
from kidney_core.kidneys.found import NONE, PICTURE_LEFT
from kidney_core.networks import batch_norm, preprocessing
from kidney_core.runs import training_state
from kidney_core.runs.training_state import Position
from kidney_core.training import finder_augmentation
from kidney_core.training.ema import make_ema
from kidney_core.training.optimization import one_cycle

STATE_FILE = "training.safetensors"
# How often slices of each kind are drawn: axial ones most, since most scans are, and those with a kidney more often.
_SHARES = {AXIAL: 0.62, CORONAL: 0.22, SAGITTAL: 0.08}
_SIMULATED_SHARE, _PSEUDO_SHARE = 0.08, 0.4
_WITH_KIDNEY = 0.65
_N_RECALIBRATION = 48  # slices that give folded norms their statistics
_STEPS_PER_STATE = 200


@dataclass(frozen=True)
class FinderRecipe:
    """How the finder is trained: the first 60 % of the steps at `first_size_px`, the others at `size_px`.

    A second training, with slices that the first finder outlined itself, has `n_second_steps`.
    """

    n_steps: int = 2400
    batch_size: int = 16
    first_size_px: int = 160
    size_px: int = 192
    n_second_steps: int = 2400
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    seed: int = 0

    def second(self) -> "FinderRecipe":
        """The recipe of the second training: all steps at the full size, and another draw of slices."""
        return replace(self, n_steps=self.n_second_steps, first_size_px=self.size_px, seed=self.seed + 1)

    def size_at(self, step: int) -> int:
        """The side of the square at a step, in pixels."""
        return self.first_size_px if step < 0.6 * self.n_steps else self.size_px


def train(
    slices: AnnotatedSlices,
    recipe: FinderRecipe,
    folder: Path,
    *,
    encoder_weights: Path,
    start: FinderNetwork | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> FinderNetwork:
    """Train a finder; the average of its weights over the last steps.

    Args:
        folder: keeps the state of the training every 200 steps, from which the same call goes on.
        encoder_weights: safetensors file of timm's parameter names that the encoder starts from.
        start: a finder's network to go on from instead.
        progress: called with (steps done, steps in all, mean loss since the last call).
    """
    torch.manual_seed(recipe.seed)
    network = FinderNetwork()
    if start is None:
        _start_encoder(network.encoder, encoder_weights, slices, recipe)
    else:
        network.load_state_dict(start.state_dict())
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay, fused=True)
    ema = make_ema(network, decay=recipe.ema_decay)
    assert ema is not None
    state, position = folder / STATE_FILE, Position()
    if state.exists():
        position = training_state.load(state, {"model": network, "mean": ema.module}, optimizer)
    sampler = _Sampler(slices)
    network.train()
    while position.step < recipe.n_steps:
        squares, codes, sided = sampler.draw(recipe, position.step)
        for group in optimizer.param_groups:
            group["lr"] = one_cycle(position.step, recipe.n_steps, recipe.learning_rate, rising=0.1)
        value = finder_loss(network(preprocessing.to_input(squares)), codes, sided)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        ema.update(network, step=position.step)
        position = position.after_step(loss=float(value.detach()), n_images=len(squares), n_correct=0)
        if position.step % _STEPS_PER_STATE == 0 or position.step == recipe.n_steps:
            if progress:
                progress(position.step, recipe.n_steps, position.loss_sum / position.n_seen)
            position = position.at_epoch_start()
            training_state.save(state, {"model": network, "mean": ema.module}, optimizer, position)
    return ema.module.eval()


def _start_encoder(encoder: nn.Module, weights: Path, slices: AnnotatedSlices, recipe: FinderRecipe) -> None:
    own = encoder.state_dict()
    stored = {name: tensor.float() for name, tensor in load_file(weights).items() if name in own}
    encoder.load_state_dict(stored, strict=False)
    if batch_norm.has_folded_batch_norm(encoder):
        some = np.random.default_rng(recipe.seed).choice(len(slices.squares), _N_RECALIBRATION)
        batch_norm.recalibrate_batch_norm(encoder, preprocessing.to_input(torch.from_numpy(slices.squares[some])))


class _Sampler:
    """Draws the batch of a step: which slices, and what is done to them, depends on (seed, step) alone."""

    def __init__(self, slices: AnnotatedSlices) -> None:
        self.slices = slices
        has_kidney = is_kidney(slices.kidneys).any(axis=(1, 2))
        groups = [(slices.kinds == SIMULATED, _SIMULATED_SHARE), (slices.kinds == PSEUDO_LABELLED, _PSEUDO_SHARE)]
        for plane, share in _SHARES.items():
            of_plane = (slices.planes == plane) & (slices.kinds == ANNOTATED)
            groups += [
                (of_plane & has_kidney, share * _WITH_KIDNEY),
                (of_plane & ~has_kidney, share * (1 - _WITH_KIDNEY)),
            ]
        self.members = [np.flatnonzero(mask) for mask, _ in groups if mask.any()]
        shares = np.array([share for mask, share in groups if mask.any()])
        self.shares = shares / shares.sum()

    def draw(self, recipe: FinderRecipe, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, S, S) float32 greys, (B, S, S) uint8 codes, (B,) bool where the plane has sides."""
        rng = np.random.default_rng([recipe.seed, step])
        groups = rng.choice(len(self.members), recipe.batch_size, p=self.shares)
        chosen = np.array([rng.choice(self.members[group]) for group in groups])
        planes = self.slices.planes[chosen]
        pairs = [
            finder_augmentation.change_patient(self.slices.squares[i], self.slices.kidneys[i], plane, rng)
            for i, plane in zip(chosen, planes, strict=True)
        ]
        greys, codes = (torch.from_numpy(np.stack(each)) for each in zip(*pairs, strict=True))
        squares, codes = finder_augmentation.change_view(
            greys, codes, recipe.size_at(step), rng, is_reformatted=planes != AXIAL
        )
        return squares, codes, torch.from_numpy(planes != SAGITTAL)


def finder_loss(logits: torch.Tensor, codes: torch.Tensor, sided: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and Dice of the kidneys, and cross-entropy of their side inside them.

    Args:
        logits: (B, 2, S, S) of the network.
        codes: (B, S, S) uint8 of the mask; pixels that are unsure do not count.
        sided: (B,) bool, False where the plane has no sides.
    """
    kidney, side, known = logits[:, KIDNEY], logits[:, SIDE], (codes != UNSURE).float()
    truth = ((codes != NONE) * known).float()
    probable = kidney.sigmoid() * known
    overlap, total = (probable * truth).sum((1, 2)), probable.sum((1, 2)) + truth.sum((1, 2))
    per_slice = (1 - (2 * overlap + 1) / (total + 1))[truth.sum((1, 2)) > 0]
    of_batch = 1 - (2 * overlap.sum() + 1) / (total.sum() + 1)
    dice = (per_slice.mean() if len(per_slice) else 0) + 0.5 * of_batch
    inside = truth * sided[:, None, None]
    wrong_side = F.binary_cross_entropy_with_logits(side, (codes == PICTURE_LEFT).float(), reduction="none")
    return (
        2 * F.binary_cross_entropy_with_logits(kidney, truth, known)
        + dice
        + 0.3 * (wrong_side * inside).sum() / (inside.sum() + 1)
    )
