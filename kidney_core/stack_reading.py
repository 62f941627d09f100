"""A network reads a stack: every slice's probabilities and preview, batch after batch, with progress and a way to stop."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from PIL import Image

from kidney_core import calibration, evaluation, familiarity, prediction, stack_verdict
from kidney_core.dataset import short_hash
from kidney_core.diagnosis import Reader
from kidney_core.errors import SliceError
from kidney_core.stack import Stack, StackItem, open_item
from kidney_core.stack_verdict import StackVerdict

PREVIEW_PX = 192
# As prediction on a CPU. The batches begin at multiples of it, so that reading on gives the very same numbers.
_BATCH = 8


@dataclass(frozen=True)
class StackReading:
    """What a network said of the first slices of a stack, or of all.

    Attributes:
        checkpoint_name, stack_fingerprint: which network read what.
        table: one row a slice read, in the order of the stack, with the columns index; name; position_mm (NaN where
            unknown); problem, the sentence why it cannot be read, or ""; refused, unlike what the network learned from;
            seen, its scan was in training; trained, this very file was; predicted (None where it cannot be read); p_<label>, calibrated (NaN there).
            The probabilities of a refused slice mean nothing and are in no mean.
        previews: (h, w) uint8 of each row, at most 192 px a side, as the network sees it; None where it cannot be read.
        n_slices: in the stack.
        verdict: of the slices read together.
    """

    checkpoint_name: str
    stack_fingerprint: str
    table: pd.DataFrame = field(repr=False)
    previews: tuple[np.ndarray | None, ...] = field(repr=False)
    n_slices: int
    verdict: StackVerdict

    @property
    def n_read(self) -> int:
        """Slices that were tried."""
        return len(self.table)

    @property
    def complete(self) -> bool:
        return self.n_read == self.n_slices


def read_stack(
    reader: Reader,
    stack: Stack,
    *,
    earlier: StackReading | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> StackReading:
    """Read a stack, or go on where an earlier reading of it stopped; no decoded slice outlives its batch.

    Args:
        earlier: a reading of the same stack by the same checkpoint.
        progress: called with (slices read, slices in the stack) after each batch.
        stop: asked before each batch; True ends the reading and keeps what was read.

    Raises: ValueError when `earlier` is of another stack or checkpoint.
    """
    of = (reader.checkpoint.name, stack.fingerprint)
    if earlier and (earlier.checkpoint_name, earlier.stack_fingerprint) != of:
        raise ValueError(
            f"earlier must be a reading of this stack by {of[0]!r}, got one by {earlier.checkpoint_name!r}"
        )
    parts = [earlier.table] if earlier and earlier.n_read else []
    previews = list(earlier.previews) if earlier else []
    trained_on = reader.checkpoint.trained_on()
    for start in range(len(previews), len(stack.items), _BATCH):
        if stop and stop():
            break
        rows, seen_as = _read_batch(reader, stack.items[start : start + _BATCH], start, trained_on)
        parts.append(rows)
        previews += seen_as
        if progress:
            progress(len(previews), len(stack.items))
    table = pd.concat(parts, ignore_index=True) if parts else _rows(reader, [], 0)
    verdict = stack_verdict.judge_stack(
        table, reader.checkpoint.card, n_slices=len(stack.items), has_reference=reader.reference is not None
    )
    return StackReading(*of, table, tuple(previews), len(stack.items), verdict)


def _read_batch(
    reader: Reader, items: tuple[StackItem, ...], start: int, trained_on: frozenset[str]
) -> tuple[pd.DataFrame, list[np.ndarray | None]]:
    """The rows and the previews of neighbouring slices, from one forward pass."""
    rows = _rows(reader, list(items), start)
    squares, previews, read = [], [], []
    for row, item in zip(rows.index, items, strict=True):
        try:
            grey = open_item(item).network_grey8()
        except SliceError as error:
            rows.loc[row, "problem"] = str(error)
            previews.append(None)
            continue
        squares.append(reader.checkpoint.view.square(grey))
        previews.append(_preview(grey))
        read.append(row)
    if read:
        probabilities, refused, seen = ask(reader, np.stack(squares))
        trained = [short_hash(items[row].sha256) in trained_on for row in read]
        labels = reader.checkpoint.labels
        rows.loc[read, [evaluation.PROBABILITY_PREFIX + label for label in labels]] = probabilities
        rows.loc[read, "predicted"] = np.array(labels, dtype=object)[probabilities.argmax(axis=1)]
        rows.loc[read, "refused"] = refused
        rows.loc[read, "trained"] = np.array(trained) & ~refused
        rows.loc[read, "seen"] = (seen | np.array(trained)) & ~refused
    return rows, previews


def _rows(reader: Reader, items: list[StackItem], start: int) -> pd.DataFrame:
    """The rows of slices that are not read yet."""
    table = pd.DataFrame(
        {
            "index": np.arange(start, start + len(items)),
            "name": [item.name for item in items],
            "position_mm": np.array([item.position_mm for item in items], dtype=float),
            "problem": "",
            "refused": np.zeros(len(items), bool),
            "seen": np.zeros(len(items), bool),
            "trained": np.zeros(len(items), bool),
            "predicted": np.full(len(items), None, dtype=object),
        }
    )
    return table.assign(**{evaluation.PROBABILITY_PREFIX + label: np.nan for label in reader.checkpoint.labels})


def ask(reader: Reader, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, S, S) uint8 -> (N, n_labels) calibrated probabilities, (N,) refused, (N,) of a scan that was seen."""
    if reader.reference is None:
        probabilities = prediction.predict_probabilities(reader.model, squares)
        refused = seen = np.zeros(len(squares), bool)
    else:
        features, logits = familiarity.features_and_logits(reader.model, squares)
        probabilities = torch.from_numpy(logits).softmax(dim=1).numpy()
        found = reader.reference.look_up(features)
        refused, seen = (np.array([getattr(each, tag) for each in found]) for tag in ("is_foreign", "is_seen"))
    return calibration.calibrate(probabilities, reader.checkpoint.temperature), refused, seen


def _preview(grey: np.ndarray) -> np.ndarray:
    """A thumbnail: (H, W) uint8 -> (h, w) uint8 of its own memory, at most 192 px a side."""
    height, width = grey.shape
    scale = min(1.0, PREVIEW_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR, reducing_gap=3))
