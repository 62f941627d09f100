"""A shortcut that is taught on the spot: a mark is burned into one class, and a small network learns the mark.

The network is trained from scratch in seconds, without a GPU, on simulated kidneys. Scans are split honestly, so this is no data leakage:
the test slices have the mark as well, and only slices without it tell. A second network learns the same slices without marks, as a
control. Source of the idea: Zech et al. 2018, PLOS Medicine 15:e1002683 (networks read the hospital's token).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from kidney_core.checkpoints.prediction import predict_probabilities
from kidney_core.common.labels import LABELS
from kidney_core.imaging.framing import WHOLE, View
from kidney_core.metrics import splits
from kidney_core.networks import explanation, preprocessing
from kidney_core.teaching import taught_network
from kidney_core.teaching.kidney_pictures import VIEW, Pictures, Progress
from kidney_core.teaching.taught_mark import Mark
from kidney_core.teaching.taught_network import TaughtNetwork

N_EPOCHS = 16
METHOD = "Layer-CAM, coarser"
_N_FOLDS = 4  # one of them is tested
_N_MAPS = 9  # slices whose heatmaps are measured


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
        taught_network.train(squares[train], y[train], n_epochs, _after(progress, done, 2 * n_epochs))
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
    return lesson, TaughtNetwork(
        mark, learned, taught_network.reference_of(learned, collected, pictures.table, train, test)
    )


def _after(progress: Progress | None, done: int, total: int) -> Callable[[int], None]:
    return lambda epoch: None if progress is None else progress(done + epoch, total)


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
