"""Runs are noted, renamed, archived and deleted, and never under the hands of a process that works on them."""

import pytest

from kidney_core.common import settings
from kidney_core.common.errors import RunError
from kidney_core.engines import housekeeping
from kidney_core.runs import run_folder, run_lock
from tests.conftest import tiny_run


def test_a_note_keeps_its_text_and_its_tags_once(small_dataset):
    run = tiny_run(small_dataset)
    assert housekeeping.read_note(run) == housekeeping.Note()
    housekeeping.write_note(run, " better with more phantoms ", "paper, travel paper")
    assert housekeeping.read_note(run) == housekeeping.Note("better with more phantoms", ("paper", "travel"))
    (run.folder / housekeeping.NOTE_FILE).write_text("{torn", encoding="utf-8")
    assert housekeeping.read_note(run) == housekeeping.Note()
    with pytest.raises(RunError, match="Shorten it"):
        housekeeping.write_note(run, "x" * 5000, "")


def test_archiving_is_undone(small_dataset):
    run = tiny_run(small_dataset)
    housekeeping.archive(run)
    assert housekeeping.is_archived(run)
    housekeeping.unarchive(run)
    assert not housekeeping.is_archived(run)


def test_renaming_keeps_everything_but_the_name(small_dataset):
    run = tiny_run(small_dataset)
    renamed = housekeeping.rename(run, "better-name")
    assert [each.name for each in run_folder.list_runs()] == ["better-name"]
    assert renamed.config().data == str(small_dataset)
    tiny_run(small_dataset, "taken")
    with pytest.raises(RunError, match="“taken” exists already"):
        housekeeping.rename(renamed, "taken")
    with pytest.raises(RunError, match="cannot be the name of a run"):
        housekeeping.rename(renamed, "../escape")


def test_deleting_leaves_nothing(small_dataset):
    run, left = tiny_run(small_dataset), settings.runs_folder() / ".deleted-0123456789ab"
    left.mkdir()  # by a process that was killed while it deleted a run
    (left / "last.safetensors").touch()
    housekeeping.delete(run)
    assert list(settings.runs_folder().iterdir()) == []


def test_a_run_that_a_process_works_on_is_left_alone(small_dataset):
    run = tiny_run(small_dataset)
    with run_lock.hold(run):
        for act in (housekeeping.delete, housekeeping.archive, lambda each: housekeeping.rename(each, "other")):
            with pytest.raises(RunError, match="Another process is working on the run"):
                act(run)
    assert run_folder.list_runs() == [run]
