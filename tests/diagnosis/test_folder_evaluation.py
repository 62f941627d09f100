"""A folder is read as Diagnosis reads it: every slice has its prediction and its outcome, and both are kept."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from kidney_core.checkpoints import prediction
from kidney_core.common.errors import DatasetError
from kidney_core.data import dataset, labelled_scans
from kidney_core.diagnosis import evaluation_records, folder_evaluation, gate, inference
from kidney_core.imaging import stack
from tests.diagnosis.test_inference import made_checkpoint
from tests.imaging.test_nifti import nifti


@pytest.fixture
def predictor(tmp_path):
    return inference.open_predictor(made_checkpoint(tmp_path / "plain"))


def strict(predictor, thresholds):
    """The same with a threshold for each label."""
    card = {**predictor.checkpoint.card, "abstention": {"thresholds": thresholds, "accepted_error": 0.1}}
    return dataclasses.replace(predictor, checkpoint=dataclasses.replace(predictor.checkpoint, card=card))


def test_slices_get_the_predictions_that_the_command_line_gives(predictor, small_dataset):
    images = dataset.read_dataset(small_dataset)
    found = folder_evaluation.evaluate_slices(predictor, images)
    reference = prediction.predict_dataset(predictor.checkpoint, images)
    assert list(found.predictions.table["path"]) == list(images.table["path"])
    assert found.predictions.probabilities == pytest.approx(reference.probabilities, abs=1e-5)
    assert (found.predictions.series == reference.series).all()
    assert (found.predictions.table["plane"] == reference.table["plane"]).all()


def test_outcomes_follow_the_thresholds_of_the_card(predictor, small_dataset):
    images = dataset.read_dataset(small_dataset)
    labels = predictor.checkpoint.labels
    never = folder_evaluation.evaluate_slices(strict(predictor, dict.fromkeys(labels)), images)
    always = folder_evaluation.evaluate_slices(strict(predictor, dict.fromkeys(labels, 0.0)), images)
    assert set(never.outcomes["outcome"]) == {"undecided"}
    assert set(always.outcomes["outcome"]) == {"answered"}
    table = gate.gate_table(always.outcomes, always.predictions).set_index("label")
    assert list(table.index) == [*labels, "All"]
    assert table.loc["All", "wrong"] == pytest.approx((~always.predictions.is_right).mean())
    assert table.loc["Stone", "slices"] == 15
    assert np.isnan(gate.gate_table(never.outcomes, never.predictions).set_index("label").loc["All", "wrong"])


@pytest.fixture
def scans(tmp_path, small_dataset):
    """Three scans: pictures in a folder, a volume, and a file that is none."""
    root = tmp_path / "scans"
    shutil.copytree(small_dataset / "Stone", root / "pictures")
    volume = np.random.default_rng(0).integers(-100, 200, (24, 40, 40)).astype(np.int16)
    (root / "volume.nii.gz").write_bytes(nifti(volume))
    (root / "broken.dcm").write_bytes(b"not an image")
    (root / "series.csv").write_text(
        "path,series,label\npictures,A,Stone\nvolume.nii.gz,B,Cyst\nbroken.dcm,C,Cyst\n", encoding="utf-8"
    )
    return root


def test_whole_scans_of_pictures_and_volumes_are_read_together(predictor, scans):
    listed, _ = labelled_scans.read_labelled_scans(scans)
    told = []
    found = folder_evaluation.evaluate_scans(
        predictor, scans, listed, progress=lambda done, total: told.append((done, total))
    )
    table = found.predictions.table
    assert set(zip(table["series"], table["label"], strict=True)) == {("A", "Stone"), ("B", "Cyst")}
    assert (table["series"] == "A").sum() == 15
    assert set(table.loc[table["series"] == "B", "plane"]) == {"axial"}
    assert list(found.scans["series"]) == ["A", "B"]
    assert any("broken.dcm" in reason for _, reason in found.unreadable)
    assert told[-1] == (3, 3)


def test_every_row_names_a_slice_that_can_be_opened_again(predictor, scans):
    listed, _ = labelled_scans.read_labelled_scans(scans)
    found = folder_evaluation.evaluate_scans(predictor, scans, listed)
    for path in found.predictions.table["path"].iloc[[0, -1]]:
        file, frame = stack.file_and_frame(path)
        assert (scans / file).is_file()
        assert frame >= 0
    assert stack.file_and_frame("volume.nii.gz, axial 3") == ("volume.nii.gz", 2)
    assert stack.file_and_frame("Stone- (1), left.png") == ("Stone- (1), left.png", 0)


def test_an_evaluation_is_read_back_as_it_was_kept(predictor, scans):
    listed, _ = labelled_scans.read_labelled_scans(scans)
    result = folder_evaluation.evaluate_scans(predictor, scans, listed)
    made = evaluation_records.Evaluation(scans, True, {"plain": result}, {"plain": "abc"})
    key = evaluation_records.save(made)
    assert evaluation_records.save(made) == key  # the same result is kept once
    again = evaluation_records.load(key)
    assert again.root == scans
    assert again.weights == {"plain": "abc"}
    back = again.results["plain"]
    assert back.predictions.probabilities == pytest.approx(result.predictions.probabilities, abs=1e-6)
    assert list(back.outcomes["outcome"]) == list(result.outcomes["outcome"])
    assert list(back.scans["series"]) == ["A", "B"]
    assert back.unreadable == result.unreadable
    assert [each.key for each in evaluation_records.listed()] == [key]


def test_a_damaged_or_foreign_record_is_none(predictor, tmp_path):
    assert evaluation_records.load("0" * 24) is None
    assert evaluation_records.load("../../etc/passwd") is None
    folder = tmp_path / "cache"
    folder.mkdir(exist_ok=True)
    (folder / "evaluation-abc.json").write_text("{", encoding="utf-8")
    assert evaluation_records.load("abc") is None
    assert evaluation_records.listed() == []


def test_evaluate_scans__error_unknown_class(predictor, tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("L", (48, 48)).save(tmp_path / "a" / "1.png")
    with pytest.raises(DatasetError, match="class “Angiomyolipoma”, which the checkpoint"):
        folder_evaluation.evaluate_scans(
            predictor, tmp_path, [labelled_scans.LabelledScan("a", {"a/1.png": "Angiomyolipoma"})]
        )
