"""Training runs on an existing Slurm cluster, through sbatch, squeue and scancel.

Runs, data and this code (a checkout, or the environment of a wheel) are in folders that all nodes share. $KIDNEY_SLURM_NODES is the number of nodes (1), over which
a run's processes are spread evenly; $KIDNEY_SLURM_OPTIONS are further options of sbatch, such as
"--partition=gpu --gpus-per-node=2 --time=08:00:00".

Two minutes before the time limit the workers get SIGTERM: they write a checkpoint, and the job puts itself back into the
queue and goes on from there. A node that fails puts the job back as well (--requeue).

Source: sbatch(1), squeue(1), scancel(1) of Slurm 22.05.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from kidney_core.common import child_process, settings
from kidney_core.common.errors import RunError
from kidney_core.runs import launch, run_lock
from kidney_core.runs.run_folder import CANCEL_FILE, FAILED, QUEUED, RUNNING, STOPPED, Run

_SECONDS_TO_SAVE = 120
_TIMEOUT_S = 20.0
_CACHE_S = 2.0
_PENDING = "PENDING"

# Fed to sbatch on standard input. The first node's agent is where the others meet; Slurm numbers jobs, and so ports.
_SCRIPT = """#!/bin/sh
[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"  # srun does not take it over
export {variables}
export {logged}=1 OMP_NUM_THREADS="${{OMP_NUM_THREADS:-$(( (${{SLURM_CPUS_PER_TASK:-1}} + {per_node} - 1) / {per_node} ))}}"
port=$((20000 + SLURM_JOB_ID % 10000))
srun --kill-on-bad-exit=1 {python} -m torch.distributed.run \\
  --nnodes={n_nodes} --nproc-per-node={per_node} \\
  --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$(hostname):$port" \\
  -m {module} --resume {run}
exec {python} -m kidney_core.engines.slurm_engine {run}
"""


class SlurmEngine:
    """Jobs on a Slurm cluster."""

    name, title = "slurm", "Slurm cluster"

    def __init__(self) -> None:
        self._listed: tuple[int, dict[str, str] | None] = (0, {})  # when, in nanoseconds since 1970, and `_jobs`

    def is_available(self) -> bool:
        """Where sbatch is installed."""
        return shutil.which("sbatch") is not None

    def submit(self, run: Run, lock: int) -> None:
        """Submit a run to the cluster's queue; the job waits for the run's lock, which this process leaves at the end.

        Raises: RunError when sbatch refuses, or the processes cannot be spread evenly; the run is then "failed" with the
        message.
        """
        (run.folder / CANCEL_FILE).unlink(missing_ok=True)
        run.write_job(self.name, submitted_at=time.time_ns())
        run.write_state(QUEUED, **run.standing())
        try:
            job_id = _call(["sbatch", "--parsable", *_options(run)], _script(run)).split(";")[0].strip()
        except RunError as error:
            run.write_state(FAILED, **{**run.standing(), "message": str(error)})
            raise
        run.write_job(self.name, job_id, submitted_at=time.time_ns())  # later than any listing without the job

    def status(self, run: Run) -> str:
        """The state of a run; "crashed" where it says queued or running and Slurm has no such job."""
        listed = self._jobs(after=run.job().get("submitted_at", 0))
        job_state = None if listed is None else listed.get(run.job().get("job_id", ""))
        # Where the queue cannot be read, the run is not taken for crashed.
        status = run_lock.status(run, is_alive_elsewhere=lambda: listed is None or job_state is not None)
        return QUEUED if status == RUNNING and job_state == _PENDING else status  # a failed node put it back

    def cancel(self, run: Run) -> None:
        """End a job: its processes get SIGTERM, write a checkpoint, and are killed after Slurm's KillWait.

        Raises: RunError when Slurm does not answer.
        """
        is_waiting = self.status(run) == QUEUED
        (run.folder / CANCEL_FILE).touch()
        _call(["scancel", run.job()["job_id"]])
        self._listed = 0, {}
        if is_waiting or self.status(run) == STOPPED:
            run.write_state(STOPPED, **run.standing())

    def queue_place(self, run: Run) -> int | None:
        """The place among all jobs that wait in the cluster's queue, by their priority."""
        if run.state()["state"] != QUEUED:
            return None
        try:
            listed = _call(["squeue", "--noheader", "--states=PENDING", "--sort=-p,i", "--format=%i"]).split()
        except RunError:
            return None
        job_id = run.job().get("job_id")
        return listed.index(job_id) + 1 if job_id in listed else None

    def _jobs(self, *, after: int) -> dict[str, str] | None:
        """Number and state of this user's jobs that wait or run; None where the queue cannot be read.

        Args:
            after: the listing must be from after this time, in nanoseconds since 1970.
        """
        listed_at, listed = self._listed
        now = time.time_ns()
        if listed_at <= after or not 0 <= now - listed_at <= _CACHE_S * 1e9:  # the clock may have been set back
            try:
                lines = _call(["squeue", "--me", "--noheader", "--format=%i %T"]).splitlines()
                listed = dict(line.split(maxsplit=1) for line in lines if " " in line)
            except RunError:
                listed = None
            self._listed = now, listed
        return listed


def _n_nodes(n_processes: int) -> int:
    """How many nodes a run takes. Raises RunError where its processes cannot be spread evenly."""
    nodes = settings.SLURM_NODES.value() or settings.SLURM_NODES.default
    if not nodes.isdigit() or int(nodes) < 1 or n_processes % int(nodes):
        raise RunError(
            f"{n_processes} processes cannot be spread evenly over “{nodes}” nodes. Change KIDNEY_SLURM_NODES, or n_processes."
        )
    return int(nodes)


def _options(run: Run) -> list[str]:
    """Options of sbatch; the user's own come last and win."""
    return [
        f"--job-name=kidney-{run.name}",
        f"--nodes={_n_nodes(run.config().n_processes)}",
        "--ntasks-per-node=1",
        f"--chdir={Path.cwd()}",
        f"--output={str(run.folder.resolve() / 'log.txt').replace('%', '%%')}",
        "--open-mode=append",
        "--requeue",
        f"--signal=TERM@{_SECONDS_TO_SAVE}",
        *shlex.split(settings.SLURM_OPTIONS.value()),
    ]


def _script(run: Run) -> str:
    """The batch script, with every value quoted: the name of a folder is never run as a command."""
    n_processes = run.config().n_processes
    per_node = n_processes // _n_nodes(n_processes)
    variables = child_process.import_variables(os.environ.get("PYTHONPATH", ""))
    return _SCRIPT.format(
        logged=launch.LOGGED,
        python=shlex.quote(sys.executable),
        n_nodes=n_processes // per_node,
        per_node=per_node,
        module=launch.TRAIN_MODULE,
        variables=" ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items()),
        run=shlex.quote(str(run.folder.resolve())),
    )


def _call(command: list[str], text: str | None = None) -> str:
    """The output of a Slurm command. Raises RunError with its message where it fails."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"Slurm's {command[0]} did not answer ({error}). Check that the cluster is up.") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        reason = lines[-1].removeprefix(f"{command[0]}: ").removeprefix("error: ").rstrip(".")
        raise RunError(f"Slurm's {command[0]} refused: {reason}. Check KIDNEY_SLURM_OPTIONS, and the cluster's queue.")
    return done.stdout


def main(arguments: list[str]) -> int:
    """The end of a job: a run that was stopped by a time limit, not by its user, goes back into the queue."""
    run = Run(Path(arguments[0]))
    state = run.state()["state"]
    if state == STOPPED and not (run.folder / CANCEL_FILE).exists():
        run.write_state(QUEUED, **run.standing())
        _call(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]])
        print(f"back into the queue: {run.folder}", flush=True)
    return 1 if state in (RUNNING, FAILED) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
