"""A checkpoint as one ONNX file that other runtimes read: grey squares in, calibrated probabilities out.

    kidney-ct export-onnx checkpoints/mobilenetv2 mobilenetv2.onnx

Needs the packages onnx, onnxscript and onnxruntime, which the workbench itself does without. The file is checked before it
is kept: its probabilities on simulated slices must be those of the network.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kidney_core.checkpoints import checkpoint as checkpoints
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.entry_point import command
from kidney_core.common.errors import CheckpointError
from kidney_core.common.files import write_atomically
from kidney_core.common.labels import LABELS
from kidney_core.common.typed_paths import path_argument
from kidney_core.networks import preprocessing
from kidney_core.simulation import phantom

TOLERANCE = 1e-4  # of a probability: what another order of additions may change
_N_CHECKED = 3  # simulated slices a label


class CalibratedNetwork(nn.Module):
    """(B, S, S) uint8 grey squares -> (B, n_labels) calibrated probabilities: what a checkpoint computes."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        return (self.network(preprocessing.to_input(grey)) / self.temperature).softmax(dim=1)


def simulated_squares(checkpoint: Checkpoint) -> np.ndarray:
    """(N, S, S) uint8: simulated slices as the checkpoint's network sees them."""
    drawn = [phantom.draw_series(label, 77, n_slices=_N_CHECKED) for label in LABELS]
    view = checkpoint.view.without_kidneys
    return np.stack([view.square(each.as_slice("").network_grey8()) for scan in drawn for each in scan])


def export(checkpoint: Checkpoint, path: Path) -> float:
    """Write a checkpoint as ONNX, with its labels and its card in the file's metadata.

    Returns: the largest difference of a probability between ONNX Runtime and the network, on simulated slices.

    Raises: CheckpointError when a package is missing, or the file's probabilities differ from those of the network.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise CheckpointError(
            f"ONNX export needs the package “{error.name}”. Install it: pip install onnx onnxscript onnxruntime."
        ) from error
    calibrated = CalibratedNetwork(checkpoints.load_model(checkpoint).cpu(), checkpoint.temperature).eval()
    squares = torch.from_numpy(simulated_squares(checkpoint))
    program = torch.onnx.export(
        calibrated,
        (squares[:2],),
        input_names=["grey"],
        output_names=["probabilities"],
        dynamic_shapes={"grey": {0: torch.export.Dim("batch", min=1)}},
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise CheckpointError(f"PyTorch could not export “{checkpoint.name}”. Nothing was written.")
    model = program.model_proto
    facts = {"labels": list(checkpoint.labels), "preprocessing": checkpoint.card["preprocessing"]}
    onnx.helper.set_model_props(
        model, {"kidney-ct": json.dumps(facts), "intended_use": checkpoint.card["intended_use"]}
    )
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (exported,) = session.run(None, {"grey": squares.numpy()})
    with torch.inference_mode():
        difference = float(np.abs(exported - calibrated(squares).numpy()).max())
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"In ONNX Runtime “{checkpoint.name}” gives different predictions: a probability differs by {difference:.2g}. "
            "Nothing was written."
        )
    write_atomically(path, lambda partial: partial.write_bytes(content))
    return difference


@command
def main(arguments: list[str] | None = None) -> int:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description="Write a checkpoint as an ONNX file.")
    parser.add_argument("checkpoint", type=path_argument)
    parser.add_argument("file", type=path_argument)
    options = parser.parse_args(arguments)
    shown = checkpoints.read_checkpoint(options.checkpoint)
    difference = export(shown, options.file)
    print(f"wrote {options.file}; probabilities differ by at most {difference:.1e} in ONNX Runtime")
    return 0


if __name__ == "__main__":
    sys.exit(main())
