"""Curves of a run on axes of epochs, steps and minutes; smoothing and means, against values computed by hand."""

import json

import pytest

from kidney_core.metrics import curve_charts
from kidney_core.metrics.curve_charts import SINGLE, STEPS, TRAINING, VALIDATION
from kidney_core.runs import curve_panels, curves
from kidney_core.runs.curve_panels import Choice
from kidney_core.runs.curves import EPOCH, MINUTES, STEP, Curves
from tests.conftest import tiny_run

NOON = 1_000_000.0


def epoch(number, **more):
    return {"kind": "epoch", "step": 10 * number, "epoch": number, "time": NOON + 60 * number, **more}


def step(number, loss, time=0.0):
    return {"kind": "step", "step": number, "epoch": 1, "steps_per_epoch": 10, "train_loss": loss, "time": NOON + time}


def test_steps_and_epochs_are_on_one_axis():
    found = Curves(metrics=[step(5, 2.0), epoch(1, train_loss=1.0, validation_loss=3.0)])
    assert found.of_steps("train_loss", EPOCH) == [(0.5, 2.0)]
    assert found.of_epochs("validation_loss", EPOCH) == [(1, 3.0)]
    assert found.of_epochs("validation_loss", STEP) == [(10, 3.0)]


def test_a_run_in_its_first_epoch_has_a_curve_of_steps():
    assert Curves(metrics=[step(5, 2.0)]).of_steps("train_loss", EPOCH) == [(0.5, 2.0)]


def test_steps_logged_by_time_stand_between_every_tenth_one():
    usage = [{"kind": "start", "step": 0, "time": NOON}, {**step(3, 2.5), "kind": "usage"}]
    assert Curves([step(10, 2.0)], usage).of_steps("train_loss", STEP) == [(3, 2.5), (10, 2.0)]


def test_steps_that_a_resumed_run_computed_again_are_drawn_once():
    usage = [
        {"kind": "start", "step": 0, "time": NOON},
        {**step(4, 2.5), "kind": "usage"},
        {**step(8, 2.4), "kind": "usage"},
        {"kind": "start", "step": 5, "time": NOON + 100},
        {**step(7, 2.2), "kind": "usage"},
    ]
    assert Curves([], usage).by_time("train_loss", STEP) == [(4, 2.5), (7, 2.2)]


def test_time_does_not_count_while_a_run_is_stopped():
    """A minute of training, ten of rest, a minute of training."""
    metrics = [epoch(1, a=1.0), {**epoch(2, a=2.0), "time": NOON + 12 * 60}]
    usage = [{"kind": "start", "step": 0, "time": NOON}, {"kind": "start", "step": 10, "time": NOON + 11 * 60}]
    found = Curves(metrics, usage)
    assert found.of_epochs("a", MINUTES) == [(1.0, 1.0), (2.0, 2.0)]
    assert found.seconds() == 120
    assert found.started_at() == NOON


def test_a_run_of_an_older_version_began_as_long_before_its_first_epoch_ended_as_that_took():
    found = Curves(metrics=[epoch(1, duration_s=30.0, a=1.0), epoch(2, duration_s=60.0, a=1.0)])
    assert found.started_at() == NOON + 30
    assert found.of_epochs("a", MINUTES) == [(0.5, 1.0), (1.5, 1.0)]


def test_only_new_lines_are_read_and_a_shortened_file_is_read_again(small_dataset):
    run = tiny_run(small_dataset)
    for number in (1, 2, 3):
        run.append_metrics({"kind": "step", "step": 10 * number})
    found = Curves().read(run)
    run.append_metrics({"kind": "step", "step": 40})
    assert [row["step"] for row in found.read(run).metrics] == [10, 20, 30, 40]
    run.drop_metrics_after(20)
    assert [row["step"] for row in found.read(run).metrics] == [10, 20]


