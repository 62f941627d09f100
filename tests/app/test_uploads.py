"""What sessions hold of uploads: of the page that is shown, and until they are dropped. See test_upload_room and test_upload_route."""

from kidney_core.app import upload_room, upload_route, uploads
from tests.conftest import ROOT


def test_previews_and_results_go_with_the_uploads(monkeypatch):
    state = dict.fromkeys(uploads.DERIVED_KEYS, "made of an upload") | {"evaluation_model": "tiny"}
    monkeypatch.setattr(uploads.st, "session_state", state)
    uploads.drop()
    assert state == {"evaluation_model": "tiny"}
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "kidney_core" / "app").glob("*_panel.py"))
    assert all(f'"{key}"' in sources for key in uploads.DERIVED_KEYS)


def test_a_page_tells_what_was_refused_until_it_is_left(monkeypatch):
    monkeypatch.setattr(uploads, "session_id", lambda: "me")
    monkeypatch.setattr(uploads.st, "session_state", {})
    uploads.begin_page("Diagnosis")
    upload_route.room.refuse("me", upload_room.STALLED)
    uploads.begin_page("Diagnosis")
    assert uploads.refusal() == "One file was not accepted: the upload stalled. Try again."
    uploads.begin_page("Teaching")
    assert uploads.refusal() == ""
