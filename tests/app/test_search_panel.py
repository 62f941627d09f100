"""The search on the Training page, without a browser: what is entered, what is refused, what is seen of a search."""

import pytest

from kidney_core.app import lr_range_panel
from kidney_core.common.errors import RunError
from kidney_core.engines import mlflow_mirror
from kidney_core.runs import recipes, run_folder
from kidney_core.search import search_process
from kidney_core.search.search_folder import Plan, Search, comparable, list_searches
from kidney_core.search.trials import Trials
from tests.app.test_pages import opened, texts
from tests.conftest import TINY, tiny_run
from tests.search.test_search_folder import with_complete_trials


@pytest.fixture
def started(monkeypatch):
    """The searches that the page starts, whose processes are left out: these have tests of their own."""
    found = []
    monkeypatch.setattr(search_process, "start", found.append)
    return found


def training(monkeypatch):
    app = opened("pages/3_Training.py", monkeypatch)
    app.session_state["search_panel"] = True
    return app.run()


def made_search(dataset, name="made", *, values=(0.5, 0.25, 0.75)):
    config = comparable(recipes.config_from_recipe("paper", data=str(dataset), **TINY))
    search = Search.create(Plan(config=config, varied={"learning_rate": "1e-4..1e-2"}), name)
    with_complete_trials(search, values)
    return search


def test_the_panel_is_folded_and_reads_nothing_then(small_dataset, monkeypatch):
    made_search(small_dataset)
    app = opened("pages/3_Training.py", monkeypatch)
    assert not [each for each in app.button if each.key == "search_start"]


def test_a_search_is_started_with_what_was_entered(small_dataset, monkeypatch, started):
    app = training(monkeypatch)
    app.text_input(key="search_folder").set_value(str(small_dataset))
    app.selectbox(key="search_architecture").set_value("resnet18")
    app.selectbox(key="search_start_from").set_value("Random weights")
    app.text_input(key="search_options").set_value("--trainable all --image-size 32 --epochs 2")
    app.multiselect(key="search_varied").set_value(["learning_rate", "image_size_px"])
    app.number_input(key="search_n_trials").set_value(7)
    app.run()
    app.text_input(key="search_range_image_size_px").set_value("32,64")
    app.button(key="search_start").click().run()
    assert not app.exception
    assert not app.error, texts(app.error)
    assert started == list_searches()
    plan = started[0].plan()
    assert started[0].name == "search-1"
    assert (plan.n_trials, plan.objective) == (7, "loss")
    assert plan.varied == {"learning_rate": "1e-5..1e-2", "image_size_px": "32,64"}
    assert (plan.config.data, plan.config.protocol, plan.config.validation_fraction) == (
        str(small_dataset),
        "grouped",
        0.2,
    )
    assert (plan.config.architecture, plan.config.trainable, plan.config.n_epochs) == ("resnet18", "all", 2)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("search_options", "--colour red", "These options cannot be read: unrecognized arguments"),
        ("search_options", "--batch-size '1", "Close every quote"),
        ("search_range_learning_rate", "1e-2..1e-5", "must begin with its lower end"),
        ("search_range_augmentation", "mirror", "“augmentation” has no value “mirror”"),
    ],
)
def test_what_cannot_be_searched_is_told_and_nothing_starts(small_dataset, monkeypatch, started, key, value, told):
    app = training(monkeypatch)
    app.text_input(key="search_folder").set_value(str(small_dataset))
    app.selectbox(key="search_start_from").set_value("Random weights")
    app.text_input(key="search_options").set_value("--trainable all")
    app.text_input(key=key).set_value(value)
    app.run()
    starts = [each for each in app.button if each.key == "search_start"]
    if starts:
        starts[0].click().run()
    assert told in texts(app.error)
    assert started == []
    assert list_searches() == []


