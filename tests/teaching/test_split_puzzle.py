"""Four splits, one leak: on pictures whose scans are known to look alike within and different between."""

import numpy as np
import pandas as pd
import pytest

from kidney_core.common.errors import CheckpointError
from kidney_core.metrics.splits import TEST, TRAIN
from kidney_core.teaching import ready_results, split_puzzle
from kidney_core.teaching.split_puzzle import EVERY_FOURTH, HONEST, LEAKS, MERGED, SCAN_ENDS, PuzzleData

LABELS = ("Cyst", "Normal", "Stone", "Tumor")


@pytest.fixture
def data():
    """4 labels of 8 scans of 8 slices: each scan has a pattern of its own, with little noise."""
    rng = np.random.default_rng(0)
    rows = [
        (f"{LABELS[scan // 8]}- ({index}).png", LABELS[scan // 8], scan) for scan in range(32) for index in range(8)
    ]
    patterns = rng.integers(0, 200, (32, 40, 40))
    table = pd.DataFrame(rows, columns=["path", "label", "series"])
    noisy = patterns[table["series"]] + rng.normal(0, 3, (256, 40, 40))
    return PuzzleData(table, noisy.clip(0, 255).astype(np.uint8), simulated=True)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_one_split_leaks_in_another_way_each_time_and_the_audit_finds_it(data, number):
    puzzle = split_puzzle.make_puzzle(data, number)
    assert list(puzzle) == ["A", "B", "C", "D"]
    leaking = [each for each in puzzle.values() if each.leaks]
    assert [each.kind for each in leaking] == [LEAKS[number - 1]]
    for each in puzzle.values():
        evidence = each.evidence()
        assert evidence.near_duplicate_fraction > 0.9 if each.leaks else evidence.near_duplicate_fraction == 0
        assert each.shared_scans() == (1 if each.leaks and each.kind != MERGED else 0)
        assert (evidence.baseline["accuracy"] > 0.6) == each.leaks
        assert each.kind == HONEST or each.kind in split_puzzle.IN_WORDS


def test_the_same_number_is_the_same_puzzle(data):
    one, two = (split_puzzle.make_puzzle(data, 7) for _ in range(2))
    assert all(np.array_equal(one[name].parts, two[name].parts) for name in one)


def test_leaks_that_look_orderly_are_as_their_sentence_says(data):
    for kind, tested in ((EVERY_FOURTH, [0, 4]), (SCAN_ENDS, [6, 7])):
        split = next(
            each
            for number in range(1, 30)
            for each in split_puzzle.make_puzzle(data, number).values()
            if each.kind == kind
        )
        of_first_scan = np.flatnonzero(split.parts[:8] == TEST)
        assert np.diff(of_first_scan).tolist() == np.diff(tested).tolist()
        assert kind == EVERY_FOURTH or of_first_scan.tolist() == tested


def test_a_merged_source_holds_darker_copies_of_test_slices_in_training(data):
    split = next(each for each in split_puzzle.make_puzzle(data, 4).values() if each.leaks)
    table, pictures = split.data.table, split.data.pictures
    added = table.index[table["path"].str.contains("IMG")]
    assert len(added) == round(0.5 * (split.parts == TEST).sum())
    assert (split.parts[added] == TRAIN).all()
    assert table["label"].is_monotonic_increasing  # the files of a class stand together
    for row in added[:5]:
        original = int(table["path"].iat[row].split("_")[1].removesuffix(".png"))
        assert pictures[row].mean() < data.pictures[original].mean()
        assert table["label"].iat[row] == data.table["label"].iat[original]


@pytest.mark.slow
def test_the_command_stores_what_is_drawn(tmp_path):
    ready_results.compute_puzzle(folder=tmp_path, n_scans=1, n_slices=2)
    stored, drawn = ready_results.puzzle_data(folder=tmp_path), split_puzzle.draw_data(n_scans=1, n_slices=2)
    assert stored.table.to_dict() == drawn.table.to_dict()
    assert np.abs(stored.pictures.astype(int) - drawn.pictures).mean() < 6  # it is a JPEG
    (tmp_path / ready_results.PICTURES_FILE).write_bytes(b"no picture")
    with pytest.raises(CheckpointError, match="kidney-ct lessons puzzle"):
        ready_results.puzzle_data(folder=tmp_path)
    assert ready_results.puzzle_data(folder=tmp_path / "none") is None


def test_the_stored_slices_make_every_puzzle():
    data = ready_results.puzzle_data()
    assert len(data.table) == len(data.pictures) == 192
    for number in range(1, 5):
        for each in split_puzzle.make_puzzle(data, number).values():
            accuracy = each.evidence().baseline["accuracy"]
            assert accuracy > 0.9 if each.leaks else accuracy < 0.7
