"""Copy run folders to an MLflow server, to compare runs there; the run folders stay the original.

    pip install mlflow-skinny
    kidney-ct mlflow --server http://127.0.0.1:5000 [--watch 10] [RUN...]

It only reads folders: training is not slowed, and a server that is down stops no run. Copying again adds only what is
missing, so it may be interrupted at any time. A killed run is marked as killed, which MLflow's own logging would leave as
running.
"""

import argparse
import socket
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kidney_core.common import settings
from kidney_core.common.entry_point import command
from kidney_core.common.errors import RunError
from kidney_core.common.typed_paths import path_argument
from kidney_core.engines import jobs
from kidney_core.runs.run_folder import CRASHED, FAILED, FINISHED, QUEUED, RUNNING, STOPPED, Run, list_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "kidney-ct"
_NAME_TAG = "kidney_ct.run"  # by which a run is found again
_CONNECT_TIMEOUT_S = 5.0
_BATCH = 500  # an API request takes up to 1,000 items, Source: MLflow REST API, runs/log-batch
_STATUS = {
    QUEUED: "SCHEDULED",
    RUNNING: "RUNNING",
    FINISHED: "FINISHED",
    STOPPED: "KILLED",
    CRASHED: "KILLED",
    FAILED: "FAILED",
}
_NOT_METRICS = {"kind", "step", "epoch", "time", "steps_per_epoch"}


def connect(server: str) -> "MlflowClient":
    """A client of a server that answers.

    Raises: RunError when MLflow is not installed or the server does not answer.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise RunError("MLflow is not installed. Install it with: pip install mlflow-skinny") from error
    _require_reachable(server)
    client = MlflowClient(tracking_uri=server)
    try:
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise RunError(
            f"The MLflow server “{server}” does not answer ({str(error).splitlines()[0]}). Check its address."
        ) from error
    return client


def _require_reachable(server: str) -> None:
    """Raise RunError where nobody listens at a server's address: MLflow itself would try for minutes."""
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return  # a folder or a database
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise RunError(f"The MLflow server “{server}” does not answer ({error}). Check its address.") from error


def mirror(client: "MlflowClient", run: Run, *, experiment: str = EXPERIMENT) -> int:
    """Update the server's copy of a run; the number of measurements that were added."""
    from mlflow.entities import Metric, Param, RunTag

    run_id = _find_or_create(client, run, experiment)
    params = [Param(name, str(value)) for name, value in asdict(run.config()).items()]
    tags = [RunTag("kidney_ct.state", jobs.status(run)), RunTag("kidney_ct.message", jobs.message(run))]
    client.log_batch(run_id, params=params, tags=tags)
    logged_steps: dict[str, set[int]] = {}
    metrics = []
    for key, value, step, milliseconds in _measurements(run):
        if key not in logged_steps:
            logged_steps[key] = {old.step for old in client.get_metric_history(run_id, key)}
        if step not in logged_steps[key]:
            metrics.append(Metric(key, value, milliseconds, step))
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
    client.set_terminated(run_id, _STATUS[jobs.status(run)])
    return len(metrics)


def _find_or_create(client: "MlflowClient", run: Run, experiment: str) -> str:
    """The id of the server's copy of a run."""
    existing = client.get_experiment_by_name(experiment)
    experiment_id = existing.experiment_id if existing else client.create_experiment(experiment)
    named = client.search_runs([experiment_id], f"tags.`{_NAME_TAG}` = '{run.name}'", max_results=1)
    if named:
        return named[0].info.run_id
    return client.create_run(experiment_id, run_name=run.name, tags={_NAME_TAG: run.name}).info.run_id


def _measurements(run: Run) -> list[tuple[str, float, int, int]]:
    """(name, value, step, milliseconds since 1970) of all measurements; the test metrics are at the last step."""
    rows, _ = run.read_metrics()
    measurements = []
    for row in rows:
        prefix = "epoch." if row.get("kind") == "epoch" else "step."
        measurements += [
            (prefix + name, float(value), int(row["step"]), int(1000 * row.get("time", 0)))
            for name, value in row.items()
            if name not in _NOT_METRICS and isinstance(value, int | float)
        ]
    metrics = (run.report() or {}).get("figures")
    if metrics and measurements:
        _, _, step, milliseconds = measurements[-1]
        measurements += [
            (f"test.{name}", float(metrics[name]), step, milliseconds) for name in ("accuracy", "balanced_accuracy")
        ]
    return measurements


@command
def main(arguments: list[str] | None = None) -> int:
    """Copy runs from the command line."""
    parser = argparse.ArgumentParser(description="Copy run folders to an MLflow server.")
    parser.add_argument(
        "runs", type=path_argument, nargs="*", help=f"folders of runs (all in {settings.runs_folder()})"
    )
    parser.add_argument("--server", required=True, help="address, such as http://127.0.0.1:5000")
    parser.add_argument("--experiment", default=EXPERIMENT, help=f"MLflow experiment (default: {EXPERIMENT})")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="keep copying, every so many seconds")
    options = parser.parse_args(arguments)
    client = connect(options.server)
    while True:
        for run in [Run(folder) for folder in options.runs] or list_runs():
            added = mirror(client, run, experiment=options.experiment)
            print(f"{run.name}: {jobs.status(run)}, {added} measurements added", flush=True)
        if not options.watch:
            return 0
        time.sleep(options.watch)


if __name__ == "__main__":
    sys.exit(main())
