"""The processes that train one network together: each computes its part of every batch.

torchrun and Ray Train start N processes and tell each its rank in $RANK, $WORLD_SIZE and $LOCAL_RANK. All draw the
same batch and compute the gradient of their own images; `DistributedDataParallel` adds the gradients up. The sums are
those of one process on the whole batch, up to rounding, where a network's norms look at one image at a time (group and
layer norm) or are frozen. Batch norms that learn take their mean and variance from a process's own part: on CUDA they
are made to share them (SyncBatchNorm), on the CPU torch has no such norm, so that N processes train as with batches
of 1/N there; what is stored and reported are the running statistics of rank 0.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from kidney_core import launch
from kidney_core.errors import RunError

# The others wait while rank 0 reads the dataset for the first time. A process that died is noticed at once.
_LONGEST_WAIT = timedelta(hours=1)
_FEWEST_IMAGES = 2  # one image has no variance for batch norm where its map is 1 x 1


def is_lost_peer(error: RuntimeError) -> bool:
    """True for what torch raises when another process of the group is gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


@dataclass(frozen=True)
class Group:
    """One process's place among those of its training; by default it is alone, and every call is for free."""

    rank: int = 0
    size: int = 1
    local_size: int = 1
    talk: dist.ProcessGroup | None = None  # gloo, for the few numbers that steer: no GPU has to wait for them

    @property
    def leads(self) -> bool:
        """True for the process that writes the run's folder."""
        return self.rank == 0

    def sum(self, *values: float) -> tuple[float, ...]:
        """Add numbers up over all processes; every process gets the same sums."""
        if self.size == 1:
            return values
        totals = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(totals, group=self.talk)
        return tuple(totals.tolist())

    def sum_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add a tensor on the CPU up over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.talk)
        return tensor

    def any(self, flag: bool) -> bool:
        """True in every process when it is true in one; all processes have to ask."""
        return self.sum(float(flag))[0] > 0

    def from_leader(self, number: int) -> int:
        """The leader's number, in every process."""
        return int(self.sum(float(number) if self.leads else 0.0)[0])

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.any(False)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """Let the leader run the block, then the others: they find what it left in caches."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def part(self, drawn: np.ndarray) -> tuple[np.ndarray, int]:
        """This process's images of a batch, and how many of them count; those after are there for batch norm alone."""
        if self.size == 1:
            return drawn, len(drawn)
        own = drawn[self.rank :: self.size]
        return np.concatenate([own, drawn[: max(0, _FEWEST_IMAGES - len(own))]]), len(own)

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the leader's running statistics of batch norm."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def step_together(self, network: nn.Module) -> nn.Module:
        """`network`, whose gradients are the mean over the processes after each backward."""
        if self.size == 1:
            return network
        device = next(network.parameters()).device
        ids = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)

    def leave(self) -> None:
        """Part with the others, once all are here; the leader goes on alone."""
        self.wait()
        if self.size > 1 and launch.RAY_WORKER not in os.environ:
            dist.destroy_process_group()


def join(device: torch.device) -> tuple[Group, torch.device]:
    """This process's group, as its launcher told it, and its own device of that kind.

    Raises: RunError when there are more processes than GPUs on the machine.
    """
    if launch.size() == 1:
        return Group(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if device.index >= torch.cuda.device_count():
            raise RunError(
                f"Process {device.index + 1} of this machine has no GPU of its own: torch sees "
                f"{torch.cuda.device_count()}. Lower n_processes, or train with device “cpu”."
            )
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    talk = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    return Group(launch.rank(), launch.size(), int(os.environ.get("LOCAL_WORLD_SIZE", "1")), talk), device


def synchronize_norms(model: nn.Module, group: Group, device: torch.device) -> nn.Module:
    """Let batch norms take their statistics from all processes, on CUDA; elsewhere the model as it is."""
    if group.size == 1 or device.type != "cuda":
        return model
    from timm.layers import convert_sync_batchnorm  # torch's own does not know timm's norms with an activation

    return convert_sync_batchnorm(model)
