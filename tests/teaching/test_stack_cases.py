"""Stacks as cases: their slices in order under names that give nothing away, their lesions, and volumes of real files."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from kidney_core.common.errors import DatasetError
from kidney_core.data.dataset import read_dataset
from kidney_core.imaging.slices import read_slice
from kidney_core.simulation import phantom, phantom_dicom
from kidney_core.teaching import fair_answers, stack_cases
from kidney_core.teaching.fair_answers import StoredAnswer, StoredAnswers
from tests.conftest import write_series_dataset


def test_simulated_stacks_have_each_label_once_with_the_lesion_on_its_slices():
    cases = stack_cases.draw_stacks(3)
    assert Counter(each.label for each in cases) == dict.fromkeys(("Cyst", "Normal", "Stone", "Tumor"), 1)
    for case in cases:
        assert len(case.stack) == len(case.stack_lesions) == stack_cases.N_SIMULATED_SLICES
        assert case.is_simulated
        assert case.has_lesion == (case.label != "Normal")
        assert not any(case.label.lower() in each.name.lower() for each in case.stack)
        assert len({each.name for each in case.stack}) == len(case.stack)
    again = stack_cases.draw_stacks(3)
    assert all(np.array_equal(one.image.pixels, two.image.pixels) for one, two in zip(cases, again, strict=True))


def test_the_scans_of_a_folder_become_stacks_in_file_order(tmp_path):
    folder = write_series_dataset(tmp_path / "mine", n_series=2, n_slices=6)
    dataset = read_dataset(folder)
    cases = stack_cases.read_stacks(dataset, 1)
    assert len(cases) == 4
    for case in cases:
        assert len(case.stack) == 6
        for image, path, digest in zip(case.stack, case.paths, case.digests, strict=True):
            assert np.array_equal(image.pixels, read_slice(folder / path).pixels)
            assert digest == hashlib.sha256((folder / path).read_bytes()).hexdigest()[:12]
        assert not case.has_known_lesion


def test_masks_of_every_slice_are_the_lesions_of_a_stack(tmp_path):
    phantom.write_dataset(tmp_path / "demo", n_series=1, n_slices=5)
    cases = {each.label: each for each in stack_cases.read_stacks(read_dataset(tmp_path / "demo"), 1)}
    for path, lesion in zip(cases["Tumor"].paths, cases["Tumor"].stack_lesions, strict=True):
        assert np.array_equal(lesion, np.asarray(Image.open(tmp_path / "demo" / "masks" / path)) > 127)
    assert cases["Normal"].has_known_lesion
    assert not cases["Normal"].has_lesion


def test_a_stack_that_lacks_one_mask_is_judged_by_its_class_only(tmp_path):
    phantom.write_dataset(tmp_path / "demo", n_series=1, n_slices=5)
    next((tmp_path / "demo" / "masks" / "Tumor").iterdir()).unlink()
    cases = {each.label: each for each in stack_cases.read_stacks(read_dataset(tmp_path / "demo"), 1)}
    assert not cases["Tumor"].has_known_lesion
    assert cases["Stone"].has_known_lesion


def test_scans_of_a_few_slices_are_named(tmp_path):
    folder = write_series_dataset(tmp_path / "short", n_series=1, n_slices=2)
    with pytest.raises(DatasetError, match="has 5 slices or more"):
        stack_cases.read_stacks(read_dataset(folder), 1)


def test_a_long_scan_is_thinned_and_keeps_its_ends():
    rows = stack_cases._thinned(300)
    assert len(rows) == 40
    assert (rows[0], rows[-1]) == (0, 299)
    assert stack_cases._thinned(7) == list(range(7))


def test_the_model_answers_for_a_stack_by_the_mean_of_its_stored_answers(tmp_path):
    dataset = read_dataset(write_series_dataset(tmp_path / "mine", n_series=2, n_slices=5))
    rows, digests = {}, {}
    for position, row in enumerate(dataset.table.itertuples()):
        share = 0.9 if position % 5 == 0 else 0.3  # of Cyst; the mean over five slices is .42
        rows[row.path] = StoredAnswer(row.path, row.label, position // 5, {"Cyst": share, "Normal": 1 - share})
        digests[row.sha256[:12]] = (rows[row.path],)
    stored = StoredAnswers(digests, rows, {}, frozenset(digests))
    case = stack_cases.read_stacks(dataset, 1, stored)[0]
    answer = fair_answers.stored_for(stored, case)
    assert answer.guess.label == "Normal"
    assert answer.probabilities["Cyst"] == pytest.approx(0.42)
    incomplete = StoredAnswers(digests, rows, {}, frozenset(list(digests)[1:]) - {case.digests[0]})
    assert fair_answers.stored_for(incomplete, case) is None


def test_a_dicom_series_in_a_folder_is_one_case(tmp_path):
    for name, content in phantom_dicom.series_files("Stone", 1, n_slices=6):
        (tmp_path / name).write_bytes(content)
    case = stack_cases.volume_case(stack_cases.read_volume(tmp_path), "Stone", "a volume")
    assert len(case.stack) == 6
    assert len(set(case.digests)) == 6
    assert case.image.unit == "HU"
    assert not case.has_known_lesion
    assert case.stack[2].name == "Quiz 1, case 1, slice 3"  # no name of a file


def test_a_folder_without_slices_and_a_single_slice_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(DatasetError, match="has no slices"):
        stack_cases.read_volume(tmp_path)
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "one.png")
    with pytest.raises(DatasetError, match="has 1 slices in one stack, and a case needs 5"):
        stack_cases.volume_case(stack_cases.read_volume(tmp_path / "one.png"), "Stone", "one")
