"""Answers of one reader: only the first counts, times run from when a case was shown, names are one clean line."""

import pytest

from kidney_core.teaching.cases import Guess
from kidney_core.teaching.seats import Draft, Seat, clean_name


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_an_answer_is_kept_with_its_time_and_cannot_be_changed():
    clock = Clock()
    seat = Seat("Ann", clock=clock)
    seat.open(0)
    clock.now = 3.0
    seat.open(0)  # the page runs again
    clock.now = 12.5
    seat.answer(0, Guess("Cyst", (1, 2)), 4)
    seat.answer(0, Guess("Stone", None), 1)
    (reading,) = seat.readings().values()
    assert (reading.first, reading.confidence, reading.time_s) == (Guess("Cyst", (1, 2)), 4, 12.5)
    assert reading.final == reading.first


def test_what_is_not_submitted_is_kept_until_it_is():
    seat = Seat()
    assert seat.draft(0) is None
    assert not seat.keep_draft(0, Draft())  # nothing is chosen yet
    begun = Draft("Stone", (3, 4), 0, None)
    assert seat.keep_draft(0, begun)
    assert not seat.keep_draft(0, begun)
    assert seat.keep_draft(1, Draft("Cyst"))
    assert (seat.draft(0), seat.draft(1)) == (begun, Draft("Cyst"))
    seat.answer(0, Guess("Stone", (3, 4)), 2)
    assert seat.draft(0) is None
    seat.keep_draft(0, Draft("Tumor"))
    seat.answer_again(0, Guess("Tumor", None), 5)
    assert seat.draft(0) is None


def test_a_second_answer_follows_a_first_one_and_has_its_own_time():
    clock = Clock()
    seat = Seat(clock=clock)
    seat.answer_again(0, Guess("Stone", None), 2)
    assert seat.readings() == {}
    seat.answer(0, Guess("Cyst", None), 4)
    clock.now = 7.0
    seat.answer_again(0, Guess("Stone", None), 2)
    seat.answer_again(0, Guess("Tumor", None), 5)
    reading = seat.readings()[0]
    assert (reading.final.label, reading.second_confidence, reading.second_time_s) == ("Stone", 2, 7.0)
    assert reading.first.label == "Cyst"


def test_a_confidence_beyond_one_to_five_is_refused():
    with pytest.raises(ValueError, match="confidence must be one of"):
        Seat().answer(0, Guess("Cyst", None), 6)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("  Ann \t B.\n", "Ann B."),
        ("a\x00b\u202ec", "a b c"),  # no control characters, none that turns the line around
        ("x" * 100, "x" * 40),
        (" \n", ""),
    ],
)
def test_names_are_one_short_line(typed, name):
    assert clean_name(typed) == name
