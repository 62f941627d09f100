"""How long a training takes on this machine, as finished runs of the same work took."""

from collections.abc import Iterable
from typing import Any

from kidney_core.common.errors import KidneyError
from kidney_core.metrics.splits import TRAIN
from kidney_core.runs.curves import Curves
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import FINISHED, Run

_NAMES = ("architecture", "trainable", "image_size_px", "framing", "greys", "drawn_lesions", "augmentation")


def work(config: TrainingConfig) -> tuple[Any, ...]:
    """What the time of a slice in an epoch depends on: configurations of the same work are about as fast."""
    return tuple(getattr(config, name) for name in _NAMES)


def slice_seconds(runs: Iterable[Run]) -> dict[tuple[Any, ...], float]:
    """Seconds that a training slice took in an epoch, by `work`, in the first of these runs that finished such work."""
    found: dict[tuple[Any, ...], float] = {}
    for run in runs:
        try:
            config, n_slices = run.config(), run.data().get("parts", {}).get(TRAIN)
            if run.state()["state"] != FINISHED or not n_slices or work(config) in found:
                continue
            curves = Curves().read(run)
        except KidneyError:  # the table of runs tells what is wrong with it
            continue
        seconds, n_epochs = curves.seconds(), len(curves.epochs)
        if seconds and n_epochs:
            found[work(config)] = seconds / (n_slices * n_epochs)
    return found


def training_seconds(config: TrainingConfig, n_slices: int, known: dict[tuple[Any, ...], float]) -> float | None:
    """What a run on that many slices takes, roughly; None where no run of the same work is known.

    Args:
        known: of `slice_seconds`.
    """
    share = 1 - config.test_fraction - config.validation_fraction
    each = known.get(work(config))
    return None if each is None else each * n_slices * share * config.n_epochs


def in_words(seconds: float) -> str:
    """A rough duration: 49 -> "about 1 min", 12 -> "below 1 min", 7000 -> "about 2 h"."""
    minutes = seconds / 60
    if minutes < 0.75:
        return "below 1 min"
    return f"about {minutes:.0f} min" if minutes < 90 else f"about {minutes / 60:.0f} h"
