"""Classes in memory: codes, seats, who leads, what is revealed, and that memory is bounded."""

import dataclasses
import threading

import pytest

from kidney_core.common.errors import ClassError
from kidney_core.teaching import classroom
from kidney_core.teaching.cases import Guess
from kidney_core.teaching.classroom import Classroom, Readers, Rules
from kidney_core.teaching.fair_answers import Basis, ModelAnswer
from kidney_core.teaching.seats import Seat
from tests.teaching.test_quiz import case
from tests.teaching.test_seats import Clock

MODEL = ModelAnswer(Guess("Cyst", None), {"Cyst": 0.7, "Normal": 0.3}, Basis.UNSEEN)


def started(room, name="Year 3", rules=None, owner="teacher@school.example", cases=None):
    cases = cases or [case(), case("Normal", lesion=False)]
    return room.start(name, cases, [MODEL] * len(cases), model_name="net", rules=rules or Rules(False), owner=owner)


def test_a_class_is_found_by_its_code_as_people_type_it():
    room = Classroom()
    session = started(room)
    assert room.find(f" {session.code[:3].lower()}-{session.code[3:]} ") is session
    assert len(session.code) == 6
    with pytest.raises(ClassError, match="There is no class “NOPE” on this server"):
        room.find("nope")


def test_only_the_owner_with_the_key_leads():
    session = started(Classroom())
    assert session.is_teacher(session.teacher_key, "teacher@school.example")
    assert not session.is_teacher(session.teacher_key, "student@school.example")
    assert not session.is_teacher("", "teacher@school.example")
    assert not session.is_teacher("é", "teacher@school.example")


def test_students_get_a_seat_each_and_names_are_told_apart():
    session = started(Classroom())
    tokens = [session.join(name) for name in ("Ann", "Ann", "", "Ann")]
    assert [seat.name for seat in session.seats()] == ["Ann", "Ann (2)", "Student 3", "Ann (3)"]
    assert len(set(tokens)) == 4
    assert session.seat(tokens[1]).name == "Ann (2)"
    assert session.seat("unknown") is None


def test_a_class_is_full_at_some_point(monkeypatch):
    monkeypatch.setattr(classroom, "MAX_SEATS", 2)
    session = started(Classroom())
    session.join("a"), session.join("b")
    with pytest.raises(ClassError, match="This class is full: it has 2 seats"):
        session.join("c")


def test_the_truth_is_shown_when_it_is_revealed():
    session = started(Classroom())
    assert session.revealed() == frozenset()
    session.reveal([1, 99])
    assert session.revealed() == {1}
    assert started(Classroom(), rules=Rules(reveals_at_once=True)).revealed() == {0, 1}


def test_idle_classes_end_and_used_ones_stay():
    clock = Clock()
    room = Classroom(clock=clock)
    idle, used = started(room), started(room)
    clock.now = classroom.IDLE_S - 1
    room.find(used.code)
    clock.now = classroom.IDLE_S + 1
    assert room.find(used.code) is used
    with pytest.raises(ClassError, match="There is no class"):
        room.find(idle.code)


def test_the_number_of_classes_and_their_memory_are_bounded(monkeypatch):
    room = Classroom()
    monkeypatch.setattr(classroom, "MAX_CLASSES", 2)
    first, _ = started(room), started(room)
    with pytest.raises(ClassError, match="as many classes as it can"):
        started(room)
    room.close(first)
    monkeypatch.setattr(classroom, "MAX_BYTES", 3 * case().image.pixels.nbytes)  # the one that is open has two slices
    with pytest.raises(ClassError, match="as many classes as it can"):
        started(room)
    big = dataclasses.replace(case(), stack=(case().image,) * 2)
    with pytest.raises(ClassError, match="as many classes as it can"):
        started(room, cases=[big])
    assert started(room, cases=[case()])


def test_forty_students_at_once_lose_no_answer():
    session = started(Classroom())

    def study(number):
        seat = session.seat(session.join("same name"))
        for at in range(2):
            seat.open(at)
            seat.answer(at, Guess("Cyst", (number, at)), 1 + number % 5)

    threads = [threading.Thread(target=study, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seats = session.seats()
    assert len({seat.name for seat in seats}) == 40
    assert sorted(seat.readings()[1].first.mark[0] for seat in seats) == list(range(40))


def test_a_reader_alone_finds_their_answers_under_the_token():
    readers, seat = Readers(), Seat()
    seat.answer(0, Guess("Cyst", None), 3)
    token = readers.keep("", "quiz 1", seat)
    readers.keep_folder(token, "/data")
    assert readers.keep(token, "quiz 2", Seat()) == token
    assert readers.seat(token, "quiz 1") is seat
    assert readers.folder(token) == "/data"
    assert readers.seat("forged", "quiz 1").readings() == {}
    assert readers.keep("forged", "quiz 1", Seat()) not in ("forged", token)


def test_of_many_readers_the_least_used_go(monkeypatch):
    monkeypatch.setattr(classroom, "MAX_READERS", 2)
    readers = Readers()
    one, two = (readers.keep("", "q", Seat(str(number))) for number in range(2))
    readers.seat(one, "q")
    readers.keep("", "q", Seat("2"))
    assert readers.seat(one, "q").name == "0"
    assert readers.seat(two, "q").name == ""
