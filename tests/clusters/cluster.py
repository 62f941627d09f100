"""Real clusters of one machine for the tests: Ray with a token, and Slurm with two virtual nodes."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT

RAY_VENV = Path(os.environ.get("KIDNEY_RAY_VENV", ROOT / ".venv-ray"))


def wait_for(condition, seconds=120.0, what="the condition"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come true in {seconds:.0f} s")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def up_or_skip(cluster, name: str) -> Iterator[object]:
    """What a cluster yields; a machine on which it does not even start (no host name, no root) skips its tests."""
    try:
        given = cluster.__enter__()
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"a {name} cluster does not start on this machine: {error}")
    try:
        yield given
    finally:
        cluster.__exit__(None, None, None)


@contextmanager
def ray_cluster(*, token: str, n_cpus: int = 2) -> Iterator[str]:
    """A head node with token authentication; yields the dashboard's address."""
    port = free_port()
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets have short names
    environment = os.environ | {
        "PATH": f"{RAY_VENV}/bin:{os.environ['PATH']}",
        _MARK: folder,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    command = [f"{RAY_VENV}/bin/ray", "start", "--head", "--block", f"--num-cpus={n_cpus}", "--num-gpus=0"]
    command += ["--node-ip-address=127.0.0.1", f"--port={free_port()}", f"--dashboard-port={port}"]
    command += [f"--temp-dir={folder}", "--object-store-memory=100000000", "--disable-usage-stats"]
    with Path(folder, "start.txt").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_for(lambda: _answers(port), 120, f"a Ray dashboard on port {port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        _kill_marked(folder)
        head.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


_MARK = "KIDNEY_TEST_CLUSTER"


def _kill_marked(folder: str) -> None:
    """End every process that a cluster started, however it left its parents: they inherit a mark of this test's own."""
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(_MARK) == folder:
                process.kill()
        except psutil.Error:
            continue


def _answers(port: int) -> bool:
    with socket.socket() as caller:
        caller.settimeout(0.5)
        return caller.connect_ex(("127.0.0.1", port)) == 0


_SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=5,bf_interval=5
KillWait=20
MinJobAge=60
InactiveLimit=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=1 RealMemory=1000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=1 RealMemory=1000
PartitionName=test Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


@contextmanager
def slurm_cluster() -> Iterator[Path]:
    """munged, slurmctld and two slurmd without systemd; yields the configuration, which $SLURM_CONF has to name."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)
    for name in ("state", "n1", "n2"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    ports = {name: free_port() for name in ("controller", "first", "second")}
    configuration.write_text(_SLURM_CONF.format(host=socket.gethostname(), folder=folder, **ports), encoding="utf-8")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n", encoding="utf-8")
    environment = os.environ | {"SLURM_CONF": str(configuration), _MARK: str(folder)}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [f"--{name}={folder}/munged.{name[:3]}" for name in ("pid-file", "log-file", "seed-file")]
    commands = [munged, ["slurmctld", "-D"], *(["slurmd", "-D", "-N", name] for name in ("n1", "n2"))]
    started = []
    try:
        for command in commands:
            path = shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
            log = (folder / f"{command[0]}-{len(started)}.txt").open("wb")
            started.append(subprocess.Popen([path, *command[1:]], env=environment, stdout=log, stderr=log))
            log.close()
            if command is munged:
                wait_for((folder / "munge.socket").exists, 20, "munged's socket")
        wait_for(lambda: _n_idle(environment) == 2, 60, f"two idle nodes (logs in {folder})")
        yield configuration
    finally:
        _kill_marked(str(folder))
        for process in started:
            process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _n_idle(environment) -> int:
    command = ["sinfo", "--noheader", "--Node", "--states=idle", "--format=%N"]
    return len(subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.split())
