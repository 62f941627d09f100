"""The rule by which students and models are graded alike: hand-made lesions, distances computed by hand."""

import numpy as np
import pytest
from scipy import ndimage

from kidney_core.imaging.slices import Slice, Window
from kidney_core.teaching import marks
from kidney_core.teaching.cases import Case, Guess
from kidney_core.teaching.marks import Grade, Score
from tests.teaching.test_quiz import case


@pytest.mark.parametrize(
    ("mark", "grade"),
    [
        ((45, 25), Grade.CORRECT),
        ((52, 25), Grade.CORRECT),  # 3 px beside it, 3 % of 100
        ((53, 25), Grade.NEAR),
        ((55, 25), Grade.NEAR),  # 6 px, twice the tolerance
        ((56, 25), Grade.WRONG),
        ((52, 32), Grade.NEAR),  # 3 px both ways are 4.2
        ((49, 32), Grade.CORRECT),
        (None, Grade.WRONG),
    ],
)
def test_a_mark_is_correct_within_three_per_cent_and_near_as_far_again(mark, grade):
    assert marks.score(case(), Guess("Stone", mark)) == Score(True, grade)


def test_beside_a_large_lesion_near_is_its_radius():
    mask = np.zeros((200, 200), bool)
    mask[50:150, 50:150] = True  # 10,000 px: a radius of 56.4 px
    large = Case(Slice("a", np.zeros((200, 200), np.uint8), "grey", Window(127.5, 255)), "Tumor", mask, "here")
    assert marks.near_px(mask, (180, 100)) == pytest.approx(56.42, abs=0.01)
    assert marks.score(large, Guess("Tumor", (195, 100))).place == Grade.NEAR
    mask[190:193, 10:13] = True  # beside a small one, the large one does not help
    assert marks.near_px(mask, (11, 199)) == 12


def test_the_zone_is_where_marks_are_correct():
    lesion = case().lesion
    zone = marks.tolerance_zone(lesion)
    for y in range(15, 40):
        for x in range(35, 60):
            assert zone[y, x] == (marks.score(case(), Guess("Stone", (x, y))).place == Grade.CORRECT)
    assert not marks.tolerance_zone(np.zeros((5, 5), bool)).any()
    assert ndimage.label(zone)[1] == 1


def test_class_and_place_are_judged_apart():
    assert marks.score(case(), Guess("Tumor", (45, 25))) == Score(False, Grade.CORRECT)


def test_of_normal_only_no_mark_is_correct():
    normal = case("Normal", lesion=False)
    assert marks.score(normal, Guess("Normal", None)) == Score(True, Grade.CORRECT)
    assert marks.score(normal, Guess("Cyst", (1, 1))) == Score(False, Grade.WRONG)


def test_where_the_lesion_is_unknown_only_the_class_is_judged():
    unknown = Case(case().image, "Stone", None, "here")
    assert marks.score(unknown, Guess("Stone", (45, 25))) == Score(True, None)


def test_distance_is_that_to_the_nearest_pixel():
    assert marks.distance(case().lesion, (45, 25)) == 0
    assert marks.distance(case().lesion, (52, 33)) == pytest.approx(5)  # 3 across, 4 down


def test_in_a_stack_the_next_slice_is_near():
    one = case()
    empty = np.zeros_like(one.lesion)
    stack = Case(
        one.image, "Stone", one.lesion, "here", stack=(one.image,) * 4, stack_lesions=(empty, one.lesion, empty, empty)
    )
    grades = [marks.score(stack, Guess("Stone", (45, 25), at)).place for at in range(4)]
    assert grades == [Grade.NEAR, Grade.CORRECT, Grade.NEAR, Grade.WRONG]
