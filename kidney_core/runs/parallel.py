"""Data-parallel training: several processes, each computing its part of every batch.

torchrun and Ray Train start N processes and set $RANK, $WORLD_SIZE and $LOCAL_RANK for each. All draw the same batch and
compute the gradient of their own images; `DistributedDataParallel` combines the gradients. Up to rounding, the result is
that of one process on the whole batch where the norms see one image at a time (group and layer norm) or are frozen.
Trained batch norms take mean and variance from the part of one process: on CUDA they share them (SyncBatchNorm); on the
CPU torch has no such norm, so N processes train as with batches of 1/N. The running statistics of rank 0 are stored.
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

from kidney_core.common.errors import RunError
from kidney_core.runs import launch

# The others wait while rank 0 reads the dataset for the first time. A dead process is noticed at once.
_TIMEOUT = timedelta(hours=1)
_MIN_IMAGES = 2  # one image has no variance for batch norm where its map is 1 x 1


def is_lost_peer(error: RuntimeError) -> bool:
    """True for an error that torch raises when another process of the group is gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


@dataclass(frozen=True)
class Group:
    """The processes of one training, as one of them sees them; by default it is alone, and calls cost nothing."""

    rank: int = 0
    size: int = 1
    local_size: int = 1
    gloo: dist.ProcessGroup | None = None  # for the few numbers of control: no GPU has to wait for them

    @property
    def leads(self) -> bool:
        """True for the process that writes the run's folder."""
        return self.rank == 0

    def sum(self, *values: float) -> tuple[float, ...]:
        """Sums of numbers over all processes, the same in every process."""
        if self.size == 1:
            return values
        totals = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(totals, group=self.gloo)
        return tuple(totals.tolist())

    def sum_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a tensor on the CPU over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.gloo)
        return tensor

    def any(self, flag: bool) -> bool:
        """True in every process where it is true in one; all processes have to call."""
        return self.sum(float(flag))[0] > 0

    def from_leader(self, number: int) -> int:
        """The leader's number, in every process."""
        return int(self.sum(float(number) if self.leads else 0.0)[0])

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.any(False)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """Run the block in the leader, then in the others, which find its results in caches."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def part(self, batch: np.ndarray) -> tuple[np.ndarray, int]:
        """This process's images of a batch, and how many of them count; further ones are for batch norm only."""
        if self.size == 1:
            return batch, len(batch)
        own = batch[self.rank :: self.size]
        return np.concatenate([own, batch[: max(0, _MIN_IMAGES - len(own))]]), len(own)

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the leader's running statistics of batch norm."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def step_together(self, network: nn.Module) -> nn.Module:
        """`network` such that after each backward its gradients are the mean over the processes."""
        if self.size == 1:
            return network
        device = next(network.parameters()).device
        ids = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)

    def leave(self) -> None:
        """End the group once all processes have called this; the leader continues alone."""
        self.wait()
        if self.size > 1 and launch.RAY_WORKER not in os.environ:
            dist.destroy_process_group()


def join(device: torch.device) -> tuple[Group, torch.device]:
    """The group of this process, from the variables of its launcher, and its own device of that kind.

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
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    gloo = dist.new_group(backend="gloo", timeout=_TIMEOUT)
    if not isinstance(gloo, dist.ProcessGroup):
        raise TypeError(f"this process is not in its own group: {gloo}")
    return Group(launch.rank(), launch.size(), int(os.environ.get("LOCAL_WORLD_SIZE", "1")), gloo), device


def synchronize_norms(model: nn.Module, group: Group, device: torch.device) -> nn.Module:
    """On CUDA, a model whose batch norms share their statistics over all processes; otherwise `model` itself."""
    if group.size == 1 or device.type != "cuda":
        return model
    from timm.layers import convert_sync_batchnorm  # torch's own does not know timm's norms with an activation

    return convert_sync_batchnorm(model)
