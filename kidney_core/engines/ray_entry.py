"""The entry point of a job on a Ray cluster: Ray Train starts N workers, each of which runs the training command.

python -m kidney_core.engines.ray_entry RUN FOLDER, submitted by `ray_engine`; relative paths of data start at FOLDER. When
a worker dies, all are restarted from the last checkpoint, up to three times. The only file of the core that imports ray.
"""

import os
import sys
import tempfile
from pathlib import Path

from kidney_core.runs import launch
from kidney_core.runs.run_folder import FAILED, FINISHED, STOPPED, Run

_RESTARTS = 3


def train_worker(options: dict[str, str]) -> None:
    """One worker: rank and world size are in the environment, and torch has its process group."""
    if Path(options["folder"]).is_dir():  # a folder that the cluster does not share holds none of its data
        os.chdir(options["folder"])
    os.environ[launch.RAY_WORKER] = "1"
    from kidney_core.engines import train_command

    run = Run(Path(options["run"]))
    status = train_command.main(["--resume", str(run.folder)])
    if status and run.state()["state"] != FAILED:  # an error with a message would occur again
        raise RuntimeError(f"The training of “{run.name}” ended with status {status}; see its log.")


def main(arguments: list[str]) -> int:
    """Train a run on the cluster; the exit status."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    run = Run(Path(arguments[0]))
    config = run.config()
    use_gpu = config.device in ("auto", "cuda") and _has_gpus()
    with tempfile.TemporaryDirectory() as unused:  # for Ray's own results; ours are in the run's folder
        TorchTrainer(
            train_worker,
            train_loop_config={"run": str(run.folder), "folder": arguments[1]},
            scaling_config=ScalingConfig(num_workers=config.n_processes, use_gpu=use_gpu),
            run_config=RunConfig(
                name=run.name, storage_path=unused, failure_config=FailureConfig(max_failures=_RESTARTS)
            ),
        ).fit()
    return 0 if run.state()["state"] in (FINISHED, STOPPED) else 1


def _has_gpus() -> bool:
    """Whether any machine of the cluster has GPUs."""
    import ray

    ray.init(ignore_reinit_error=True)
    return ray.cluster_resources().get("GPU", 0) > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
