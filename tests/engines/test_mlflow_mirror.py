"""The mirror against a real MLflow server process, where MLflow is installed."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from benchmarks.browser import free_port
from kidney_core.common.errors import RunError
from kidney_core.engines import mlflow_mirror
from kidney_core.runs.run_folder import RUNNING
from tests.conftest import tiny_run

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed (make test-engines installs it)")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server with an empty store."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()
            break
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.3)
    yield address
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def history(client, run_id, key):
    return [(each.step, each.value) for each in client.get_metric_history(run_id, key)]


def only_run(client):
    experiment = client.get_experiment_by_name(mlflow_mirror.EXPERIMENT)
    (found,) = client.search_runs([experiment.experiment_id])
    return found


def test_mirroring_again_adds_only_what_is_new_and_a_dead_run_is_killed(server, small_dataset):
    run = tiny_run(small_dataset)
    for step in range(1, 1201):
        run.append_metrics({"kind": "step", "step": step, "epoch": 1, "train_loss": 1 / step})
    run.write_state(RUNNING, step=1200)  # nobody holds its lock: it is dead
    client = mlflow_mirror.connect(server)
    assert mlflow_mirror.mirror(client, run) == 1200
    assert mlflow_mirror.mirror(client, run) == 0
    run.append_metrics({"kind": "epoch", "step": 1200, "epoch": 1, "train_loss": 0.5, "validation_accuracy": 0.7})
    assert mlflow_mirror.mirror(client, run) == 2
    there = only_run(client)
    assert there.info.status == "KILLED"
    assert there.data.params["architecture"] == run.config().architecture
    assert there.data.tags["kidney_ct.state"] == "crashed"
    steps = history(client, there.info.run_id, "step.train_loss")
    assert sorted(steps) == [(step, pytest.approx(1 / step)) for step in range(1, 1201)]
    assert history(client, there.info.run_id, "epoch.validation_accuracy") == [(1200, 0.7)]


def test_the_command_mirrors_all_runs(server, small_dataset, capsys):
    tiny_run(small_dataset, "another").append_metrics({"kind": "step", "step": 1, "epoch": 1, "train_loss": 2.0})
    assert mlflow_mirror.main(["--server", server]) == 0
    assert "another: crashed, 1 measurements added" in capsys.readouterr().out


def test_connect__error_no_server(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RunError, match="does not answer"):
        mlflow_mirror.connect(f"http://127.0.0.1:{free_port()}")
