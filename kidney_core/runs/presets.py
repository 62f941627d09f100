"""Presets: whole configurations to begin with, each for one purpose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kidney_core.metrics.splits import GROUPED, RANDOM
from kidney_core.runs.recipes import RECIPES, TrainingConfig


@dataclass(frozen=True)
class Preset:
    """A configuration to begin with.

    Attributes:
        purpose: what it is for, in one line.
        changes: options that differ from those of the recipe.
        protocols: a job is trained for each.
    """

    title: str
    purpose: str
    recipe: str
    architecture: str = "mobilenetv2_100"
    protocols: tuple[str, ...] = (GROUPED, RANDOM)
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> TrainingConfig:
        """Its configuration of the first protocol, without a folder."""
        options = {**RECIPES[self.recipe], **self.changes, "architecture": self.architecture}
        return TrainingConfig(**{**options, "recipe": self.recipe, "protocol": self.protocols[0]})


PRESETS: dict[str, Preset] = {
    "travel": Preset(
        "Best on other hospitals",
        "Looks at each kidney by itself and learns from drawn lesions.",
        recipe="travel",
    ),
    "paper": Preset(
        "Paper",
        "As published; the second split shows its data leakage.",
        recipe="paper",
    ),
    "quick": Preset(
        "Quick look",
        "Does training work here? Small images, two epochs.",
        recipe="paper",
        protocols=(GROUPED,),
        changes={"image_size_px": 96, "n_epochs": 2},
    ),
}
DEFAULT = "travel"
