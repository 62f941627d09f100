"""Healthy kidneys of the training slices, most with a lesion drawn in: the second teacher, see `two_teachers`.

Healthy are the kidneys of slices labelled Normal, also of those whose marked lesions are painted over, see `training_data`.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kidney_core.common.errors import RunError
from kidney_core.common.labels import NORMAL
from kidney_core.imaging import framing
from kidney_core.networks import preprocessing
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.simulation import drawn_lesions
from kidney_core.training.training_data import TrainingData

_SHARES = {"Cyst": 0.26, NORMAL: 0.35, "Stone": 0.16, "Tumor": 0.23}  # of the kidneys


@dataclass(frozen=True)
class LesionDrawing:
    """Chooses healthy kidneys at random, and draws lesions into them.

    Attributes:
        pixels, masks: (N, 2, S, S) uint8, the images of the kidneys, and where the kidney is in each.
        healthy: (H, 2) positions of a slice and of its kidney, 0 or 1.
        probability: (H,) of each to be chosen.
        labels: those of the dataset.
        n_kidneys: that are added to each batch.
    """

    pixels: np.ndarray = field(repr=False)
    masks: np.ndarray = field(repr=False)
    healthy: np.ndarray = field(repr=False)
    probability: np.ndarray = field(repr=False)
    labels: tuple[str, ...]
    config: TrainingConfig
    n_kidneys: int

    @classmethod
    def of(cls, data: TrainingData, config: TrainingConfig) -> "LesionDrawing | None":
        """The drawing that a configuration asks for; None where it asks for none.

        Raises: RunError where no training slice shows a healthy kidney.
        """
        n_kidneys = round(config.drawn_lesions * config.batch_size)
        if data.masks is None or not n_kidneys:
            return None
        labels, masks = data.dataset.labels, data.masks
        normal = [position for position in data.train if labels[data.y[position]] == NORMAL]
        healthy = [
            (position, place)
            for position in normal
            for place in (0, 1)
            if drawn_lesions.can_hold_lesion(masks[position, place])
        ]
        if not healthy:
            raise RunError(
                f"drawn_lesions needs training slices that are labelled {NORMAL} and show a kidney, and there is none. Set it to 0."
            )
        # Scans and not slices are drawn evenly, since slices of one scan are alike.
        series = data.series[[position for position, _ in healthy]]
        _, scan, n_of_scan = np.unique(series, return_inverse=True, return_counts=True)
        probability = 1 / n_of_scan[scan] / len(n_of_scan)
        return cls(data.pixels, masks, np.array(healthy), probability, labels, config, n_kidneys)

    def kidneys(self, step: int) -> tuple[Tensor, Tensor]:
        """The kidneys of a step, augmented, and their labels: (D, S, S) grey values and (D,) int64; always the same ones."""
        rng = np.random.default_rng([self.config.seed, step, 3])
        chosen = rng.choice(len(self.healthy), size=self.n_kidneys, p=self.probability)
        known = [label for label in _SHARES if label in self.labels]
        shares = np.array([_SHARES[label] for label in known])
        drawn = [known[number] for number in rng.choice(len(known), size=self.n_kidneys, p=shares / shares.sum())]
        images = [self._draw(row, label, rng) for row, label in zip(chosen, drawn, strict=True)]
        numbers = torch.from_numpy(rng.random((self.n_kidneys, preprocessing.N_RANDOM_NUMBERS), dtype=np.float32))
        grey = preprocessing.augment(torch.from_numpy(np.stack(images)), numbers, self.config.augmentation)
        return grey, torch.tensor([self.labels.index(label) for label in drawn])

    def _draw(self, kidney: int, label: str, rng: np.random.Generator) -> np.ndarray:
        position, place = self.healthy[kidney]
        grey, mask = np.array(self.pixels[position, place]), self.masks[position, place].astype(bool)
        if label == NORMAL:
            return grey
        if self.config.greys != framing.RELATIVE:
            drawn, _ = drawn_lesions.draw(grey, mask, label, rng)
            return np.rint(drawn).clip(0, 255).astype(np.uint8)
        drawn, lesion = drawn_lesions.draw(framing.differences(grey), mask, label, rng)
        # The finder counts a cyst or mass to its kidney, to whose median grey values are relative.
        return framing.relative_to(drawn, float(np.median(drawn[mask | lesion])))
