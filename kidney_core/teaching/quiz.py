"""A quiz of cases: a student names the class and marks the lesion before the model predicts; both are scored alike.

Nothing is stored on disk. The same number draws the same cases, so that a class can take "quiz 12" together.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kidney_core.common.errors import DatasetError
from kidney_core.common.labels import LABELS, NORMAL
from kidney_core.data import lesions
from kidney_core.data.dataset import Dataset, short_hash
from kidney_core.imaging.slices import read_slice
from kidney_core.simulation import phantom
from kidney_core.teaching.cases import SIMULATED, Case
from kidney_core.teaching.fair_answers import StoredAnswer, StoredAnswers

N_CASES = 8
FIRST_SEED = 5_000_000  # far from the seeds of simulated slices that are trained on, measured on, or samples


def draw_cases(number: int) -> list[Case]:
    """The cases of a simulated quiz: each label twice, in an order that depends on the quiz's number."""
    rng = np.random.default_rng([number, 0])
    cases = []
    for position, label in enumerate(rng.permutation(np.repeat(LABELS, N_CASES // len(LABELS)))):
        drawn = phantom.draw_series(str(label), FIRST_SEED + number * N_CASES + position, n_slices=1)[0]
        image = drawn.as_slice(case_name(number, position))
        cases.append(Case(image, str(label), drawn.lesion, SIMULATED))
    return cases


def read_cases(dataset: Dataset, number: int, stored: StoredAnswers | None = None) -> list[Case]:
    """The cases of a quiz from a folder of classes: the classes in turn, drawn by the quiz's number.

    Args:
        stored: what a model answered for slices that it never saw. Of each class, cases that it answered wrong and right come in turn.

    Raises: SliceError or DatasetError for a damaged slice, mask or file of boxes.
    """
    rng = np.random.default_rng([number, 1])
    has_lesions = lesions.has_lesions(dataset.root)
    digests = dict(zip(dataset.table["path"], map(short_hash, dataset.table["sha256"]), strict=True))
    waiting = {}
    for label in dataset.labels:
        paths = rng.permutation(dataset.table.loc[dataset.table["label"] == label, "path"]).tolist()
        if has_lesions and label != NORMAL:
            paths = [path for path in paths if lesions.has_lesion_file(dataset.root, path)]
        waiting[label] = _in_balance(paths, label, digests, stored) if stored else paths
    cases: list[Case] = []
    while len(cases) < N_CASES and any(waiting.values()):
        for label, paths in waiting.items():
            case = next(
                filter(None, (_of_file(dataset.root, paths.pop(), label, has_lesions) for _ in range(len(paths)))), None
            )
            if case:
                cases.append(case)
    if all(case.label == NORMAL for case in cases):
        raise DatasetError(
            f"“{dataset.root}” has masks/ or labels/ beside its classes, but they show no lesion of any slice. Name them like the "
            "slices (masks/Stone/1.png or labels/Stone/1.txt for Stone/1.png), or move them away to judge the class only."
        )
    order = [cases[each] for each in rng.permutation(min(len(cases), N_CASES))]
    return [
        replace(case, image=replace(case.image, name=case_name(number, position)), digest=digests[case.origin])
        for position, case in enumerate(order)
    ]


def case_name(number: int, position: int) -> str:
    """What a case is called, which gives nothing away; `position` counts from 0."""
    return f"Quiz {number}, case {position + 1}"


def _in_balance(paths: list[str], label: str, digests: dict[str, str], stored: StoredAnswers) -> list[str]:
    """The paths so that those at the end, which are taken first, were answered wrong and right in turn, each of another scan."""
    known = {path: found for path in paths if (found := stored.expected(digests[path], path, label))}
    wrong = _one_of_each_scan([path for path in paths if path in known and not known[path].is_right], known)
    taken = {known[path].series for path in wrong[-N_CASES:]}
    right = [path for path in paths if path in known and known[path].is_right and known[path].series not in taken]
    right = _one_of_each_scan(right, known)
    n = min(len(wrong), len(right))
    in_turn = [path for pair in zip(right[-n:] if n else [], wrong[-n:] if n else [], strict=True) for path in pair]
    first = {*wrong, *right}
    return [
        *(path for path in paths if path not in first),
        *wrong[: len(wrong) - n],
        *right[: len(right) - n],
        *in_turn,
    ]


def _one_of_each_scan(paths: list[str], known: dict[str, StoredAnswer]) -> list[str]:
    """The last path of each scan, in their order; those whose scan is unknown all stay."""
    last = {known[path].series: path for path in paths}
    return [path for path in paths if known[path].series is None or last[known[path].series] == path]


def _of_file(root: Path, path: str, label: str, has_lesions: bool) -> Case | None:
    """A slice of a folder as a case; None where its lesion should be known and is not."""
    image = read_slice(root / path)
    if not has_lesions:
        return Case(image, label, None, path)
    if label == NORMAL:
        return Case(image, label, np.zeros(image.pixels.shape, bool), path)
    lesion = lesions.lesion_mask(root, path, image.pixels.shape)
    return Case(image, label, lesion, path) if lesion is not None and lesion.any() else None