def test_smoothing_weighs_what_came_before_and_begins_without_a_bias():
    # Means with weight 0.5: 4; (4 + 2 * 0) / 3; (4 / 4 + 0 / 2 + 8) / (7 / 4).
    smooth = curves.smoothed([(1, 4.0), (2, 0.0), (3, 8.0)], 0.5)
    assert [value for _, value in smooth] == pytest.approx([4.0, 4 / 3, (0.5 + 0 + 4) / 0.875])


def test_a_mean_has_its_range_and_waits_for_the_slowest_run():
    together = curves.mean_and_range([[(1, 2.0), (2, 4.0)], [(1, 6.0)]])
    assert together == [(1.0, 4.0, 2.0, 6.0)]


def test_a_panel_has_a_line_for_each_part_of_each_run():
    one = Curves(metrics=[step(5, 2.0), epoch(1, train_loss=1.0, validation_loss=3.0)])
    (panel,) = curve_panels.draw({"a": [one], "b": [one]}, ["loss", "learning_rate"], Choice())
    assert [(line.label, line.part, list(line.points)) for line in panel.lines[:3]] == [
        ("a", STEPS, [(0.5, 2.0)]),
        ("a", TRAINING, [(1, 1.0)]),
        ("a", VALIDATION, [(1, 3.0)]),
    ]
    assert [line.place for line in panel.lines] == [0, 0, 0, 1, 1, 1]


def test_repetitions_are_one_line_with_a_band():
    members = [Curves(metrics=[epoch(1, validation_loss=loss)]) for loss in (1.0, 2.0, 6.0)]
    (panel,) = curve_panels.draw({"three": members}, ["loss"], Choice())
    (line,) = panel.lines
    assert (line.points, line.band) == ([(1.0, 3.0)], ((1.0, 1.0, 6.0),))


def test_memory_is_drawn_as_it_was_logged_by_time():
    usage = [{"kind": "start", "step": 0, "time": NOON}, {**step(3, 1.0), "kind": "usage", "memory_mib": 512}]
    (panel,) = curve_panels.draw({"a": [Curves([], usage)]}, ["memory_mib"], Choice(axis=STEP))
    assert [(line.part, line.points, panel.unit) for line in panel.lines] == [(SINGLE, [(3, 0.5)], "GiB")]


def test_quantities_are_those_that_were_measured_and_what_every_run_measures():
    found = curve_panels.quantities({"a": Curves(metrics=[epoch(1, validation_recall_Stone=0.5, learning_rate=1e-3)])})
    assert found == {
        "loss": "loss",
        "accuracy": "accuracy",
        "learning_rate": "learning rate",
        "recall_Stone": "recall of Stone",
    }


def test_a_long_curve_is_thinned_and_keeps_its_end():
    many = Curves(metrics=[{**step(number, float(number)), "step": number} for number in range(1, 2001)])
    (panel,) = curve_panels.draw({"a": [many]}, ["loss"], Choice(axis=STEP))
    points = panel.lines[0].points
    assert len(points) <= 400
    assert points[-1] == (2000, 2000.0)


def test_twelve_runs_are_told_apart_by_colour_and_dash():
    looks = {(curve_charts.color(place), curve_charts.dash(place, VALIDATION)) for place in range(12)}
    looks |= {(curve_charts.color(place), curve_charts.dash(place, TRAINING)) for place in range(12)}
    assert len(looks) == 24


def test_the_chart_can_be_sent_and_leaves_out_what_has_no_logarithm():
    one = Curves(metrics=[epoch(1, validation_loss=0.0, validation_accuracy=0.5), epoch(2, validation_loss=2.0)])
    panels = curve_panels.draw({"a": [one]}, ["loss", "accuracy"], Choice(log=True))
    spec = curve_charts.options(panels, x_title="epoch", whole_numbers=True, log=True)
    json.dumps(spec)
    base = spec["baseOption"]
    assert [axis["type"] for axis in base["yAxis"]] == ["log", "value"]
    assert [series["data"] for series in base["series"]] == [[[2, 2.0]], [[1, 50.0]]]
    assert [axis["minInterval"] for axis in base["xAxis"]] == [1, 1]
