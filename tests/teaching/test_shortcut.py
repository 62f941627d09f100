"""A taught mark: on pictures in which there is nothing else to learn, and what is stored of the lesson."""

import numpy as np
import pandas as pd
import pytest

from kidney_core.common.labels import LABELS
from kidney_core.diagnosis import inference
from kidney_core.kidneys import finder
from kidney_core.kidneys.kidney_view import frame_slices
from kidney_core.teaching import breaks, kidney_pictures, ready_results, robustness, shortcut, taught_network
from kidney_core.teaching.kidney_pictures import Pictures
from kidney_core.teaching.taught_mark import Mark
from tests.diagnosis.test_inference import made_checkpoint


def test_the_box_around_a_mark_holds_it_with_a_margin():
    mark = Mark(size_percent=20)
    rows, columns = np.nonzero(mark.mask(100))
    near = mark.near(100)
    assert near[mark.mask(100)].all()
    assert near.sum() == (rows.max() + 1 + 6) * (
        columns.max() + 1 + 6
    )  # it begins at 4 %, so the margin ends at the edge


def test_a_burned_mark_changes_its_pixels_alone():
    squares = np.full((2, 64, 64), 90, np.uint8)
    burned = Mark().burn(squares)
    assert (burned[:, Mark().mask(64)] == 255).all()
    assert (burned[:, ~Mark().mask(64)] == 90).all()


@pytest.mark.slow
def test_where_nothing_else_can_be_learned_the_mark_is():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [(LABELS[scan // 8], scan) for scan in range(32) for _ in range(4)], columns=["label", "series"]
    )
    told = []
    lesson, taught = shortcut.teach(
        Pictures(table, rng.integers(0, 120, (128, 64, 64)).astype(np.uint8)),
        Mark(),
        progress=lambda done, total: told.append((done, total)),
    )
    assert lesson.taught.recall_marked > 0.9
    assert lesson.taught.recall_unmarked < 0.5
    assert lesson.taught.others_marked > 0.7
    assert lesson.control.recall_marked < 0.9
    assert lesson.taught.at_mark > 2 * lesson.mark_area
    assert told[-1] == (2 * shortcut.N_EPOCHS, 2 * shortcut.N_EPOCHS)
    assert (lesson.n_train, lesson.n_test, lesson.n_scans) == (96, 32, 32)
    assert taught.reference.embedded.shape[0] == 96


@pytest.mark.slow
def test_the_command_stores_what_was_taught(tmp_path):
    ready_results.compute_shortcut(folder=tmp_path, n_scans=4, n_slices=1, n_epochs=1)
    stored = ready_results.shortcut_lesson(folder=tmp_path)
    lesson, _ = shortcut.teach(kidney_pictures.draw_pictures(n_scans=4, n_slices=1), Mark(), n_epochs=1)
    assert (stored.mark, stored.taught, stored.control) == (lesson.mark, lesson.taught, lesson.control)
    for one, two in zip(stored.examples, lesson.examples, strict=True):
        assert np.array_equal(one.square, two.square)
        assert one.heatmap == pytest.approx(two.heatmap, abs=1 / 255)
    assert ready_results.shortcut_lesson(folder=tmp_path / "none") is None


def test_the_stored_lesson_is_of_the_mark_that_the_page_offers_and_it_was_learned():
    stored = ready_results.shortcut_lesson()
    assert stored.mark == Mark()
    assert stored.n_scans == kidney_pictures.N_SCANS * len(LABELS)
    assert stored.taught.recall_marked - stored.taught.recall_unmarked > 0.5
    assert stored.taught.at_mark > 2 * stored.mark_area
    assert stored.control.at_mark < 2 * stored.mark_area


@pytest.mark.slow
def test_the_taught_network_is_asked_of_slices_with_the_mark_where_it_learned_it(tmp_path):
    _, taught = shortcut.teach(kidney_pictures.draw_pictures(n_scans=4, n_slices=1), Mark(), n_epochs=1)
    base = inference.open_predictor(made_checkpoint(tmp_path), finder=finder.open_installed())
    asked = taught_network.as_predictor(taught, base)
    assert asked.checkpoint.labels == LABELS
    image = breaks.draw(breaks.Sample("Tumor", 1)).image
    kidneys = asked.finder.find([image.network_grey8()])[0].find()
    marked = taught_network.burn_into(asked, taught.mark, image, taught.mark.size_percent)
    before, after = (
        frame_slices(asked.checkpoint.view, [each.network_grey8()], asked.finder, found=[kidneys])[0]
        for each in (image, marked)
    )
    for clean, burned in zip(before, after, strict=True):
        changed = np.abs(burned.square.astype(int) - clean.square) > 60
        mask = taught.mark.mask(len(burned.square))
        assert (burned.square[mask] > 150).mean() > 0.8
        assert (changed & ~taught.mark.near(len(burned.square))).mean() < 0.05
    curve = robustness.predict_slices(asked, [image, marked], [0, 18])
    assert curve.probabilities.shape == (2, 4)
