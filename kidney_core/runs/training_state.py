"""The checkpoint from which a run resumes: one safetensors file, replaced atomically."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from kidney_core.common.errors import RunError
from kidney_core.common.files import write_atomically


@dataclass(frozen=True)
class Position:
    """How far a run has come; stored in its checkpoint under these names.

    Attributes:
        step: steps done.
        loss_sum: sum of the losses of the images seen in the current epoch.
        n_correct: images of the current epoch that were predicted correctly.
        n_seen: images seen in the current epoch.
        epoch_seconds: time spent on the current epoch before this checkpoint.
        best_loss: lowest cost of an epoch so far (`Validation.cost`).
        best_epoch: number of that epoch, from 1; 0 before the first.
    """

    step: int = 0
    loss_sum: float = 0.0
    n_correct: int = 0
    n_seen: int = 0
    epoch_seconds: float = 0.0
    best_loss: float = math.inf
    best_epoch: int = 0

    def after_step(self, *, loss: float, n_images: int, n_correct: int) -> "Position":
        """One step further; `loss` is the mean over the images of its batch."""
        return replace(
            self,
            step=self.step + 1,
            loss_sum=self.loss_sum + loss * n_images,
            n_correct=self.n_correct + n_correct,
            n_seen=self.n_seen + n_images,
        )

    def at_epoch_start(self) -> "Position":
        """The same step, with the sums of a new epoch."""
        return replace(self, loss_sum=0.0, n_correct=0, n_seen=0, epoch_seconds=0.0)


def save_weights(path: Path, model: nn.Module) -> None:
    """Replace `path` by the weights of `model`."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(path, lambda partial: save_file(state, partial), durable=True)


def load_weights(path: Path, model: nn.Module) -> None:
    """Load the weights that `save_weights` wrote into `model`."""
    model.load_state_dict(load_file(path))


def save(path: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, position: Position) -> None:
    """Replace `path` by weights, optimizer moments and position.

    Args:
        networks: name -> network; "model" is the one that learns, "mean" its EMA.
    """
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
    write_atomically(path, lambda partial: save_file(tensors, partial, metadata=metadata), durable=True)


def load(path: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> Position:
    """Load what `save` wrote into networks and optimizer; its position.

    Raises: RunError when the file is damaged.
    """
    try:
        with safe_open(path, "pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
            position = Position(**json.loads(stored.metadata()["position"]))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(f"The run's checkpoint “{path}” is damaged ({error}). Start a new run.") from error
    for kind, network in networks.items():
        prefix = f"{kind}."
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        )
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            parameter = trained[int(index)]
            if value.shape == parameter.shape:
                # Fused kernels walk memory: moments must be laid out as their parameter is.
                value = torch.empty_like(parameter).copy_(value)
            moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return position
