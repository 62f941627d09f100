"""A search is real processes: it survives its starter, SIGKILL and a stop, and ends with as many trials as asked for."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from kidney_core.common.errors import RunError
from kidney_core.engines import jobs, local_engine
from kidney_core.runs import recipes, run_folder
from kidney_core.runs.run_folder import CRASHED, FINISHED, RUNNING, STOPPED
from kidney_core.search import search_process
from kidney_core.search import study as studies
from kidney_core.search.search_folder import Plan, Search, comparable, find, list_searches
from kidney_core.search.trials import Trials
from tests.conftest import ROOT, TINY, write_series_dataset
from tests.engines.test_jobs import wait_for

VARIED = {"learning_rate": "1e-4..1e-2", "augmentation": "none,flip"}


@pytest.fixture(autouse=True)
def no_orphans():
    yield
    for search in list_searches():
        process = process_of(search)
        if process:
            process.kill()
    for run in run_folder.list_runs():
        local_engine.kill_tree(local_engine.process_of(run))


@pytest.fixture
def dataset(tmp_path):
    """96 images: 4 classes of 4 scans of 6 slices; a validation part of whole scans needs three."""
    return write_series_dataset(tmp_path / "dataset", n_series=4, n_slices=6)


def process_of(search):
    """The process that works on a search, found by its command line."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "kidney_core.search.search_process" in command and str(search.folder.resolve()) in command:
            return process
    return None


def new_search(dataset, name="search", **changes):
    config = comparable(recipes.config_from_recipe("paper", data=str(dataset), **{**TINY, "n_epochs": 2}))
    return Search.create(Plan(config=config, **{"varied": VARIED, "n_trials": 4, **changes}), name)


def all_trials(search):
    study = studies.open_to_read(search)
    return study.get_trials() if study else []


def wait_for_end(search, state=FINISHED):
    wait_for(lambda: search.status() == state, 400)


@pytest.mark.slow
def test_a_search_killed_in_the_middle_of_a_trial_goes_on_to_the_same_trials(dataset):
    """SIGKILL to the search and to the run of its second trial; afterwards exactly as many trials as asked for."""
    whole, killed = new_search(dataset, "whole"), new_search(dataset, "killed")
    search_process.start(killed)
    second = killed.run_of(1)
    wait_for(lambda: second.state().get("step", 0) > 0, 200)
    process_of(killed).send_signal(signal.SIGKILL)
    local_engine.kill_tree(local_engine.process_of(second))
    wait_for(lambda: killed.status() == CRASHED)
    assert [each.state for each in all_trials(killed)] == [TrialState.COMPLETE, TrialState.RUNNING]
    first = killed.run_of(0).report()

    search_process.start(find("killed"))
    wait_for_end(killed)
    ended = all_trials(killed)
    assert [each.number for each in ended] == [0, 1, 2, 3]
    assert all(each.state == TrialState.COMPLETE for each in ended)
    assert killed.run_of(0).report() == first, "what was finished stays"
    assert sorted(run.name for run in run_folder.list_runs()) == [f"killed-trial-0{n}" for n in range(4)]

    search_process.start(whole)
    wait_for_end(whole)
    assert [each.params for each in all_trials(whole)] == [each.params for each in ended]
    assert [each.value for each in all_trials(whole)] == [each.value for each in ended]


@pytest.mark.slow
def test_a_search_outlives_who_started_it_and_its_run_outlives_the_search(dataset):
    search = new_search(dataset, n_trials=1)
    code = "from kidney_core.search import search_folder, search_process; search_process.start(search_folder.find('search'))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert search.status() == RUNNING
    run = search.run_of(0)
    wait_for(lambda: jobs.status(run) == RUNNING, 200)
    process_of(search).kill()
    wait_for(lambda: jobs.status(run) == FINISHED, 200)
    assert all_trials(search)[0].state == TrialState.RUNNING
    search_process.start(search)
    wait_for_end(search)
    (trial,) = all_trials(search)
    assert trial.state == TrialState.COMPLETE
    measured = {row["epoch"]: row["calibrated_validation_loss"] for row in run.epochs()}
    assert trial.intermediate_values == measured
    assert trial.value == measured[run.report()["best_epoch"]]


