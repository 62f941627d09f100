"""What sessions hold of uploads: within the limit, of the page that is shown, and packed as it came."""

import asyncio
import copy
import hashlib
import time
import types

import numpy as np
import pytest
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from streamlit.proto.Common_pb2 import FileURLs
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec

from kidney_core.app import streamlit_internals, uploads
from tests.conftest import ROOT


def file(name: str, size: int) -> UploadedFileRec:
    return UploadedFileRec(file_id=name, name=name, type="", data=bytes(size))


@pytest.fixture
def store(monkeypatch):
    """A store of uploads that allows 1,000 bytes a session."""
    monkeypatch.setattr(uploads, "limit_bytes", lambda: 1000)
    made = MemoryUploadedFileManager("/upload")
    uploads._hold_limit(made)
    return made


def test_all_files_of_a_session_share_the_limit(store):
    store.add_file(session_id="me", file=file("a", 600))
    store.add_file(session_id="me", file=file("b", 400))
    with pytest.raises(HTTPException, match="no room") as refused:
        store.add_file(session_id="me", file=file("c", 1))
    assert refused.value.status_code == 413
    store.add_file(session_id="you", file=file("c", 1000))
    store.remove_file("me", "a")
    store.add_file(session_id="me", file=file("c", 600))
    assert [each.name for each in store.get_files("me", ["b", "c"])] == ["b", "c"]


def test_what_found_no_room_is_told_until_the_session_starts_anew(store, monkeypatch):
    monkeypatch.setattr(uploads, "session_id", lambda: "me")
    uploads.drop()
    assert uploads.refusal() == ""
    store.add_file(session_id="me", file=file("a", 900))
    for name in "bc":
        with pytest.raises(HTTPException):
            store.add_file(session_id="me", file=file(name, 200))
    assert uploads.refusal().startswith("2 files were not accepted")
    store.remove_session_files("me")
    store.add_file(session_id="me", file=file("d", 10))
    assert uploads.refusal() == ""


@pytest.mark.parametrize("size", [512 * 1024, 9 * 1024**2])
def test_what_packs_well_is_kept_packed_and_counts_as_it_was_uploaded(store, monkeypatch, size):
    monkeypatch.setattr(uploads, "limit_bytes", lambda: 10 * 1024**2)
    content = np.random.default_rng(0).normal(1000, 12, size // 2).astype("<i2").tobytes()
    store.add_file(session_id="me", file=UploadedFileRec("a", "a", "", content))
    kept, deadline = store.file_storage["me"]["a"], time.monotonic() + 60
    while isinstance(kept.content, bytes) and time.monotonic() < deadline:  # a large one is packed in a thread
        time.sleep(0.01)
    assert len(kept.content.data) < 0.6 * size
    assert kept.read() == content
    assert streamlit_internals.stored_bytes(store, "me") == size
    with pytest.raises(HTTPException):
        store.add_file(session_id="me", file=file("b", 10 * 1024**2 - size + 1))


def test_a_page_reads_an_upload_as_it_was_though_streamlit_copies_what_it_is_given(store, monkeypatch):
    """Streamlit copies the value of a widget, all uploaded files, at every run of a page."""
    monkeypatch.setattr(uploads, "limit_bytes", lambda: 10**9)
    monkeypatch.setattr(streamlit_internals.runtime, "exists", lambda: True)
    server = types.SimpleNamespace(uploaded_file_mgr=store)
    monkeypatch.setattr(streamlit_internals.runtime, "get_instance", lambda: server)
    rng = np.random.default_rng(0)
    for content in (rng.normal(1000, 12, 100_000).astype("<i2").tobytes(), rng.bytes(200_000)):
        store.add_file(session_id="", file=UploadedFileRec("a", "scan", "", content))
        shown = UploadedFile(store.get_files("", ["a"])[0], FileURLs())
        assert len(copy.deepcopy(shown).getvalue()) == 0
        assert uploads.content(shown) == content
        member = uploads.member(shown)
        assert member.content.read() == content
        assert member.content.sha256 == hashlib.sha256(content).hexdigest()


def parser(length: str) -> MultiPartParser:
    return types.SimpleNamespace(headers={"content-length": length} if length else {})


def test_previews_and_results_go_with_the_uploads(monkeypatch):
    state = dict.fromkeys(uploads.DERIVED_KEYS, "made of an upload") | {"evaluation_model": "tiny"}
    monkeypatch.setattr(uploads.st, "session_state", state)
    uploads.drop()
    assert state == {"evaluation_model": "tiny"}
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "kidney_core" / "app").glob("*_panel.py"))
    assert all(f'"{key}"' in sources for key in uploads.DERIVED_KEYS)


def test_large_bodies_are_received_one_after_the_other():
    at_once, most = 0, 0

    async def parse(self):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1

    in_turn = uploads._one_after_the_other(parse)

    async def receive(n: int, size: int) -> None:
        await asyncio.gather(*(in_turn(parser(str(size))) for _ in range(n)))

    asyncio.run(receive(6, uploads._IN_FLIGHT_BYTES // 2))
    assert most == 2
    most = 0
    asyncio.run(receive(3, 2 * uploads._IN_FLIGHT_BYTES))  # larger than all that is allowed at once: alone
    assert most == 1


def test_bodies__error_no_length_and_no_patience(monkeypatch):
    monkeypatch.setattr(uploads, "_MAX_WAIT_S", 0.05)

    async def parse(self):
        await asyncio.sleep(1)

    in_turn = uploads._one_after_the_other(parse)
    with pytest.raises(HTTPException) as refused:
        asyncio.run(in_turn(parser("")))
    assert refused.value.status_code == 411

    async def two() -> None:
        await asyncio.gather(*(in_turn(parser(str(uploads._IN_FLIGHT_BYTES))) for _ in range(2)))

    with pytest.raises(HTTPException) as refused:
        asyncio.run(two())
    assert refused.value.status_code == 503
