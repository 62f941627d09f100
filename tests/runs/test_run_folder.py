"""Run folders: readable whatever a kill left behind, and configurations that refuse nonsense."""

import json

import pytest

from kidney_core.common.errors import RunError
from kidney_core.runs import recipes, run_folder


def config(**changes):
    return recipes.config_from_recipe("paper", data="somewhere", **changes)


def test_paper_recipe_is_the_published_one():
    paper = config()
    assert (paper.image_size_px, paper.n_epochs, paper.batch_size) == (224, 10, 32)
    assert (paper.init, paper.trainable, paper.augmentation) == ("imagenet", "last-block", "flip")
    assert (paper.protocol, paper.test_fraction, paper.validation_fraction) == ("random", 0.2, 0.0)
    assert recipes.TrainingConfig(data="somewhere") == paper


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_epochs": 0}, "n_epochs must be between 1 and 1000; it is 0"),
        ({"protocol": "lucky"}, "protocol must be one of random, grouped, folder; it is “lucky”"),
        ({"test_fraction": 0.5, "validation_fraction": 0.4}, "more than 80 %"),
        ({"init": "scratch"}, "random layers frozen"),
        ({"learning_rate": -1.0}, "learning_rate must be between"),
    ],
)
def test_config__error(changes, message):
    with pytest.raises(RunError, match=message):
        config(**changes)


def test_config__error_no_data_and_unknown_recipe():
    with pytest.raises(RunError, match="No dataset is given"):
        recipes.config_from_recipe("paper")
    with pytest.raises(RunError, match="no recipe “secret”"):
        recipes.config_from_recipe("secret", data="somewhere")


def test_a_new_run_is_queued_and_gives_its_configuration_back():
    run = run_folder.Run.create(config(seed=5), name="mine")
    assert run.state()["state"] == "queued"
    assert run.config().seed == 5
    assert [found.name for found in run_folder.list_runs()] == ["mine"]


def test_runs_made_in_the_same_second_get_names_of_their_own():
    assert run_folder.Run.create(config()).name != run_folder.Run.create(config()).name


@pytest.mark.parametrize("name", ["../escape", "a/b", "", ".hidden", "x" * 101])
def test_create__error_bad_name(name):
    with pytest.raises(RunError, match="cannot be the name of a run"):
        run_folder.Run.create(config(), name=name)


def test_create__error_taken():
    run_folder.Run.create(config(), name="mine")
    with pytest.raises(RunError, match="exists already"):
        run_folder.Run.create(config(), name="mine")


def test_read_metrics_goes_on_from_an_offset_and_leaves_a_torn_line():
    run = run_folder.Run.create(config())
    run.append_metrics({"kind": "epoch", "epoch": 1})
    first, offset = run.read_metrics()
    with (run.folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "epoch", "epo')
    assert [row["epoch"] for row in first] == [1]
    assert run.read_metrics(offset) == ([], offset)
    with (run.folder / "metrics.jsonl").open("ab") as file:
        file.write(b'ch": 2}\n')
    assert [row["epoch"] for row in run.read_metrics(offset)[0]] == [2]


def test_read_metrics_skips_a_line_torn_in_the_middle():
    run = run_folder.Run.create(config())
    (run.folder / "metrics.jsonl").write_text('{"kind": "ep\n{"kind": "epoch", "epoch": 2}\n', encoding="utf-8")
    assert [row["epoch"] for row in run.read_metrics()[0]] == [2]


def test_drop_metrics_after_keeps_what_the_checkpoint_has():
    run = run_folder.Run.create(config())
    for step in (10, 20, 30):
        run.append_metrics({"kind": "step", "step": step})
    run.drop_metrics_after(20)
    assert [row["step"] for row in run.read_metrics()[0]] == [10, 20]


def test_a_damaged_state_reads_as_queued():
    run = run_folder.Run.create(config())
    (run.folder / "state.json").write_text('{"state": "run', encoding="utf-8")
    assert run.state() == {"state": "queued"}


def test_write_atomically_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "a.json"
    run_folder.write_json(path, {"a": 1})

    def fail(partial):
        partial.write_text("half", encoding="utf-8")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_folder.write_atomically(path, fail)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_config__error_folder_is_no_run(tmp_path):
    with pytest.raises(RunError, match="is not a training run"):
        run_folder.Run(tmp_path).config()


def test_log_tail_shows_the_last_state_of_a_progress_bar(tmp_path):
    run = run_folder.Run.create(config())
    (run.folder / "log.txt").write_text("start\n 10%\r 50%\r100%\nend\n", encoding="utf-8")
    assert run.log_tail() == "start\n100%\nend"
