"""Files written atomically, so that a killed process leaves no half file; CSV tables with text columns kept as text."""

import errno
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kidney_core.common import os_errors

if TYPE_CHECKING:
    import pandas as pd

_LEFTOVER_AGE_S = 24 * 3600
# Always text, since a class may be called "1", "None" or "True".
_TEXT_COLUMNS = ("path", "label", "predicted", "sha256", "part", "plane")


def split_paths(text: str) -> list[str]:
    """The paths in a text that separates them like $PATH, without surrounding blanks."""
    return [path.strip() for path in text.split(os.pathsep) if path.strip()]


def natural_key(path: str) -> tuple[int | str, ...]:
    """Sort key that puts `Cyst- (2).jpg` before `Cyst- (10).jpg`."""
    return tuple(int(part) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", path))


def write_atomically(path: Path, write: Callable[[Path], object], *, durable: bool = False) -> None:
    """Replace a file in one step: `write` fills a temporary file beside it, which is then renamed to `path`.

    Any number of threads and processes may write the same file; the last one wins.

    Args:
        write: called with the path of the temporary file.
        durable: wait until the bytes are on the disk, which survives a power cut; a killed process needs no wait.

    Raises: OSError, which names `path`; the previous file is then unchanged, and the temporary one is gone.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        write(partial)
        if durable:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno and error.filename in (None, str(partial)):  # for a failed write the system names no file
            error.filename = str(path)
        raise
    except Exception as error:
        system_error = os_errors.system_error(error)
        if system_error is None:
            raise
        system_error.filename = str(path)
        raise system_error from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder in one step: the block fills a hidden one beside it, which is then renamed to `folder`.

    Raises: FileExistsError where `folder` has files already; OSError. The hidden folder is then gone.
    """
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
    partial.mkdir(parents=True)
    try:
        yield partial
        try:
            partial.rename(folder)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder)) from error
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step. Raises OSError as `write_atomically`."""
    write_atomically(path, lambda partial: partial.write_text(_as_json(value), encoding="utf-8"))


def overwrite_json(path: Path, value: Any) -> None:
    """Overwrite a small JSON file in its own blocks, which works on a full disk.

    It is a single write within one block, so a reader sees either the old or the new content. Raises OSError.
    """
    with path.open("r+b", buffering=0) as file:
        # Padded to the old size: JSON may end in blanks.
        content = _as_json(value).encode().ljust(os.fstat(file.fileno()).st_size)
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def read_table(source: Path | BytesIO) -> "pd.DataFrame":
    """Read a CSV file of slices; columns of names stay text, even "1" or "NA"."""
    import pandas as pd  # here, since a queued job does not need its 40 MB

    header = pd.read_csv(source, nrows=0).columns
    if isinstance(source, BytesIO):
        source.seek(0)
    # A converter keeps "NA" and "None" as text in these columns only; elsewhere they are missing numbers.
    return pd.read_csv(source, converters={name: str for name in _TEXT_COLUMNS if name in header})


def remove_leftovers(folder: Path, *, is_abandoned: Callable[[str], bool] = lambda _name: False) -> None:
    """Delete temporary files and folders of killed writers from a folder once they are a day old: younger ones may be in use.

    Args:
        is_abandoned: called with the name of the target file; True where no living process writes it, so that its
            temporary files are deleted at once.
    """
    for partial in folder.glob(".*.tmp"):
        target = partial.name[1:].rsplit(".", 2)[0]  # the naming scheme of write_atomically and new_folder
        try:
            if is_abandoned(target) or time.time() - partial.stat().st_mtime > _LEFTOVER_AGE_S:
                remove = shutil.rmtree if partial.is_dir() else Path.unlink
                remove(partial)
        except FileNotFoundError:  # deleted by another process
            continue
