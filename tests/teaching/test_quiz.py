"""Cases, and the rule by which students and models are judged alike."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from kidney_core.common.errors import DatasetError
from kidney_core.data import lesions
from kidney_core.data.dataset import read_dataset
from kidney_core.diagnosis.inference import Diagnosis
from kidney_core.imaging.framing import View
from kidney_core.imaging.slices import Slice, Window
from kidney_core.simulation import phantom
from kidney_core.teaching import quiz
from kidney_core.teaching.cases import Case, Guess, model_guess
from kidney_core.teaching.fair_answers import StoredAnswer, StoredAnswers
from tests.conftest import write_series_dataset


def case(label="Stone", lesion=True):
    """A slice of 100 x 80 px with a lesion at x 40-49, y 20-29."""
    mask = np.zeros((80, 100), bool)
    if lesion:
        mask[20:30, 40:50] = True
    return Case(Slice("a", np.zeros((80, 100), np.uint8), "grey", Window(127.5, 255)), label, mask, "here")


@pytest.fixture
def simulated_folder(tmp_path):
    phantom.write_dataset(tmp_path / "demo", n_series=2, n_slices=2)
    return tmp_path / "demo"


def test_a_model_points_where_its_map_is_brightest_and_nowhere_for_normal():
    heat = np.zeros((80, 100), np.float32)
    heat[25, 45] = 1
    framed = View(32).frame(np.zeros(heat.shape, np.uint8))

    def guess(label, heatmap):
        said = {"Stone": 0.7, "Normal": 0.3}
        return model_guess(Diagnosis("m", said, label, label, heatmap, framed, framed))

    assert guess("Stone", heat) == Guess("Stone", (45, 25))
    assert guess("Normal", heat) == Guess("Normal", None)
    assert guess("Stone", None) == Guess("Stone", None)


def test_a_simulated_quiz_has_each_label_twice_and_is_the_same_each_time():
    cases = quiz.draw_cases(12)
    assert Counter(each.label for each in cases) == {"Cyst": 2, "Normal": 2, "Stone": 2, "Tumor": 2}
    assert [each.lesion.any() for each in cases] == [each.label != "Normal" for each in cases]
    again, other = quiz.draw_cases(12), quiz.draw_cases(13)
    assert all(np.array_equal(one.image.pixels, two.image.pixels) for one, two in zip(cases, again, strict=True))
    assert not np.array_equal(cases[0].image.pixels, other[0].image.pixels)
    assert not any(each.label.lower() in each.image.name.lower() for each in cases)


def test_a_folder_with_masks_gives_cases_with_lesions(simulated_folder):
    cases = quiz.read_cases(read_dataset(simulated_folder), 1)
    assert Counter(each.label for each in cases) == {"Cyst": 2, "Normal": 2, "Stone": 2, "Tumor": 2}
    for each in cases:
        assert each.origin.startswith(each.label)
        assert each.image.name.startswith("Quiz 1, case")
        mask = np.asarray(Image.open(simulated_folder / "masks" / each.origin)) > 127
        assert np.array_equal(each.lesion, mask)
        assert each.digest == hashlib.sha256((simulated_folder / each.origin).read_bytes()).hexdigest()[:12]
    assert [each.origin for each in quiz.read_cases(read_dataset(simulated_folder), 1)] == [
        each.origin for each in cases
    ]


def test_masks_of_zeros_and_ones_are_masks_too_and_a_changed_one_is_another_quiz(simulated_folder):
    before = lesions.version(simulated_folder)
    for path in (simulated_folder / "masks").glob("*/*.png"):
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)
    assert lesions.version(simulated_folder) != before
    cases = quiz.read_cases(read_dataset(simulated_folder), 3)
    assert {case.label for case in cases} == {"Cyst", "Normal", "Stone", "Tumor"}
    assert all(case.lesion.any() == (case.label != "Normal") for case in cases)


def test_a_folder_without_masks_judges_the_class_only(tmp_path):
    cases = quiz.read_cases(read_dataset(write_series_dataset(tmp_path / "plain")), 3)
    assert len(cases) == quiz.N_CASES
    assert all(each.lesion is None for each in cases)


def test_boxes_beside_the_classes_are_lesions(tmp_path):
    folder = write_series_dataset(tmp_path / "boxed", n_series=1, n_slices=1, size_px=100)
    (folder / "labels" / "Stone").mkdir(parents=True)
    (folder / "labels" / "Stone" / "Stone- (1).txt").write_text("0 0.5 0.25 0.2 0.1\n", encoding="utf-8")
    cases = {each.label: each for each in quiz.read_cases(read_dataset(folder), 1)}
    assert set(cases) == {"Stone", "Normal"}  # of cysts and tumors the lesion should be known and is not
    rows, columns = np.nonzero(cases["Stone"].lesion)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 29, 40, 59)
    assert not cases["Normal"].lesion.any()


def test_a_mask_of_another_size_is_named(simulated_folder):
    for path in (simulated_folder / "masks").glob("*/*.png"):
        Image.new("L", (10, 10)).save(path)
    with pytest.raises(DatasetError, match="has 10 × 10 px and its slice 256 × 256"):
        quiz.read_cases(read_dataset(simulated_folder), 1)


def test_a_folder_whose_masks_fit_no_slice_is_named(tmp_path):
    folder = write_series_dataset(tmp_path / "unmatched", n_series=1, n_slices=1)
    (folder / "masks").mkdir()
    for path in (folder / "Normal").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="show no lesion of any slice. Name them like the slices"):
        quiz.read_cases(read_dataset(folder), 1)


def stored(dataset, wrong):
    """Answers for every slice of a dataset, wrong for those paths, each slice a scan of its own."""
    rows, digests = {}, {}
    for number, row in enumerate(dataset.table.itertuples()):
        said = ("Normal" if row.label != "Normal" else "Cyst") if row.path in wrong else row.label
        rows[row.path] = StoredAnswer(row.path, row.label, number, {said: 1.0})
        digests[row.sha256[:12]] = (rows[row.path],)
    return StoredAnswers(digests, rows, {}, frozenset(digests))


def test_half_of_the_cases_are_those_that_the_model_got_wrong(tmp_path):
    dataset = read_dataset(write_series_dataset(tmp_path / "mine", n_series=3, n_slices=3))
    wrong = {group["path"].iloc[0] for _, group in dataset.table.groupby("label")}
    for number in (1, 2, 3):
        cases = quiz.read_cases(dataset, number, stored(dataset, wrong))
        assert Counter(each.label for each in cases) == {"Cyst": 2, "Normal": 2, "Stone": 2, "Tumor": 2}
        assert sum(each.origin in wrong for each in cases) == 4
        assert len({each.origin for each in cases}) == 8


def test_a_model_without_errors_gives_cases_all_the_same(tmp_path):
    dataset = read_dataset(write_series_dataset(tmp_path / "mine", n_series=2, n_slices=2))
    assert len(quiz.read_cases(dataset, 1, stored(dataset, set()))) == quiz.N_CASES


def test_two_cases_of_one_scan_are_avoided_where_the_scans_are_known(tmp_path):
    dataset = read_dataset(write_series_dataset(tmp_path / "mine", n_series=2, n_slices=4))
    answers = stored(dataset, set())
    scans = {
        path: path.split("(")[0] + str((int(path.split("(")[1].split(")")[0]) - 1) // 4) for path in answers.by_path
    }
    rows = {
        path: StoredAnswer(path, each.label, scans[path], each.probabilities) for path, each in answers.by_path.items()
    }
    digests = {digest: (rows[each.path],) for digest, (each,) in answers.by_digest.items()}
    cases = quiz.read_cases(dataset, 1, StoredAnswers(digests, rows, {}, answers.trained_on))
    assert len({scans[each.origin] for each in cases}) == 8
