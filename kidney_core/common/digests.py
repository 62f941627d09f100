"""SHA-256 digests that detect changed files: those listed in a card, and JSON objects that carry their own seal.

A seal detects damage and accidental changes, not forgery: anyone who can write the file can also seal it again.
"""

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

from kidney_core.common.errors import CheckpointError

SEAL = "seal_sha256"
MAX_FILE_BYTES = 4 * 1024**3  # weights of the largest networks of timm, four times over
MAX_JSON_BYTES = 16 * 1024**2
_REMEDY = "Copy the checkpoint's folder again from a source you trust."


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def add_seal(value: dict[str, Any]) -> dict[str, Any]:
    """A copy of a JSON object with the digest of its other entries as the last entry."""
    unsealed = {key: each for key, each in value.items() if key != SEAL}
    return {**unsealed, SEAL: of_json(unsealed)}


def has_seal(value: dict[str, Any]) -> bool:
    """True for a JSON object that carries a seal, intact or not."""
    return SEAL in value


def is_intact(value: dict[str, Any]) -> bool:
    """True where the seal matches the content of the object; line breaks and the order of entries do not matter."""
    return value.get(SEAL) == add_seal(value)[SEAL]


def read_file(path: Path, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises: CheckpointError for a file that is missing, over the limit, or not regular (a pipe would never end).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"“{path}” is not a file. {_REMEDY}")
        if status.st_size > limit:
            raise CheckpointError(
                f"“{path}” has {status.st_size / 1024**2:,.0f} MiB; the limit for such a file is "
                f"{limit / 1024**2:,.0f} MiB. {_REMEDY}"
            )
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"“{path}” cannot be read ({error.strerror}). {_REMEDY}") from error


def read_verified(path: Path, digest: str) -> bytes:
    """The content of a file whose SHA-256 must be `digest`; the bytes that were hashed are those returned.

    Raises: CheckpointError as `read_file`, or where the digest differs.
    """
    content = read_file(path)
    if sha256(content) != digest:
        raise CheckpointError(
            f"“{path}” is not the file that its card lists (SHA-256 differs): it was damaged or replaced. {_REMEDY}"
        )
    return content


def read_json(path: Path) -> Any:
    """The value of a JSON file of at most 16 MiB.

    Raises: CheckpointError as `read_file`, ValueError where the file is not JSON.
    """
    try:
        return json.loads(read_file(path, limit=MAX_JSON_BYTES))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def of_json(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its entries."""
    # ASCII, since a lone surrogate cannot be encoded; sorted, since a JSON object has no order.
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
