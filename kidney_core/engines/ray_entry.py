"""What runs on a Ray cluster: Ray Train starts N workers, each of which runs the same train.main as everywhere.

python -m kidney_core.ray_entry RUN, submitted by `ray_engine`. A worker that dies is started again with the others, from
the last checkpoint, up to three times. The only file of the core that imports ray.
"""

import os
import sys
import tempfile
from pathlib import Path

from kidney_core import launch
from kidney_core.runs import FAILED, FINISHED, STOPPED, Run

_RESTARTS = 3


def train_worker(options: dict[str, str]) -> None:
    """One worker: rank and world size are in the environment, and torch's process group is made."""
    os.chdir(launch.ROOT)
    os.environ[launch.RAY_WORKER] = "1"
    import train

    run = Run(Path(options["run"]))
    status = train.main(["--resume", str(run.folder)])
    if status and run.state()["state"] != FAILED:  # what failed in words would fail again
        raise RuntimeError(f"The training of “{run.name}” ended with status {status}; see its log.")


def main(arguments: list[str]) -> int:
    """Train a run on the cluster; the exit status."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    run = Run(Path(arguments[0]))
    config = run.config()
    use_gpu = config.device in ("auto", "cuda") and _has_gpus()
    with tempfile.TemporaryDirectory() as unused:  # Ray's own record of results; the run's folder is ours
        TorchTrainer(
            train_worker,
            train_loop_config={"run": str(run.folder)},
            scaling_config=ScalingConfig(num_workers=config.n_processes, use_gpu=use_gpu),
            run_config=RunConfig(
                name=run.name, storage_path=unused, failure_config=FailureConfig(max_failures=_RESTARTS)
            ),
        ).fit()
    return 0 if run.state()["state"] in (FINISHED, STOPPED) else 1


def _has_gpus() -> bool:
    """Whether the cluster has GPUs; it decides, not the machine that this process happens to be on."""
    import ray

    ray.init(ignore_reinit_error=True)
    return ray.cluster_resources().get("GPU", 0) > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
