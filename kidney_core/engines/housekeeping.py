"""What a person does with finished runs: note, tag, rename, archive, delete.

The note is a file of the run's folder, `note.json`; a run with a file `archived` is kept out of the way. Nothing here
touches a run on which a process works.
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from kidney_core import jobs, run_lock, shortage
from kidney_core.errors import RunError
from kidney_core.files import write_json
from kidney_core.runs import QUEUED, RUNNING, Run, usable_name

NOTE_FILE, ARCHIVED_FILE = "note.json", "archived"
MAX_NOTE, MAX_TAGS = 4000, 20


@dataclass(frozen=True)
class Note:
    """What a person wrote about a run."""

    text: str = ""
    tags: tuple[str, ...] = ()


def note_of(run: Run) -> Note:
    """The note of a run; an empty one where there is none or it is damaged."""
    try:
        stored = json.loads((run.folder / NOTE_FILE).read_text())
        return Note(str(stored["text"]), tuple(str(tag) for tag in stored["tags"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Note()


def write_note(run: Run, text: str, tags: str) -> Note:
    """Keep a note with its tags, which are separated by commas or spaces.

    Raises: RunError when it is longer than a note, or the folder cannot be written.
    """
    named = tuple(dict.fromkeys(tags.replace(",", " ").split()))
    if len(text) > MAX_NOTE or len(named) > MAX_TAGS:
        raise RunError(f"A note has up to {MAX_NOTE:,} letters and {MAX_TAGS} tags. Shorten it.")
    note = Note(text.strip(), named)
    with shortage.told_as(RunError, run.folder):
        write_json(run.folder / NOTE_FILE, asdict(note))
    return note


def is_archived(run: Run) -> bool:
    """Whether a run was put out of the way."""
    return (run.folder / ARCHIVED_FILE).exists()


def archive(run: Run) -> None:
    """Put a run out of the way; it stays as it is.

    Raises: RunError while a process works on it.
    """
    with _left_alone(run):
        (run.folder / ARCHIVED_FILE).touch()


def bring_back(run: Run) -> None:
    """Undo `archive`."""
    with shortage.told_as(RunError, run.folder):
        (run.folder / ARCHIVED_FILE).unlink(missing_ok=True)


def rename(run: Run, name: str) -> Run:
    """Give a run another name, which is its folder's.

    Raises: RunError for a name that is taken or unusable, or while a process works on the run.
    """
    if not usable_name(name):
        raise RunError(f"“{name}” cannot name a run: use up to 100 letters, digits, dots, dashes and underscores.")
    renamed = Run(run.folder.with_name(name))
    if renamed.folder.exists():
        raise RunError(f"A run named “{name}” exists already. Choose another name.")
    with _left_alone(run):
        run.folder.rename(renamed.folder)
    return renamed


def delete(run: Run) -> None:
    """Delete a run's folder; checkpoints that were published from it stay.

    Raises: RunError while a process works on it.
    """
    # Out of sight in one step: a kill in between leaves no half run that looks like one.
    doomed = run.folder.with_name(f".deleted-{uuid.uuid4().hex[:12]}")
    with _left_alone(run):
        run.folder.rename(doomed)
        (doomed / "config.json").unlink(missing_ok=True)
    shutil.rmtree(doomed)


@contextmanager
def _left_alone(run: Run) -> Iterator[None]:
    """Hold a run on which nobody works, on this machine or on a cluster.

    Raises: RunError where somebody does, or what the block does to the folder is refused.
    """
    # A new run says queued until it is submitted, and then has a job.
    if run.job() and jobs.status(run) in (QUEUED, RUNNING):
        raise RunError(f"The run “{run.name}” is {jobs.status(run)}. Stop it first.")
    with run_lock.hold(run), shortage.told_as(RunError, run.folder):
        yield
