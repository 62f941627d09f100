"""Robustness of a model: a slice disturbed by one amount, and model and gate along the whole range of amounts.

The gate is everything that keeps a model from answering: the picture is no upright slice, shows no kidney, or is out of distribution.
An amount at which the label has changed and the gate lets the slice through breaks the model.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kidney_core.diagnosis import stack_reading, verdict
from kidney_core.diagnosis.inference import Predictor
from kidney_core.imaging import painting
from kidney_core.imaging.slices import SOFT_TISSUE, Slice
from kidney_core.kidneys.found import FoundKidneys
from kidney_core.kidneys.kidney_view import frame_slices
from kidney_core.teaching import disturbances

Disturb = Callable[[Slice, float], Slice]
MARK, LESION_GONE = "Burned-in mark", "Lesion painted over"
NO_SLICE, NO_KIDNEY, OUTSIDE = "no upright slice", "no kidney visible", "out of distribution"


@dataclass(frozen=True)
class Scene:
    """A prepared slice (`disturbances.prepare`) and what is known of it.

    Attributes:
        kidneys: (H, W) bool as the finder sees them; None where nobody looked or it sees none.
        lesion: (H, W) bool; None where it is unknown, or there is none.
    """

    image: Slice
    kidneys: np.ndarray | None = None
    lesion: np.ndarray | None = None


@dataclass(frozen=True)
class Disturbance:
    """One way to disturb a slice.

    Attributes:
        axis: the amount and its unit.
        amounts: (A,) the amounts to predict for, equally far apart; a slider has the same steps.
        none: the amount that changes nothing.
        start: an amount to begin with, at which a change is visible.
        plain: what it imitates.
        disturb: of a prepared slice by an amount.
        names: of each amount, where they are ways and not a scale.
        keeps_label: whether the right label stays; where a lesion is painted over, it becomes Normal.
    """

    axis: str
    amounts: tuple[float, ...]
    none: float
    start: float
    plain: str
    disturb: Disturb
    names: tuple[str, ...] = ()
    keeps_label: bool = True

    def name_of(self, amount: float) -> str:
        """An amount in words: its name, or its number."""
        return self.names[self.amounts.index(amount)] if self.names else f"{amount:g}"


def disturbances_of(scene: Scene) -> dict[str, Disturbance]:
    """What a slice can be disturbed by: name -> disturbance, in the slice's own unit."""
    found = {"Blur": _BLUR, "JPEG": _JPEG, "Noise": _NOISE[scene.image.unit]}
    found |= {"Rotation": _ROTATION, "Mirror": _MIRROR, "Zoom": _ZOOM} | _WINDOWS[scene.image.unit]
    if scene.kidneys is not None and scene.kidneys.any():
        found["Contrast phase"] = _contrast_phase(scene.image, scene.kidneys)
    if scene.lesion is not None and scene.lesion.any():
        found[LESION_GONE] = lesion_painted_over(scene.lesion)
    return found | {MARK: BURNED_IN_MARK}


def lesion_painted_over(lesion: np.ndarray, *, instead: np.ndarray | None = None) -> Disturbance:
    """The lesion painted over, or as a control another spot instead, which leaves the right label: (H, W) bool both."""
    spot = lesion if instead is None else instead
    return Disturbance(
        "painted over, in %",
        tuple(range(0, 101, 10)),
        0,
        100,
        "The lesion fades into its surroundings. A model that used it stops predicting it."
        if instead is None
        else "The same spot on the other side fades instead. A model that used the lesion keeps its prediction.",
        functools.partial(disturbances.fade_lesion, spot=spot),
        keeps_label=instead is not None,
    )


def mirrored_spot(scene: Scene) -> np.ndarray:
    """The lesion's spot on the other side of the body: (H, W) bool."""
    if scene.lesion is None:
        raise ValueError("scene must have a lesion")
    return painting.mirrored_spot(scene.image.network_grey8(), scene.lesion)


