"""Cases of a quiz that are stacks to scroll through: simulated scans, the series of a folder, or one volume."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from kidney_core.common.errors import DatasetError
from kidney_core.common.files import natural_key
from kidney_core.common.labels import LABELS, NORMAL
from kidney_core.data import lesions
from kidney_core.data.dataset import Dataset, Progress, short_hash
from kidney_core.data.series import scan_table
from kidney_core.imaging.slices import Slice, read_content, read_slice
from kidney_core.imaging.stack import Stack, open_item, open_stacks
from kidney_core.simulation import phantom
from kidney_core.teaching.cases import SIMULATED, Case
from kidney_core.teaching.fair_answers import StoredAnswer, StoredAnswers, predicted
from kidney_core.teaching.quiz import case_name

N_STACKS = 4  # of a quiz
N_SIMULATED_SLICES = 12
FIRST_SEED = 7_000_000  # far from all other simulated slices
MIN_SLICES, MAX_SLICES = 5, 40
MAX_FILES, MAX_BYTES = 3000, 1024**3  # of a folder with a volume


def draw_stacks(number: int) -> list[Case]:
    """The stacks of a simulated quiz: each label once, in an order that depends on the quiz's number."""
    cases = []
    for position, label in enumerate(np.random.default_rng([number, 2]).permutation(LABELS)):
        seed = FIRST_SEED + number * N_STACKS + position
        drawn = phantom.draw_series(str(label), seed, n_slices=N_SIMULATED_SLICES)
        slices = [each.as_slice("") for each in drawn]
        cases.append(stack_case(slices, str(label), SIMULATED, number, position, [each.lesion for each in drawn]))
    return cases


def read_stacks(
    dataset: Dataset, number: int, stored: StoredAnswers | None = None, *, progress: Progress | None = None
) -> list[Case]:
    """The stacks of a quiz from the scans of a folder of classes: the classes in turn, drawn by the quiz's number.

    Long scans are thinned to 40 slices.

    Args:
        stored: what a model answered for scans that it never saw: of each class, scans that it got wrong and right come in turn.
        progress: called with (steps done, steps in total) where the scans have to be found first.

    Raises: DatasetError where no scan has enough slices, and as `read_cases` for a damaged file.
    """
    rng = np.random.default_rng([number, 3])
    table = scan_table(dataset, progress=progress)
    sizes = table.groupby("series")["path"].transform("size")
    waiting = {}
    for label in dataset.labels:
        scans = rng.permutation(table.loc[(table["label"] == label) & (sizes >= MIN_SLICES), "series"].unique())
        waiting[label] = _in_balance([table[table["series"] == scan] for scan in scans], stored)
    chosen: list[pd.DataFrame] = []
    while len(chosen) < N_STACKS and any(waiting.values()):
        chosen += [scans.pop() for scans in waiting.values() if scans]
    if not chosen:
        raise DatasetError(
            f"No scan in “{dataset.root}” has {MIN_SLICES} slices or more. Name neighbouring slices by number, or list the scans in series.csv."
        )
    order = rng.permutation(min(len(chosen), N_STACKS))
    return [_of_scan(dataset, chosen[scan], number, position) for position, scan in enumerate(order)]


def read_volume(path: Path) -> Stack:
    """The longest stack of a file, such as a NIfTI volume, or of the files of a folder, such as a DICOM series.

    Raises: DatasetError where there is none, or too many files; SliceError for a file that cannot be read; ArchiveError for a zip.
    """
    files = [path] if path.is_file() else _files_of(path)
    opened = open_stacks((each.name, read_content(each, name=each.name)) for each in files)
    if not opened.stacks:
        raise DatasetError(
            f"“{path.name}” has no slices: {opened.problems[0] if opened.problems else 'it holds no file'}. Choose a volume or a DICOM series."
        )
    return opened.stacks[0]


def _files_of(folder: Path) -> list[Path]:
    try:
        files = sorted((each for each in folder.iterdir() if each.is_file()), key=lambda each: natural_key(each.name))
    except OSError as error:
        raise DatasetError(f"The folder “{folder}” cannot be read ({error.strerror}). Choose another one.") from error
    size = sum(each.stat().st_size for each in files)
    if len(files) > MAX_FILES or size > MAX_BYTES:
        raise DatasetError(
            f"“{folder.name}” has {len(files):,} files of {size / 1024**2:,.0f} MiB together. Choose a folder with one scan, of {MAX_FILES:,} "
            f"files and {MAX_BYTES // 1024**2:,} MiB at most."
        )
    return files


