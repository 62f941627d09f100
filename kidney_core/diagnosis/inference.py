"""A slice and a checkpoint -> calibrated probabilities and a heatmap."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from kidney_core.checkpoints import checkpoint as checkpoints
from kidney_core.checkpoints import ood
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.checkpoints.ood import Reference
from kidney_core.common import settings
from kidney_core.common.errors import CheckpointError, ModelError
from kidney_core.imaging.framing import FramedImage
from kidney_core.imaging.slices import Slice
from kidney_core.imaging.upright import Upright
from kidney_core.kidneys.finder import FOLDER, KidneyFinder
from kidney_core.kidneys.found import FoundKidneys, side_names
from kidney_core.kidneys.kidney_view import frame_slices
from kidney_core.metrics import calibration
from kidney_core.networks import explanation, preprocessing
from kidney_core.networks.strongest_kidney import StrongestKidney, of_one_image


@dataclass(frozen=True)
class Predictor:
    """A checkpoint ready to read slices; safe to share between threads.

    From Python:

        from pathlib import Path

        from kidney_core.checkpoints.checkpoint import read_checkpoint
        from kidney_core.diagnosis import inference, verdict
        from kidney_core.imaging.slices import read_slice
        from kidney_core.kidneys import finder

        checkpoint = read_checkpoint(Path("checkpoints/mobilenetv2"))
        predictor = inference.open_predictor(checkpoint, finder=finder.open_installed())
        image = read_slice(Path("slice.dcm"))
        diagnosis = inference.diagnose(predictor, image, method="Grad-CAM")
        diagnosis.probabilities  # {"Cyst": 0.02, "Normal": 0.91, "Stone": 0.05, "Tumor": 0.02}
        verdict.judge(predictor, image, diagnosis).outcome  # "answered", "undecided", "memory" or "refused"

    Attributes:
        model: the network, in evaluation mode, whose weights take no gradient; it answers for slices, see `strongest_kidney`.
        reference: the training slices in the network's features; None where the checkpoint has none.
        explanations: how well its heatmaps point at lesions, see `pointing`; None where that was not measured.
        finder: finds the kidneys of a slice, without which no label is given; None where there is none.
    """

    checkpoint: Checkpoint
    model: nn.Module
    reference: Reference | None = None
    explanations: dict[str, Any] | None = None
    finder: KidneyFinder | None = None

    @property
    def network(self) -> nn.Module:
        """The network for one image, (B, 3, S, S) -> (B, n_labels) logits, which can be explained."""
        return of_one_image(self.model)


@dataclass(frozen=True)
class Diagnosis:
    """What a model predicts for one slice.

    Attributes:
        probabilities: label -> calibrated probability, in the checkpoint's order; they sum to 1.
        predicted_label: the most probable label.
        explained_label: the label that `heatmap` explains; the predicted one where the map is the same for every label.
        heatmap: (H, W) float32 in 0..1 over the slice's own pixels, the brightest place at 1; None where the network
            cannot be explained or nothing speaks for the label, with the reason in `no_heatmap_because`.
        method: how the map was drawn, a name of `explanation.METHODS`.
        against_label: the label that the explained one is compared with, or None.
        strength: the peak of the map on the absolute scale of this network and method, where 1 is as bright as the
            brightest 5 % of maps; None where that scale was not measured, and for a label compared with another.
        framed: the image that `heatmap` explains, as the network saw it.
        answering: the image that gave the answer; another one than `framed` where the network reads each kidney and the map
            explains the other one.
        by_kidney: side -> probabilities, as `probabilities`, where the network reads each kidney; empty otherwise.
        kidneys: what the finder sees in the upright picture, see `Slice.upright`; None without one.
        kidney_masks: the kidneys by the patient's side, (H, W) bool each over the slice's own pixels.
        upright: of the slice.
        finder_sha256: of the finder's weights; empty without one.
    """

    checkpoint_name: str
    probabilities: dict[str, float]
    predicted_label: str
    explained_label: str
    heatmap: np.ndarray | None
    framed: FramedImage = field(repr=False)
    answering: FramedImage = field(repr=False)
    by_kidney: dict[str, dict[str, float]] = field(default_factory=dict)
    no_heatmap_because: str = ""
    method: str = explanation.DEFAULT_METHOD
    against_label: str | None = None
    strength: float | None = None
    kidneys: FoundKidneys | None = None
    kidney_masks: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    upright: Upright | None = field(default=None, repr=False)
    finder_sha256: str = ""

    @property
    def label_by_kidney(self) -> dict[str, tuple[str, float]]:
        """Side -> its most probable label, and that label's probability."""
        return {side: max(each.items(), key=lambda item: item[1]) for side, each in self.by_kidney.items()}

    def without_map(self) -> "Diagnosis":
        """The same diagnosis without its heatmap."""
        return replace(self, heatmap=None, no_heatmap_because="No heatmap was asked for.")

    def with_map_in_kidneys(self) -> "Diagnosis":
        """The same diagnosis with its heatmap cut to the kidneys and a margin around them."""
        if self.heatmap is None or self.kidneys is None or self.upright is None:
            return self
        near = self.upright.back(self.kidneys.with_margin())
        return replace(self, heatmap=np.where(near, self.heatmap, 0).astype(np.float32))

    @property
    def map_title(self) -> str:
        """The method and what it explains: "Grad-CAM of Stone rather than Cyst"; without a label where none matters."""
        if not explanation.METHODS[self.method].depends_on_label:
            return f"{self.method}, the same for every label"
        return f"{self.method} of {self.explained_label}" + (
            f" rather than {self.against_label}" if self.against_label else ""
        )

    @property
    def map_in_words(self) -> str:
        """What the map shows, or why there is none, in sentences."""
        if self.heatmap is None:
            return self.no_heatmap_because
        method = explanation.METHODS[self.method]
        probability = f" ({100 * self.probabilities[self.explained_label]:.1f} %)" if method.depends_on_label else ""
        strength = (
            ""
            if self.strength is None
            else f" Its maximum is {self.strength:.1f} times the 95th percentile over heatmaps of this model."
        )
        return (
            f"{self.map_title}{probability}. {method.plain} Where the image shows through, the heatmap is zero; each heatmap is "
            f"scaled to its own maximum.{strength} It shows what the network used, which need not be the lesion."
        )