@pytest.mark.slow
def test_a_poor_trial_is_pruned_and_its_run_is_stopped(dataset):
    """Five good trials are in the journal already; the sixth is far worse than their median after its first epoch."""
    search = new_search(dataset, n_trials=6, varied={"learning_rate": "9.0..10.0"})
    plan = replace(search.plan(), config=replace(search.plan().config, n_epochs=300))
    (search.folder / "search.json").write_text(
        json.dumps({**vars(plan), "config": vars(plan.config)}), encoding="utf-8"
    )
    study = studies.open_to_write(search, plan)
    for _ in range(5):
        study.add_trial(
            optuna.trial.create_trial(
                params={"learning_rate": 9.5},
                distributions={"learning_rate": optuna.distributions.FloatDistribution(9.0, 10.0)},
                value=0.01,
                intermediate_values=dict.fromkeys(range(1, 301), 0.01),
            )
        )
    search_process.start(search)
    wait_for_end(search)
    last = all_trials(search)[-1]
    assert last.state == TrialState.PRUNED
    assert "worse than the median after epoch" in last.user_attrs["reason"]
    run = search.run_of(5)
    assert jobs.status(run) == STOPPED
    assert run.state()["epoch"] < 300
    assert Trials(search).table()["State"].to_list() == ["complete"] * 5 + ["pruned"]


@pytest.mark.slow
def test_stop_ends_search_and_run_and_resume_goes_on_with_both(dataset):
    search = new_search(dataset, n_trials=1)
    plan = replace(search.plan(), config=replace(search.plan().config, n_epochs=40))
    (search.folder / "search.json").write_text(
        json.dumps({**vars(plan), "config": vars(plan.config)}), encoding="utf-8"
    )
    search_process.start(search)
    run = search.run_of(0)
    wait_for(lambda: run.state().get("step", 0) > 0, 200)
    with pytest.raises(RunError, match="Another process works on the search"):
        search_process.start(search)
    search_process.stop(search)
    wait_for_end(search, STOPPED)
    assert jobs.status(run) == STOPPED
    search_process.start(search)
    wait_for(lambda: jobs.status(run) == RUNNING, 100)
    os.kill(process_of(search).pid, signal.SIGKILL)
    wait_for(lambda: search.status() == CRASHED)
    search_process.stop(search)  # of a search whose process is gone: its run is asked here
    wait_for(lambda: jobs.status(run) == STOPPED, 100)
    assert search.status() == STOPPED


@pytest.mark.slow
def test_the_command_searches_resumes_to_more_trials_and_tells_the_best(dataset):
    def run(*options):
        return subprocess.run(
            [sys.executable, "-m", "kidney_core.app.command_line", "search", *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    options = [f"--{name.replace('_', '-')}={value}" for name, value in {**TINY, "n_epochs": 1}.items()]
    new = run("--data", str(dataset), *options, "--name", "s", "--trials", "1", "--vary", "lr=1e-4..1e-2")
    assert new.returncode == 0, new.stderr
    assert "1 of 1 trials done (1 complete)" in new.stdout
    assert "--protocol grouped --validation-fraction 0.2" in new.stdout
    assert "All 1 trials of the search “s” are done" in run("--resume", "s").stderr
    more = run("--resume", "s", "--trials", "2")
    assert more.returncode == 0, more.stderr
    assert "2 of 2 trials done (2 complete)" in more.stdout
    assert find("s").status() == FINISHED
    assert "“s” is taken" in run("--data", str(dataset), *options, "--name", "s").stderr


@pytest.mark.slow
def test_three_failures_in_a_row_end_a_search_with_the_reason(dataset):
    search = new_search(dataset, n_trials=9, varied={"learning_rate": "1e-4..1e-2"})
    plan = replace(search.plan(), config=replace(search.plan().config, data=str(dataset / "gone")))
    (search.folder / "search.json").write_text(
        json.dumps({**vars(plan), "config": vars(plan.config)}), encoding="utf-8"
    )
    search_process.start(search)
    wait_for_end(search, "failed")
    assert [each.state for each in all_trials(search)] == [TrialState.FAIL] * 3
    assert "The last 3 trials failed" in search.message()
    assert "gone" in search.message()