def _contrast_phase(image: Slice, kidneys: np.ndarray) -> Disturbance:
    hu = image.unit == "HU"
    step = 20 if hu else 10
    return Disturbance(
        "kidneys brighter or darker, in HU" if hu else "kidneys brighter or darker, in grey values of 256",
        tuple(range(-6 * step, 6 * step + 1, step)),
        0,
        3 * step,
        "More or less contrast agent: the kidneys that the finder sees are brightened or darkened, nothing else.",
        functools.partial(disturbances.change_enhancement, kidneys=kidneys),
    )


_BLUR = Disturbance(
    "blur, standard deviation in % of the image",
    tuple(each / 10 for each in range(0, 21, 2)),
    0,
    1.0,
    "A soft kernel, a thick slice, or a picture that was enlarged.",
    disturbances.blur,
)
_JPEG = Disturbance(
    "JPEG compression (100 minus its quality)",
    tuple(range(0, 99, 7)),
    0,
    91,
    "A screenshot sent by a messaging app, as in many teaching files and web pages.",
    disturbances.compress,
)
_LOW_DOSE = "A low-dose scan: less radiation, more grain."
_NOISE = {
    "HU": Disturbance(
        "noise, standard deviation in HU",
        tuple(range(0, 121, 10)),
        0,
        40,
        f"{_LOW_DOSE} Ordinary scans have about 10 to 20 HU.",
        disturbances.add_noise,
    ),
    "grey": Disturbance(
        "noise, standard deviation in grey values of 256",
        tuple(range(0, 73, 6)),
        0,
        24,
        _LOW_DOSE,
        disturbances.add_noise,
    ),
}
_ROTATION = Disturbance(
    "rotation in degrees",
    tuple(range(-90, 91, 15)),
    0,
    30,
    "A patient who lies at an angle, or an image saved on its side. The disease stays the same.",
    disturbances.rotate,
)
_MIRROR = Disturbance(
    "mirrored",
    (disturbances.AS_IT_IS, disturbances.LEFT_RIGHT, disturbances.UPSIDE_DOWN, disturbances.BOTH),
    disturbances.AS_IT_IS,
    disturbances.LEFT_RIGHT,
    "An export that lost its orientation. The disease stays the same, on the other side.",
    disturbances.mirror,
    names=("as it is", "left to right", "upside down", "both"),
)
_ZOOM = Disturbance(
    "size in %",
    tuple(range(50, 161, 10)),
    100,
    70,
    "Another field of view: the same patient fills less of the picture, or more.",
    disturbances.zoom,
)
_SEES_HU = (
    f"Networks here see Hounsfield units through {SOFT_TISSUE.width:g}/{SOFT_TISSUE.center:g} whatever window is shown, so this "
    "disturbs the picture itself, as in a JPEG or PNG that was exported through another window."
)
_WINDOWS = {
    "HU": {
        "Window level": Disturbance(
            "shift of the window in HU",
            tuple(range(-180, 181, 30)),
            0,
            90,
            f"A picture exported darker or brighter. {_SEES_HU}",
            disturbances.shift_level,
        ),
        "Window width": Disturbance(
            "width of the window in HU",
            tuple(range(100, 1301, 100)),
            SOFT_TISSUE.width,
            1000,
            f"A picture exported with more or less contrast. {_SEES_HU}",
            disturbances.change_width,
        ),
    },
    "grey": {
        "Brightness": Disturbance(
            "brighter or darker, in grey values of 256",
            tuple(range(-120, 121, 20)),
            0,
            -60,
            "A picture exported through a window at another level.",
            disturbances.change_brightness,
        ),
        "Contrast": Disturbance(
            "contrast in %",
            tuple(range(20, 201, 20)),
            100,
            60,
            "A picture exported through a wider or narrower window.",
            disturbances.change_contrast,
        ),
    },
}
BURNED_IN_MARK = Disturbance(
    "height of the mark in % of the image",
    tuple(range(0, 37, 3)),
    0,
    12,
    "A letter or ruler burned into the image, as in old exports. It says nothing about the kidney.",
    disturbances.add_mark,
)


