"""The audit finds the leak: twins across a random split, none across a grouped one, copies and contradictions."""

import shutil

import numpy as np
import pytest

from kidney_core import audit, dataset, splits
from tests.conftest import write_series_dataset


def slow_nearest(thumbnails, number):
    """The same by definition: numpy.corrcoef, one slice at a time."""
    likeness = np.corrcoef(thumbnails.reshape(len(thumbnails), -1))
    found = []
    for row in range(len(likeness)):
        others = [other for other in range(len(likeness)) if number[other] != number[row]]
        best = max(others, key=lambda other: likeness[row, other])
        found.append((best, likeness[row, best]))
    return found


@pytest.fixture
def wide_dataset(tmp_path):
    """Four classes of 6 series of 4 slices: enough series for five folds."""
    return write_series_dataset(tmp_path / "wide", n_series=6, n_slices=4)


def test_audit_shows_the_leak_of_the_random_split_and_none_of_the_grouped(wide_dataset):
    found = audit.audit(dataset.read_dataset(wide_dataset))
    assert found.protocols["random"].twin_fraction > 0.9
    assert found.protocols["random"].neighbour["accuracy"] > 0.9
    assert found.protocols["grouped"].twin_fraction == 0.0  # by definition of a series that was found by likeness
    assert np.median(found.protocols["grouped"].correlation) < 0.8
    assert np.median(found.protocols["random"].correlation) > 0.98
    assert len(found.series) == 24
    assert found.series["n_slices"].tolist() == [4] * 24
    assert not len(found.copies)
    assert not len(found.contradictions)


def test_a_series_file_that_tears_scans_apart_is_found_out(wide_dataset):
    """Where series are named and not found by likeness, a grouped split can leak, and the audit must say so."""
    paths = dataset.read_dataset(wide_dataset).table["path"]
    lines = "".join(f"{path},{number}\n" for number, path in enumerate(paths))
    (wide_dataset / "series.csv").write_text("path,series\n" + lines)
    found = audit.audit(dataset.read_dataset(wide_dataset))
    assert found.scans_are_listed
    assert "96 series, listed in series.csv" in audit.summary(found)
    assert found.protocols["grouped"].twin_fraction > 0.15
    assert found.protocols["grouped"].correlation.max() > 0.99


def test_planes_are_counted_by_class(wide_dataset):
    paths = dataset.read_dataset(wide_dataset).table["path"]
    lines = "".join(
        f"{path},{i // 4},{'axial' if path.startswith('Cyst') else 'coronal'}\n" for i, path in enumerate(paths)
    )
    (wide_dataset / "series.csv").write_text("path,series,plane\n" + lines)
    counted = audit.planes_per_class(audit.audit(dataset.read_dataset(wide_dataset)))
    assert counted["axial"].to_dict() == {"Cyst": 24, "Normal": 0, "Stone": 0, "Tumor": 0}
    assert counted["coronal"].to_dict() == {"Cyst": 0, "Normal": 24, "Stone": 24, "Tumor": 24}


@pytest.mark.parametrize("protocol", splits.PROTOCOLS)
def test_nearest_training_slice_agrees_with_a_slow_plain_version(wide_dataset, monkeypatch, protocol):
    monkeypatch.setattr(audit, "_BLOCK", 17)  # several blocks
    read = dataset.read_dataset(wide_dataset)
    found = audit.audit(read, seed=2).protocols[protocol]
    folds = audit.fold_numbers(found_table(read), protocol=protocol, seed=2, n_folds=5)
    for row, (nearest, correlation) in enumerate(slow_nearest(read.thumbnails, folds)):
        assert found.correlation[row] == pytest.approx(correlation, abs=1e-4)
        assert folds[found.nearest[row]] != folds[row]
        assert found.nearest[row] == nearest


def found_table(read):
    from kidney_core import series

    return read.table.assign(series=series.group_series(read))


def test_copies_and_contradictions_are_named(wide_dataset):
    shutil.copy(wide_dataset / "Cyst" / "Cyst- (1).png", wide_dataset / "Cyst" / "Cyst- (90).png")
    shutil.copy(wide_dataset / "Cyst" / "Cyst- (5).png", wide_dataset / "Tumor" / "Tumor- (90).png")
    found = audit.audit(dataset.read_dataset(wide_dataset))
    assert found.copies.values.tolist() == [
        ["Cyst/Cyst- (90).png", "Cyst/Cyst- (1).png", True],
        ["Tumor/Tumor- (90).png", "Cyst/Cyst- (5).png", False],
    ]
    # The stray slice and the four slices of the series it was taken from.
    assert sorted(found.contradictions["path"]) == [
        "Cyst/Cyst- (5).png",
        "Cyst/Cyst- (6).png",
        "Cyst/Cyst- (7).png",
        "Cyst/Cyst- (8).png",
        "Tumor/Tumor- (90).png",
    ]
    assert found.contradictions["correlation"].max() == pytest.approx(1.0, abs=1e-5)
    assert (found.series["n_labels"] == 2).sum() == 1


def test_a_protocol_that_the_data_do_not_allow_is_named(small_dataset):
    found = audit.audit(dataset.read_dataset(small_dataset))
    assert set(found.protocols) == {"random"}
    assert "has 3 series; at least 5" in found.problems["grouped"]
    assert "has 3 series; at least 5" in audit.summary(found)


def test_command_line_prints_the_two_lines_that_matter(wide_dataset, capsys):
    assert audit.main([str(wide_dataset)]) == 0
    printed = capsys.readouterr().out
    assert "96 slices in 24 series" in printed
    assert "grouped split (scans never seen)" in printed
    assert audit.main(["/nowhere"]) == 1
    assert "error: There is no folder “/nowhere”" in capsys.readouterr().err


@pytest.mark.data
def test_the_public_dataset_is_answered_without_learning_when_split_at_random(shared_data):
    """facts.md: 99.98 % against 52 % / 43 % on another part of the dataset."""
    found = audit.audit(dataset.read_dataset(shared_data / "ct-kidney-plain")).protocols
    assert found["random"].neighbour["accuracy"] > 0.99
    assert found["random"].twin_fraction > 0.99
    assert found["grouped"].neighbour["balanced_accuracy"] < 0.5
    assert found["grouped"].twin_fraction == 0.0