def open_predictor(checkpoint: Checkpoint, *, device: str = "cpu", finder: KidneyFinder | None = None) -> Predictor:
    """Load a checkpoint's network, and check every file that its predictions depend on. Raises CheckpointError.

    Args:
        finder: shared by all predictors, see `kidneys.finder.open_finder`; without one no kidney is looked for, and networks
            that look at kidneys alone cannot be opened.
    """
    if finder is None and checkpoint.view.needs_kidneys:
        raise CheckpointError(
            f"“{checkpoint.name}” looks at kidneys alone, and no kidney finder is installed. Copy its folder “{FOLDER}” into "
            f"“{settings.checkpoints_folder()}”."
        )
    model = checkpoints.load_slice_model(checkpoint, device=device)
    checkpoint.trained_on()
    model.requires_grad_(False)
    return Predictor(checkpoint, model, ood.open_reference(checkpoint), checkpoint.explanations(), finder)


def frame_slice(
    predictor: Predictor, image: Slice, *, kidneys: FoundKidneys | None = None, explain: str | None = None
) -> FramedImage:
    """A slice as the network of a predictor sees it: the square it is fitted into, and the way back to its pixels.

    Of a network that reads each kidney, the kidney that carries the answer.

    Args:
        kidneys: of the slice, where they are known already.
        explain: choose the kidney for which this label is most probable instead.
    """
    frames = _frames(predictor, image, kidneys)
    return frames[_explained(predictor, frames, _logits_of_each(predictor, frames), explain)]


def _frames(predictor: Predictor, image: Slice, kidneys: FoundKidneys | None) -> tuple[FramedImage, ...]:
    found = [kidneys] if kidneys is not None else None
    return frame_slices(predictor.checkpoint.view, [image.network_grey8()], predictor.finder, found=found)[0]


@torch.inference_mode()
def _logits_of_each(predictor: Predictor, frames: tuple[FramedImage, ...]) -> torch.Tensor | None:
    """(K, n_labels) float64 of the kidneys that a slice shows; None where there is only one image to read."""
    if len(frames) == 1:
        return None
    images = torch.cat([network_input(predictor, framed) for framed in frames])
    return predictor.network(images).double().cpu()


def _strongest(predictor: Predictor, logits: torch.Tensor) -> int:
    """The position of the kidney that carries the answer."""
    assert isinstance(predictor.model, StrongestKidney)
    return int(predictor.model.strongest(logits[None], torch.ones(1, len(logits), dtype=torch.bool))[0])


def _explained(
    predictor: Predictor, frames: tuple[FramedImage, ...], logits: torch.Tensor | None, explain: str | None
) -> int:
    if logits is None:
        return 0
    if explain is None:
        return _strongest(predictor, logits)
    return int(logits.softmax(dim=1)[:, predictor.checkpoint.labels.index(explain)].argmax())


