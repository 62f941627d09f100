"""Show one that breaks: samples and disturbances are tried in turn until a model's label changes and the gate lets it through."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kidney_core.common.labels import LABELS
from kidney_core.diagnosis.inference import Predictor
from kidney_core.simulation import phantom
from kidney_core.teaching import disturbances
from kidney_core.teaching.robustness import (
    Curve,
    Disturbance,
    Scene,
    disturbances_of,
    is_answered,
    predict_curve,
    predict_slices,
)

FIRST_SEED = 5_500_000  # far from the seeds of the quizzes and of all slices that networks learned from
Progress = Callable[[int, int], None]
_N_SAMPLES = 12
# Those first that come with every export; noise, turns and marks are what everybody tries by themselves.
_ORDER = ("JPEG", "Contrast phase", "Zoom", "Mirror", "Blur", "Lesion painted over")


@dataclass(frozen=True)
class Sample:
    """A simulated slice: its label and number, see `draw`."""

    label: str
    number: int


@dataclass(frozen=True)
class Break:
    """A sample, a disturbance and an amount at which a model is broken.

    Attributes:
        sample: None for the user's own slice.
        answered: the wrong label is shown, since its confidence reaches the threshold.
    """

    sample: Sample | None
    disturbance: str
    amount: float
    answered: bool


def draw(sample: Sample) -> Scene:
    """The scene of a sample, without its kidneys; the same one each time."""
    drawn = phantom.draw_series(sample.label, FIRST_SEED + sample.number, n_slices=1)[0]
    image = drawn.as_slice(f"simulated {sample.label.lower()} {sample.number}")
    return Scene(disturbances.prepare(image), lesion=drawn.lesion if drawn.lesion.any() else None)


def samples(start: int) -> list[Sample]:
    """Some samples of every label in turn, others for each start."""
    return [Sample(LABELS[(start + step) % len(LABELS)], 1 + start + step // len(LABELS)) for step in range(_N_SAMPLES)]


def find(predictor: Predictor, start: int, *, progress: Progress | None = None) -> Break | None:
    """The first break among the samples of a start; None where the model holds on all of them.

    Only samples count that the model gets right and the gate lets through while nothing is disturbed.
    """
    chosen = samples(start)
    for done, sample in enumerate(chosen):
        if progress:
            progress(done, len(chosen))
        scene = with_kidneys(predictor, draw(sample))
        found = next(find_in(predictor, scene, start=start + done, sample=sample, label=sample.label), None)
        if found:
            break
    if progress:
        progress(len(chosen), len(chosen))
    return found


def find_in(
    predictor: Predictor, scene: Scene, *, start: int = 0, sample: Sample | None = None, label: str | None = None
) -> Iterator[Break]:
    """The breaks of one slice, at most one a disturbance, found as they are asked for.

    Args:
        start: where to begin among the disturbances.
        label: the right one; None where it is unknown, so that only a change counts.
    """
    undisturbed = predict_slices(
        predictor, [scene.image], [0]
    )  # first, since most of a curve's time is saved where it does not count
    if undisturbed.rejected[0] or label not in (None, undisturbed.predicted()[0]):
        return
    kinds = disturbances_of(scene)
    names = [name for name in _ORDER if name in kinds] + [name for name in kinds if name not in _ORDER]
    for name in (names[(start + step) % len(names)] for step in range(len(names))):
        curve = predict_curve(predictor, scene, kinds[name])
        least = _least(predictor, curve, kinds[name])
        if least:
            yield Break(sample, name, *least)


def choose(predictor: Predictor, *, n_samples: int, progress: Progress | None = None) -> list[Break]:
    """Of all breaks of some samples one a disturbance: where the wrong label is shown first, then in the order of the disturbances."""
    found: list[Break] = []
    for done, sample in enumerate(samples(0)[:n_samples]):
        if progress:
            progress(done, n_samples)
        found += find_in(predictor, with_kidneys(predictor, draw(sample)), sample=sample, label=sample.label)
    if progress:
        progress(n_samples, n_samples)
    found.sort(
        key=lambda each: (not each.answered, _ORDER.index(each.disturbance) if each.disturbance in _ORDER else 99)
    )
    return list({each.disturbance: each for each in reversed(found)}.values())[::-1]


def with_kidneys(predictor: Predictor, scene: Scene) -> Scene:
    """The scene with the kidneys that the finder of a predictor sees."""
    if predictor.finder is None:
        return scene
    found = predictor.finder.find([scene.image.network_grey8()])[0].find()
    return Scene(scene.image, found.mask if found.mask.any() else None, scene.lesion)


def _least(predictor: Predictor, curve: Curve, kind: Disturbance) -> tuple[float, bool] | None:
    """The smallest amount that breaks the model, and whether it answers there; one where it answers comes first."""
    rows, predicted = np.flatnonzero(curve.breaks(kind)), curve.predicted()
    if not len(rows):
        return None
    nearest = sorted(map(int, rows), key=lambda row: abs(curve.amounts[row] - kind.none))
    answered = [row for row in nearest if is_answered(predictor, predicted[row], float(curve.confidence[row]))]
    return kind.amounts[(answered or nearest)[0]], bool(answered)
