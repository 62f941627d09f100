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
from kidney_core.teaching.quiz import Case, Guess, Round, Score
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


@pytest.mark.parametrize(
    ("mark", "right"),
    [
        ((45, 25), True),
        ((52, 25), True),  # 3 px beside it, 3 % of 100
        ((53, 25), False),
        ((52, 32), False),  # 3 px both ways are 4.2
        ((49, 32), True),
        (None, False),
    ],
)
def test_a_mark_is_right_on_the_lesion_or_within_three_per_cent(mark, right):
    assert quiz.score(case(), Guess("Stone", mark)) == Score(True, right)


def test_class_and_place_are_judged_apart():
    assert quiz.score(case(), Guess("Tumor", (45, 25))) == Score(False, True)


def test_of_normal_only_no_mark_is_right():
    normal = case("Normal", lesion=False)
    assert quiz.score(normal, Guess("Normal", None)) == Score(True, True)
    assert quiz.score(normal, Guess("Cyst", (1, 1))) == Score(False, False)


def test_where_the_lesion_is_unknown_only_the_class_is_judged():
    unknown = Case(case().image, "Stone", None, "here")
    assert quiz.score(unknown, Guess("Stone", (45, 25))) == Score(True, None)


def test_distance_is_that_to_the_nearest_pixel():
    assert quiz.distance(case().lesion, (45, 25)) == 0
    assert quiz.distance(case().lesion, (52, 33)) == pytest.approx(5)  # 3 across, 4 down


def test_a_model_points_where_its_map_is_brightest_and_nowhere_for_normal():
    heat = np.zeros((80, 100), np.float32)
    heat[25, 45] = 1
    framed = View(32).frame(np.zeros(heat.shape, np.uint8))

    def guess(label, heatmap):
        said = {"Stone": 0.7, "Normal": 0.3}
        return quiz.model_guess(Diagnosis("m", said, label, label, heatmap, framed, framed))

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


def test_score_table_and_totals():
    unknown = Case(case().image, "Cyst", None, "here")
    rounds = [
        Round(1, case(), Guess("Stone", (45, 25)), Guess("Cyst", (45, 25)), "answered"),
        Round(2, case("Normal", lesion=False), Guess("Cyst", (1, 1)), Guess("Normal", None), "undecided"),
        Round(3, unknown, Guess("Cyst", None), Guess("Cyst", (2, 2)), "refused"),
    ]
    table = quiz.score_table(rounds, "net")
    assert table["net"].tolist() == ["Cyst", "Normal", "Cyst"]
    assert table["Your location"].tolist() == ["correct", "wrong", "–"]
    assert quiz.totals(table) == {
        "Your class": (2, 3),
        "Your location": (1, 2),
        "Model's class": (2, 3),
        "Model's location": (2, 2),
    }