def network_input(predictor: Predictor, framed: FramedImage) -> torch.Tensor:
    """A framed slice as the network's input: (1, 3, S, S), normalised, on the network's device."""
    return preprocessing.input_of(framed).to(next(predictor.model.parameters()).device)


def draw_map(
    predictor: Predictor, framed: FramedImage, *, explain: str | None, against: str | None, method: str
) -> explanation.Heatmap:
    """The evidence over the square input. Raises ModelError where the method does not suit the network."""
    labels = predictor.checkpoint.labels
    for label in (explain, against):
        if label is not None and label not in labels:
            raise ValueError(f"explain and against must be of {labels}, got {label!r}")
    return explanation.explain(
        predictor.network,
        network_input(predictor, framed),
        labels.index(explain) if explain else None,
        method=method,
        against=labels.index(against) if against else None,
    )


def diagnose(
    predictor: Predictor,
    image: Slice,
    *,
    explain: str | None = None,
    against: str | None = None,
    method: str = explanation.DEFAULT_METHOD,
    kidneys: FoundKidneys | None = None,
) -> Diagnosis:
    """Classify a slice as a network sees it, whatever window is shown, and explain one label.

    Args:
        explain: the label to explain; the predicted one by default.
        against: explain why `explain` rather than this label.
        method: a name of `explanation.METHODS`; where its map is the same for every label, `explain` and `against` do
            not count.
        kidneys: of the upright picture of the slice, where they are known already.
    """
    labels = predictor.checkpoint.labels
    if kidneys is None and predictor.finder:
        kidneys = predictor.finder.find([image.network_grey8()])[0].find()
    by_label = explanation.METHODS[method].depends_on_label
    if not by_label:
        explain = against = None
    frames = _frames(predictor, image, kidneys)
    each = _logits_of_each(predictor, frames)
    framed, heatmap, strength, reason = frames[_explained(predictor, frames, each, explain)], None, None, ""
    try:
        drawn = draw_map(predictor, framed, explain=explain, against=against, method=method)
        logits, explained = drawn.logits, labels[drawn.target]
        # The scale was measured for single labels: a difference of two has another one.
        full_scale = (predictor.explanations or {}).get("full_scale", {}).get(method) if against is None else None
        strength = drawn.peak / full_scale if full_scale else None
        if drawn.is_empty:
            cause = (
                f"Nothing in this image supports {explained}"
                if by_label
                else f"{method} finds no pattern in this image"
            )
            reason = f"{cause}: the heatmap is zero everywhere."
        else:
            heatmap = image.upright.back(framed.to_image(drawn.scaled()))
    except ModelError as error:
        with torch.inference_mode():
            logits = predictor.network(network_input(predictor, framed))[0].double().cpu().numpy()
        explained, reason = explain or labels[int(logits.argmax())], str(error)
    of_each = torch.from_numpy(np.asarray(logits))[None] if each is None else each
    probabilities_of_each = calibration.calibrate(of_each.softmax(dim=1).numpy(), predictor.checkpoint.temperature)
    strongest = 0 if each is None else _strongest(predictor, each)
    probabilities = probabilities_of_each[strongest]
    return Diagnosis(
        checkpoint_name=predictor.checkpoint.name,
        probabilities={label: float(p) for label, p in zip(labels, probabilities, strict=True)},
        predicted_label=labels[int(probabilities.argmax())],
        explained_label=explained,
        heatmap=heatmap,
        no_heatmap_because=reason,
        method=method,
        against_label=against,
        strength=strength,
        finder_sha256=predictor.finder.digest if predictor.finder else "",
        kidneys=kidneys,
        kidney_masks=kidney_masks(image, kidneys) if kidneys else {},
        upright=image.upright,
        framed=framed,
        answering=frames[strongest],
        by_kidney=_by_side(labels, frames, probabilities_of_each, image),
    )


def kidney_masks(image: Slice, kidneys: FoundKidneys) -> dict[str, np.ndarray]:
    """The mask of each kidney over a slice's own pixels by the patient's side: (H, W) bool."""
    return {side: image.upright.back(mask) for side, mask in kidneys.by_side(image.upright.letters).items()}


def _by_side(
    labels: tuple[str, ...], frames: tuple[FramedImage, ...], probabilities: np.ndarray, image: Slice
) -> dict[str, dict[str, float]]:
    """The probabilities of each kidney by the patient's side; empty where an image shows both, or the sides are unknown."""
    names = side_names(image.upright.letters)
    if names[0] == names[1]:
        return {}
    return {
        names[framed.place]: dict(zip(labels, map(float, row), strict=True))
        for framed, row in zip(frames, probabilities, strict=True)
        if framed.place is not None
    }
