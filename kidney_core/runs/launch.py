"""The command that starts the processes of one training, and the environment variables that it sets for them.

torchrun gives each of its workers a session of its own, so a training is ended as a tree of processes, not as a group.
"""

import os

import psutil

from kidney_core.common import child_process
from kidney_core.runs.run_folder import Run

TRAIN_MODULE = "kidney_core.engines.train_command"
_LAUNCHER = "torch.distributed.run"
HELD_RUN = "KIDNEY_HELD_RUN"  # the run whose lock the launcher holds for its workers
LOGGED = "KIDNEY_LOGGED"  # set where standard output is the run's log already
RAY_WORKER = "KIDNEY_RAY_WORKER"  # set in a worker of Ray Train, which makes and ends torch's process group itself


def rank() -> int:
    """The number of this process among those of its training; 0 for a single process."""
    return int(os.environ.get("RANK", "0"))


def size() -> int:
    """How many processes train together; 1 for a single process."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_launched() -> bool:
    """True in a worker of torchrun or Ray Train, even if it is the only one."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_worker_of_torchrun() -> bool:
    """True in a process whose parent is torchrun."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_below_torchrun() -> bool:
    """True while the parent is what `torchrun` starts; a process whose parent died has another."""
    try:
        return _LAUNCHER in psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return False


def torchrun(run: Run, n_processes: int) -> list[str]:
    """The command that trains a run in processes of this machine."""
    start = ["--standalone", f"--nproc-per-node={n_processes}"]
    resume = ["-m", TRAIN_MODULE, "--resume", str(run.folder.resolve())]
    return child_process.python_command(_LAUNCHER, *start, *resume)


def environment(run: Run, n_processes: int, **more: str) -> dict[str, str]:
    """The environment of `torchrun`, for the process that holds the run's lock to start it with."""
    threads = str(max(1, (os.cpu_count() or 1) // n_processes))
    inherited = {"OMP_NUM_THREADS": threads, **os.environ}
    return child_process.environment({HELD_RUN: str(run.folder.resolve()), **more}, inherited=inherited)


def is_held_by_launcher(run: Run) -> bool:
    """True in a process whose launcher holds the run's lock for it."""
    return os.environ.get(HELD_RUN) == str(run.folder.resolve())
