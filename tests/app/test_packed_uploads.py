"""Uploads are kept packed in the server's store, count as they were uploaded, and are read as they were."""

import copy
import hashlib
import time
import types

import numpy as np
import pytest
from streamlit.proto.Common_pb2 import FileURLs
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec

from kidney_core.app import packed_uploads, streamlit_internals


def ct_like(n_bytes):
    return np.random.default_rng(0).normal(1000, 12, n_bytes // 2).astype("<i2").tobytes()


@pytest.fixture
def store(monkeypatch):
    made = MemoryUploadedFileManager("/upload")
    monkeypatch.setattr(streamlit_internals, "running_server", lambda: types.SimpleNamespace(uploaded_file_mgr=made))
    return made


@pytest.mark.parametrize("size", [512 * 1024, 9 * 1024**2])
def test_what_packs_well_is_kept_packed_and_counts_as_it_was_uploaded(store, size):
    content = ct_like(size)
    store.add_file("me", UploadedFileRec("a", "a", "", content))
    packed_uploads.keep_packed(store, "me", "a")
    kept, deadline = store.file_storage["me"]["a"], time.monotonic() + 60
    while isinstance(kept.content, bytes) and time.monotonic() < deadline:  # a large one is packed in a thread
        time.sleep(0.01)
    assert len(kept.content.data) < 0.6 * size
    assert kept.read() == content
    assert streamlit_internals.stored_bytes() == {"me": size}
    store.remove_session_files("me")
    assert store._total_bytes == 0


def test_a_file_that_was_removed_meanwhile_does_not_come_back(store):
    packed_uploads.keep_packed(store, "me", "a")
    assert store.get_files("me", ["a"]) == []


def test_a_page_reads_an_upload_as_it_was_though_streamlit_copies_what_it_is_given(store, monkeypatch):
    """Streamlit copies the value of a widget, all uploaded files, at every run of a page."""
    monkeypatch.setattr(streamlit_internals.runtime, "exists", lambda: True)
    monkeypatch.setattr(
        streamlit_internals.runtime, "get_instance", lambda: types.SimpleNamespace(uploaded_file_mgr=store)
    )
    for content in (ct_like(200_000), np.random.default_rng(1).bytes(200_000)):
        store.add_file("", UploadedFileRec("a", "scan", "", content))
        packed_uploads.keep_packed(store, "", "a")
        shown = UploadedFile(store.get_files("", ["a"])[0], FileURLs())
        assert len(copy.deepcopy(shown).getvalue()) == 0
        assert packed_uploads.content(shown) == content
        member = packed_uploads.member(shown)
        assert member.content.read() == content
        assert member.content.sha256 == hashlib.sha256(content).hexdigest()
