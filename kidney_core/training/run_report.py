"""The report of a trained run: validation slices fit its temperature, test slices give its metrics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from kidney_core.checkpoints import ood, prediction
from kidney_core.checkpoints.checkpoint import REFERENCE_FILE
from kidney_core.common.files import read_table, write_atomically, write_json
from kidney_core.metrics import calibration, evaluation, splits
from kidney_core.metrics.predictions import Predictions
from kidney_core.networks import feature_maps
from kidney_core.runs.run_folder import GATE_FILE, Run
from kidney_core.training.batches import reading_slices
from kidney_core.training.training_data import TrainingData


def write_report(
    run: Run,
    model: nn.Module,
    data: TrainingData,
    *,
    best_epoch: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write predictions.csv, report.json and reference.safetensors of a run; `model` holds its reported weights.

    A run without a test part gets no predictions, and no metrics in its report.

    Returns: the metrics of the test part (`evaluation.metrics`); empty without one.
    """
    config, labels = run.config(), data.dataset.labels
    model, temperature = reading_slices(model, data), 1.0
    if config.validation_fraction:
        validation = prediction.predict_probabilities(model, data.pixels[data.validation])
        temperature = calibration.fit_temperature(validation, data.y[data.validation])
    metrics: dict[str, Any] = {}
    if len(data.test):
        probabilities = prediction.predict_probabilities(model, data.pixels[data.test], progress=progress)
        calibrated = calibration.calibrate(probabilities, temperature)
        rows = read_table(run.folder / "split.csv").iloc[data.test]
        rows = rows[[name for name in ("path", "label", "series", "plane") if name in rows]]  # 0.2.0 wrote no plane
        predictions = Predictions.from_probabilities(rows, calibrated, labels)
        content = predictions.csv_bytes()
        write_atomically(run.folder / "predictions.csv", lambda partial: partial.write_bytes(content))
        metrics = evaluation.metrics(predictions)
    report = {"protocol": config.protocol, "temperature": temperature, "best_epoch": best_epoch, "figures": metrics}
    fractions = write_reference(run, model, data)
    write_json(run.folder / "report.json", report | ({"familiarity": fractions} if fractions else {}))
    return metrics


def write_reference(run: Run, model: nn.Module, data: TrainingData) -> dict[str, float] | None:
    """Write the reference of the out-of-distribution check: features of training slices, thresholds of validation scans.

    Test slices, whose scans are not in training, stand in gate.csv with their distance and residual: from those of all folds of a
    cross-validation better thresholds follow, see `gate_thresholds`.

    Returns: the fractions of test slices that the check flags as out of distribution ("test_foreign") and as seen in
    training ("test_seen"). None without a test part, without a validation part of unseen scans, and for networks whose
    intermediate features timm does not give.
    """
    config = run.config()
    if (
        config.protocol != splits.GROUPED
        or not config.validation_fraction
        or not feature_maps.has_maps_of_every_depth(model)
    ):
        return None
    paths = np.full(len(data.y), "", object)
    paths[: len(data.dataset)] = data.dataset.table["path"]
    # Half of a scan's slices are kept, the other half shows how near slices of one scan are to each other.
    number = pd.Series(data.series[data.train]).groupby(data.series[data.train]).cumcount().to_numpy()
    kept, others = data.train[number % 2 == 0], data.train[number % 2 == 1]
    features = ood.slice_features(model, data.pixels[kept])
    if data.pixels.ndim == 3:  # of each kidney, mirrored slices give the same images
        features = np.concatenate([features, ood.slice_features(model, data.pixels[kept][..., ::-1])])
        kept = np.concatenate([kept, kept])
    reference = ood.fit_reference(
        features,
        same_scans=ood.slice_features(model, data.pixels[others]),
        new_scans=ood.slice_features(model, data.pixels[data.validation]),
        new_series=data.series[data.validation],
        paths=tuple(paths[kept]),
        labels=tuple(data.dataset.labels[i] for i in data.y[kept]),
        series=data.series[kept],
    )
    ood.save(reference, run.folder / REFERENCE_FILE)
    if not len(data.test):
        return None
    matches = reference.match(ood.slice_features(model, data.pixels[data.test]))
    tested = pd.DataFrame(
        {
            "path": paths[data.test],
            "series": data.series[data.test],
            "distance": [each.distance for each in matches],
            "residual": [each.residual for each in matches],
            "seen": [each.is_seen_scan for each in matches],
            "refused": [each.is_out_of_distribution for each in matches],
        }
    )
    write_atomically(run.folder / GATE_FILE, lambda partial: tested.to_csv(partial, index=False))
    return {"test_foreign": float(tested["refused"].mean()), "test_seen": float(tested["seen"].mean())}
