"""Evaluate checkpoints on a labelled folder, or on other hospitals, such as your own.

kidney-ct evaluate FOLDER                              every checkpoint at hand
kidney-ct evaluate FOLDER checkpoints/mobilenetv2 --out predictions/
kidney-ct evaluate --outside FOLDER                    one folder a hospital, see `other_hospitals`; the pages show the result
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kidney_core.checkpoints import hospital_results, prediction
from kidney_core.checkpoints.checkpoint import OTHER_HOSPITALS_FILE, Checkpoint, chosen_checkpoints
from kidney_core.common import digests, spreadsheet
from kidney_core.common.entry_point import command, progress_printer
from kidney_core.common.files import write_atomically, write_json
from kidney_core.common.typed_paths import path_argument
from kidney_core.data import remembered_labels
from kidney_core.data.dataset import Dataset, read_dataset
from kidney_core.diagnosis import inference, other_hospitals
from kidney_core.kidneys import finder
from kidney_core.metrics import evaluation, intervals
from kidney_core.metrics.predictions import Predictions
from kidney_core.networks import models


def summary(checkpoint: Checkpoint, dataset: Dataset, predictions: Predictions) -> str:
    """The result as lines of text: where it was measured, metrics with intervals, the report, the confusion matrix."""
    metrics = evaluation.metrics(predictions)
    n_known = prediction.n_trained_on(checkpoint, dataset)
    warning = f"; {n_known:,} of its slices are files of the training data: no test" if n_known else ""
    n_left_out = len(dataset) - len(predictions.table)
    left_out = f"; {n_left_out:,} of {len(dataset):,} slices show no kidney and are left out" if n_left_out else ""
    report = evaluation.report_table(metrics).to_string(float_format=lambda value: f"{value:.3f}", na_rep="–")
    width = max(map(len, metrics["labels"])) + 2
    heading = " " * width + "".join(f"{label:>{width}}" for label in metrics["labels"])
    rows = [
        f"{label:{width}}" + "".join(f"{count:{width}}" for count in counts)
        for label, counts in zip(metrics["labels"], metrics["confusion"], strict=True)
    ]
    return "\n".join(
        [
            f"{checkpoint.name} on {dataset.root}{warning}{left_out}",
            *intervals.summary(predictions),
            "",
            report,
            "",
            "Confusion matrix (rows: true label, columns: predicted label)",
            heading,
            *rows,
        ]
    )


def evaluate_outside(folder: Path, checkpoints: Sequence[Checkpoint], *, device: str) -> None:
    """Measure checkpoints on other hospitals, print it, and keep it beside each card; sources measured before are kept."""
    for checkpoint in checkpoints:
        predictor = inference.open_predictor(checkpoint, device=device, finder=finder.open_installed())
        measured = other_hospitals.measure(predictor, folder, progress_of=progress_printer)
        print(hospital_results.summary(checkpoint.name, measured), end="\n\n")
        earlier = checkpoint.other_hospitals() or {"sources": {}}
        measured["sources"] = {**earlier["sources"], **measured["sources"]}
        write_json(checkpoint.folder / OTHER_HOSPITALS_FILE, digests.add_seal(measured))


def _write(path: Path, predictions: Predictions) -> None:
    content = spreadsheet.escape_csv(predictions.csv_bytes())
    write_atomically(path, lambda partial: partial.write_bytes(content))


@command
def main(arguments: list[str] | None = None) -> int:
    """Evaluate from the command line."""
    parser = argparse.ArgumentParser(
        description="Evaluate checkpoints on a folder with one folder of images per class."
    )
    parser.add_argument("folder", type=path_argument, help="folder with one folder of images per class")
    parser.add_argument(
        "checkpoints", type=path_argument, nargs="*", help="folders of checkpoints (default: all published ones)"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument(
        "--only-kidneys", action="store_true", help="leave out slices on which the kidney finder sees no kidney"
    )
    parser.add_argument(
        "--outside",
        action="store_true",
        help="FOLDER holds one folder for each hospital: slices by class, or whole scans with findings.csv; the result is kept "
        "beside each card",
    )
    parser.add_argument(
        "--out", type=path_argument, help="folder for a CSV file with the predictions of each checkpoint"
    )
    remembered_labels.add_options(parser)
    options = parser.parse_intermixed_args(arguments)
    checkpoints = chosen_checkpoints(options.checkpoints)
    if options.outside:
        evaluate_outside(options.folder, checkpoints, device=str(models.pick_device(options.device)))
        return 0
    labelling = remembered_labels.chosen(options.folder, classes=options.classes, table=options.table)
    dataset = read_dataset(options.folder, labelling=labelling, progress=progress_printer("Reading images"))
    for checkpoint in checkpoints:
        predictions = prediction.predict_dataset(
            checkpoint,
            dataset,
            device=options.device,
            only_kidneys=options.only_kidneys,
            progress_of=progress_printer,
        )
        print(summary(checkpoint, dataset, predictions), end="\n\n")
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            path = options.out / f"{checkpoint.name}.csv"
            _write(path, predictions)
            print(f"predictions written to {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
