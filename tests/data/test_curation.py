"""What is taken away from an audit: the cleaned list, the split and the sentences."""

import shutil

import numpy as np
import pytest

from kidney_core.data import curation, dataset, leak_audit
from kidney_core.data.curation import CONTRADICTION, COPY, NO_KIDNEY
from tests.conftest import write_series_dataset


@pytest.fixture
def audited(tmp_path):
    """96 slices, two more that are copies, one of them under another label."""
    folder = write_series_dataset(tmp_path / "wide", n_series=6, n_slices=4)
    shutil.copy(folder / "Cyst" / "Cyst- (1).png", folder / "Cyst" / "again.png")
    shutil.copy(folder / "Stone" / "Stone- (1).png", folder / "Tumor" / "wrong.png")
    return leak_audit.audit(dataset.read_dataset(folder))


def test_the_cleaned_list_leaves_out_copies_and_contradictions_with_their_reasons(audited):
    judged = curation.judge_slices(audited).set_index("path")["reason"]
    assert len(judged) == 98
    copies = set(audited.copies["path"])
    assert len(copies) == 2
    assert (judged[list(copies)] == COPY).all()
    assert judged["Stone/Stone- (1).png"] == CONTRADICTION
    kept = curation.cleaned_list(audited)
    assert list(kept) == ["path", "label", "series"]
    assert set(kept["path"]) == set(judged.index[judged == ""])
    assert len(kept) < 96


def test_slices_without_a_kidney_are_left_out_once_they_are_known(audited):
    n_kidneys = np.ones(98, int)
    row = int(np.flatnonzero(audited.table["path"] == "Normal/Normal- (3).png")[0])
    n_kidneys[row] = 0
    judged = curation.judge_slices(audited, n_kidneys=n_kidneys)
    assert judged["reason"].iat[row] == NO_KIDNEY
    assert len(curation.cleaned_list(audited, n_kidneys=n_kidneys)) == len(curation.cleaned_list(audited)) - 1


def test_the_exported_split_is_the_audited_one_and_keeps_scans_whole(audited):
    table = curation.split_table(audited, "grouped")
    assert sorted(table["fold"].unique()) == [0, 1, 2, 3, 4]
    assert table.groupby("series")["fold"].nunique().max() == 1
    folds = leak_audit.fold_numbers(audited.table, protocol="random", seed=0, n_folds=5)
    assert curation.split_table(audited, "random")["fold"].tolist() == folds.tolist()


def test_the_methods_say_what_the_audit_found(audited):
    text = curation.methods_text(audited, n_kidneys=np.zeros(98, int))
    assert "comprises 98 CT slices of" in text
    assert "25 Cyst, 24 Normal, 24 Stone, 25 Tumor" in text
    assert "2 exact copies" in text
    for protocol in ("random", "grouped"):
        accuracy = audited.protocols[protocol].baseline["accuracy"]
        assert f"accuracy of {100 * accuracy:.1f} %" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "saw no kidney on 98 slices" in text
