"""Files that are whole or not there, whoever is killed while writing, and tables whose words stay words."""

import errno
import json
import os
import time
import uuid
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kidney_core import shortage

if TYPE_CHECKING:
    import pandas as pd

_SECONDS_BEFORE_LEFT_OVER = 24 * 3600
# Columns of names: a class called "1", "None" or "True" is a word.
_WORDS = ("path", "label", "predicted", "sha256", "part", "plane")


def listed_paths(text: str) -> list[str]:
    """The paths of a text that separates them as $PATH does; blanks around them do not count."""
    return [path.strip() for path in text.split(os.pathsep) if path.strip()]


def write_whole(path: Path, write: Callable[[Path], None], *, survives_power_cut: bool = False) -> None:
    """Replace a file in one step: `write` fills a file beside it, which then takes its place.

    Any number of threads and processes may write the same file; the last one wins.

    Args:
        survives_power_cut: wait until the bytes are on the disk; a kill needs no such wait.

    Raises: OSError, which names `path`; the file that was there before is then there still, and nothing beside it.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        write(partial)
        if survives_power_cut:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno and error.filename in (None, str(partial)):  # where a write fails, the system names no file
            error.filename = str(path)
        raise
    except Exception as error:
        refused = shortage.system_error(error)
        if refused is None:
            raise
        refused.filename = str(path)
        raise refused from error
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    write_whole(path, lambda partial: partial.write_text(_as_json(value)))


def overwrite_json(path: Path, value: Any) -> None:
    """Replace what a small JSON file holds, in the place it takes already: a full disk has no other.

    It is one write within one block, of which a reader sees all or nothing.
    """
    with path.open("r+b", buffering=0) as file:
        content = _as_json(value).encode().ljust(os.fstat(file.fileno()).st_size)  # JSON may end in blanks
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def read_table(source: Path | BytesIO) -> "pd.DataFrame":
    """Read a CSV file of slices; the columns of names are text, whatever they look like."""
    import pandas as pd  # a job that waits for its turn needs none of its 40 MB

    header = pd.read_csv(source, nrows=0).columns
    if isinstance(source, BytesIO):
        source.seek(0)
    # A converter keeps "NA" and "None" as they stand, without doing so for missing numbers.
    return pd.read_csv(source, converters={name: str for name in _WORDS if name in header})


def remove_left_over(folder: Path, *, nobody_writes: Callable[[str], bool] = lambda _name: False) -> None:
    """Delete what writers that were killed left in a folder: after a day, as they may be alive.

    Args:
        nobody_writes: True of the name of a file that no living process writes; its remains go at once.
    """
    for partial in folder.glob(".*.tmp"):
        target = partial.name[1:].rsplit(".", 2)[0]  # as write_whole names it
        try:
            if nobody_writes(target) or time.time() - partial.stat().st_mtime > _SECONDS_BEFORE_LEFT_OVER:
                partial.unlink()
        except FileNotFoundError:  # another process was faster
            continue
