"""What the gate refuses: `python -m benchmarks.gate [--shared ../shared]`, for every checkpoint at hand.

Accepted should be slices of scans that the network has never seen; refused, everything that is no CT slice of the
kidney region as it was trained on. For each foreign set: the share that is refused, and the area under the ROC curve
of the gate's score against the slices of unseen scans. Pictures come with scikit-learn, pydicom and this repository.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydicom.data
import sklearn.datasets
from sklearn.metrics import roc_auc_score

from benchmarks.browser import ROOT
from kidney_core import checkpoint as checkpoints
from kidney_core import diagnosis, familiarity, phantom, slices
from kidney_core.diagnosis import Reader
from kidney_core.errors import SliceError
from kidney_core.labels import LABELS

_EVERY = 12  # of neighbouring slices
_N_NOISE = 40


def read(paths: Iterable[Path]) -> list[np.ndarray]:
    """What networks see of the files that can be read at all; the others are refused before the gate."""
    found = []
    for path in paths:
        try:
            found.append(slices.read_slice(path).network_grey8())
        except SliceError:
            continue
    return found


def foreign_sets(shared: Path) -> dict[str, list[np.ndarray]]:
    """Name -> pictures that are no CT slices of the kidney region, or not as published."""
    rng = np.random.default_rng(0)
    photographs = Path(sklearn.datasets.__file__).parent / "images"
    return {
        "photographs (scikit-learn)": read(sorted(photographs.glob("*.jpg"))),
        "screenshots of this app": read(sorted((ROOT / "docs" / "screenshots").glob("*.png"))),
        "test files of pydicom, CT of other regions among them": read(
            Path(str(path)) for path in sorted(pydicom.data.get_testdata_files("*.dcm"))
        ),
        "pure noise": [rng.integers(0, 256, (256, 256), dtype=np.uint8) for _ in range(_N_NOISE)],
        "stone-boxes (another hospital, coronal; may be accepted)": read(
            sorted((shared / "data" / "stone-boxes" / "images").glob("*"))[::4]
        ),
    }


def turned(greys: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Slices of unseen scans, spoilt."""
    return {
        "unseen scans upside down": [grey[::-1] for grey in greys],
        "unseen scans turned by 90 degrees": [np.rot90(grey) for grey in greys],
        "unseen scans inverted": [255 - grey for grey in greys],
    }


def ask(reader: Reader, greys: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) scores, above 1 where the gate refuses; (N,) refused; (N,) taken for a scan of the training."""
    squares = np.stack([reader.checkpoint.view.square(np.ascontiguousarray(grey)) for grey in greys])
    found = reader.reference.look_up(familiarity.slice_features(reader.model, squares))
    scores = [max(each.distance / reader.reference.far, each.residual / reader.reference.odd) for each in found]
    return np.array(scores), np.array([each.is_foreign for each in found]), np.array([each.is_seen for each in found])


def main(arguments: list[str] | None = None) -> int:
    """Print a table for each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    shared = parser.parse_args(arguments).shared
    foreign = foreign_sets(shared)
    samples = [phantom.draw_series(each, 990_001 + k, n_slices=3)[1].as_slice("") for each in LABELS for k in range(5)]
    for checkpoint in checkpoints.list_checkpoints()[0]:
        predictions = checkpoint.predictions("grouped")
        if predictions is None:
            print(
                f"{checkpoint.name}: no scans were kept from it; publish one fold of its cross-validation and ask that."
            )
            continue
        reader = diagnosis.open_reader(checkpoint)
        data = shared / "data" / checkpoint.card["data"]["name"]
        tested = predictions["path"].tolist()
        unseen = read(data / path for path in tested[::_EVERY])
        own, refused, seen = ask(reader, unseen)
        print(
            f"{checkpoint.name}: {len(unseen)} slices of unseen scans, {refused.sum()} refused, {seen.sum()} taken for seen"
        )
        others = {str(path.relative_to(data)) for path in data.glob("*/*")} - set(tested)
        trained = read(data / path for path in sorted(others)[:: 5 * _EVERY])
        _, _, seen = ask(reader, trained)
        print(f"  {'slices of training and validation scans taken for seen':62} {seen.sum():3}/{len(trained)}")
        for name, greys in {**foreign, **turned(unseen)}.items():
            if greys:
                scores, refused, _ = ask(reader, greys)
                auroc = roc_auc_score(np.r_[np.zeros(len(own)), np.ones(len(scores))], np.r_[own, scores])
                print(f"  {name:62} {refused.sum():3}/{len(greys)} refused, AUROC {auroc:.3f}")
        _, refused, _ = ask(reader, [each.network_grey8() for each in samples])
        print(f"  {'simulated samples (to be accepted)':62} {refused.sum():3}/{len(samples)} refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
