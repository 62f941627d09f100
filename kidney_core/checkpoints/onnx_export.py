"""A checkpoint as one ONNX file that other runtimes read: grey squares in, calibrated probabilities out.

    python -m kidney_core.onnx_export checkpoints/mobilenetv2 mobilenetv2.onnx

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

from kidney_core import checkpoint as checkpoints
from kidney_core import phantom, preprocessing
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import CheckpointError, command
from kidney_core.files import write_whole
from kidney_core.labels import LABELS

TOLERANCE = 1e-4  # of a probability: what another order of additions may change
_N_CHECKED = 3  # simulated slices a label


class Answering(nn.Module):
    """(B, S, S) uint8 grey squares -> (B, n_labels) calibrated probabilities: all that a checkpoint does."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        return (self.network(preprocessing.to_input(grey)) / self.temperature).softmax(dim=1)


def known_squares(checkpoint: Checkpoint) -> np.ndarray:
    """(N, S, S) uint8: simulated slices as the checkpoint's network sees them."""
    drawn = [phantom.draw_series(label, 77, n_slices=_N_CHECKED) for label in LABELS]
    return np.stack([preprocessing.square_of(each.as_slice(""), checkpoint.view) for scan in drawn for each in scan])


def export(checkpoint: Checkpoint, path: Path) -> float:
    """Write a checkpoint as ONNX, with its labels and its card in the file's metadata.

    Returns: the largest difference of a probability between ONNX Runtime and the network, on simulated slices.

    Raises: CheckpointError when a package is missing, or the file would answer otherwise than the network.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise CheckpointError(
            f"ONNX export needs the package “{error.name}”. Install it: pip install onnx onnxscript onnxruntime."
        ) from error
    answering = Answering(checkpoints.load_model(checkpoint).cpu(), checkpoint.temperature).eval()
    squares = torch.from_numpy(known_squares(checkpoint))
    program = torch.onnx.export(
        answering,
        (squares[:2],),
        input_names=["grey"],
        output_names=["probabilities"],
        dynamic_shapes={"grey": {0: torch.export.Dim("batch", min=1)}},
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    facts = {"labels": list(checkpoint.labels), "preprocessing": checkpoint.card["preprocessing"]}
    onnx.helper.set_model_props(
        model, {"kidney-ct": json.dumps(facts), "intended_use": checkpoint.card["intended_use"]}
    )
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"grey": squares.numpy()})
    with torch.inference_mode():
        difference = float(np.abs(found - answering(squares).numpy()).max())
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"In ONNX Runtime “{checkpoint.name}” would answer otherwise: a probability differs by {difference:.2g}. "
            "Nothing was written."
        )
    write_whole(path, lambda partial: partial.write_bytes(content))
    return difference


@command
def main(arguments: list[str] | None = None) -> int:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description="Write a checkpoint as an ONNX file.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    shown = checkpoints.read_checkpoint(options.checkpoint)
    difference = export(shown, options.file)
    print(f"wrote {options.file}; probabilities differ by at most {difference:.1e} in ONNX Runtime")
    return 0


if __name__ == "__main__":
    sys.exit(main())
