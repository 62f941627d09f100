"""Event files, read back by TensorBoard's own reader."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from kidney_core.common.errors import RunError
from kidney_core.engines import tensorboard_export
from tests.conftest import tiny_run


@pytest.fixture
def measured(small_dataset):
    """A run with three steps and two epochs, of which the second has no finite loss."""
    run = tiny_run(small_dataset, "measured", learning_rate=0.003)
    for step in (10, 20, 30):
        run.append_metrics({"kind": "step", "step": step, "epoch": 1, "train_loss": 1 / step, "learning_rate": 0.003})
    for epoch, loss in ((1, 0.5), (2, float("nan"))):
        row = {
            "kind": "epoch",
            "step": 15 * epoch,
            "epoch": epoch,
            "validation_loss": loss,
            "validation_accuracy": 0.75,
        }
        run.append_metrics({**row, "validation_confusion": [[1, 0], [0, 1]]})
    return run


def read(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars(events, name):
    return [(each.step, each.value) for each in events.Scalars(name)]


def test_scalars_are_read_back_with_their_steps_and_times(measured):
    events = read(tensorboard_export.export(measured))
    assert scalars(events, "step/train_loss") == [(step, pytest.approx(1 / step)) for step in (10, 20, 30)]
    assert scalars(events, "epoch/validation_loss") == [(15, 0.5)], "a loss that is no number is left out"
    assert scalars(events, "epoch/validation_accuracy") == [(15, 0.75), (30, 0.75)]
    times = [row["time"] for row in measured.epochs()]
    assert [each.wall_time for each in events.Scalars("epoch/validation_accuracy")] == pytest.approx(times, abs=0.01)
    assert set(events.Tags()["scalars"]) == {
        *("step/train_loss", "step/learning_rate", "epoch/validation_loss", "epoch/validation_accuracy")
    }


def test_options_are_read_back_as_hyper_parameters(measured):
    events = read(tensorboard_export.export(measured))
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    options = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert options["learning_rate"].number_value == 0.003
    assert options["architecture"].string_value == "test_resnet"


def test_exporting_again_replaces_the_events_and_nothing_else(measured):
    folder = tensorboard_export.export(measured)
    measured.append_metrics({"kind": "step", "step": 40, "epoch": 2, "train_loss": 0.01})
    assert tensorboard_export.export(measured) == folder
    assert len(list(folder.iterdir())) == 1
    assert scalars(read(folder), "step/train_loss")[-1] == (40, pytest.approx(0.01))
    (folder / "mine.txt").touch()
    with pytest.raises(RunError, match="tensorboard"):
        tensorboard_export.export(measured)
    assert (folder / "mine.txt").exists()


def test_the_figures_of_the_test_part_are_written_once_a_run_is_finished(pair):
    run = pair["grouped"]
    events = read(tensorboard_export.export(run))
    (step, value) = scalars(events, "test/accuracy")[0]
    assert step == run.epochs()[-1]["step"]
    assert value == pytest.approx(run.report()["figures"]["accuracy"])


def test_the_command_exports_runs_by_name_and_leaves_out_what_measured_nothing(measured, small_dataset, capsys):
    empty = tiny_run(small_dataset, "empty")
    assert tensorboard_export.main([]) == 0
    assert "measured: " in capsys.readouterr().out
    assert not (empty.folder / "tensorboard").exists()
    assert tensorboard_export.main(["empty"]) == 1
    assert "“empty” has measured nothing yet" in capsys.readouterr().err
    assert tensorboard_export.main(["absent"]) == 1
    assert "There is no run “absent”" in capsys.readouterr().err
