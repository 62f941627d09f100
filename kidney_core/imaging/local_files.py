"""A folder or file of this machine -> its files, of which only the first bytes are read; the rest when a slice is needed."""

import functools
import io
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from kidney_core.common import allowed_paths
from kidney_core.common.errors import PathError, UnreadableSlice
from kidney_core.common.files import natural_key
from kidney_core.imaging import archive, slices
from kidney_core.imaging.archive import CheckedFile, Member
from kidney_core.imaging.file_content import HEAD_BYTES, FileContent

MAX_FILES = 20_000  # below a folder; a study of several series has some thousands


def members(path: Path, roots: Sequence[Path] | None) -> Iterator[Member]:
    """The file at a path, or each file below a folder in the order of their names, without those that a system adds.

    Args:
        roots: no file is read outside of them, wherever a link leads by then; None where every path is allowed.

    Raises: PathError for a path that is not there, and for a folder with more than 20,000 files.
    """
    if path.is_dir():
        closed: list[OSError] = []
        for n_files, each in enumerate(_walk(path, closed), start=1):
            if n_files > MAX_FILES:
                raise PathError(
                    f"The folder “{path.name}” holds more than {MAX_FILES:,} files. Choose the folder of one study."
                )
            yield _member(each, each.relative_to(path).as_posix(), roots)
        for error in closed:
            name = Path(error.filename or path).name
            yield Member(name, problem=str(_not_opened(name, error)))
    elif path.exists():
        yield _member(path, path.name, roots)
    else:
        raise PathError(
            f"There is no folder or file “{path}” on this machine, or it may not be read. Check the spelling."
        )


def _walk(folder: Path, closed: list[OSError]) -> Iterator[Path]:
    """The files below a folder; linked folders too, each once. Folders that cannot be listed are added to `closed`."""
    visited = set()
    for name, folders, files in os.walk(folder, onerror=closed.append, followlinks=True):
        real = os.path.realpath(name)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted((each for each in folders if not archive.is_skipped(each)), key=natural_key)
        yield from (Path(name, each) for each in sorted(files, key=natural_key) if not archive.is_skipped(each))


def _member(path: Path, name: str, roots: Sequence[Path] | None) -> Member:
    """A file with its first bytes; one that cannot be opened comes with the reason."""
    try:
        with _opened(path, name, roots) as file:
            head, version = file.read(HEAD_BYTES), _version(file)
            size = os.fstat(file.fileno()).st_size
    except UnreadableSlice as error:
        return Member(name, problem=str(error))
    except OSError as error:
        return Member(name, problem=str(_not_opened(name, error)))
    load = functools.partial(_load, path, name, version, roots)
    content = FileContent.of_head(head, size, load, version=version)
    return Member(name, content, head, open_file=functools.partial(_open_checked, path, name, version, roots))


def content_of(path: Path, sha256: str) -> FileContent:
    """A file of a dataset, whose digest is known, read when it is needed."""
    return FileContent.of_head(b"", 0, functools.partial(_read_again, path), sha256=sha256)


def _read_again(path: Path) -> bytes:
    """All bytes of a file. Raises UnreadableSlice."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _not_opened(path.name, error) from error


def _opened(path: Path, name: str, roots: Sequence[Path] | None) -> io.BufferedReader:
    """An open file. Raises UnreadableSlice, OSError."""
    if roots is not None and not allowed_paths.is_inside(Path(os.path.realpath(path)), roots):
        raise UnreadableSlice(f"“{name}” is a link that leads out of the allowed folders. Copy the file itself.")
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for somebody to write
        raise UnreadableSlice(f"“{name}” is not a file but a pipe or a device. Choose an image file.")
    return path.open("rb")


def _version(file: io.BufferedReader) -> str:
    status = os.fstat(file.fileno())
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def _check_same(file: io.BufferedReader, name: str, version: str) -> None:
    if _version(file) != version:
        raise UnreadableSlice(f"“{name}” has changed since it was opened. Enter the path again.")


def _load(path: Path, name: str, version: str, roots: Sequence[Path] | None) -> bytes:
    """All bytes of a file that is still what it was. Raises UnreadableSlice, OversizedSlice."""
    try:
        with _opened(path, name, roots) as file:
            _check_same(file, name, version)
            slices.check_size(os.fstat(file.fileno()).st_size, name)
            return file.read()
    except OSError as error:
        raise _not_opened(name, error) from error


def _open_checked(path: Path, name: str, version: str, roots: Sequence[Path] | None) -> CheckedFile:
    """A zip, which stays open while its files are read. Raises UnreadableSlice."""
    try:
        with _opened(path, name, roots) as file:
            _check_same(file, name, version)
            return CheckedFile(io.FileIO(os.dup(file.fileno()), "rb"), name)
    except OSError as error:
        raise _not_opened(name, error) from error


def _not_opened(name: str, error: OSError) -> UnreadableSlice:
    return UnreadableSlice(
        f"“{name}” cannot be opened ({error.strerror or type(error).__name__}). Check that the app may read it."
    )