def volume_case(stack: Stack, label: str, origin: str) -> Case:
    """A stack whose label the teacher tells, as the only case of a quiz; where the lesion is stays unknown.

    Raises: SliceError for a damaged slice, DatasetError for a stack with too few slices.
    """
    if len(stack.items) < MIN_SLICES:
        raise DatasetError(
            f"“{origin}” has {len(stack.items)} slices in one stack, and a case needs {MIN_SLICES}. Choose a whole series or volume."
        )
    items = [stack.items[row] for row in _thinned(len(stack.items))]
    case = stack_case([open_item(item) for item in items], label, origin, 1, 0, None)
    return replace(case, files=tuple((short_hash(item.sha256), item.name) for item in items))


def stack_case(
    slices: Sequence[Slice],
    label: str,
    origin: str,
    number: int,
    position: int,
    masks: Sequence[np.ndarray] | None,
) -> Case:
    """Slices as one case, under names that give nothing away."""
    named = tuple(
        replace(each, name=f"{case_name(number, position)}, slice {at + 1}") for at, each in enumerate(slices)
    )
    middle = len(named) // 2
    known = tuple(masks) if masks is not None else ()
    return Case(named[middle], label, known[middle] if known else None, origin, stack=named, stack_lesions=known)


def _of_scan(dataset: Dataset, rows: pd.DataFrame, number: int, position: int) -> Case:
    rows = rows.iloc[_thinned(len(rows))]
    label, paths = str(rows["label"].iloc[0]), rows["path"].tolist()
    slices = [read_slice(dataset.root / path) for path in paths]
    masks = _masks(dataset, label, paths, slices)
    origin = f"{paths[0]} to {paths[-1]}"
    case = stack_case(slices, label, origin, number, position, masks)
    return replace(case, files=tuple(zip(map(short_hash, rows["sha256"]), paths, strict=True)))


def _masks(dataset: Dataset, label: str, paths: list[str], slices: list[Slice]) -> list[np.ndarray] | None:
    """The lesion on each slice; None unless it is known on every one of them."""
    if not lesions.has_lesions(dataset.root):
        return None
    if label == NORMAL:
        return [np.zeros(each.pixels.shape, bool) for each in slices]
    found = [
        lesions.lesion_mask(dataset.root, path, each.pixels.shape) for path, each in zip(paths, slices, strict=True)
    ]
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) and any(each.any() for each in known) else None


def _in_balance(scans: list[pd.DataFrame], stored: StoredAnswers | None) -> list[pd.DataFrame]:
    """The scans so that those at the end, which are taken first, were answered wrong and right in turn."""
    if stored is None:
        return scans
    wrong: list[pd.DataFrame] = []
    right: list[pd.DataFrame] = []
    unknown: list[pd.DataFrame] = []
    for scan in scans:
        is_right = _is_right(scan, stored)
        (unknown if is_right is None else right if is_right else wrong).append(scan)
    n = min(len(wrong), len(right))
    in_turn = [scan for pair in zip(right[:n], wrong[:n], strict=True) for scan in pair]
    return [*unknown, *wrong[n:], *right[n:], *in_turn]


def _is_right(scan: pd.DataFrame, stored: StoredAnswers) -> bool | None:
    """Whether the mean of the stored answers of a scan is right; None where it is not known for all of its slices."""
    files = zip(map(short_hash, scan["sha256"]), scan["path"], scan["label"], strict=True)
    known: list[StoredAnswer] = []
    for digest, path, label in files:
        answer = stored.expected(digest, path, label)
        if answer is None:
            return None
        known.append(answer)
    mean = {label: float(np.mean([each.probabilities[label] for each in known])) for label in known[0].probabilities}
    return predicted(mean) == known[0].label


def _thinned(n: int) -> list[int]:
    """At most 40 of n positions, evenly spaced, with the first and the last."""
    return sorted({round(each) for each in np.linspace(0, n - 1, min(n, MAX_SLICES))})
