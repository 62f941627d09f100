"""The random split leaks scans, the grouped one does not; both are reproducible and stratified."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from kidney_core.common.errors import DatasetError
from kidney_core.metrics import splits


def table_of(series_sizes: dict[str, list[int]]) -> pd.DataFrame:
    rows, number = [], 0
    for label, sizes in series_sizes.items():
        for size in sizes:
            rows += [(label, number)] * size
            number += 1
    return pd.DataFrame(rows, columns=["label", "series"])


TABLE = table_of({"Cyst": [10] * 20, "Normal": [25, 15] * 8, "Stone": [5] * 12, "Tumor": [30, 10, 20, 20, 40, 10, 20]})


@pytest.mark.parametrize("seed", range(8))
def test_grouped_split_keeps_a_series_together(seed):
    parts = splits.split(TABLE, protocol="grouped", seed=seed, validation_fraction=0.1)
    assert TABLE.assign(part=parts).groupby("series")["part"].nunique().max() == 1
    assert splits.shared_series_fraction(TABLE, parts) == 0.0


@pytest.mark.parametrize("seed", range(8))
def test_grouped_split_tests_contiguous_runs_of_series_per_class(seed):
    parts = splits.split(TABLE, protocol="grouped", seed=seed)
    part_of = TABLE.assign(part=parts).groupby("series").first()
    for _, rows in part_of.groupby("label"):
        in_test = (rows["part"] == "test").to_numpy()
        seams = (in_test != np.roll(in_test, 1)).sum()
        assert seams == 2  # one run on the circle of the class's series


@pytest.mark.parametrize("seed", range(8))
def test_grouped_split_is_near_its_fractions_in_every_class(seed):
    parts = splits.split(TABLE, protocol="grouped", seed=seed, test_fraction=0.25, validation_fraction=0.2)
    for label in ("Cyst", "Normal", "Stone"):
        of_label = parts[(TABLE["label"] == label).to_numpy()]
        assert abs((of_label == "test").mean() - 0.25) < 0.1
        assert abs((of_label == "validation").mean() - 0.2) < 0.1


def test_random_split_is_stratified_and_leaks_nearly_every_series():
    parts = splits.split(TABLE, protocol="random", seed=0)
    share = TABLE.assign(test=parts == "test").groupby("label")["test"].mean()
    assert (share - 0.2).abs().max() < 0.02
    assert splits.shared_series_fraction(TABLE, parts) > 0.95


@pytest.mark.parametrize("protocol", splits.PROTOCOLS)
def test_split_is_reproducible_and_depends_on_the_seed(protocol):
    one, same, other = (splits.split(TABLE, protocol=protocol, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_grouped_split_leaves_no_part_empty_when_one_series_is_huge():
    table = table_of({"Cyst": [100, 1, 1], "Normal": [1, 1, 100]})
    for seed in range(6):
        parts = splits.split(table, protocol="grouped", seed=seed, validation_fraction=0.1)
        for label in ("Cyst", "Normal"):
            assert set(parts[(table["label"] == label).to_numpy()]) == {"train", "validation", "test"}


def test_shared_series_fraction_by_hand():
    table = pd.DataFrame({"series": [0, 0, 1, 1, 2]})
    parts = np.array(["train", "test", "test", "test", "train"], dtype=object)
    assert splits.shared_series_fraction(table, parts) == pytest.approx(1 / 3)


def test_split__error_one_series_cannot_be_on_both_sides():
    with pytest.raises(DatasetError, match="The class Stone has 1 scan; at least 2"):
        splits.split(table_of({"Cyst": [5, 5], "Stone": [9]}), protocol="grouped", seed=0)


def test_split__error_one_slice():
    with pytest.raises(DatasetError, match="The class Stone has 1 slice"):
        splits.split(table_of({"Cyst": [5, 5], "Stone": [1]}), protocol="random", seed=0)


def test_split__error_unknown_protocol():
    with pytest.raises(ValueError, match="protocol must be one of"):
        splits.split(TABLE, protocol="lucky", seed=0)


@pytest.mark.parametrize("protocol", splits.PROTOCOLS)
def test_folds_test_every_slice_once(protocol):
    folds = [
        splits.split(TABLE, protocol=protocol, seed=3, validation_fraction=0.1, n_folds=5, fold=k) for k in range(5)
    ]
    tested = np.sum([parts == "test" for parts in folds], axis=0)
    np.testing.assert_array_equal(tested, np.ones(len(TABLE)))
    for parts in folds:
        for part in ("train", "validation", "test"):
            assert set(TABLE["label"][parts == part]) == {"Cyst", "Normal", "Stone", "Tumor"}
        leaked = splits.shared_series_fraction(TABLE, parts)
        assert leaked == 0.0 if protocol == "grouped" else leaked > 0.9


def test_grouped_folds_keep_series_together_in_arcs_of_about_equal_size():
    for k in range(5):
        parts = splits.split(TABLE, protocol="grouped", seed=1, n_folds=5, fold=k)
        assert TABLE.assign(part=parts).groupby("series")["part"].nunique().max() == 1
        for label, slack in (("Cyst", 0.001), ("Normal", 0.07), ("Stone", 0.07), ("Tumor", 0.14)):
            assert abs((parts[(TABLE["label"] == label).to_numpy()] == "test").mean() - 0.2) <= slack


@pytest.mark.parametrize("n_series", range(3, 9))
@pytest.mark.parametrize("n_folds", range(2, 8))
def test_a_fold_leaves_something_to_validate_and_to_train_on(n_series, n_folds):
    table = table_of({"Cyst": [10] * n_series, "Stone": [90, *[5] * (n_series - 1)]})
    if n_series < max(n_folds + 1, 4):
        with pytest.raises(DatasetError, match="at least"):
            splits.split(table, protocol="grouped", seed=0, validation_fraction=0.1, n_folds=n_folds)
        return
    tested = np.zeros(len(table))
    for fold in range(n_folds):
        parts = splits.split(table, protocol="grouped", seed=0, validation_fraction=0.1, n_folds=n_folds, fold=fold)
        tested += parts == "test"
        for label in ("Cyst", "Stone"):
            assert set(parts[(table["label"] == label).to_numpy()]) == {"train", "validation", "test"}
    assert (tested == 1).all()


def test_folds__error_fewer_series_than_folds():
    table = table_of({"Cyst": [5] * 8, "Stone": [5] * 4})
    with pytest.raises(DatasetError, match="class Stone has 4 scans; at least 5"):
        splits.split(table, protocol="grouped", seed=0, n_folds=5)


@pytest.mark.parametrize(("n_slices", "validation"), [(2, 0.0), (3, 0.0), (4, 0.1)])
def test_random_split__error_too_few_slices_to_test_every_class(n_slices, validation):
    table = table_of({label: [n_slices] for label in ("Cyst", "Normal", "Stone", "Tumor")})
    with pytest.raises(DatasetError, match="slices are too few: .*cannot hold all 4 classes"):
        splits.split(table, protocol="random", seed=0, validation_fraction=validation)


def of_folder(**counts):
    """A table whose scans of four slices lie in these parts: train=3 gives three scans of each label."""
    rows = []
    for part, n in counts.items():
        for label in ("Cyst", "Normal"):
            for scan in range(n):
                rows += [(f"{part}/{label}/{scan}-{i}.png", label, f"{part}{label}{scan}", part) for i in range(4)]
    table = pd.DataFrame(rows, columns=["path", "label", "series", "folder_part"])
    return table.assign(series=pd.factorize(table["series"])[0])


def test_the_split_of_the_folder_is_kept():
    table = of_folder(train=4, validation=2, test=3)
    parts = splits.split(table, protocol="folder", seed=0, validation_fraction=0.1)
    assert parts.tolist() == table["folder_part"].tolist()


def test_a_validation_part_is_tested_where_the_folder_has_no_test_part():
    parts = splits.split(of_folder(train=4, validation=2), protocol="folder", seed=0)
    assert Counter(parts) == {"train": 32, "test": 16}


def test_whole_scans_of_training_validate_where_the_folder_has_no_validation_part():
    table = of_folder(train=10, test=3)
    parts = splits.split(table, protocol="folder", seed=0, validation_fraction=0.2)
    assert (parts[table["folder_part"] == "test"] == "test").all()
    sides = table.assign(part=parts).groupby("series")["part"].nunique()
    assert sides.max() == 1
    assert 8 <= (parts == "validation").sum() <= 24


def test_split_of_the_folder__errors():
    table = of_folder(train=4, test=2)
    with pytest.raises(DatasetError, match="no split of its own"):
        splits.split(table.drop(columns="folder_part"), protocol="folder", seed=0)
    one_sided = table[(table["folder_part"] == "train") | (table["label"] == "Cyst")]
    with pytest.raises(DatasetError, match="no slice of the class Normal to test on"):
        splits.split(one_sided, protocol="folder", seed=0)
