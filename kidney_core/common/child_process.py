"""How this package starts Python processes that import it too, from a checkout or a wheel, in any working directory.

A child inherits the working directory, so that relative paths mean the same to it. It never imports from there: a file of
the user's named torch.py must not be run.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

from kidney_core.common import settings

_started: list[subprocess.Popen[bytes]] = []
_BARE = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "VIRTUAL_ENV")


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package; start it with `environment()`."""
    return [sys.executable, "-m", module, *arguments]


def start_detached(
    module: str, *arguments: str, output: IO[bytes], keeps: tuple[int, ...], variables: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one.

    Args:
        output: takes what it prints.
        keeps: descriptors that it inherits, such as of a lock, which is then held without a gap.
        variables: as of `environment`.

    Raises: OSError.
    """
    process = subprocess.Popen(
        python_command(module, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=keeps,
        env=environment({"PYTHONUNBUFFERED": "1", **(variables or {})}),
    )
    # poll() lets the system forget processes that ended: no zombies in a long-lived app.
    _started[:] = [each for each in _started if each.poll() is None] + [process]
    return process


def environment(
    variables: Mapping[str, str] | None = None, *, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of a Python child that finds this package.

    Args:
        variables: of the child's own; they win over inherited ones.
        inherited: this process's environment by default.
    """
    inherited = os.environ if inherited is None else inherited
    return {**inherited, **import_variables(inherited.get("PYTHONPATH", "")), **(variables or {})}


def bare_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child that reads hostile files: what Python needs to start, and no tokens."""
    return environment(variables, inherited={name: os.environ[name] for name in _BARE if name in os.environ})


def import_variables(python_path: str = "") -> dict[str, str]:
    """The variables by which Python finds this package: a checkout is put before `python_path`, a wheel is installed."""
    variables = {"PYTHONSAFEPATH": "1"}  # no import from the working directory, see `python -P`
    folders = [folder for folder in python_path.split(os.pathsep) if folder]
    if settings.CHECKOUT and str(settings.CHECKOUT) not in folders:
        folders.insert(0, str(settings.CHECKOUT))
    if folders:
        variables["PYTHONPATH"] = os.pathsep.join(folders)
    return variables
