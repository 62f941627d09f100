"""Uploads and pictures of a real server, asked for over sockets: for whom, how much, and how slowly."""

import time

import pytest

from benchmarks.browser import running_app
from kidney_core.app import upload_route
from tests.conftest import ROOT
from tests.hardness import visitors
from tests.hardness.visitors import HEADER, named

pytestmark = pytest.mark.slow
READER, COLLEAGUE, STUDENT = named("reader@hospital.example"), named("c@hospital.example"), named("s@view.example")
MIB = 1024**2
WITHIN_S = upload_route.STALL_S + 15  # of a busy machine


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The app behind a proxy that logs people in; 8 MB a session."""
    folder = tmp_path_factory.mktemp("app")
    options = ("--server.maxUploadSize", "8")
    with visitors.app_behind_a_proxy(folder, *options, KIDNEY_CHECKPOINTS=str(ROOT / "checkpoints")) as (address, _):
        yield address


@pytest.fixture
def visit():
    with visitors.visitors() as visit:
        yield visit


@pytest.mark.parametrize(
    "headers",
    [
        (),
        STUDENT,
        named("x@elsewhere.example"),
        READER + COLLEAGUE,
        (*READER, (HEADER.lower(), "reader@hospital.example")),
        named("x@elsewhere.example@hospital.example"),
        named("x@elsewhere.example, reader@hospital.example"),
        named("@hospital.example"),
    ],
)
def test_a_session_that_did_not_pass_the_gate_as_a_diagnoser_uploads_nothing(app, visit, headers):
    visitor = visit(app, *headers)
    assert visitor.upload(MIB).status() == 403  # before a byte is sent
    assert visitor.upload(1).finish() == 403
    assert visitor.upload(1, headers=READER).finish() == 403


def test_only_the_person_of_a_session_uploads_into_it(app, visit):
    reader = visit(app, *READER)
    assert reader.upload(MIB).finish() == 204
    for other in ((), COLLEAGUE, STUDENT, READER + COLLEAGUE):
        assert reader.upload(MIB, headers=other).finish() == 403
    assert reader.upload(1, session="no-such-session").finish() == 403
    opened_nothing = visit(app, *READER, page=None)
    assert opened_nothing.upload(1).finish() == 204
    opened_nothing.leave()
    deadline = time.monotonic() + 30
    while opened_nothing.upload(1).finish() != 403:
        assert time.monotonic() < deadline


def test_a_session_takes_as_much_as_one_visitor_may_upload(app, visit):
    reader = visit(app, *READER)
    assert reader.upload(5 * MIB).finish() == 204
    assert reader.upload(4 * MIB).status() == 413  # announced; nothing of it need be sent
    assert reader.upload(4 * MIB).finish() == 413  # a browser sends it all, and reads the answer then
    assert reader.upload(3 * MIB).finish() == 204
    assert visit(app, *READER).upload(5 * MIB).finish() == 204


def test_uploads__error_malformed(app, visit):
    reader = visit(app, *READER)
    assert reader.upload(1, **{"Content-Length": "", "Transfer-Encoding": "chunked"}).status() == 411
    assert reader.upload(1, **{"Content-Type": "application/x-www-form-urlencoded"}).finish() == 415
    assert reader.upload(1, **{"Content-Type": ""}).finish() == 415
    assert reader.upload(1, **{"X-Xsrftoken": "2|forged"}).finish() == 403
    both = reader.upload(1, **{"Content-Length": "5", "Transfer-Encoding": "chunked"})
    both.send_raw(b"100000\r\n").send_zeros(MIB)
    assert both.status() in (400, 413)


def test_slow_bodies_stop_nobody_and_are_ended(app, visit):
    slow = visit(app, *COLLEAGUE)
    silent = slow.upload(4 * MIB).send(100_000)
    never_began = slow.upload(3 * MIB)
    trickling = visit(app, *COLLEAGUE).upload(8 * MIB - 5000).send(0)
    trickling.socket.settimeout(1.0)
    reader = visit(app, *READER)
    for _ in range(8):
        assert reader.upload(MIB).finish() == 204
    ended = 0
    while not ended and trickling.age_s() < WITHIN_S:
        trickling.send_raw(b"0")
        ended = trickling.status()
    assert (ended, silent.status(), never_began.status()) == (408, 408, 408)
    for each in (silent, never_began, trickling):
        each.socket.settimeout(WITHIN_S)
        while each.socket.recv(1 << 16):  # the connection is closed as well
            pass
        assert each.age_s() < WITHIN_S
    assert slow.upload(8 * MIB - 5000).finish() == 204  # they have left their room


def test_a_slow_body_that_goes_on_arrives(app, visit):
    body = visit(app, *READER).upload(250_000).send(0)
    for _ in range(5):
        time.sleep(5)
        body.send_zeros(50_000)
    assert body.send_raw(visitors._AFTER).status() == 204
    assert body.age_s() > upload_route.STALL_S


def test_a_file_of_a_page_is_given_to_the_person_of_its_session_only(app, visit):
    reader = visit(app, *READER, page="Evaluation")
    addresses = reader.media()
    assert addresses
    for address in addresses:
        assert visitors.status_of(app, address, *READER) == 200
        assert visitors.status_of(app, address) == 403
        assert visitors.status_of(app, address, *READER, *READER) == 403
        assert visitors.status_of(app, address, *COLLEAGUE) == 404
        assert visitors.status_of(app, address.replace("/media/", "/media/x/../"), *COLLEAGUE) in (400, 404)
    colleague = visit(app, *COLLEAGUE, page="Evaluation")
    assert set(colleague.media()) & set(addresses)  # both were given the same files
    assert visitors.status_of(app, addresses[0], *COLLEAGUE) == 200


@pytest.mark.parametrize("headers", [{"Host": "evil.example:8501"}, {"X-Forwarded-For": "192.0.2.9"}])
def test_on_ones_own_machine_uploads_come_from_it(visit, headers):
    with running_app() as (address, _):
        visitor = visit(address)
        assert visitor.upload(1).finish() == 204
        assert visitor.upload(1, **headers).finish() == 403


def test_started_by_streamlit_run_the_first_page_guards_the_server(visit):
    command = ("streamlit", "run", str(ROOT / "streamlit_app.py"))
    with running_app("--server.address", "0.0.0.0", command=command) as (address, _):
        visitor = visit(address)
        assert b"would be open to everybody" in visitor.read_page()
        assert visitor.upload(1).finish() == 403
