"""Folders and files that a user may open: only those inside the configured roots.

$KIDNEY_DATA_ROOTS lists the roots, separated as in $PATH. Without it, everything that the app's process can read may be
opened, which suits only a single user on their own machine: where others reach the app, `access` then allows nothing.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from kidney_core.common import settings
from kidney_core.common.errors import PathError
from kidney_core.common.files import split_paths

VARIABLE = settings.DATA_ROOTS.name
_REMEDY = f"Choose a folder inside them, or let the administrator add it to {VARIABLE}."


def configured_roots() -> tuple[Path, ...] | None:
    """The roots of $KIDNEY_DATA_ROOTS, symbolic links resolved; None where the variable is not set.

    Raises: PathError for a root that is not a folder, since a misspelt one would go unnoticed.
    """
    if not settings.DATA_ROOTS.is_set():
        return None
    roots = tuple(map(_root, split_paths(settings.DATA_ROOTS.value())))
    for root in roots:
        if not root.is_dir():
            raise PathError(
                f"{VARIABLE} lists “{root}”, which is not a folder. Correct the setting and restart the app."
            )
    return roots


def _root(name: str) -> Path:
    try:
        return Path(name).expanduser().resolve()
    except RuntimeError:  # the home folder of an unknown user, or a loop of links: no folder
        return Path(name)


def resolve_allowed(typed: str, roots: Sequence[Path] | None) -> Path:
    """The path that a user typed, symbolic links resolved where there are roots.

    No link below the folder may lead out of the roots either, since reading the folder would follow it.

    Args:
        roots: None where every path is allowed.

    Raises: PathError for a path outside the roots, or one that this machine cannot have.
    """
    if "\0" in typed:
        raise PathError("A path cannot contain the character NUL. Type it again.")
    if typed.startswith(("\\\\", "//")):
        raise PathError(
            f"“{typed}” is a path on another machine. Mount the share and enter the folder it is mounted on."
        )
    if roots is None:
        return Path(typed)
    try:
        path = Path(typed).expanduser().resolve()
        # Checked first: outside the roots the app does not reveal whether a path exists.
        if not is_inside(path, roots):
            raise PathError(_refusal(typed, roots))
        leading_out = _link_leading_out(path, roots)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, ~nobody, a name too long, no permission
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise PathError(f"“{typed[:200]}” cannot be resolved ({reason}). {_REMEDY}") from error
    if leading_out is not None:
        raise PathError(f"Below “{typed}”, the link “{leading_out}” leads out of the allowed folders. {_REMEDY}")
    return path


def file_below(folder: Path, relative: str) -> Path:
    """The file at a relative path that a checkpoint's table names; symbolic links in the folder are trusted.

    Raises: PathError where the path leads out of the folder.
    """
    if "\0" in relative or "\\" in relative or Path(relative).is_absolute() or ".." in Path(relative).parts:
        raise PathError(
            f"“{relative!r}” is not a file below “{folder}”. Use this checkpoint only if you trust its source."
        )
    return folder / relative


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """Whether a path, with its symbolic links resolved, is a root or below one."""
    return any(path.is_relative_to(root) for root in roots)


def _refusal(typed: str, roots: Sequence[Path]) -> str:
    if not roots:
        return (
            "No folder can be opened here: other users reach this app and its administrator has not listed any folders. "
            f"As administrator, set {VARIABLE} to folders, separated by “{os.pathsep}”, and restart the app."
        )
    allowed = ", ".join(f"“{root}”" for root in roots)
    return f"“{typed[:200]}” is outside the allowed folders, {allowed}. {_REMEDY}"


def _link_leading_out(path: Path, roots: Sequence[Path]) -> Path | None:
    """The first link below a folder whose target is outside the roots; each linked folder is visited once."""
    visited, pending = set(), [path]
    while pending:
        folder = pending.pop()
        if folder in visited or not folder.is_dir():
            continue
        visited.add(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    target = Path(os.path.realpath(entry.path))
                    if not is_inside(target, roots):
                        return Path(entry.path)
                    pending.append(target)
                elif entry.is_dir():
                    pending.append(Path(entry.path))
    return None
