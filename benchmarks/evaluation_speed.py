"""The speed of evaluation: `python -m benchmarks.evaluation_speed FOLDER [CHECKPOINT]`.

    intervals       2,000 bootstrap resamples of every metric of 12,446 predictions over 204 series
    stored metrics  10 checkpoints x 12,446 stored predictions: read, metrics, curves, calibration, abstaining
    images          1,000 images of FOLDER through a checkpoint, against the baseline

The baseline of the images is what timm's validate.py does at batch 32 on a CPU: timm's ImageFolder
dataset, its evaluation transform and loader with as many workers as cores, fp32, the same network.
Both decode the files; ours is measured without and with its cache of decoded pixels.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm.data
import torch
from safetensors.torch import load_file

from kidney_core.checkpoints import checkpoint, prediction
from kidney_core.common import settings
from kidney_core.common.labels import LABELS
from kidney_core.data import dataset
from kidney_core.metrics import calibration, curve_plots, evaluation, intervals
from kidney_core.metrics.predictions import Predictions

N_PREDICTIONS, N_SERIES, N_CHECKPOINTS, N_IMAGES, BATCH = 12_446, 204, 10, 1000, 32


def random_predictions(seed: int) -> Predictions:
    """Predictions of the public dataset's size; the slices of a series share most of their error."""
    rng = np.random.default_rng(seed)
    series = np.sort(rng.integers(0, N_SERIES, N_PREDICTIONS))
    label = series % len(LABELS)
    logits = rng.normal(0, 1, (N_SERIES, 4))[series] + rng.normal(0, 0.5, (N_PREDICTIONS, 4)) + 1.5 * np.eye(4)[label]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = [f"{LABELS[of]}/{LABELS[of]}- ({i}).jpg" for i, of in enumerate(label)]
    rows = pd.DataFrame({"path": names, "label": np.array(LABELS)[label], "series": series, "temperature": 1.5})
    return Predictions.from_probabilities(rows, probabilities, LABELS)


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def open_stored(path: Path) -> None:
    """Compute what the panels show of a checkpoint's stored predictions."""
    predictions = Predictions.read_csv(path)
    evaluation.metrics(predictions)
    evaluation.metrics(predictions.per_series())
    curve_plots.roc_figure(predictions)
    curve_plots.precision_recall_figure(predictions)
    calibration.reliability(predictions.probabilities, predictions.y_true)
    calibration.risk_coverage(predictions.probabilities, predictions.y_true)


def plain_network(shown: checkpoint.Checkpoint) -> torch.nn.Module:
    """The checkpoint's network as timm builds it."""
    model = timm.create_model(shown.card["architecture"], num_classes=len(shown.labels))
    weights = load_file(shown.folder / checkpoint.WEIGHTS_FILE)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=False)
    return model.eval()


def baseline(folder: Path, shown: checkpoint.Checkpoint) -> None:
    """timm's evaluation loop over 1,000 images; like ours, it loads the weights first."""
    model = plain_network(shown)
    everything = timm.data.create_dataset("", root=str(folder))
    images: Any = torch.utils.data.Subset(
        everything, np.linspace(0, len(everything) - 1, N_IMAGES).astype(int).tolist()
    )
    images.transform = None  # the loader sets it
    loader = timm.data.create_loader(
        images,
        input_size=(3, shown.size_px, shown.size_px),
        batch_size=BATCH,
        use_prefetcher=False,
        num_workers=os.cpu_count() or 1,
        crop_pct=1.0,
        device=torch.device("cpu"),
    )
    everything.transform = images.transform
    with torch.inference_mode():
        for batch, _ in loader:
            model(batch)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=settings.checkpoints_folder() / "mobilenetv2")
    options = parser.parse_args()
    print(f"{'intervals':48} {seconds(lambda: intervals.intervals(random_predictions(0))):6.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{seed}.csv" for seed in range(N_CHECKPOINTS)]
        for seed, path in enumerate(paths):
            path.write_bytes(random_predictions(seed).csv_bytes(digits=5))
        print(f"{'stored metrics of 10 checkpoints':48} {seconds(lambda: list(map(open_stored, paths))):6.2f} s")
        os.environ["KIDNEY_CACHE"] = folder
        shown = checkpoint.read_checkpoint(options.checkpoint)
        found = dataset.read_dataset(options.folder)
        rows = found.table.iloc[np.linspace(0, len(found) - 1, N_IMAGES).astype(int)].reset_index(drop=True)
        part = dataset.Dataset(
            found.root, found.labels, rows, found.thumbnails[:N_IMAGES], (), "part" + found.fingerprint
        )
        theirs = seconds(lambda: baseline(options.folder, shown))
        ours = seconds(lambda: prediction.predict_dataset(shown, part, device="cpu"))
        again = seconds(lambda: prediction.predict_dataset(shown, part, device="cpu"))
    print(f"{'1,000 images, timm at batch 32 (baseline)':48} {theirs:6.2f} s")
    print(f"{'1,000 images, ours, decoding':48} {ours:6.2f} s   {theirs / ours:.1f} times as fast")
    print(f"{'1,000 images, ours, decoded before':48} {again:6.2f} s   {theirs / again:.1f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
