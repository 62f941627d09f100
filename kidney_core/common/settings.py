"""Every setting of the workbench: an environment variable, its default and its meaning, in one table.

`kidney-ct settings` prints the table with the values in force.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from kidney_core.common.entry_point import command
from kidney_core.common.errors import KidneyError, PathError

_PACKAGE = Path(__file__).resolve().parent.parent
_IS_CHECKOUT = (_PACKAGE.parent / "pyproject.toml").is_file() and not (_PACKAGE / "shipped").exists()
CHECKOUT = _PACKAGE.parent if _IS_CHECKOUT else None  # None where a wheel is installed, which holds shipped/
FINDER_FOLDER = "kidney-finder"  # among the checkpoints, but of another kind: see kidneys.finder
SHIPPED_CHECKPOINTS = CHECKOUT / "checkpoints" if CHECKOUT else _PACKAGE / "shipped" / "checkpoints"


@dataclass(frozen=True)
class Setting:
    """An environment variable.

    Attributes:
        name: of the variable.
        default: the value without it, in words where it is computed.
        meaning: what it sets, in a sentence.
    """

    name: str
    default: str
    meaning: str

    def value(self) -> str:
        """The value in the environment without surrounding blanks; "" where it is not set."""
        return os.environ.get(self.name, "").strip()

    def is_set(self) -> bool:
        """Whether the environment has the variable, if only as an empty one."""
        return self.name in os.environ

    def path(self) -> Path | None:
        """The value as a path without “~”; None where it is not set. Raises PathError for the home of an unknown user."""
        try:
            return Path(self.value()).expanduser() if self.value() else None
        except RuntimeError as error:
            raise PathError(
                f"{self.name} is “{self.value()}”, and this machine has no such user. Correct the setting."
            ) from error


def gigabytes_in_bytes(setting: Setting, text: str, *, error: type[KidneyError], example: int) -> int:
    """The bytes of a text that gives gigabytes (10^9 bytes).

    Args:
        setting: which the text is of.
        error: raised where it is not a number above 0; `example` is a value to set instead.
    """
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = -1.0
    if not 0 < gigabytes < float("inf"):
        raise error(
            f"{setting.name} is “{text}”, which is not a number above 0. Set it to gigabytes, such as {example}."
        )
    return int(gigabytes * 1e9)


HOME = Setting(
    "KIDNEY_HOME",
    "the checkout; with an installed package, ~/.local/share/kidney-ct",
    "Folder that holds runs/, checkpoints/, and what class names stand for.",
)
RUNS = Setting("KIDNEY_RUNS", "runs in KIDNEY_HOME", "Folder of the training runs.")
CHECKPOINTS = Setting(
    "KIDNEY_CHECKPOINTS",
    "checkpoints in KIDNEY_HOME, and those of the installed package",
    "Folder of the published checkpoints.",
)
CACHE = Setting(
    "KIDNEY_CACHE", "~/.cache/kidney-ct", "Folder of data that can be computed again, such as decoded pixels."
)
CACHE_GB = Setting("KIDNEY_CACHE_GB", "20", "Largest size of that folder in gigabytes (10⁹ bytes).")
DATA_ROOTS = Setting(
    "KIDNEY_DATA_ROOTS",
    "everything, on your own machine only",
    "Folders inside which a user may choose data, separated as in $PATH.",
)
UPLOADS_GB = Setting(
    "KIDNEY_UPLOADS_GB",
    "a quarter of the memory, at least twice maxUploadSize",
    "Gigabytes (10⁹ bytes) that the uploads of all visitors together may take.",
)
AUDIT_LOG = Setting(
    "KIDNEY_AUDIT_LOG", "no log", "File to which every diagnosis, training job and publication is logged."
)
ROLES = Setting("KIDNEY_ROLES", "logged-in users may only view", "TOML file that gives users their roles.")
ENGINE = Setting("KIDNEY_ENGINE", "local", "Engine of new training jobs: local, ray or slurm.")
SLOTS = Setting(
    "KIDNEY_SLOTS", "one per GPU, or 1", "Number of training jobs that run at the same time on this machine."
)
RAY_ADDRESS = Setting("KIDNEY_RAY_ADDRESS", "no Ray cluster", "Address of a Ray dashboard, such as http://HOST:8265.")
RAY_TOKEN = Setting("KIDNEY_RAY_TOKEN", "none", "Token of that dashboard.")
RAY_PYTHON = Setting("KIDNEY_RAY_PYTHON", "python", "Python interpreter on the Ray cluster.")
SLURM_NODES = Setting("KIDNEY_SLURM_NODES", "1", "Number of Slurm nodes that a training job is spread over.")
SLURM_OPTIONS = Setting("KIDNEY_SLURM_OPTIONS", "none", "More options for sbatch.")

SETTINGS = (
    *(HOME, RUNS, CHECKPOINTS, CACHE, CACHE_GB, DATA_ROOTS, UPLOADS_GB, AUDIT_LOG, ROLES, ENGINE, SLOTS),
    *(RAY_ADDRESS, RAY_TOKEN, RAY_PYTHON, SLURM_NODES, SLURM_OPTIONS),
)


def home() -> Path:
    """The folder of runs and checkpoints by default: $KIDNEY_HOME, the checkout, or the user's data folder."""
    users_data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return HOME.path() or CHECKOUT or users_data / "kidney-ct"


def runs_folder() -> Path:
    """The folder of the training runs: $KIDNEY_RUNS, or runs in the home folder."""
    return RUNS.path() or home() / "runs"


def checkpoints_folder() -> Path:
    """The folder that new checkpoints are published to: $KIDNEY_CHECKPOINTS, or checkpoints in the home folder."""
    return CHECKPOINTS.path() or home() / "checkpoints"


def checkpoint_folders() -> tuple[Path, ...]:
    """The folders searched for checkpoints: `checkpoints_folder`, then the shipped ones unless the folder is set."""
    own = checkpoints_folder()
    return (own,) if CHECKPOINTS.value() or own == SHIPPED_CHECKPOINTS else (own, SHIPPED_CHECKPOINTS)


def cache_folder() -> Path:
    """The folder of derived data: $KIDNEY_CACHE, or kidney-ct in the user's cache folder. It may not exist yet."""
    return CACHE.path() or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kidney-ct"


@command
def main(arguments: list[str] | None = None) -> int:
    """Print every setting with its value in force."""
    argparse.ArgumentParser(description="Print every setting with the value in force.").parse_args(arguments)
    folders = {HOME: home(), RUNS: runs_folder(), CHECKPOINTS: checkpoints_folder(), CACHE: cache_folder()}
    for setting in SETTINGS:
        is_secret = setting is RAY_TOKEN and setting.value()
        value = "(set)" if is_secret else str(folders.get(setting) or setting.value() or f"({setting.default})")
        print(f"{setting.name:22} {value}\n{'':22} {setting.meaning} Default: {setting.default}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
