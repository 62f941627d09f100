"""Which training slices get a lesion drawn into a kidney, and the drawing: a function of the slice and its random numbers alone."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from kidney_core.common.labels import NORMAL
from kidney_core.imaging.framing import RELATIVE, RELATIVE_GAIN
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.simulation import drawn_lesions
from kidney_core.training.training_data import TrainingData

_SHARES = {"Cyst": 0.4, "Stone": 0.25, "Tumor": 0.35}  # of the drawn lesions


class _Plan(NamedTuple):
    """A lesion to draw: into the kidney at `place`, of the label at `position`, with this source of random numbers."""

    place: int
    position: int
    rng: np.random.Generator


@dataclass(frozen=True)
class LesionDrawing:
    """Draws lesions into kidneys of slices labelled Normal.

    Attributes:
        y: (N,) labels of the slices.
        masks: (N, 2, S, S), where their kidneys are.
        labels_of: the dataset's labels.
        share: of the slices labelled Normal that get a lesion, 0 to 1.
        gain: see `drawn_lesions.draw`.
    """

    y: np.ndarray = field(repr=False)
    masks: np.ndarray = field(repr=False)
    labels_of: tuple[str, ...]
    share: float
    gain: float

    @classmethod
    def of(cls, data: TrainingData, config: TrainingConfig) -> "LesionDrawing | None":
        """The drawing that a configuration asks for; None where it asks for none."""
        if data.masks is None:
            return None
        gain = RELATIVE_GAIN if config.greys == RELATIVE else 1.0
        return cls(data.y, data.masks, data.dataset.labels, config.drawn_lesions, gain)

    def labels(self, positions: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """(B,) the labels of slices after drawing."""
        y = self.y[positions]
        for row, (position, own) in enumerate(zip(positions, numbers, strict=True)):
            plan = self._plan(int(position), own)
            if plan:
                y[row] = plan.position
        return y

    def draw_into(self, grey: torch.Tensor, positions: np.ndarray, numbers: np.ndarray) -> torch.Tensor:
        """(B, 2, S, S) uint8 images of the slices at `positions` -> the same with lesions."""
        for row, (position, own) in enumerate(zip(positions, numbers, strict=True)):
            plan = self._plan(int(position), own)
            if plan:
                kidney = self.masks[position, plan.place].astype(bool)
                image = grey[row, plan.place].cpu().numpy()
                drawn = drawn_lesions.draw(image, kidney, self.labels_of[plan.position], plan.rng, gain=self.gain)
                grey[row, plan.place] = torch.from_numpy(drawn).to(grey.device)
        return grey

    def _plan(self, position: int, numbers: np.ndarray) -> _Plan | None:
        if self.labels_of[self.y[position]] != NORMAL:
            return None
        rng = np.random.default_rng((numbers.astype(np.float64) * 2**24).astype(np.int64))
        if rng.random() >= self.share:
            return None
        places = [place for place in (0, 1) if drawn_lesions.can_hold_lesion(self.masks[position, place])]
        known = [label for label in _SHARES if label in self.labels_of]
        if not places or not known:
            return None
        shares = np.array([_SHARES[label] for label in known])
        label = str(rng.choice(known, p=shares / shares.sum()))
        return _Plan(int(rng.choice(places)), self.labels_of.index(label), rng)