def test_a_search_shows_its_trials_and_the_command_of_the_best(small_dataset, monkeypatch, started):
    search = made_search(small_dataset)
    search.write_state("stopped")
    app = training(monkeypatch)
    drawn = texts(app.markdown)
    assert "Stopped: 3 of 20 trials done (3 complete)." in drawn
    assert "Best so far: trial 1, validation loss 0.2500" in drawn
    assert any("kidney-ct train --recipe paper" in each.value for each in app.code)
    (table,) = [each.value for each in app.dataframe if "Trial" in each.value]
    assert table["Run"].to_list() == ["made-trial-00", "made-trial-01", "made-trial-02"]
    assert "Test figures are never used." in texts(app.caption)
    app.number_input(key="search_more").set_value(5)
    app.button(key="search_extend").click().run()
    assert search.plan().n_trials == 25
    assert started == [search]


def test_the_best_settings_fill_the_form(small_dataset, monkeypatch, started):
    search = made_search(small_dataset)
    search.write_state("stopped")
    best = Trials(search).best_config()
    app = training(monkeypatch)
    app.session_state["training_recipe_options"] = True
    app.run()
    assert app.number_input(key="training_option_learning_rate").value != best.learning_rate
    app.button(key="search_use").click().run()
    assert app.number_input(key="training_option_learning_rate").value == best.learning_rate
    assert app.number_input(key="training_option_image_size_px").value == best.image_size_px
    assert app.selectbox(key="training_protocol").value == best.protocol == "grouped"
    assert app.multiselect(key="training_architectures").value == [best.architecture]


def test_a_killed_search_says_so_and_can_be_resumed(small_dataset, monkeypatch, started):
    search = made_search(small_dataset)
    search.write_state("running")  # nobody holds its lock
    app = training(monkeypatch)
    assert "Its process was killed. Resume goes on where it was" in texts(app.info)
    app.button(key="search_resume").click().run()
    assert started == [search]


@pytest.mark.slow
def test_a_range_test_is_a_process_whose_curve_is_kept_for_the_page(small_dataset, monkeypatch):
    kept = {}
    monkeypatch.setattr(lr_range_panel.st, "session_state", kept)
    lr_range_panel.measure(recipes.config_from_recipe("paper", data=str(small_dataset), **TINY))
    (result,) = kept.values()
    assert 1e-7 < result["suggestion"] < 1
    steps, average = lr_range_panel.curve(result).data
    assert list(steps.y) == result["losses"]
    assert list(average.y) == result["smoothed_losses"]
    assert list_searches() == []
    assert run_folder.list_runs() == []


def test_a_range_test_that_fails_says_why():
    with pytest.raises(RunError, match="/nowhere"):
        lr_range_panel.measure(recipes.config_from_recipe("paper", data="/nowhere", **TINY))


def test_runs_are_exported_from_their_actions(small_dataset, monkeypatch):
    run = tiny_run(small_dataset, "exported")
    run.append_metrics({"kind": "epoch", "step": 5, "epoch": 1, "train_loss": 0.5, "validation_loss": 0.5})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    app = opened("pages/3_Training.py", monkeypatch)
    assert "start the app with MLFLOW_TRACKING_URI" in texts(app.caption)
    app.button(key="training_tensorboard").click().run()
    app.run()  # as the live part does every two seconds
    assert "Written for 1 run" in texts(app.success)
    assert list((run.folder / "tensorboard").glob("events.out.tfevents.*"))


def test_mlflow_that_is_not_installed_or_does_not_answer_is_told(small_dataset, monkeypatch):
    run = tiny_run(small_dataset, "sent")
    run.append_metrics({"kind": "epoch", "step": 5, "epoch": 1, "train_loss": 0.5, "validation_loss": 0.5})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    app = opened("pages/3_Training.py", monkeypatch)
    app.button(key="training_mlflow").click().run()
    told = texts(app.error)
    assert "MLflow is not installed. Install it with: pip install mlflow-skinny" in told or "does not answer" in told
    with pytest.raises(RunError, match="“http://127.0.0.1:9” does not answer"):
        mlflow_mirror._require_reachable("http://127.0.0.1:9")
