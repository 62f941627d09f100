"""A stack is read in two passes, batch after batch, with progress and a way to stop: find the kidneys, then predict their slices."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from PIL import Image

from kidney_core.checkpoints import ood, prediction
from kidney_core.common.errors import SliceError, UnsupportedSlice
from kidney_core.common.threads import thread_pool
from kidney_core.data.dataset import short_hash
from kidney_core.diagnosis import stack_verdict
from kidney_core.diagnosis.inference import Predictor
from kidney_core.diagnosis.stack_verdict import StackVerdict, kidney_column, kidney_columns
from kidney_core.imaging import rendering
from kidney_core.imaging.framing import BODY, EACH_KIDNEY, FramedImage, View, square
from kidney_core.imaging.slices import Slice
from kidney_core.imaging.stack import Stack, StackItem, open_item
from kidney_core.kidneys import stack_kidneys
from kidney_core.kidneys.found import SURE, UNKNOWN_SIDE, KidneyMap, side_names
from kidney_core.kidneys.stack_kidneys import SmallMap, StackKidneys
from kidney_core.metrics import calibration
from kidney_core.metrics.predictions import probability_column

PREVIEW_PX = 192
# Those of all slices go to the browser with each click: from 200 slices on they become smaller, down to what the strip shows sharply.
_ALL_PREVIEWS_PX, _LEAST_PREVIEW_PX = 200 * PREVIEW_PX**2, 96
# As prediction on a CPU. The batches begin at multiples of it, so that reading on gives the very same numbers.
_BATCH = 8
# Slices of a scan that are looked at first are at most so far apart, and one of so many.
_COARSE_MM, _MAX_STEP = 8.0, 4
_FAINT, _PLAIN = 0.3 * 255, SURE * 255  # below and above these probabilities, times 255, there is no kidney, and one


@dataclass(frozen=True)
class LookedAt:
    """What is kept of a slice that was decoded.

    Attributes:
        problem: the sentence why it cannot be read, or "".
        preview: (h, w) uint8, at most 192 px a side, as the network sees it; None where it cannot be read.
        square: what the network that predicts labels sees, uint8 of its view's shape; None where the slice cannot be read, is far
            from the kidneys, or the network looks at kidneys alone and there are none.
        kidneys: where the finder sees kidneys, for a slice of a scan; None without a finder, and far from the kidneys.
        sides: the kidneys that it sees, for a slice by itself; None without a finder.
        fault: as of a `KidneyMap`.
        letters, pixel_mm2: of the upright picture; None where they are unknown.
    """

    problem: str = ""
    preview: np.ndarray | None = field(default=None, repr=False)
    square: np.ndarray | None = field(default=None, repr=False)
    kidneys: SmallMap | None = field(default=None, repr=False)
    sides: tuple[str, ...] | None = None
    fault: int = 0
    letters: dict[str, str] | None = None
    pixel_mm2: float | None = None

    @functools.cached_property
    def preview_url(self) -> str:
        """The preview for a browser, encoded once; empty where there is none."""
        return rendering.jpeg_data_url(self.preview) if self.preview is not None else ""


@dataclass(frozen=True)
class StackReading:
    """A stack as far as it was read: first every slice is looked at for kidneys, then those that show one are predicted.

    Attributes:
        checkpoint_name, stack_fingerprint: which network, and which stack.
        table: one row a slice, in the order of the stack, with the columns index; name; position_mm (NaN where
            unknown); problem, the sentence why it cannot be read, or ""; sides, the kidneys it shows ("right, left", "" for
            none, None where nobody looked or it has a fault); fault, see `picture_check.FAULTS`; refused, for a fault or out of distribution;
            seen, its scan was in the training data; trained, this very file was; predicted (None where there is no
            prediction); p_<label>, calibrated (NaN there); and where the network reads each kidney, right_p_<label> and
            left_p_<label>, NaN where the kidney is not shown.
            The probabilities of a refused slice mean nothing and are in no mean.
        looked_at: of each row; None where it was not looked at yet.
        kidneys: of the whole stack, when all slices were looked at; None without a finder.
        rough_range: first and last row with a kidney among the slices that are looked at first; None before they all were, where
            none shows one, and for separate slices.
        n_slices: in the stack.
        complete: whether every slice was looked at, and every slice with a kidney predicted.
        verdict: of the slices read together.
        notes: of the stack.
    """

    checkpoint_name: str
    stack_fingerprint: str
    table: pd.DataFrame = field(repr=False)
    looked_at: tuple[LookedAt | None, ...] = field(repr=False)
    kidneys: StackKidneys | None = field(repr=False)
    rough_range: tuple[int, int] | None
    n_slices: int
    complete: bool
    verdict: StackVerdict
    notes: tuple[str, ...] = ()

    @property
    def n_read(self) -> int:
        """Slices that were looked at."""
        return _n_looked_at(self.looked_at)

    @property
    def n_predicted(self) -> int:
        """Slices with a prediction."""
        return int(self.table["predicted"].notna().sum())

    @property
    def n_steps(self) -> int:
        """Slices to look at, and those to predict as far as that is known."""
        known = self.n_read == self.n_slices
        return self.n_slices + (len(_rows_to_predict(self.table, self.looked_at)) if known else self.n_slices)

    @property
    def n_steps_done(self) -> int:
        """Of `n_steps`."""
        return self.n_read + self.n_predicted

    @property
    def previews(self) -> tuple[np.ndarray | None, ...]:
        """The preview of each row."""
        return tuple(each.preview if each else None for each in self.looked_at)


def read_stack(
    predictor: Predictor,
    stack: Stack,
    *,
    is_scan: bool = True,
    earlier: StackReading | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> StackReading:
    """Read a stack, or go on where an earlier reading of it stopped; no decoded slice outlives its batch.

    In a scan of thin slices every few are looked at first; where two of these neighbours show no kidney, kidneys are not looked
    for in between.

    Args:
        is_scan: neighbouring slices belong together, so that a kidney has to show on several of them; False for separate
            slices.
        earlier: a reading of the same stack by the same checkpoint, in the same way.
        progress: called with (steps done, steps in all) after each batch; the second number falls when it is known how few
            slices show a kidney.
        stop: asked before each batch; True ends the reading and keeps what was read.

    Raises: ValueError when `earlier` is of another stack or checkpoint.
    """
    of = (predictor.checkpoint.name, stack.fingerprint)
    if earlier and (earlier.checkpoint_name, earlier.stack_fingerprint) != of:
        raise ValueError(
            f"earlier must be a reading of this stack by {of[0]!r}, got one by {earlier.checkpoint_name!r}"
        )
    items, should_stop, report = stack.items, stop or (lambda: False), progress or (lambda done, total: None)
    looked_at: list[LookedAt | None] = list(earlier.looked_at) if earlier else [None] * len(items)
    step = _coarse_step(stack) if is_scan and predictor.finder else 1
    while (rows := _rows_to_look_at(looked_at, step)) and not should_stop():
        _look_at(predictor, stack, looked_at, rows, step, is_scan=is_scan)
        report(_n_looked_at(looked_at), 2 * len(items))
    all_looked_at = not rows
    kidneys = earlier.kidneys if earlier else None
    if is_scan and kidneys is None and predictor.finder and all_looked_at:
        kidneys = _kidneys_of(looked_at, stack)
    table = _start_table(predictor, items, looked_at, kidneys)
    if earlier:
        table = _with_predictions_of(predictor, earlier.table, table)
    rows = _rows_to_predict(table, looked_at) if all_looked_at else []
    batches = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
    n_done = sum(bool(table.loc[rows, "predicted"].notna().all()) for rows in batches)
    while n_done < len(batches) and not should_stop():
        _predict(predictor, stack, looked_at, table, batches[n_done])
        n_done += 1
        report(len(items) + n_done, len(items) + len(batches))
    verdict = _judge(predictor, table, _n_looked_at(looked_at), kidneys, notes=stack.notes)
    complete = all_looked_at and n_done == len(batches)
    rough = _rough_range(looked_at, step)
    return StackReading(*of, table, tuple(looked_at), kidneys, rough, len(items), complete, verdict, stack.notes)


def _n_looked_at(looked_at: Sequence[LookedAt | None]) -> int:
    return sum(each is not None for each in looked_at)


def _coarse_step(stack: Stack) -> int:
    """Every which slice is looked at first: no farther apart than 8 mm, since a kidney is at least 20 mm long."""
    positions = [item.position_mm for item in stack.items]
    gap_mm = stack_kidneys.slice_distance(positions)
    return max(1, min(_MAX_STEP, int(_COARSE_MM / gap_mm))) if gap_mm else 1


def _rows_to_look_at(looked_at: Sequence[LookedAt | None], step: int) -> list[int]:
    """The next batch: every few slices and the last one first, then those in between."""
    last = len(looked_at) - 1
    coarse = [row for row in (*range(0, last, step), last) if looked_at[row] is None]
    return coarse[:_BATCH] or [row for row, each in enumerate(looked_at) if each is None][:_BATCH]


def _rough_range(looked_at: Sequence[LookedAt | None], step: int) -> tuple[int, int] | None:
    """First and last of the slices that are looked at first with a likely kidney."""
    coarse = range(0, len(looked_at), step)
    if any(looked_at[row] is None for row in coarse):
        return None
    shown = [row for row in coarse if (each := looked_at[row]) and each.kidneys and each.kidneys.kidney.max() > _PLAIN]
    return (shown[0], shown[-1]) if shown else None


def _is_far_from_kidneys(looked_at: Sequence[LookedAt | None], row: int, step: int) -> bool:
    """Whether both neighbours of a slice that were looked at first show nothing like a kidney."""
    below, last = row // step * step, len(looked_at) - 1
    if row in (below, last):
        return False
    neighbours = [looked_at[each] for each in (below, min(below + step, last))]
    return all(
        each is not None and each.kidneys is not None and each.kidneys.kidney.max() < _FAINT for each in neighbours
    )


def _look_at(
    predictor: Predictor,
    stack: Stack,
    looked_at: list[LookedAt | None],
    rows: list[int],
    step: int,
    *,
    is_scan: bool,
) -> None:
    """Decode some slices and find their kidneys, in one forward pass."""
    view, finder = predictor.checkpoint.view, predictor.finder
    preview_px = _preview_side(len(stack.items))
    searched: dict[int, _Decoded] = {}

    def decode(row: int) -> _Decoded | SliceError:
        try:
            image = open_item(stack.items[row])
        except SliceError as error:
            return error
        if image.unusable_because:
            return UnsupportedSlice(f"“{image.name}” cannot be used. {image.unusable_because}")
        grey = image.network_grey8()
        is_far = finder is None or _is_far_from_kidneys(looked_at, row, step)
        return _Decoded(
            image, grey, _preview(grey, preview_px), None if finder is None or is_far else finder.view.frame(grey)
        )

    with thread_pool() as pool:
        decoded = list(pool.map(decode, rows))
    for row, each in zip(rows, decoded, strict=True):
        if isinstance(each, SliceError):
            looked_at[row] = LookedAt(problem=str(each))
            continue
        looked_at[row] = LookedAt(
            preview=each.preview,
            square=None if finder else view.as_array(view.frames(each.grey)),
            letters=each.image.upright.letters,
            pixel_mm2=each.image.network_pixel_mm2,
        )
        if each.framed:
            searched[row] = each
    if finder:
        maps = finder.find_framed([each.framed for each in searched.values() if each.framed])
        for row, found in zip(searched, maps, strict=True):
            seen = looked_at[row]
            assert seen is not None
            looked_at[row] = _with_kidneys(seen, view, searched[row].grey, found, is_scan=is_scan)


@dataclass(frozen=True)
class _Decoded:
    """A slice while its batch is looked at; `framed` as the finder sees it, None where kidneys are not looked for."""

    image: Slice
    grey: np.ndarray
    preview: np.ndarray
    framed: FramedImage | None


def _with_kidneys(looked_at: LookedAt, view: View, grey: np.ndarray, found: KidneyMap, *, is_scan: bool) -> LookedAt:
    """Most networks frame the body as the finder does; it is found once."""
    own: np.ndarray | None
    looked_at = replace(looked_at, fault=found.fault)
    if view == View(view.size_px, BODY):
        own = square(found.framed.frame.crop(grey), view.size_px)
    elif view.needs_kidneys:
        kidneys = found.find().boxes(grey)
        own = view.as_array(view.frames(grey, kidneys)) if kidneys else None
    else:
        own = view.as_array(view.frames(grey))
    if is_scan:
        return replace(looked_at, square=own, kidneys=stack_kidneys.reduce_map(found))
    return replace(looked_at, square=own, sides=found.sides(looked_at.letters or {}))


def _kidneys_of(looked_at: Sequence[LookedAt | None], stack: Stack) -> StackKidneys:
    readable = next((each for each in looked_at if each and not each.problem), LookedAt())
    return stack_kidneys.along_stack(
        [each.kidneys if each else None for each in looked_at],
        positions_mm=[item.position_mm for item in stack.items],
        pixel_mm2=readable.pixel_mm2,
        letters=readable.letters,
    )


def judged_within(predictor: Predictor, reading: StackReading, within: tuple[int, int]) -> StackReading:
    """The same reading with the verdict of the rows from `within[0]` to `within[1]` alone."""
    verdict = _judge(predictor, reading.table, reading.n_read, reading.kidneys, within, notes=reading.notes)
    return replace(reading, verdict=verdict)


def _judge(
    predictor: Predictor,
    table: pd.DataFrame,
    n_read: int,
    kidneys: StackKidneys | None,
    within: tuple[int, int] | None = None,
    *,
    notes: tuple[str, ...],
) -> StackVerdict:
    return stack_verdict.judge_stack(
        table,
        predictor.checkpoint.card,
        n_read=n_read,
        has_reference=predictor.reference is not None,
        kidneys=kidneys,
        within=within,
        notes=notes,
    )


def _rows_to_predict(table: pd.DataFrame, looked_at: Sequence[LookedAt | None]) -> list[int]:
    """Readable slices that show a kidney, or all readable ones where nobody looked for kidneys."""
    chosen = table.index[(table["problem"] == "") & (table["sides"] != "") & (table["fault"] == 0)]
    return [int(row) for row in chosen if (each := looked_at[int(row)]) and each.square is not None]


def _with_predictions_of(predictor: Predictor, earlier: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    predicted = earlier.index[earlier["predicted"].notna()]
    columns = ["refused", "seen", "trained", "predicted", *_probability_columns(predictor)]
    table.loc[predicted, columns] = earlier.loc[predicted, columns]
    return table


def _predict(
    predictor: Predictor, stack: Stack, looked_at: Sequence[LookedAt | None], table: pd.DataFrame, rows: list[int]
) -> None:
    """Fill in the predictions of some rows, from one forward pass."""
    squares = np.stack([each.square for row in rows if (each := looked_at[row]) and each.square is not None])
    probabilities, refused, seen = predict_squares(predictor, squares)
    if squares.ndim == 4:
        _fill_in_kidneys(predictor, looked_at, table, rows, squares)
    trained_on, labels = predictor.checkpoint.trained_on(), predictor.checkpoint.labels
    trained = np.array([short_hash(stack.items[row].sha256) in trained_on for row in rows])
    table.loc[rows, list(map(probability_column, labels))] = probabilities
    table.loc[rows, "predicted"] = np.array(labels, dtype=object)[probabilities.argmax(axis=1)]
    table.loc[rows, "refused"] = refused
    table.loc[rows, "trained"] = trained & ~refused
    table.loc[rows, "seen"] = (seen | trained) & ~refused


def _start_table(
    predictor: Predictor,
    items: tuple[StackItem, ...],
    looked_at: Sequence[LookedAt | None],
    kidneys: StackKidneys | None,
) -> pd.DataFrame:
    """The rows of all slices, without predictions."""
    n = len(items)
    own = [each.sides if each else None for each in looked_at]
    sides = [kidneys.sides_at(row) for row in range(n)] if kidneys else own
    fault = np.array([each.fault if each else 0 for each in looked_at], dtype=int)
    # In an upright scan, single slices far from the kidneys may look turned.
    if kidneys and not stack_verdict.is_faulty(fault):
        fault *= [bool(each) for each in sides]
    table = pd.DataFrame(
        {
            "index": np.arange(n),
            "name": [item.name for item in items],
            "position_mm": np.array([item.position_mm for item in items], dtype=float),
            "problem": [each.problem if each else "" for each in looked_at],
            "sides": [None if each is None or bad else ", ".join(each) for each, bad in zip(sides, fault, strict=True)],
            "fault": fault,
            "refused": fault != 0,
            "seen": np.zeros(n, bool),
            "trained": np.zeros(n, bool),
            "predicted": np.full(n, None, dtype=object),
        }
    )
    return table.assign(**dict.fromkeys(_probability_columns(predictor), np.nan))


def _probability_columns(predictor: Predictor) -> list[str]:
    labels = predictor.checkpoint.labels
    reads_each = predictor.checkpoint.view.framing == EACH_KIDNEY
    return [*map(probability_column, labels), *(kidney_columns(labels) if reads_each else ())]


def _fill_in_kidneys(
    predictor: Predictor,
    looked_at: Sequence[LookedAt | None],
    table: pd.DataFrame,
    rows: list[int],
    squares: np.ndarray,
) -> None:
    """Fill in the probabilities of each kidney of some rows; those of kidneys that are not shown stay NaN."""
    for place in (0, 1):
        shown = [position for position in range(len(rows)) if squares[position, place].any()]
        if not shown:
            continue
        uncalibrated = prediction.predict_probabilities(predictor.network, squares[shown, place])
        probabilities = calibration.calibrate(uncalibrated, predictor.checkpoint.temperature)
        for position, values in zip(shown, probabilities, strict=True):
            seen = looked_at[rows[position]]
            side = side_names((seen and seen.letters) or {})[place]
            if side != UNKNOWN_SIDE:
                columns = [kidney_column(side, label) for label in predictor.checkpoint.labels]
                table.loc[rows[position], columns] = values


def predict_squares(predictor: Predictor, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, *view.shape) uint8 -> (N, n_labels) calibrated probabilities, (N,) refused, (N,) seen in training."""
    probabilities, matches = predict_and_match(predictor, squares)
    if matches is None:
        refused = seen = np.zeros(len(squares), bool)
    else:
        refused, seen = (
            np.array([getattr(each, tag) for each in matches]) for tag in ("is_out_of_distribution", "is_seen_scan")
        )
    return probabilities, refused, seen


def predict_and_match(predictor: Predictor, squares: np.ndarray) -> tuple[np.ndarray, list[ood.TrainingMatch] | None]:
    """(N, *view.shape) uint8 -> (N, n_labels) calibrated probabilities, and how near each is to training; None where that is unknown."""
    if predictor.reference is None:
        probabilities, matches = prediction.predict_probabilities(predictor.model, squares), None
    else:
        features, logits = ood.features_and_logits(predictor.model, squares)
        probabilities = torch.from_numpy(logits).softmax(dim=1).numpy()
        matches = predictor.reference.match(features)
    return calibration.calibrate(probabilities, predictor.checkpoint.temperature), matches


def _preview_side(n_slices: int) -> int:
    """The longest side of the preview of each slice of a stack, in pixels."""
    return min(PREVIEW_PX, max(_LEAST_PREVIEW_PX, int((_ALL_PREVIEWS_PX / n_slices) ** 0.5)))


def _preview(grey: np.ndarray, side_px: int) -> np.ndarray:
    """A thumbnail: (H, W) uint8 -> (h, w) uint8 of its own memory, at most `side_px` a side."""
    height, width = grey.shape
    scale = min(1.0, side_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR, reducing_gap=3))