@dataclass(frozen=True)
class Curve:
    """Model and gate along the amounts.

    Attributes:
        amounts: (A,).
        labels: in the checkpoint's order.
        probabilities: (A, n_labels) calibrated.
        distance: (A,) to the training slices as a share of the limit of the out-of-distribution check, above 1 out of distribution;
            all NaN where the checkpoint has no reference.
        rejected: (A,) why the gate rejects the slice, or "".
    """

    amounts: np.ndarray
    labels: tuple[str, ...]
    probabilities: np.ndarray
    distance: np.ndarray
    rejected: tuple[str, ...]

    @property
    def refused(self) -> np.ndarray:
        """(A,) bool, True where the gate rejects the slice."""
        return np.array([bool(reason) for reason in self.rejected])

    def predicted(self) -> list[str]:
        """The label at each amount."""
        return [self.labels[position] for position in self.probabilities.argmax(axis=1)]

    @property
    def confidence(self) -> np.ndarray:
        """(A,) the probability of the predicted label."""
        return self.probabilities.max(axis=1)

    def position_of(self, amount: float) -> int:
        """Where the curve has an amount."""
        return int(np.abs(self.amounts - amount).argmin())

    def breaks(self, kind: Disturbance) -> np.ndarray:
        """(A,) bool: the gate lets the slice through, and the label is no longer the one of the undisturbed slice.

        Where the right label changes, the model breaks if it does not follow once the lesion is gone.
        """
        predicted, none = np.array(self.predicted()), self.position_of(kind.none)
        same = predicted == predicted[none]
        wrong = ~same if kind.keeps_label else same & (self.amounts == kind.amounts[-1])
        return wrong & ~self.refused


def predict_curve(predictor: Predictor, scene: Scene, kind: Disturbance) -> Curve:
    """Model and gate for a slice disturbed by each amount, in one batch; the kidneys are looked for in each anew."""
    disturbed = [kind.disturb(scene.image, amount) for amount in kind.amounts]
    return predict_slices(predictor, disturbed, kind.amounts)


def predict_slices(predictor: Predictor, images: Sequence[Slice], amounts: Sequence[float]) -> Curve:
    """Model and gate for slices, one for each amount."""
    greys = [image.network_grey8() for image in images]
    kidneys = [each.find() for each in predictor.finder.find(greys)] if predictor.finder else None
    view = predictor.checkpoint.view
    frames = frame_slices(view, greys, predictor.finder, found=kidneys)
    squares = np.stack([view.as_array(each) for each in frames])
    probabilities, matches = stack_reading.predict_and_match(predictor, squares)
    reference = predictor.reference
    distance, outside = np.full(len(images), np.nan), [False] * len(images)
    if reference is not None and matches is not None:
        limits = reference.max_distance, reference.max_residual
        distance = np.array([max(each.distance / limits[0], each.residual / limits[1]) for each in matches])
        outside = [each.is_out_of_distribution for each in matches]
    found: Sequence[FoundKidneys | None] = kidneys or [None] * len(images)
    rejected = tuple(_rejection(each, is_outside) for each, is_outside in zip(found, outside, strict=True))
    return Curve(np.array(amounts, dtype=float), predictor.checkpoint.labels, probabilities, distance, rejected)


def _rejection(kidneys: FoundKidneys | None, is_outside: bool) -> str:
    """Why the gate rejects a slice, as `verdict.judge` does; "" where it lets it through."""
    if kidneys is not None and kidneys.fault:
        return NO_SLICE
    if kidneys is not None and not kidneys.mask.any():
        return NO_KIDNEY
    return OUTSIDE if is_outside else ""


def is_answered(predictor: Predictor, label: str, confidence: float) -> bool:
    """Whether a label that the gate lets through is shown, since its confidence reaches the threshold."""
    threshold = verdict.required_confidence(predictor.checkpoint.card, label)
    return threshold is not None and confidence >= threshold
