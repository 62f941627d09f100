"""Folders and files that a person may name: inside the configured roots, whatever the path looks like.

$KIDNEY_DATA_ROOTS lists the roots, separated as in $PATH. Without it everything that the app's own user may read can be
named, which only suits a person on their own machine: `access` allows nothing then where others reach the app.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from kidney_core.errors import PathError

VARIABLE = "KIDNEY_DATA_ROOTS"
_REMEDY = f"Choose a folder inside them, or let the administrator add it to {VARIABLE}."


def configured() -> tuple[Path, ...] | None:
    """The roots of $KIDNEY_DATA_ROOTS with their links followed; None where it is not set.

    Raises: PathError for a root that is not a folder, since a misspelt one would go unnoticed.
    """
    listed = os.environ.get(VARIABLE)
    if listed is None:
        return None
    found = tuple(Path(name).expanduser().resolve() for name in listed.split(os.pathsep) if name.strip())
    for root in found:
        if not root.is_dir():
            raise PathError(
                f"{VARIABLE} names “{root}”, which is not a folder. Correct the setting and start the app anew."
            )
    return found


def inside(typed: str, roots: Sequence[Path] | None) -> Path:
    """The path that a person typed, with its links followed where there are roots.

    Below a folder no link may lead out of the roots either: whoever reads it would follow.

    Args:
        roots: None where everything may be named.

    Raises: PathError for a path outside the roots, or one that no file system of this app has.
    """
    if "\0" in typed:
        raise PathError("A path cannot hold the character NUL. Type it anew.")
    if typed.startswith(("\\\\", "//")):
        raise PathError(
            f"“{typed}” is a path of another machine. Mount the share, and name the folder it is mounted on."
        )
    if roots is None:
        return Path(typed)
    try:
        path = Path(typed).expanduser().resolve()
        # What lies outside is not even said to exist or not.
        if not _is_inside(path, roots):
            raise PathError(_refusal(typed, roots))
        leading_out = _link_leading_out(path, roots)
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, ~nobody, a name too long, no permission
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise PathError(f"“{typed[:200]}” cannot be followed ({reason}). {_REMEDY}") from error
    if leading_out is not None:
        raise PathError(
            f"Below “{typed}” the link “{leading_out}” leads out of the folders that may be used. {_REMEDY}"
        )
    return path


def below(folder: Path, relative: str) -> Path:
    """A file below a folder, named by a table that came with a checkpoint; links inside the folder are the owner's own.

    Raises: PathError where the name leads out of the folder.
    """
    if "\0" in relative or "\\" in relative or Path(relative).is_absolute() or ".." in Path(relative).parts:
        raise PathError(
            f"“{relative!r}” is no file below “{folder}”. Use this checkpoint only if you trust its source."
        )
    return folder / relative


def _is_inside(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _refusal(typed: str, roots: Sequence[Path]) -> str:
    if not roots:
        return (
            "No folder may be named here, since others reach this app and its administrator has not said which ones: "
            f"set {VARIABLE} to folders, separated by “{os.pathsep}”, and start it anew."
        )
    allowed = ", ".join(f"“{root}”" for root in roots)
    return f"“{typed[:200]}” is outside the folders that may be used, {allowed}. {_REMEDY}"


def _link_leading_out(path: Path, roots: Sequence[Path]) -> Path | None:
    """A link anywhere below a folder whose end is outside the roots; links to folders are followed once each."""
    seen, waiting = set(), [path]
    while waiting:
        folder = waiting.pop()
        if folder in seen or not folder.is_dir():
            continue
        seen.add(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    end = Path(os.path.realpath(entry.path))
                    if not _is_inside(end, roots):
                        return Path(entry.path)
                    waiting.append(end)
                elif entry.is_dir():
                    waiting.append(Path(entry.path))
    return None
