"""What an audited dataset is taken away as: a cleaned list, the folds of a split, and a sentence for the methods of a paper."""

import numpy as np
import pandas as pd

from kidney_core import __version__
from kidney_core.common.labels import order_labels
from kidney_core.data import leak_audit
from kidney_core.data.leak_audit import Audit
from kidney_core.data.series import LINK_CORRELATION
from kidney_core.metrics import splits
from kidney_core.metrics.number_format import percent

COPY, CONTRADICTION, TWO_LABELS, NO_KIDNEY = (
    "copy of another file",
    "near-duplicate with another label",
    "scan with two labels",
    "no kidney visible",
)


def judge_slices(audit: Audit, *, n_kidneys: np.ndarray | None = None) -> pd.DataFrame:
    """Every slice with the reason why a cleaned list leaves it out, "" for those it keeps: columns path, label, series, reason.

    Args:
        n_kidneys: (N,) that each slice shows, where they were looked for.
    """
    table = audit.table[["path", "label", "series"]]
    mixed = set(audit.series.loc[audit.series["n_labels"] > 1, "series"])
    reasons = {
        COPY: table["path"].isin(set(audit.copies["path"])),
        CONTRADICTION: table["path"].isin(set(audit.contradictions["path"])),
        TWO_LABELS: table["series"].isin(mixed),
    }
    if n_kidneys is not None:
        reasons[NO_KIDNEY] = pd.Series(n_kidneys == 0, index=table.index)
    return table.assign(reason=np.select(list(reasons.values()), list(reasons), default=""))


def cleaned_list(audit: Audit, *, n_kidneys: np.ndarray | None = None) -> pd.DataFrame:
    """The slices to keep: columns path, label, series. A `series.csv` of them takes path and series."""
    judged = judge_slices(audit, n_kidneys=n_kidneys)
    return judged.loc[judged["reason"] == "", ["path", "label", "series"]].reset_index(drop=True)


def split_table(audit: Audit, protocol: str, *, seed: int = 0, n_folds: int = leak_audit.N_FOLDS) -> pd.DataFrame:
    """Every slice with its place in the split that was audited: columns path, label, series, and fold (from 0) or, for the split of
    the folder, part. Raises DatasetError as `splits.split`."""
    table = audit.table[["path", "label", "series"]]
    if protocol == splits.FOLDER:
        return table.assign(part=splits.split(audit.table, protocol=protocol, seed=seed))
    return table.assign(fold=leak_audit.fold_numbers(audit.table, protocol=protocol, seed=seed, n_folds=n_folds))


def methods_text(audit: Audit, *, n_kidneys: np.ndarray | None = None) -> str:
    """What the audit found, as sentences for the methods section of a paper."""
    counts = audit.dataset.counts()
    classes = ", ".join(f"{counts[label]:,} {label}" for label in order_labels(set(counts)))
    found = (
        "The scan of each slice was known."
        if audit.scans_are_listed
        else f"Scans were identified by linking slices whose 32 × 32 thumbnails correlate above {LINK_CORRELATION:g}, and copies of slices."
    )
    parts = [
        f"The dataset comprises {len(audit.dataset):,} CT slices of {len(audit.series):,} scans ({classes}). {found}",
        *_leakage(audit),
    ]
    n_unreadable = len(audit.dataset.unreadable)
    oddities = [
        f"{n:,} {what}"
        for n, what in (
            (len(audit.copies), "exact copies"),
            (len(audit.contradictions), "slices with a near-duplicate of another label"),
            (n_unreadable, "unreadable files"),
        )
        if n
    ]
    if oddities:
        parts.append(f"It holds {', '.join(oddities)}.")
    if n_kidneys is not None:
        parts.append(f"A segmentation network saw no kidney on {int((n_kidneys == 0).sum()):,} slices.")
    return " ".join([*parts, f"The audit was made with Kidney CT workbench {__version__}."])


def _leakage(audit: Audit) -> list[str]:
    sentences = []
    for protocol in (splits.RANDOM, splits.GROUPED, splits.FOLDER):
        measured = audit.protocols.get(protocol)
        if measured is None:
            continue
        how = {
            splits.RANDOM: f"Under a random split of slices ({leak_audit.N_FOLDS} folds)",
            splits.GROUPED: f"Under a split of whole scans ({leak_audit.N_FOLDS} folds)",
            splits.FOLDER: "Under the split that comes with the dataset",
        }[protocol]
        sentences.append(
            f"{how}, {percent(measured.near_duplicate_fraction)} of the test slices had a near-duplicate in training, and copying the "
            f"label of the most similar training slice (1-nearest neighbour) reached an accuracy of {percent(measured.baseline['accuracy'])} "
            f"(balanced {percent(measured.baseline['balanced_accuracy'])})."
        )
    return sentences
