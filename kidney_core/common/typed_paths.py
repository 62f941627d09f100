"""Paths as people type and paste them: in quotes, as a file:// address, with blanks around them."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

_QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("„", "“"), ("‘", "’"), ("«", "»"), ("`", "`"))
_ADDRESS = re.compile(r"file:(?://(?P<machine>[^/]*))?(?P<path>/.*)", re.IGNORECASE | re.DOTALL)


def clean_path(typed: str) -> str:
    """A typed path without blanks and quotes around it; a file:// address becomes the path that it names.

    A file:// address of another machine becomes //MACHINE/…, which is refused where paths are resolved.
    """
    text = _unquoted(typed)
    address = _ADDRESS.fullmatch(text)
    if address is None:
        return text
    machine, path = address["machine"] or "", unquote(address["path"])
    return path if machine.lower() in ("", "localhost") else f"//{machine}{path}"


def clean_paths(typed: str) -> list[str]:
    """The paths in a text that separates them like $PATH, each cleaned; the colon of file:// separates nothing."""
    if _is_quoted(typed.strip()) or os.pathsep not in typed:
        parts = [typed]
    else:
        parts = re.split(re.escape(os.pathsep) + r"(?!//)", typed)
    return [path for part in parts if (path := clean_path(part))]


def path_argument(typed: str) -> Path:
    """The path of a command's argument; for `type=` of argparse."""
    return Path(clean_path(typed))


def _unquoted(typed: str) -> str:
    text = typed.strip()
    while _is_quoted(text):
        text = text[1:-1].strip()
    return text


def _is_quoted(text: str) -> bool:
    """Whether a pair of quotes encloses a whole text, and not only its first and its last path."""
    return len(text) > 1 and any(
        text[0] == left and text[-1] == right and not {left, right} & set(text[1:-1]) for left, right in _QUOTES
    )
