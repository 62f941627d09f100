"""Points 14 and 15, uploads: nobody without a name fills the memory, nobody with one fills all of it, and nobody slow stops others."""

import time
from collections.abc import Callable

from benchmarks.browser import choose_files, running_app, settled
from kidney_core.app import upload_route
from tests.conftest import ROOT
from tests.hardness import patients
from tests.hardness.table import Figures, Options
from tests.hardness.users import visitor
from tests.hardness.visitors import HEADER, Upload, Visitor, app_behind_a_proxy, named, status_of, visitors

_MIB = 1024**2
_READER, _BOSS, _STUDENT = (named(f"{each}.example") for each in ("reader@hospital", "boss@hospital", "student@view"))
# Who may not upload: strangers, viewers, and those whom the proxy names twice, or as two.
_NOBODIES = (
    (),
    (),
    (),
    (),
    (),
    (),
    (),
    _STUDENT,
    named("x@elsewhere.example"),
    (*_READER, *_BOSS),
    (*_STUDENT, (HEADER.lower(), "reader@hospital.example")),
    named("x@elsewhere.example@hospital.example"),
    named("x@elsewhere.example,reader@hospital.example"),
    named("a b@hospital.example"),
)
_CHECKPOINTS = {"KIDNEY_CHECKPOINTS": str(ROOT / "checkpoints")}
_SETTLED_S = 12.0  # the app gives freed memory back every ten seconds


def measure_nobodies(options: Options) -> Figures:
    """Seven sessions without a name, viewers and forged names send 51 MB each, into their sessions and into another's."""
    figures: Figures = {"tried": 0, "let_in": 0}
    with app_behind_a_proxy(options.workplace) as (address, app), visitors() as visit:
        reader = visit(address, *_READER, page=None)  # a page would load torch, which takes more than is measured
        before = patients._memory(app)
        for headers in _NOBODIES:
            who = visit(address, *headers, page=None if headers else "")
            for session in (who.session, reader.session):
                figures["tried"] += 1
                figures["let_in"] += who.upload(51 * _MIB, session=session).finish() != 403
        figures["let_in"] += who.upload(1, session="no-session", headers=_READER).finish() != 403
        held = patients._memory(app) - before
        figures["reader_failed"] = int(reader.upload(_MIB).finish() != 204)
    return figures | {"held_mb": round(held / 1e6, 1)}


def measure_pictures(options: Options) -> Figures:
    """Addresses of what one person's page offers, asked for by others."""
    figures: Figures = {"files": 0, "given_to_others": 0, "refused_to_owner": 0}
    with app_behind_a_proxy(options.workplace, **_CHECKPOINTS) as (address, _), visitors() as visit:
        for path in visit(address, *_READER, page="Evaluation").media():
            figures["files"] += 1
            figures["refused_to_owner"] += status_of(address, path, *_READER) != 200
            figures["given_to_others"] += sum(
                status_of(address, path, *headers) == 200 for headers in (*_NOBODIES, _BOSS)
            )
    return figures


def measure_full(options: Options) -> Figures:
    """One person fills the room of all with a hundred sessions, then five others join in; one who comes after them finds some."""
    total_mb = 256
    with (
        app_behind_a_proxy(options.workplace, KIDNEY_UPLOADS_GB=str(total_mb / 1000)) as (address, app),
        visitors() as visit,
    ):
        before = patients._memory(app)
        sessions = [visit(address, *_BOSS, page=None) for _ in range(100 if options.thorough else 12)]
        sessions += [visit(address, *named(f"{n}@hospital.example"), page=None) for n in range(5)]
        answers = [session.upload(20 * _MIB).finish() for session in sessions]
        late = visit(address, *_READER, page=None)
        failed = sum(late.upload(512 * 1024).finish() != 204 for _ in range(4))
        too_much = late.upload(40 * _MIB).status()
        time.sleep(_SETTLED_S)
        held = patients._memory(app) - before
    return {
        "sessions": len(sessions),
        "kept_mb": 21 * answers.count(204),
        "unclear": sum(each not in (204, 507) for each in (*answers, too_much)),
        "others_failed": failed,
        "held_mb": round(held / 1e6, 1),
    }


def measure_slow(options: Options) -> Figures:
    """Bodies that stall, trickle, never begin, or announce a gigabyte, while somebody else uploads in a browser."""
    limit = ("--server.maxUploadSize", "1024")
    with (
        app_behind_a_proxy(options.workplace, *limit, KIDNEY_UPLOADS_GB="4", **_CHECKPOINTS) as (address, _),
        visitors() as visit,
    ):
        slow = [_begin(visit, address, n) for n in range(200 if options.thorough else 20)]
        reader = visit(address, *_READER)
        times = []
        for _ in range(10):
            began = time.monotonic()
            assert reader.upload(4 * _MIB).finish() == 204
            times.append(time.monotonic() - began)
        ended = [(_answer(each), each.age_s()) for each in slow]
    not_ended, oldest = sum(status not in (400, 408) for status, _ in ended), max(age for _, age in ended)
    return {
        "slow": len(slow),
        "slowest_other_s": round(max(times), 2),
        "not_ended": not_ended,
        "oldest_s": round(oldest, 1),
    }


def measure_page(options: Options) -> Figures:
    """A browser beside slow bodies, and one that finds no room: answers, and sentences in place of the library's words."""
    figures: Figures = {"answered": 0, "told": 0, "raw_errors": 0}
    options_of_app = ("--server.maxUploadSize", "8")
    with (
        running_app(*options_of_app, **_CHECKPOINTS) as (address, _),
        visitors() as visit,
        visitor(options.browser) as page,
    ):
        for n in range(12):
            visit(address).upload((7 if n % 2 else 1) * _MIB).send(1000)
        page.goto(f"{address}/Diagnosis")
        settled(page, seconds=120)
        for n_bytes, expected in ((5 * _MIB, "is not a PNG"), (4 * _MIB, "No room for this file")):
            file = {"name": f"{n_bytes}.bin", "mimeType": "application/octet-stream", "buffer": bytes(n_bytes)}
            choose_files(page, [file])
            page.get_by_text(expected).first.wait_for()
            settled(page)
            figures["answered" if n_bytes > 4 * _MIB else "told"] += 1
            figures["raw_errors"] += page.content().count("AxiosError") + page.inner_text("body").count("status code")
    return figures


def _begin(visit: Callable[..., Visitor], address: str, n: int) -> Upload:
    """The n-th slow body; two of a person, so that nobody is refused for holding too much."""
    who = visit(address, *named(f"slow{n // 2}@hospital.example"), page=None)
    announced, sent = ((900 * _MIB, 0), (60 * _MIB, 3 * _MIB), (60 * _MIB, 1000), (900 * _MIB, 300_000))[n % 4]
    upload = who.upload(announced)
    return upload.send(sent) if sent else upload


def _answer(upload: Upload) -> int:
    """The status of a slow body, to which one byte is added now and then; 0 where it is not ended in time.

    Where nothing was sent before, that byte is no beginning of a file, which is 400.
    """
    upload.socket.settimeout(1.0)
    while upload.age_s() < upload_route.STALL_S + 40:
        if status := upload.status():
            return status
        upload.send_raw(b"0")
    return 0
