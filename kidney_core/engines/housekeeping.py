"""Finished runs: note, tag, rename, archive, delete.

The note is a file in the run's folder, `note.json`; a run with a file `archived` is hidden from lists. A run that a process
works on is never changed.
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from kidney_core.common import os_errors
from kidney_core.common.errors import RunError
from kidney_core.common.files import write_json
from kidney_core.engines import jobs
from kidney_core.runs import run_lock
from kidney_core.runs.run_folder import QUEUED, RUNNING, Run, check_name

NOTE_FILE, ARCHIVED_FILE = "note.json", "archived"
MAX_NOTE, MAX_TAGS = 4000, 20
_DELETED = ".deleted-"  # of the hidden folders in which runs are deleted


@dataclass(frozen=True)
class Note:
    """A note about a run, with tags."""

    text: str = ""
    tags: tuple[str, ...] = ()


def read_note(run: Run) -> Note:
    """The note of a run; an empty one where there is none or it is damaged."""
    try:
        stored = json.loads((run.folder / NOTE_FILE).read_text(encoding="utf-8"))
        return Note(str(stored["text"]), tuple(str(tag) for tag in stored["tags"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Note()


def write_note(run: Run, text: str, tags: str) -> Note:
    """Write a note with tags, which are separated by commas or spaces.

    Raises: RunError when it is too long, or the folder cannot be written.
    """
    unique_tags = tuple(dict.fromkeys(tags.replace(",", " ").split()))
    if len(text) > MAX_NOTE or len(unique_tags) > MAX_TAGS:
        raise RunError(f"A note may have up to {MAX_NOTE:,} characters and {MAX_TAGS} tags. Shorten it.")
    note = Note(text.strip(), unique_tags)
    with os_errors.reraise_as(RunError, run.folder):
        write_json(run.folder / NOTE_FILE, asdict(note))
    return note


def is_archived(run: Run) -> bool:
    """Whether a run is archived."""
    return (run.folder / ARCHIVED_FILE).exists()


def archive(run: Run) -> None:
    """Hide a run from lists; its files stay as they are.

    Raises: RunError while a process works on it.
    """
    with _hold_idle(run):
        (run.folder / ARCHIVED_FILE).touch()


def unarchive(run: Run) -> None:
    """Show an archived run in lists again."""
    with os_errors.reraise_as(RunError, run.folder):
        (run.folder / ARCHIVED_FILE).unlink(missing_ok=True)


def rename(run: Run, name: str) -> Run:
    """Rename a run and its folder.

    Raises: RunError for a name that is taken or not allowed, or while a process works on the run.
    """
    check_name(name, noun="run")
    renamed = Run(run.folder.with_name(name))
    if renamed.folder.exists():
        raise RunError(f"A run named “{name}” exists already. Choose another name.")
    with _hold_idle(run):
        run.folder.rename(renamed.folder)
    return renamed


def delete(run: Run) -> None:
    """Delete a run's folder; checkpoints that were published from it stay.

    Raises: RunError while a process works on it.
    """
    # Renamed first: a kill in between leaves no half-deleted run in the list.
    hidden = run.folder.with_name(f"{_DELETED}{uuid.uuid4().hex[:12]}")
    with _hold_idle(run):
        run.folder.rename(hidden)
        (hidden / "config.json").unlink(missing_ok=True)
    with os_errors.reraise_as(RunError, hidden), suppress(FileNotFoundError):  # swept by another process
        shutil.rmtree(hidden)
    for left in run.folder.parent.glob(f"{_DELETED}*"):  # by processes that were killed
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _hold_idle(run: Run) -> Iterator[None]:
    """Hold a run that no process works on, on this machine or on a cluster.

    Raises: RunError where one does, or where the block may not change the folder.
    """
    # A new run is "queued" already before it is submitted; it has a job only then.
    if run.job() and jobs.status(run) in (QUEUED, RUNNING):
        raise RunError(f"The run “{run.name}” is {jobs.status(run)}. Stop it first.")
    with run_lock.hold(run), os_errors.reraise_as(RunError, run.folder):
        yield
