"""Who finds room for an upload: per session, per person, and over all sessions."""

import pytest

from kidney_core.app import access, upload_room
from kidney_core.app.upload_room import ALL_FULL, SESSION_FULL, STALLED, Room
from kidney_core.common.errors import PathError

LIMIT, TOTAL = 1_000_000, 4_000_000
FRAMING = 4096  # of each body, beside its file


@pytest.fixture
def stored(monkeypatch):
    """What is stored, by session; a session may hold 1 MB, all together 4 MB."""
    monkeypatch.setattr(upload_room, "limit_bytes", lambda: LIMIT)
    monkeypatch.setattr(upload_room, "total_bytes", lambda: TOTAL)
    monkeypatch.setattr(upload_room, "_STORED_FOR_S", -1.0)
    monkeypatch.setattr(upload_room, "_SECONDS_OF_A_BATCH", 0.0)
    return {}


def store(room, stored, session, person, n_bytes):
    """Let a file arrive as the server does; why it found no room."""
    with room.arriving(session, person, n_bytes + FRAMING) as arrival:
        problem = arrival.problem or arrival.take(n_bytes)
        if problem:
            arrival.refuse(problem)
        else:
            stored[session] = stored.get(session, 0) + n_bytes
    return problem


def test_all_files_of_a_session_share_its_limit(stored):
    room = Room(lambda: stored)
    assert store(room, stored, "me", "a", 600_000) == ""
    assert store(room, stored, "me", "a", 400_000) == ""
    assert store(room, stored, "me", "a", 1) == SESSION_FULL
    assert store(room, stored, "you", "b", LIMIT) == ""
    stored["me"] = 400_000
    assert store(room, stored, "me", "a", 600_000) == ""


def test_files_of_a_session_are_taken_in_the_order_in_which_they_begin(stored):
    room = Room(lambda: stored)
    with room.arriving("me", "a", 700_000) as first, room.arriving("me", "a", 700_000) as second:
        assert (first.problem, second.problem) == ("", SESSION_FULL)
        with room.arriving("me", "a", 300_000) as third:
            assert third.problem == ""


def test_what_others_only_announce_takes_no_room(stored):
    room = Room(lambda: stored)
    slow = [room.arriving(f"slow {n}", f"slow {n}", LIMIT) for n in range(40)]
    for each in slow:
        assert each.__enter__().problem == ""
    assert store(room, stored, "me", "a", LIMIT) == ""
    for each in slow:
        each.__exit__(None, None, None)


def test_bytes_that_have_arrived_take_room_until_they_are_dropped(stored):
    room = Room(lambda: stored)
    with room.arriving("you", "b", LIMIT) as arrival:
        assert arrival.take(LIMIT - FRAMING) == ""
        assert store(room, stored, "his other session", "c", LIMIT) == ""
        assert store(room, stored, "he", "c", 600_000) == ALL_FULL  # 1.6 MB, where 1.4 MB would be left for others
        arrival.release()
        assert store(room, stored, "he", "c", 600_000) == ""


def test_a_body_that_is_longer_than_it_announced_is_refused(stored):
    room = Room(lambda: stored)
    with room.arriving("me", "a", 1000) as arrival:
        assert arrival.take(1001) == ""  # what stands around the file is not counted to the byte
        assert arrival.take(FRAMING) == SESSION_FULL


def test_a_person_with_many_sessions_leaves_as_much_for_others(stored):
    room = Room(lambda: stored)
    for n in range(20):
        store(room, stored, f"session {n}", "greedy", LIMIT)
    assert sum(stored.values()) == TOTAL // 2
    for n in range(20):
        store(room, stored, f"other {n}", f"person {n}", 100_000)
    assert sum(stored.values()) == TOTAL // 2 + 19 * 100_000  # with the twentieth, less would be left than it holds
    assert sum(stored.values()) <= TOTAL


def test_without_log_in_each_session_is_a_visitor(stored):
    room = Room(lambda: stored)
    problems = [store(room, stored, f"tab {n}", access.LOCAL, LIMIT) for n in range(5)]
    assert problems == ["", "", "", ALL_FULL, ALL_FULL]
    assert store(room, stored, "tab 5", access.LOCAL, LIMIT // 2) == ""


def test_what_was_refused_is_told_until_the_session_starts_anew(stored):
    room = Room(lambda: stored)
    assert room.told("me") == ""
    store(room, stored, "me", "a", 900_000)
    for _ in range(2):
        assert store(room, stored, "me", "a", 200_000) == SESSION_FULL
    assert room.told("me").startswith("2 files were not accepted: one visitor can upload 0 MB in total")
    assert room.told("you") == ""
    room.refuse("me", STALLED)
    assert "One file was not accepted: the upload stalled. Try again." in room.told("me")
    stored.clear()
    store(room, stored, "me", "a", 10)
    assert room.told("me") == ""


def test_who_finds_no_room_beside_others_is_told_what_helps(stored):
    room = Room(lambda: stored)
    stored |= {"you": TOTAL - LIMIT}
    assert store(room, stored, "me", "a", LIMIT) == ALL_FULL
    assert room.told("me") == (
        "One file was not accepted: all visitors together can hold 0.004 GB of uploads, and no more of that is left for you. "
        "Try again in a few minutes. The administrator can raise the limit (KIDNEY_UPLOADS_GB)."
    )


def test_ended_sessions_are_forgotten(stored):
    room = Room(lambda: stored)
    room.refuse("me", STALLED)
    store(room, stored, "you", "b", 10)
    assert room.sessions() == {"me", "you"}
    room.forget({"me", "you", "nobody"})
    assert room.sessions() == set()


def test_total_bytes(monkeypatch):
    monkeypatch.delenv("KIDNEY_UPLOADS_GB", raising=False)
    monkeypatch.setattr(upload_room, "limit_bytes", lambda: LIMIT)
    monkeypatch.setattr(upload_room, "_memory_bytes", lambda: 16_000_000_000)
    assert upload_room.total_bytes() == 4_000_000_000
    monkeypatch.setattr(upload_room, "_memory_bytes", lambda: 1_000_000)
    assert upload_room.total_bytes() == 2 * LIMIT
    monkeypatch.setenv("KIDNEY_UPLOADS_GB", "0.5")
    assert upload_room.total_bytes() == 500_000_000


def test_the_memory_is_that_of_the_container(monkeypatch, tmp_path):
    upload_room._memory_bytes.cache_clear()
    monkeypatch.setattr(upload_room, "_CGROUP_LIMIT", tmp_path / "memory.max")
    for text, expected in (("123456789\n", 123456789), ("max\n", upload_room.psutil.virtual_memory().total)):
        (tmp_path / "memory.max").write_text(text, encoding="ascii")
        assert upload_room._memory_bytes() == expected
        upload_room._memory_bytes.cache_clear()


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "much"])
def test_total_bytes__error_no_size(monkeypatch, text):
    monkeypatch.setenv("KIDNEY_UPLOADS_GB", text)
    with pytest.raises(PathError, match=f"KIDNEY_UPLOADS_GB is “{text}”, which is not a number above 0. Set it to"):
        upload_room.total_bytes()
