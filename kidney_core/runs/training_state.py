"""Everything a run needs to go on, in one safetensors file that is replaced in one step."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from kidney_core.errors import RunError
from kidney_core.files import write_whole


@dataclass
class Position:
    """Where a run stands, and the sums of the epoch it is in."""

    step: int = 0
    loss_sum: float = 0.0
    n_correct: int = 0
    n_seen: int = 0
    epoch_seconds: float = 0.0
    best_loss: float = math.inf
    best_epoch: int = 0


def save_weights(path: Path, model: nn.Module) -> None:
    """Replace `path` by the weights alone."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_whole(path, lambda partial: save_file(state, partial), survives_power_cut=True)


def load_weights(path: Path, model: nn.Module) -> None:
    """Give `model` the weights that `save_weights` wrote."""
    model.load_state_dict(load_file(path))


def save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position, mean: nn.Module | None = None
) -> None:
    """Replace `path` by weights, their running mean where there is one, moments and position."""
    networks = {"model": model} | ({"mean": mean} if mean is not None else {})
    tensors = {
        f"{kind}.{name}": tensor.contiguous()
        for kind, network in networks.items()
        for name, tensor in network.state_dict().items()
    }
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value).contiguous()
    metadata = {"position": json.dumps(asdict(position))}
    write_whole(path, lambda partial: save_file(tensors, partial, metadata=metadata), survives_power_cut=True)


def load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, mean: nn.Module | None = None) -> Position:
    """Bring `model`, `mean` and `optimizer` to the state that `save` wrote, and say where it stands.

    Raises: RunError when the file is damaged.
    """
    try:
        with safe_open(path, "pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
            position = Position(**json.loads(stored.metadata()["position"]))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(f"The run's checkpoint “{path}” is damaged ({error}). Start the run anew.") from error
    for kind, network in (("model.", model), ("mean.", mean)):
        if network is not None:
            network.load_state_dict(
                {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)}
            )
    learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            parameter = learned[int(index)]
            if value.shape == parameter.shape:
                # Fused kernels walk memory: moments must be laid out as their parameter is.
                value = torch.empty_like(parameter).copy_(value)
            moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return position
