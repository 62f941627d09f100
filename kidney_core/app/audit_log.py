"""Who ran which diagnosis and training job, in a file whose lines are chained by hashes. Check one with: kidney-ct verify-log FILE

Off unless $KIDNEY_AUDIT_LOG names a file, since the hash of an image may identify it: anybody who has the image can tell that
it was diagnosed here. A line holds time, user, and SHA-256 of input, model and result; no picture, no patient data, no file name.

Each line holds the hash of the one before it, and FILE.head the number of lines and the last hash. So lines that were
edited, deleted, reordered or cut off are detected. Somebody who can write both files can forge the whole log: keep the
hash that the command prints somewhere else, and pass it with --expect later.
"""

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kidney_core.common import digests, settings
from kidney_core.common.entry_point import command
from kidney_core.common.errors import AuditError
from kidney_core.common.files import write_atomically
from kidney_core.common.typed_paths import path_argument

VARIABLE = settings.AUDIT_LOG.name
FIRST = "0" * 64  # the hash before the first line
DIAGNOSIS, JOB, PUBLISHED = "diagnosis", "job", "published"
_MAX_LINE_BYTES = 4096
_REMEDY = f"Tell the administrator: {VARIABLE} must name a file that only this app writes."


def configured() -> Path | None:
    """The file of $KIDNEY_AUDIT_LOG; None where nothing is to be written."""
    return settings.AUDIT_LOG.path()


def append(path: Path, *, kind: str, user: str, input_sha256: str, model_sha256: str, result_sha256: str) -> None:
    """Add a line; it is on the disk when this returns. Any number of threads and processes may do so.

    Raises: AuditError when the file cannot be written, or was changed by somebody else: nothing is added then.
    """
    entry: dict[str, str | int] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "kind": kind,
        "user": user[:200],
        "input": input_sha256,
        "model": model_sha256,
        "result": result_sha256,
    }
    try:
        with _held(path) as file:
            count, last = _end_of(path, file)
            entry |= {"number": count + 1, "previous": last}
            line = {**entry, "hash": digests.of_json(entry)}
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            os.fsync(file.fileno())
            _write_head(path, count + 1, str(line["hash"]))
    except OSError as error:
        raise AuditError(f"The audit log “{path}” cannot be written ({error.strerror}). {_REMEDY}") from error


def verify(path: Path, *, expected: str | None = None) -> tuple[int, str]:
    """The number of lines and the last hash of a log that is as it was written.

    Args:
        expected: a hash that `verify` gave earlier, which must be among the lines.

    Raises: AuditError that names the first line that is not as it was written.
    """
    try:
        content = path.read_bytes()
        count, last, hashes = 0, FIRST, set()
        # A last line without its end was being written when the power failed; nobody was told of it.
        for line in content[: content.rfind(b"\n") + 1].splitlines():
            count, last = count + 1, _checked(path, line, count + 1, last)
            hashes.add(last)
        n_head, head = _read_head(path)
    except OSError as error:
        raise AuditError(f"The audit log “{path}” cannot be read ({error.strerror}). Check the path.") from error
    # Killed between line and head, the log is one line ahead.
    if count < n_head or (n_head and head not in hashes) or count > n_head + 1:
        raise AuditError(
            f"The audit log “{path}” was changed: it ends after line {count}, and {n_head} lines were written. "
            "Lines were cut off or added."
        )
    if expected is not None and expected not in hashes:
        raise AuditError(
            f"The audit log “{path}” was changed: no line has the hash {expected}. Earlier lines were rewritten."
        )
    return count, last


def _checked(path: Path, line: bytes, number: int, previous: str) -> str:
    """The hash of a line that hangs on the one before it."""
    try:
        entry = json.loads(line)
        digest = entry.pop("hash")
        is_whole = digest == digests.of_json(entry) and entry["number"] == number and entry["previous"] == previous
    except (ValueError, KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise AuditError(
            f"The audit log “{path}” was changed: line {number} is not as it was written, or does not follow the one before it."
        )
    return digest


@contextmanager
def _held(path: Path) -> Iterator[Any]:
    """The log, open for appending, while no other thread or process writes it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab", buffering=0) as file:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # freed when the file is closed
        yield file


def _end_of(path: Path, file: Any) -> tuple[int, str]:
    """Number and hash of the last line; what a power cut left of a line behind it is cut off."""
    size = os.fstat(file.fileno()).st_size
    tail = os.pread(file.fileno(), 2 * _MAX_LINE_BYTES, max(0, size - 2 * _MAX_LINE_BYTES))
    torn = len(tail) - (tail.rfind(b"\n") + 1)
    n_head, head = _read_head(path)
    lines = tail[: len(tail) - torn].splitlines()
    if not lines:
        if n_head or torn > _MAX_LINE_BYTES:
            raise AuditError(f"The audit log “{path}” was emptied or replaced: {n_head} lines were written. {_REMEDY}")
        number, last, previous = 0, FIRST, FIRST
    else:
        try:
            entry = json.loads(lines[-1])
            last, number, previous = entry.pop("hash"), entry["number"], entry["previous"]
            is_whole = last == digests.of_json(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            is_whole = False
        # Killed between line and head, the log is one line ahead.
        if not is_whole or not ((number, last) == (n_head, head) or (number, previous) == (n_head + 1, head)):
            raise AuditError(
                f"The audit log “{path}” was changed by another program. Check it with kidney-ct verify-log, "
                f"keep it, and let {VARIABLE} name a new file."
            )
    if torn:
        os.ftruncate(file.fileno(), size - torn)
    return number, last


def _head_file(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def _read_head(path: Path) -> tuple[int, str]:
    try:
        count, last = _head_file(path).read_text(encoding="utf-8").split()
        return int(count), last
    except FileNotFoundError:
        return 0, FIRST
    except ValueError as error:
        raise AuditError(
            f"“{_head_file(path)}” was changed: it does not hold a number and a hash. {_REMEDY}"
        ) from error


def _write_head(path: Path, count: int, last: str) -> None:
    write_atomically(_head_file(path), lambda partial: partial.write_text(f"{count} {last}\n", encoding="utf-8"))


@command
def main(arguments: list[str] | None = None) -> int:
    """Verify a log from the command line."""
    parser = argparse.ArgumentParser(description="Check whether an audit log is as it was written.")
    parser.add_argument("file", type=path_argument)
    parser.add_argument("--expect", help="a hash that this command printed earlier")
    options = parser.parse_args(arguments)
    count, last = verify(options.file, expected=options.expect)
    print(f"{options.file}: {count} lines, as they were written. Last hash: {last}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
