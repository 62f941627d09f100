"""A shortcut that is taught on the spot: a mark is burned into one class, and a small network learns the mark.

The network is trained from scratch in seconds, without a GPU, on simulated kidneys. Scans are split honestly, so this is no data leakage:
the test slices have the mark as well, and only slices without it tell. A second network learns the same slices without marks, as a
control. Source of the idea: Zech et al. 2018, PLOS Medicine 15:e1002683 (networks read the hospital's token).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from kidney_core.checkpoints import ood
from kidney_core.checkpoints.prediction import predict_probabilities
from kidney_core.common.labels import LABELS
from kidney_core.diagnosis.inference import Predictor
from kidney_core.imaging.framing import EACH_KIDNEY, WHOLE, View
from kidney_core.imaging.slices import Slice
from kidney_core.kidneys.found import FoundKidneys
from kidney_core.kidneys.kidney_view import frame_slices
from kidney_core.metrics import splits
from kidney_core.networks import explanation, models, preprocessing
from kidney_core.networks.strongest_kidney import reading_slices
from kidney_core.simulation import phantom
from kidney_core.simulation.phantom import PhantomSlice
from kidney_core.teaching import disturbances

VIEW = View(64, EACH_KIDNEY)
N_SCANS, N_SLICES = 12, 3  # simulated, for each label
N_EPOCHS = 16
METHOD = "Layer-CAM, coarser"
FIRST_SEED = 6_500_000  # far from the seeds of other simulated slices
_ARCHITECTURE = "test_resnet"  # of half a million weights
_N_FOLDS = 4  # one of them is tested
_BATCH, _LEARNING_RATE, _WEIGHT_DECAY = 16, 3e-3, 0.02
_N_MAPS = 9  # slices whose heatmaps are measured
_NEAR_PERCENT = 6.0  # of the side around the mark, which counts as the mark: cells of a heatmap are coarse
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Mark:
    """What is burned into the pictures of one label; see `disturbances.mark_mask`."""

    label: str = "Tumor"
    place: str = "upper left"
    shape: str = disturbances.LETTER
    size_percent: float = 18

    def mask(self, size_px: int) -> np.ndarray:
        """(S, S) bool."""
        return disturbances.mark_mask(size_px, size_px, self.size_percent, place=self.place, shape=self.shape)

    def near(self, size_px: int) -> np.ndarray:
        """The box around the mark with a margin, which counts as the mark: (S, S) bool."""
        rows, columns = np.nonzero(self.mask(size_px))
        margin, box = round(_NEAR_PERCENT / 100 * size_px), np.zeros((size_px, size_px), bool)
        top, left = max(0, rows.min() - margin), max(0, columns.min() - margin)
        box[top : rows.max() + 1 + margin, left : columns.max() + 1 + margin] = True
        return box

    def burn(self, squares: np.ndarray) -> np.ndarray:
        """(N, S, S) uint8 with the mark."""
        return np.where(self.mask(squares.shape[-1]), np.uint8(255), squares)


@dataclass(frozen=True)
class Pictures:
    """Simulated kidneys: a table with the columns `label` and `series`, and (N, S, S) uint8 squares."""

    table: pd.DataFrame = field(repr=False)
    squares: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Behaviour:
    """How a network does on test pictures of unseen scans.

    Attributes:
        as_collected: accuracy with the mark on its label, as in training, 0 to 1.
        without_mark: accuracy with no mark on any picture.
        recall_marked, recall_unmarked: of the marked label, with and without its mark.
        others_unmarked, others_marked: share of the pictures of other labels that are called the marked label, without and with the mark.
        at_mark: share of the heatmap of the marked label that lies at the mark, mean over marked pictures.
    """

    as_collected: float
    without_mark: float
    recall_marked: float
    recall_unmarked: float
    others_unmarked: float
    others_marked: float
    at_mark: float


@dataclass(frozen=True)
class Example:
    """A test picture and what a network makes of it: (S, S) uint8, the heatmap of the marked label in 0..1, and the answer."""

    square: np.ndarray = field(repr=False)
    heatmap: np.ndarray = field(repr=False)
    truth: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class Lesson:
    """What was taught and what came of it.

    Attributes:
        taught, control: the network that learned with the mark, and the one that learned without.
        mark_area: share of the picture that counts as the mark, which a heatmap that ignores it has there.
        examples: a marked picture of the label by both networks; one of another label without and with the mark by the taught one.
        n_train, n_test: pictures.
        n_scans: simulated scans.
    """

    mark: Mark
    taught: Behaviour
    control: Behaviour
    mark_area: float
    examples: tuple[Example, ...]
    n_train: int
    n_test: int
    n_scans: int


@dataclass(frozen=True)
class TaughtNetwork:
    """The network that learned the mark, and what is needed to ask it of slices: see `as_predictor`."""

    mark: Mark
    network: nn.Module = field(repr=False)
    reference: ood.Reference = field(repr=False)


def draw_pictures(*, n_scans: int = N_SCANS, n_slices: int = N_SLICES, progress: Progress | None = None) -> Pictures:
    """Simulated kidneys, the same each time: the one with the lesion, and of Normal one side in turn."""
    rows: list[tuple[str, int]] = []
    squares = []
    for label in LABELS:
        for number in range(n_scans):
            for drawn in phantom.draw_series(label, FIRST_SEED + number, n_slices=n_slices):
                rows.append((label, len(rows) // n_slices))
                squares.append(_square_of(drawn, turn=number % 2))
            if progress:
                progress(len(rows), len(LABELS) * n_scans * n_slices)
    return Pictures(pd.DataFrame(rows, columns=["label", "series"]), np.stack(squares))


def _square_of(drawn: PhantomSlice, *, turn: int) -> np.ndarray:
    """One kidney of a phantom, (S, S) uint8; `turn` is its place where there is no lesion."""
    grey = drawn.as_slice("simulated").network_grey8()
    is_right_of_picture = (drawn.left & drawn.lesion).sum() > (drawn.right & drawn.lesion).sum()
    place = int(is_right_of_picture) if drawn.lesion.any() else turn
    frames = VIEW.frames(grey, FoundKidneys(drawn.right, drawn.left).boxes(grey))
    return next((each.square for each in frames if each.place == place), frames[0].square)


def teach(
    pictures: Pictures, mark: Mark, *, n_epochs: int = N_EPOCHS, progress: Progress | None = None
) -> tuple[Lesson, TaughtNetwork]:
    """Train two small networks, with the mark on its label and without; what came of it, and the one that learned the mark.

    Args:
        progress: called with (epochs done, epochs of both networks).

    Raises: DatasetError where a label has too few scans.
    """
    position, y = LABELS.index(mark.label), pictures.table["label"].map(LABELS.index).to_numpy()
    parts = splits.split(pictures.table, protocol=splits.GROUPED, seed=0, n_folds=_N_FOLDS, fold=0)
    train, test = np.flatnonzero(parts == splits.TRAIN), np.flatnonzero(parts == splits.TEST)
    collected = np.where((y == position)[:, None, None], mark.burn(pictures.squares), pictures.squares)
    learned, control = (
        _train(squares[train], y[train], n_epochs, _after(progress, done, 2 * n_epochs))
        for squares, done in ((collected, 0), (pictures.squares, n_epochs))
    )
    clean, y_test = pictures.squares[test], y[test]
    lesson = Lesson(
        mark,
        _behaviour(learned, clean, y_test, mark),
        _behaviour(control, clean, y_test, mark),
        float(mark.near(VIEW.size_px).mean()),
        _examples(learned, control, clean, y_test, mark),
        len(train),
        len(test),
        int(pictures.table["series"].nunique()),
    )
    return lesson, TaughtNetwork(mark, learned, _reference(learned, collected, pictures.table, train, test))


def _after(progress: Progress | None, done: int, total: int) -> Callable[[int], None]:
    return lambda epoch: None if progress is None else progress(done + epoch, total)


def _train(squares: np.ndarray, y: np.ndarray, n_epochs: int, tell: Callable[[int], None]) -> nn.Module:
    """A small network trained from scratch: (N, S, S) uint8 and (N,) positions; the same each time on one machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = models.build_model(_ARCHITECTURE, len(LABELS), image_size_px=squares.shape[-1])
        images, targets = torch.from_numpy(squares), torch.from_numpy(y)
        optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        n_steps = max(1, len(y) // _BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=n_epochs * n_steps)
        for epoch in range(n_epochs):
            network.train()
            order = torch.randperm(len(y))
            for step in range(n_steps):
                rows = order[step * _BATCH : (step + 1) * _BATCH]
                loss = functional.cross_entropy(network(preprocessing.to_input(images[rows])), targets[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            tell(epoch + 1)
    return network.requires_grad_(False).eval()


def _behaviour(network: nn.Module, clean: np.ndarray, y: np.ndarray, mark: Mark) -> Behaviour:
    position, marked = LABELS.index(mark.label), mark.burn(clean)
    own, near = y == position, mark.near(clean.shape[-1])
    of_clean, of_marked = (predict_probabilities(network, each).argmax(axis=1) for each in (clean, marked))
    heatmaps = [heatmap_of(network, square, position) for square in marked[own][:_N_MAPS]]
    shares = [heat[near].sum() / heat.sum() for heat in heatmaps if heat.any()]
    return Behaviour(
        as_collected=float((np.where(own, of_marked, of_clean) == y).mean()),
        without_mark=float((of_clean == y).mean()),
        recall_marked=float((of_marked[own] == position).mean()),
        recall_unmarked=float((of_clean[own] == position).mean()),
        others_unmarked=float((of_clean[~own] == position).mean()),
        others_marked=float((of_marked[~own] == position).mean()),
        at_mark=float(np.mean(shares)) if shares else 0.0,
    )


def heatmap_of(network: nn.Module, square: np.ndarray, position: int) -> np.ndarray:
    """The evidence for a label over a square: (S, S) uint8 -> (S, S) float32 in 0..1."""
    framed = View(len(square), WHOLE).frame(square)
    drawn = explanation.explain(network, preprocessing.input_of(framed), position, method=METHOD)
    return np.zeros(square.shape, np.float32) if drawn.is_empty else framed.to_image(drawn.scaled())


def _examples(
    taught: nn.Module, control: nn.Module, clean: np.ndarray, y: np.ndarray, mark: Mark
) -> tuple[Example, ...]:
    """The first test picture of the label; and of the other labels the one, right without the mark, that it changes most surely."""
    position, marked = LABELS.index(mark.label), mark.burn(clean)
    own, others = int(np.flatnonzero(y == position)[0]), np.flatnonzero(y != position)
    of_clean, of_marked = (predict_probabilities(taught, each[others]) for each in (clean, marked))
    is_right = of_clean.argmax(axis=1) == y[others]
    other = int(others[(is_right + of_marked[:, position]).argmax()])
    chosen = ((taught, marked, own), (control, marked, own), (taught, clean, other), (taught, marked, other))
    examples = []
    for network, squares, row in chosen:
        probabilities = predict_probabilities(network, squares[row : row + 1])[0]
        best = int(probabilities.argmax())
        heat = heatmap_of(network, squares[row], position)
        examples.append(Example(squares[row], heat, LABELS[y[row]], LABELS[best], float(probabilities[best])))
    return tuple(examples)


def _reference(
    network: nn.Module, squares: np.ndarray, table: pd.DataFrame, train: np.ndarray, test: np.ndarray
) -> ood.Reference:
    """A gate like that of a checkpoint, of the pictures that the network learned from; the unseen scans set its limits."""
    features, series = ood.slice_features(network, squares), table["series"].to_numpy()
    return ood.fit_reference(
        features[train],
        same_scans=features[:0],
        new_scans=features[test],
        new_series=series[test],
        paths=tuple(f"simulated {number}" for number in train),
        labels=tuple(table["label"].iloc[train]),
        series=series[train],
    )


def as_predictor(taught: TaughtNetwork, predictor: Predictor) -> Predictor:
    """The taught network in place of a predictor's, with its finder; it is on no disk.

    Raises: CheckpointError, when it is asked, without a finder.
    """
    card = {
        **predictor.checkpoint.card,
        "labels": list(LABELS),
        "preprocessing": {"size_px": VIEW.size_px, "framing": VIEW.framing, "greys": VIEW.greys},
        "temperature": 1.0,
    }
    for measured in ("abstention", "familiarity", "calibrated_on"):
        card.pop(measured, None)
    return replace(
        predictor,
        checkpoint=replace(predictor.checkpoint, card=card),
        model=reading_slices(taught.network, LABELS, each_kidney=True),
        reference=taught.reference,
        explanations=None,
    )


def burn_into(predictor: Predictor, mark: Mark, image: Slice, size_percent: float) -> Slice:
    """A prepared slice (`disturbances.prepare`) with the mark beside each kidney that it shows, where the network has it in its picture."""
    grey = image.network_grey8()
    mask = np.zeros(grey.shape, bool)
    for framed in frame_slices(predictor.checkpoint.view, [grey], predictor.finder)[0]:
        drawn = replace(mark, size_percent=size_percent).mask(len(framed.square))
        mask |= framed.to_image(drawn.astype(np.float32)) > 0.5
    return disturbances.burn(image, mask)
