"""Initial weights of EfficientNet-B0 from EfficientNet-Lite0: `python -m benchmarks.efficientnet_start LITE0 FILE`.

Lite0 has the same convolutions and norms without squeeze-excite. Its blocks start near the identity: the weights that expand are
scaled by 0.1, their biases are 3, so that each gate is open (sigmoid of about 3).
"""

import argparse
import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file

_SCALE, _BIAS = 0.1, 3.0


def initial_weights(lite0: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of EfficientNet-B0 without its head, in timm's names."""
    torch.manual_seed(0)
    weights = {}
    for name, own in timm.create_model("efficientnet_b0", num_classes=0).state_dict().items():
        if name in lite0:
            weights[name] = lite0[name].to(own.dtype).contiguous()
        elif name.endswith("se.conv_expand.bias"):
            weights[name] = torch.full_like(own, _BIAS)
        else:
            weights[name] = own * _SCALE if name.endswith("se.conv_expand.weight") else own
    return weights


def main() -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lite0", type=Path)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    save_file(initial_weights(load_file(options.lite0)), options.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
