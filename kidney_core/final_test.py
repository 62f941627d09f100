"""What a trained network is worth: validation slices fit its temperature, test slices give its figures."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from kidney_core import calibration, evaluation, familiarity, prediction, splits
from kidney_core.checkpoint import REFERENCE_FILE
from kidney_core.files import read_table, write_json, write_whole
from kidney_core.material import Material
from kidney_core.runs import Run


def write_report(
    run: Run,
    model: nn.Module,
    material: Material,
    *,
    best_epoch: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write predictions.csv, report.json and reference.safetensors of a run; `model` holds its reported weights.

    A run without a test part gets no predictions, and no figures in its report.

    Returns: the figures, as `evaluation.figures` gives them; empty without a test part.
    """
    config, labels = run.config(), material.dataset.labels
    temperature = 1.0
    if config.validation_fraction:
        validation = prediction.predict_probabilities(model, material.pixels[material.validation])
        temperature = calibration.fit_temperature(validation, material.y[material.validation])
    figures: dict[str, Any] = {}
    if len(material.test):
        probabilities = prediction.predict_probabilities(model, material.pixels[material.test], progress=progress)
        calibrated = calibration.calibrate(probabilities, temperature)
        rows = read_table(run.folder / "split.csv").iloc[material.test]
        rows = rows[[name for name in ("path", "label", "series", "plane") if name in rows]]  # 0.2.0 wrote no plane
        predictions = evaluation.prediction_table(rows, calibrated, labels)
        write_whole(
            run.folder / "predictions.csv",
            lambda partial: predictions.to_csv(partial, index=False, float_format="%.6g"),
        )
        figures = evaluation.figures(predictions)
    report = {"protocol": config.protocol, "temperature": temperature, "best_epoch": best_epoch, "figures": figures}
    seen = write_reference(run, model, material)
    write_json(run.folder / "report.json", report | ({"familiarity": seen} if seen else {}))
    return figures


def write_reference(run: Run, model: nn.Module, material: Material) -> dict[str, float] | None:
    """Write the training slices in the network's features, with thresholds from validation scans.

    Returns: the shares of test slices that the thresholds would call foreign, and seen; None without a test part, without
    a validation part of scans that were kept out of training, and for networks whose depths timm cannot show.
    """
    config = run.config()
    if (
        config.protocol != splits.GROUPED
        or not config.validation_fraction
        or not hasattr(model, "forward_intermediates")
    ):
        return None
    table, n_slices = read_table(run.folder / "split.csv"), len(material.dataset)
    series = np.full(len(material.y), -1)
    series[:n_slices] = table["series"]
    paths = np.full(len(material.y), "", object)
    paths[:n_slices] = table["path"]
    # Every second slice of a scan stands for its neighbours, and the others tell how near those are. Extra data tell only
    # what is not foreign; every fourth of them does.
    place = pd.Series(series[material.train]).groupby(series[material.train]).cumcount().to_numpy()
    is_extra = series[material.train] < 0
    kept = material.train[place % np.where(is_extra, 4, 2) == 0]
    others = material.train[~is_extra & (place % 2 == 1)]
    reference = familiarity.learn(
        familiarity.slice_features(model, material.pixels[kept]),
        same_scans=familiarity.slice_features(model, material.pixels[others]),
        new_scans=familiarity.slice_features(model, material.pixels[material.validation]),
        paths=tuple(paths[kept]),
        labels=tuple(material.dataset.labels[i] for i in material.y[kept]),
        series=series[kept],
    )
    familiarity.save(reference, run.folder / REFERENCE_FILE)
    if not len(material.test):
        return None
    asked = reference.look_up(familiarity.slice_features(model, material.pixels[material.test]))
    return {
        "test_foreign": sum(each.is_foreign for each in asked) / len(asked),
        "test_seen": sum(each.is_seen for each in asked) / len(asked),
    }
