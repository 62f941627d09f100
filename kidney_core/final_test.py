"""What a trained network is worth: validation slices fit its temperature, test slices give its figures."""

from collections.abc import Callable
from typing import Any

from torch import nn

from kidney_core import calibration, evaluation, prediction
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
    """Write predictions.csv and report.json of a run; `model` holds its reported weights.

    Returns: the figures, as `evaluation.figures` gives them.
    """
    config, labels = run.config(), material.dataset.labels
    temperature = 1.0
    if config.validation_fraction:
        validation = prediction.predict_probabilities(model, material.pixels[material.validation])
        temperature = calibration.fit_temperature(validation, material.y[material.validation])
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
    write_json(run.folder / "report.json", report)
    return figures
