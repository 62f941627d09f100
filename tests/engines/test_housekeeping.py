"""Runs are noted, renamed, archived and deleted, and never under the hands of a process that works on them."""

import pytest

from kidney_core import run_keeping, run_lock, runs
from kidney_core.errors import RunError
from tests.conftest import tiny_run


def test_a_note_keeps_its_text_and_its_tags_once(small_dataset):
    run = tiny_run(small_dataset)
    assert run_keeping.note_of(run) == run_keeping.Note()
    run_keeping.write_note(run, " better with more phantoms ", "paper, robust paper")
    assert run_keeping.note_of(run) == run_keeping.Note("better with more phantoms", ("paper", "robust"))
    (run.folder / run_keeping.NOTE_FILE).write_text("{torn")
    assert run_keeping.note_of(run) == run_keeping.Note()
    with pytest.raises(RunError, match="Shorten it"):
        run_keeping.write_note(run, "x" * 5000, "")


def test_archiving_is_undone(small_dataset):
    run = tiny_run(small_dataset)
    run_keeping.archive(run)
    assert run_keeping.is_archived(run)
    run_keeping.bring_back(run)
    assert not run_keeping.is_archived(run)


def test_renaming_keeps_everything_but_the_name(small_dataset):
    run = tiny_run(small_dataset)
    renamed = run_keeping.rename(run, "better-name")
    assert [each.name for each in runs.list_runs()] == ["better-name"]
    assert renamed.config().data == str(small_dataset)
    tiny_run(small_dataset, "taken")
    with pytest.raises(RunError, match="“taken” exists already"):
        run_keeping.rename(renamed, "taken")
    with pytest.raises(RunError, match="cannot name a run"):
        run_keeping.rename(renamed, "../escape")


def test_deleting_leaves_nothing(small_dataset):
    run = tiny_run(small_dataset)
    run_keeping.delete(run)
    assert list(runs.runs_folder().iterdir()) == []


def test_a_run_that_a_process_works_on_is_left_alone(small_dataset):
    run = tiny_run(small_dataset)
    with run_lock.hold(run):
        for act in (run_keeping.delete, run_keeping.archive, lambda each: run_keeping.rename(each, "other")):
            with pytest.raises(RunError, match="Another process is working on the run"):
                act(run)
    assert runs.list_runs() == [run]
