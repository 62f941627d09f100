"""Slices per second that a network classifies on the CPU: `python -m benchmarks.inference_speed [CHECKPOINT...]`.

    baseline        the network as timm builds it, fp32, batches of 32, in inference mode
    baseline by 8   the same in batches of 8, whose activations fit into memory that the C library reuses
    workbench       what Evaluation and the diagnosis of a scan do: batches of 8, norms folded, channels last
    ONNX Runtime    `kidney_core.checkpoints.onnx_export`, where the package is installed
    OpenVINO        the same file, where the package is installed

All get the same decoded squares and the same number of threads, in turns. Results are stored in docs/inference-speed.json,
from which `make results` writes the table of docs/speed.md.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.evaluation_speed import plain_network
from benchmarks.training_speed import machine
from kidney_core.checkpoints import onnx_export, prediction
from kidney_core.checkpoints.checkpoint import Checkpoint, load_model, read_checkpoint
from kidney_core.common import settings
from kidney_core.common.errors import CheckpointError
from kidney_core.common.files import write_json
from kidney_core.networks import preprocessing

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "inference-speed.json"
_N_SLICES, _BATCH, _N_TURNS = 256, 32, 5

Predict = Callable[[np.ndarray], np.ndarray]  # (N, S, S) uint8 -> (N, n_labels)


def in_batches(predict: Predict, size: int = _BATCH) -> Predict:
    """`predict` in batches of `size` slices."""
    return lambda squares: np.concatenate(
        [predict(squares[start : start + size]) for start in range(0, len(squares), size)]
    )


def build_implementations(checkpoint: Checkpoint, folder: Path) -> dict[str, Predict]:
    """Name -> implementation."""
    plain, ours = plain_network(checkpoint), load_model(checkpoint)

    @torch.inference_mode()
    def baseline(squares: np.ndarray) -> np.ndarray:
        images = preprocessing.to_input(torch.from_numpy(squares)).contiguous()
        return (plain(images) / checkpoint.temperature).softmax(dim=1).numpy()

    implementations = {
        "baseline": in_batches(baseline),
        "baseline by 8": in_batches(baseline, 8),
        "workbench": lambda squares: prediction.predict_probabilities(ours, squares),
    }
    file = folder / f"{checkpoint.name}.onnx"
    try:
        onnx_export.export(checkpoint, file)
    except CheckpointError as error:
        print(error)
        return implementations
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    implementations["ONNX Runtime"] = in_batches(lambda squares: session.run(None, {"grey": squares})[0])
    try:
        import openvino
    except ImportError:
        return implementations
    compiled = openvino.compile_model(file, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()})
    implementations["OpenVINO"] = in_batches(lambda squares: compiled([squares])[0])
    return implementations


def measure(checkpoint: Checkpoint) -> dict:
    """Slices per second of each implementation: medians over turns."""
    squares = np.random.default_rng(0).integers(0, 256, (_N_SLICES, checkpoint.size_px, checkpoint.size_px), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        compared = build_implementations(checkpoint, Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in compared}
        for predict in compared.values():
            predict(squares[:_BATCH])
        for _ in range(_N_TURNS):
            for name, predict in compared.items():
                start = time.perf_counter()
                predict(squares)
                seconds[name].append(time.perf_counter() - start)
    rates = {name: round(_N_SLICES / statistics.median(taken), 1) for name, taken in seconds.items()}
    return {
        "checkpoint": checkpoint.name,
        "architecture": checkpoint.card["architecture"],
        "image_size_px": checkpoint.size_px,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "slices_per_s": rates,
    }


def main() -> None:
    """Measure the checkpoints on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="*")
    chosen = parser.parse_args().checkpoints or sorted(
        path.parent for path in settings.checkpoints_folder().glob("*/card.json")
    )
    rows = [measure(read_checkpoint(path)) for path in chosen]
    for row in rows:
        print(json.dumps(row))
    write_json(RESULTS, rows)


if __name__ == "__main__":
    main()
