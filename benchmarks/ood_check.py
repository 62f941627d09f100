"""Accuracy of the out-of-distribution check of each checkpoint: `python -m benchmarks.ood_check [--shared ../shared]`.

It should accept slices of unseen scans, and flag every image that is not a CT slice of the kidney region like the training
data. For each set of other images: the fraction that is flagged, and the AUC of the check's score against the slices of
unseen scans. Other images come with scikit-learn, pydicom and this repository.
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
from kidney_core.checkpoints import checkpoint as checkpoints
from kidney_core.checkpoints import ood
from kidney_core.common.errors import SliceError
from kidney_core.common.labels import LABELS
from kidney_core.data.dataset import read_dataset
from kidney_core.diagnosis import inference
from kidney_core.diagnosis.inference import Predictor
from kidney_core.imaging import slices
from kidney_core.simulation import phantom

_EVERY = 12  # neighbouring slices look alike
_N_NOISE = 40


def read(paths: Iterable[Path]) -> list[np.ndarray]:
    """The images that can be read, as networks see them; the others never reach the check."""
    images = []
    for path in paths:
        try:
            images.append(slices.read_slice(path).network_grey8())
        except SliceError:
            continue
    return images


def other_images(shared: Path) -> dict[str, list[np.ndarray]]:
    """Name -> images that are not CT slices of the kidney region, or not as published."""
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


def disturbed(greys: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Slices of unseen scans, turned or inverted."""
    return {
        "unseen scans upside down": [grey[::-1] for grey in greys],
        "unseen scans turned by 90 degrees": [np.rot90(grey) for grey in greys],
        "unseen scans inverted": [255 - grey for grey in greys],
    }


def check(predictor: Predictor, greys: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) scores, above 1 where the check flags an image; (N,) flagged; (N,) taken for a scan seen in training."""
    reference = predictor.reference
    if reference is None:
        raise ValueError(f"the checkpoint “{predictor.checkpoint.name}” has no reference")
    squares = np.stack([predictor.checkpoint.view.square(np.ascontiguousarray(grey)) for grey in greys])
    matches = reference.match(ood.slice_features(predictor.model, squares))
    scores = [
        max(match.distance / reference.max_distance, match.residual / reference.max_residual) for match in matches
    ]
    return (
        np.array(scores),
        np.array([match.is_out_of_distribution for match in matches]),
        np.array([match.is_seen_scan for match in matches]),
    )


def main(arguments: list[str] | None = None) -> int:
    """Print a table for each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    shared = parser.parse_args(arguments).shared
    others = other_images(shared)
    samples = [phantom.draw_series(each, 990_001 + k, n_slices=3)[1].as_slice("") for each in LABELS for k in range(5)]
    for checkpoint in checkpoints.list_checkpoints()[0]:
        predictions = checkpoint.predictions("grouped")
        if predictions is None:
            print(
                f"{checkpoint.name}: it was trained on all scans; publish a fold of its cross-validation and check that."
            )
            continue
        predictor = inference.open_predictor(checkpoint)
        data = shared / "data" / checkpoint.card["data"]["name"]
        tested = predictions.table["path"].tolist()
        unseen = read(data / path for path in tested[::_EVERY])
        own, flagged, seen = check(predictor, unseen)
        print(
            f"{checkpoint.name}: {len(unseen)} slices of unseen scans, {flagged.sum()} flagged, {seen.sum()} taken for seen in training"
        )
        not_tested = set(read_dataset(data).table["path"]) - set(tested)
        trained = read(data / path for path in sorted(not_tested)[:: 5 * _EVERY])
        _, _, seen = check(predictor, trained)
        print(f"  {'slices of training and validation scans, taken for seen':62} {seen.sum():3}/{len(trained)}")
        for name, greys in {**others, **disturbed(unseen)}.items():
            if greys:
                scores, flagged, _ = check(predictor, greys)
                auroc = roc_auc_score(np.r_[np.zeros(len(own)), np.ones(len(scores))], np.r_[own, scores])
                print(f"  {name:62} {flagged.sum():3}/{len(greys)} flagged, AUROC {auroc:.3f}")
        _, flagged, _ = check(predictor, [each.network_grey8() for each in samples])
        print(f"  {'simulated samples (should be accepted)':62} {flagged.sum():3}/{len(samples)} flagged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
