"""A search's folder: its plan, its journal after a kill, and what cannot be searched."""

from dataclasses import replace

import pytest
from optuna.trial import TrialState

from kidney_core.common import settings
from kidney_core.common.errors import RunError
from kidney_core.runs import recipes, run_folder
from kidney_core.runs.run_folder import CRASHED
from kidney_core.search import search_command, space
from kidney_core.search import study as studies
from kidney_core.search.search_folder import Plan, Search, comparable, find, list_searches
from kidney_core.search.trials import Trials
from tests.conftest import tiny_run


def plan(**changes):
    config = comparable(recipes.config_from_recipe("paper", data="somewhere"))
    return Plan(config=config, **{"varied": {"learning_rate": "1e-4..1e-2"}, **changes})


def with_complete_trials(search, values):
    study = studies.open_to_write(search, search.plan())
    for value in values:
        trial = studies.begin_trial(study, search.plan())
        studies.draw_values(study, search.plan(), trial)
        trial.report(value, 1)
        study.tell(trial, value)
    return study


def test_a_plan_is_read_as_it_was_written():
    written = plan(n_trials=7, objective="balanced_accuracy", prunes=False)
    search = Search.create(written, "one")
    assert search.plan() == written
    assert list_searches() == [search]
    assert find("one") == search
    assert search.status() == CRASHED, "nobody works on it yet"
    assert run_folder.list_runs() == [], "a search is no run"


def test_a_search_validates_on_whole_scans_whatever_the_recipe():
    paper = recipes.config_from_recipe("paper", data="somewhere")
    assert (paper.protocol, paper.validation_fraction) == ("random", 0.0)
    assert (comparable(paper).protocol, comparable(paper).validation_fraction) == ("grouped", 0.2)
    folder = replace(paper, protocol="folder", validation_fraction=0.1)
    assert comparable(folder) == folder


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n_trials": 0}, "n_trials must be between 1 and 1000; it is 0"),
        ({"n_at_once": 65}, "n_at_once must be between 1 and 64"),
        ({"objective": "test_accuracy"}, "The objective must be one of loss, balanced_accuracy"),
        ({"varied": {}}, "needs something to vary"),
    ],
)
def test_create__error(changes, told):
    with pytest.raises(RunError, match=told):
        Search.create(plan(**changes), "one")
    assert not settings.runs_folder().exists()


def test_names_that_are_taken_are_refused(small_dataset):
    tiny_run(small_dataset, "run")
    tiny_run(small_dataset, "old-trial-00")
    for name in ("run", "old"):
        with pytest.raises(RunError, match=f"“{name}” is taken"):
            Search.create(plan(), name)
    with pytest.raises(RunError, match="There is no search “run” in .* none yet"):
        find("run")


def test_half_a_line_and_a_left_over_lock_do_not_stop_a_search():
    """What SIGKILL leaves in the journal when it comes in the middle of a write."""
    search = Search.create(plan(), "one")
    with_complete_trials(search, [0.5, 0.25])
    whole = search.journal.read_bytes()
    with search.journal.open("ab") as file:
        file.write(whole.splitlines()[-1][:15])
    search.journal.with_name("journal.log.lock").symlink_to(search.journal)
    assert len(Trials(search).table()) == 2, "a reader does not mind"
    study = with_complete_trials(search, [0.75])
    assert [each.value for each in study.get_trials()] == [0.5, 0.25, 0.75]
    assert search.journal.read_bytes().startswith(whole)


def test_a_damaged_journal_is_told_with_what_to_do():
    search = Search.create(plan(), "one")
    with_complete_trials(search, [0.5])
    lines = search.journal.read_bytes().splitlines(keepends=True)
    search.journal.write_bytes(b"".join([*lines[:2], b"{rubbish\n", *lines[2:]]))
    with pytest.raises(RunError, match="is damaged .* Start a new search; the runs of this one stay"):
        studies.open_to_read(search)


def test_values_of_a_trial_depend_on_its_number_alone():
    """So a resumed search proposes what an uninterrupted one would have."""
    search = Search.create(plan(varied=space.DEFAULTS), "one")
    study = with_complete_trials(search, [0.5, 0.25])
    again = studies.open_to_write(search, search.plan())
    one, other = studies.begin_trial(study, search.plan()), studies.begin_trial(again, search.plan())
    assert (one.number, other.number) == (2, 3)
    drawn = studies.draw_values(study, search.plan(), one)
    (resumed, _) = studies.open_trials(studies.open_to_write(search, search.plan()), search.plan())
    assert studies.draw_values(study, search.plan(), resumed) == drawn
    assert studies.draw_values(again, search.plan(), other) != drawn


def test_the_best_trial_and_its_settings():
    search = Search.create(plan(objective="balanced_accuracy"), "one")
    assert Trials(search).best_config() is None
    assert Trials(search).history() is None
    study = with_complete_trials(search, [0.5, 0.75, 0.25])
    studies.begin_trial(study, search.plan())
    assert Trials(search).best().number == 1
    assert Trials(search).best_config().learning_rate == Trials(search).best().params["learning_rate"]
    assert Trials(search).counts() == "3 of 20 trials done (3 complete, 1 open)"
    assert Trials(search).importance() is None, "three trials do not tell what matters"
    with_complete_trials(search, [0.3, 0.6])
    assert Trials(search).importance().data[0].x[0] == pytest.approx(1.0), "the only option that is varied"
    assert list(Trials(search).history().data[0].y) == [0.5, 0.75, 0.25, 0.3, 0.6]
    assert studies.open_to_read(search).get_trials()[3].state == TrialState.RUNNING


def test_options_may_have_the_names_of_the_training_command():
    varied = search_command.read_varied(["lr=1e-4..1e-2", "epochs=1..3", "image-size=96,128"])
    assert varied == {"learning_rate": "1e-4..1e-2", "n_epochs": "1..3", "image_size_px": "96,128"}
    with pytest.raises(RunError, match="“learning_rate” is varied twice"):
        search_command.read_varied(["lr=1..2", "learning_rate=1..2"])
    with pytest.raises(RunError, match="does not say what to vary"):
        search_command.read_varied(["learning_rate"])


def test_the_command_needs_a_name_and_keeps_settings_on_resume(capsys):
    assert search_command.main(["--data", "x"]) == 1
    assert "A search needs a name" in capsys.readouterr().err
    Search.create(plan(), "one")
    assert search_command.main(["--resume", "one", "--lr", "0.1"]) == 1
    assert "A resumed search keeps its settings; leave out --learning-rate" in capsys.readouterr().err
