"""Training runs on an existing Ray cluster, through its Jobs REST API; the app needs no ray package.

$KIDNEY_RAY_ADDRESS is the dashboard's address (http://HOST:8265) and $KIDNEY_RAY_TOKEN its token, where it asks for one.
Runs and data are in folders that app and cluster share under the same path. So is this code in a checkout; a wheel has to
be installed on the cluster as well. $KIDNEY_RAY_PYTHON names the cluster's Python where it is not "python".

Source: Ray Jobs REST API, docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html.
"""

import json
import os
import shlex
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from kidney_core.common import child_process, settings
from kidney_core.common.errors import RunError
from kidney_core.runs import run_lock
from kidney_core.runs.run_folder import CANCEL_FILE, FAILED, QUEUED, STOPPED, Run, list_runs

_PENDING, _RUNNING = "PENDING", "RUNNING"
_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 10.0
_CACHE_S = 2.0
_PASSED_ON = ("KIDNEY_CACHE", "KIDNEY_CACHE_GB", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")


class RayEngine:
    """Jobs on a Ray cluster."""

    name, title = "ray", "Ray cluster"

    def __init__(self) -> None:
        self._answers: dict[str, tuple[float, str | None]] = {}

    def is_available(self) -> bool:
        """Where $KIDNEY_RAY_ADDRESS names a cluster."""
        return bool(settings.RAY_ADDRESS.value())

    def submit(self, run: Run, lock: int) -> None:
        """Submit a run to the cluster, which starts it when processors or GPUs are free.

        The job waits for the run's lock, which this process leaves once the cluster has answered.

        Raises: RunError when the cluster cannot be reached or refuses; the run is then "failed" with the message.
        """
        python = settings.RAY_PYTHON.value() or settings.RAY_PYTHON.default
        folder = run.folder.resolve()
        job_id = f"kidney-{run.name}-{uuid.uuid4().hex[:6]}"
        variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        job = {
            "submission_id": job_id,
            "entrypoint": shlex.join([python, "-m", "kidney_core.engines.ray_entry", str(folder), str(Path.cwd())]),
            "runtime_env": {"env_vars": {**variables, **child_process.import_variables()}},
            "metadata": {"run": run.name},
        }
        (run.folder / CANCEL_FILE).unlink(missing_ok=True)
        run.write_job(self.name, job_id, submitted_at=time.time_ns())
        run.write_state(QUEUED, **run.standing())
        try:
            _ask("/api/jobs/", job)
        except RunError as error:
            run.write_state(FAILED, **{**run.standing(), "message": str(error)})
            raise

    def status(self, run: Run) -> str:
        """The state of a run; "crashed" where it says queued or running but its job on the cluster has ended."""
        return run_lock.status(run, is_alive_elsewhere=lambda: self._job_status(run) in (_PENDING, _RUNNING, None))

    def cancel(self, run: Run) -> None:
        """Ask a job to stop with a checkpoint; a waiting job, or one that was asked ten seconds before, is ended.

        Raises: RunError when the cluster cannot be reached.
        """
        cancel = run.folder / CANCEL_FILE
        is_waiting = run.state()["state"] == QUEUED
        # A request from the future was written before the clock was set back.
        again = cancel.exists() and not 0 <= time.time() - cancel.stat().st_mtime <= _STOP_TIMEOUT_S
        if not cancel.exists():
            cancel.touch()  # Ray Train's workers get no signal: they look for this file
        if is_waiting or again:
            _ask(f"/api/jobs/{run.job()['job_id']}/stop", {})
        if is_waiting or self.status(run) == STOPPED:
            run.write_state(STOPPED, **run.standing())

    def queue_place(self, run: Run) -> int | None:
        """The place among the runs of the same folder that wait for the cluster."""
        if run.state()["state"] != QUEUED:
            return None
        submitted = run.job().get("submitted_at", 0)
        jobs = [other.job() for other in list_runs(run.folder.parent) if other.state()["state"] == QUEUED]
        return 1 + sum(job.get("engine") == self.name and job.get("submitted_at", 0) < submitted for job in jobs)

    def _job_status(self, run: Run) -> str | None:
        """The cluster's PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED; None where it does not answer."""
        job_id = run.job().get("job_id", "")
        updated_at, answer = self._answers.get(job_id, (0.0, None))
        if time.monotonic() - updated_at > _CACHE_S:
            try:
                answer = _ask(f"/api/jobs/{job_id}").get("status")
            except _NotThere:
                answer = STOPPED  # the cluster was restarted and does not know the job
            except RunError:
                answer = None
            self._answers[job_id] = time.monotonic(), answer
        return answer


class _NotThere(RunError):
    """The cluster has no such job."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another server."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


def _ask(path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """The response to a GET, or to a POST of `content`. Raises RunError where the cluster does not answer or refuses."""
    address = settings.RAY_ADDRESS.value().rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise RunError(
            f"KIDNEY_RAY_ADDRESS must be the address of a Ray dashboard, http://HOST:8265; it is “{address}”."
        )
    request = urllib.request.Request(
        address + path,
        data=None if content is None else json.dumps(content).encode(),
        headers={"Content-Type": "application/json"},
    )
    token = settings.RAY_TOKEN.value()
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read() or "{}")
    except urllib.error.HTTPError as error:
        reason = error.read(2000).decode(errors="replace").strip().splitlines()
        if error.code == 404 and content is None:
            raise _NotThere(f"The Ray cluster at {address} has no such job.") from error
        hint = "Set KIDNEY_RAY_TOKEN to its token." if error.code in (401, 403) else "Look at its dashboard."
        message = reason[-1][:300] if reason else error.reason
        raise RunError(f"The Ray cluster at {address} refused ({error.code}: {message}). {hint}") from error
    except (OSError, ValueError) as error:
        raise RunError(
            f"The Ray cluster at {address} cannot be reached ({error}). Check KIDNEY_RAY_ADDRESS, and that it runs."
        ) from error
