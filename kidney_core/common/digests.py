"""SHA-256 of what decides what the app says: files beside a card, and JSON objects that carry a seal of their own.

A seal tells damage and change, not a forger: who can write the file can seal it anew.
"""

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

from kidney_core.errors import CheckpointError

SEAL = "seal_sha256"
MAX_FILE_BYTES = 4 * 1024**3  # weights of the largest networks of timm, four times over
MAX_JSON_BYTES = 16 * 1024**2
_REMEDY = "Copy the checkpoint's folder again from a source you trust."


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """The object with the digest of everything else in it, as its last entry."""
    bare = {key: each for key, each in value.items() if key != SEAL}
    return {**bare, SEAL: _digest(bare)}


def is_sealed(value: dict[str, Any]) -> bool:
    """Whether an object carries a seal, intact or not."""
    return SEAL in value


def is_intact(value: dict[str, Any]) -> bool:
    """Whether the seal of an object is that of what it holds; line breaks and the order of its entries do not count."""
    return value.get(SEAL) == sealed(value)[SEAL]


def read_file(path: Path, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """A regular file as a whole.

    Raises: CheckpointError for one that is missing, larger than the limit, or no file (a pipe would never end).
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise CheckpointError(f"“{path}” is not a file. {_REMEDY}")
        if found.st_size > limit:
            raise CheckpointError(
                f"“{path}” takes {found.st_size / 1024**2:,.0f} MiB, and no such file takes more than "
                f"{limit / 1024**2:,.0f}. {_REMEDY}"
            )
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"“{path}” cannot be read ({error.strerror}). {_REMEDY}") from error


def read_described(path: Path, digest: str) -> bytes:
    """A file that a card describes by its digest; hashed and used are the same bytes. Raises CheckpointError."""
    content = read_file(path)
    if sha256(content) != digest:
        raise CheckpointError(
            f"“{path}” is not the file its card describes (SHA-256 differs): it was damaged or exchanged. {_REMEDY}"
        )
    return content


def read_json(path: Path) -> Any:
    """A small JSON file. Raises CheckpointError; ValueError where it is not JSON."""
    try:
        return json.loads(read_file(path, limit=MAX_JSON_BYTES))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _digest(value: Any) -> str:
    # Escaped to ASCII, since a lone surrogate has no bytes; sorted, since a JSON object has no order.
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
