"""Point 12: a disk that is full, and one that is read-only, as real mounts that nobody else sees:

unshare --mount --map-root-user python -m tests.hardness.disks full|read-only
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from kidney_core.engines import housekeeping, jobs
from kidney_core.runs import run_folder
from kidney_core.runs.run_folder import FAILED, FINISHED, Run
from tests.conftest import ROOT
from tests.hardness import workplace
from tests.hardness.table import Figures, NotMeasured, Options
from tests.hardness.workplace import Found, Workplace

_APART = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
_PIXELS_BEYOND = {"image_size_px": 224, "n_epochs": 1}  # 3 MB of decoded pixels


def measure_full(_options: Options) -> Figures:
    """The disk of the runs is full in the middle of a training, and that of the cache while pixels are decoded."""
    return _measure_apart("full")


def measure_read_only(_options: Options) -> Figures:
    """Everything that writes to a folder of runs, and a training whose cache cannot be written."""
    return _measure_apart("read-only")


def _measure_apart(what: str) -> Figures:
    """Raises: NotMeasured where this user may not mount anything."""
    with tempfile.TemporaryDirectory() as folder:
        may_mount = [*_APART, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        try:
            subprocess.run(may_mount, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", "") or str(error)
            raise NotMeasured(f"no file system can be mounted here ({reason.strip()})") from error
    done = subprocess.run(
        [*_APART, sys.executable, "-m", "tests.hardness.disks", what], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _mount(folder: Path, options: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


def _remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def _fill(folder: Path) -> Path:
    """A file that takes the last block of a disk."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def _other(place: Workplace) -> Run:
    """A job whose runs are on a sound disk."""
    with mock.patch.dict(os.environ, KIDNEY_RUNS=f"{place.folder}/elsewhere"):
        run = place.run("elsewhere", n_epochs=2)
    jobs.submit(run)
    return run


def _check_others(found: Found, other: Run, *listed: Run) -> None:
    """The job elsewhere finishes, and the runs on the disk are listed and told of."""
    names = {run.name for run in run_folder.list_runs()}
    found.check("others_failed", names == {run.name for run in listed}, f"{names} are listed")
    for run in listed:
        found.check("others_failed", not workplace.refusal(lambda run=run: jobs.message(run)), run.name)
    ended = workplace.wait_for(lambda: workplace.is_over(other))
    found.check("others_failed", ended and jobs.status(other) == FINISHED, jobs.message(other))


def full(place: Workplace) -> Figures:
    found, disk = Found(), place.folder / "disk"
    _mount(disk, "size=24m")
    with workplace.runs_in(disk / "runs"):
        run, waiting = place.run("full"), place.run("waiting")
        jobs.submit(run)
        found.check("not_resumed", workplace.wait_for(lambda: workplace.trains(run)), run.log_tail())
        ballast, other = _fill(disk), _other(place)
        workplace.wait_for(lambda: workplace.is_over(run))
        found.check("unclear", jobs.status(run) == FAILED, jobs.status(run))
        found.check_clear(jobs.message(run), str(disk), "disk", "full")
        workplace.check_folder(found, run)
        left = [path.name for path in run.folder.glob(".*.tmp")]
        found.check("corrupt", not left, f"{left} fill the disk further")
        for refused in (lambda: jobs.submit(run), lambda: jobs.submit(waiting), lambda: place.run("new")):
            found.check_clear(workplace.refusal(refused), str(disk), "full")
        _check_others(found, other, run, waiting)
        ballast.unlink()
        workplace.check_resumes(found, run)
    _with_cache(found, place, "size=1m", "size=24m", "full")
    return found.figures("unclear", "corrupt", "others_failed", "not_resumed", resumed=found.counted["resumed"])


def _with_cache(found: Found, place: Workplace, before: str, after: str, said: str) -> None:
    """A training whose cache is on a disk of its own, which is mended before it resumes."""
    cache = place.folder / f"cache-{said}"
    _mount(cache, before)
    with mock.patch.dict(os.environ, KIDNEY_CACHE=str(cache)):
        run = place.run(f"cache-{said}", **_PIXELS_BEYOND)
        jobs.submit(run)
        workplace.wait_for(lambda: workplace.is_over(run))
        found.check("unclear", jobs.status(run) == FAILED, jobs.status(run))
        found.check_clear(jobs.message(run), str(cache), said)
        found.check("corrupt", not list(cache.glob(".*.tmp")), f"{os.listdir(cache)} in the cache")
        _remount(cache, after)
        workplace.check_resumes(found, run, **_PIXELS_BEYOND)


def read_only(place: Workplace) -> Figures:
    found, disk = Found(), place.folder / "disk"
    _mount(disk, "size=24m")
    with workplace.runs_in(disk / "runs"):
        run, crashed = place.run("run"), place.run("crashed")
        run.write_state("stopped")
        crashed.write_state("running", step=1)
        _remount(disk, "ro")
        other = _other(place)
        for refused in (
            lambda: place.run("new"),
            lambda: jobs.submit(run),
            lambda: jobs.cancel(run),
            lambda: housekeeping.write_note(run, "a note", ""),
            lambda: housekeeping.archive(run),
            lambda: housekeeping.rename(run, "other"),
            lambda: housekeeping.delete(run),
            lambda: _resume_by_hand(run),
        ):
            found.check_clear(workplace.refusal(refused), str(disk), "(?i)read-only")
        found.check_clear(jobs.message(crashed), str(disk), "read-only")
        _check_others(found, other, run, crashed)
        _remount(disk, "rw")
        workplace.check_resumes(found, run)
    _with_cache(found, place, "size=24m,ro", "rw", "read-only")
    return found.figures("unclear", "corrupt", "others_failed", "not_resumed", resumed=found.counted["resumed"])


def _resume_by_hand(run: Run) -> None:
    """Raises what the command line says, if it is one sentence."""
    done = subprocess.run(
        [sys.executable, "train.py", "--resume", str(run.folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    said = done.stderr.strip()
    if done.returncode != 1 or not said.startswith("error: ") or "\n" in said:
        raise RuntimeError(f"exit status {done.returncode}, {said[-200:]}")
    raise run_folder.RunError(said.removeprefix("error: "))


WHAT: dict[str, Callable[[Workplace], Figures]] = {"full": full, "read-only": read_only}


if __name__ == "__main__":
    with workplace.workplace() as here:
        print(json.dumps(WHAT[sys.argv[1]](here)), flush=True)
        for mounted in here.folder.glob("*/"):
            subprocess.run(["umount", "--lazy", mounted], stderr=subprocess.DEVNULL, check=False)
