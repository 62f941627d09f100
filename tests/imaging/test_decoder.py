"""Files are decoded in children with limits: a child that dies, hangs or lies costs a sentence, and nothing else."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from kidney_core import decoder, decoder_pool, dicom_place, slices
from kidney_core.errors import OversizedSlice, SliceError, UnreadableSlice, UnsupportedSlice
from tests.conftest import ROOT
from tests.hardness import bombs, files
from tests.test_stack import ct_file

PNG = files.picture(Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)), "PNG")
SENTENCE_OF_A_CRASH = "“a” is damaged so that it crashes its decoder"


@pytest.fixture
def pool():
    """The children of this process, none at first."""
    decoder.stop()
    yield decoder._pool
    decoder.stop()


def workers(pool) -> list[psutil.Process]:
    return psutil.Process(pool._server.pid).children()


def signalled(pool, monkeypatch, number):
    """Every new worker gets a signal before its first file."""
    start = pool.start_worker

    def start_and_signal():
        worker = start()
        os.kill(worker.process_id, number)
        return worker

    monkeypatch.setattr(pool, "start_worker", start_and_signal)


def test_a_dead_child_becomes_a_sentence_and_the_next_file_is_read(pool, monkeypatch):
    with monkeypatch.context() as during:
        signalled(pool, during, signal.SIGKILL)
        with pytest.raises(UnreadableSlice, match=SENTENCE_OF_A_CRASH):
            slices.read_slice(PNG, name="a")
    assert slices.read_slice(PNG).width_px == 16


def test_a_hanging_child_becomes_a_sentence_and_is_ended(pool, monkeypatch):
    with monkeypatch.context() as during:
        during.setattr(decoder, "TIMEOUT_S", 0.5)
        signalled(pool, during, signal.SIGSTOP)
        with pytest.raises(UnreadableSlice, match="“a” was given up: decoding it took longer than 0.5 s") as caught:
            slices.read_slice(PNG, name="a")
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert slices.read_slice(PNG).width_px == 16
    assert len(workers(pool)) == 1


def test_a_file_that_costs_too_much_of_a_processor_becomes_a_sentence_at_once(pool, monkeypatch):
    """The system ends the child; it is not asked again, since its death is no riddle."""
    monkeypatch.setitem(decoder._PROCESSOR_S, "place", 1.0)
    slices.read_slice(PNG)
    with pytest.raises(UnreadableSlice, match="“a” was given up: decoding it took longer than 1 s of a processor"):
        dicom_place.read_places(bombs.elements_in_an_item(), name="a")
    assert workers(pool) == []


def test_a_child_that_died_between_files_costs_nothing(pool):
    slices.read_slice(PNG)
    workers(pool)[0].kill()
    assert slices.read_slice(PNG).width_px == 16


def test_a_new_child_that_is_killed_from_outside_is_no_damaged_file(pool, monkeypatch):
    start, killed = pool.start_worker, []

    def start_and_kill_the_first():
        worker = start()
        if not killed:
            killed.append(os.kill(worker.process_id, signal.SIGKILL))
        return worker

    monkeypatch.setattr(pool, "start_worker", start_and_kill_the_first)
    assert slices.read_slice(PNG).width_px == 16
    assert killed


def test_a_server_that_died_is_started_again(pool):
    slices.read_slice(PNG)
    pool._server.kill()
    pool._server.wait()
    assert slices.read_slice(PNG).width_px == 16


def test_a_child_that_met_a_damaged_file_is_not_used_again(pool):
    slices.read_slice(PNG)
    (first,) = workers(pool)
    with pytest.raises(UnsupportedSlice):
        slices.read_slice(ct_file(Modality="MR"), name="a")
    assert workers(pool) == [first]
    with pytest.raises(UnreadableSlice, match="truncated or damaged"):
        slices.read_slice(PNG[:-20], name="a")
    slices.read_slice(PNG)
    assert first not in workers(pool)


def test_a_child_is_replaced_after_many_files(pool, monkeypatch):
    monkeypatch.setattr(decoder, "_MAX_SERVED", 3)
    served_by = set()
    for _ in range(7):
        slices.read_slice(PNG)
        served_by |= {worker.process_id for worker in pool._idle}
    assert len(served_by) == 3  # the third file of each is its last


def test_many_threads_read_at_once(pool):
    contents = [files.picture(Image.new("L", (32 + i, 32)), "PNG") for i in range(40)]
    with ThreadPoolExecutor(12) as threads:
        widths = list(threads.map(lambda content: slices.read_slice(content).width_px, contents))
    assert widths == [32 + i for i in range(40)]
    assert len(workers(pool)) <= max(2, os.cpu_count())


def test_the_frames_of_a_file_are_sent_once(pool, monkeypatch):
    sent = []
    send = decoder._send
    monkeypatch.setattr(
        decoder, "_send", lambda worker, message, started: (sent.append(len(message)), send(worker, message, started))
    )
    content = ct_file(3, n_frames=4, size_px=64)
    values = [slices.read_slice(content, frame=frame).pixels[0, 0] for frame in (0, 2, 3)]
    assert values == [3, 5, 6]
    assert sum(size == len(content) for size in sent) == 1
    slices.read_slice(PNG)
    assert slices.read_slice(content, frame=1).pixels[0, 0] == 4


def test_files_read_together_are_what_they_are_alone(tmp_path):
    contents = [PNG, b"no image", PNG[:-20], ct_file(7), ct_file(Modality="MR"), files.sound()["tiff I;16"]]
    paths = [tmp_path / f"{i}" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    together = slices.read_slices(paths)
    assert [isinstance(found, SliceError) for found in together] == [False, True, True, False, True, False]
    for path, found in zip(paths, together, strict=True):
        if isinstance(found, SliceError):
            with pytest.raises(type(found), match=re.escape(str(found))):
                slices.read_slice(path)
            continue
        image, content = found
        alone = slices.read_slice(path)
        np.testing.assert_array_equal(image.pixels, alone.pixels)
        assert (image.name, image.window, image.facts) == (path.name, alone.window, alone.facts)
        assert content == path.read_bytes()


def test_one_file_that_crashes_does_not_spoil_those_read_together(tmp_path, pool, monkeypatch):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        path.write_bytes(PNG)
    take = pool.take

    def take_dead(content):
        worker = take(content)
        os.kill(worker.process_id, signal.SIGKILL)
        monkeypatch.setattr(pool, "take", take)
        return worker

    monkeypatch.setattr(pool, "take", take_dead)
    assert [found[0].width_px for found in slices.read_slices(paths)] == [16, 16, 16]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_child_has_limits_and_no_secrets(pool, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "canary")
    slices.read_slice(PNG)
    (worker,) = workers(pool)
    limits = Path(f"/proc/{worker.pid}/limits").read_text().splitlines()
    soft_and_hard = {line[:26].strip(): line[26:].split()[:2] for line in limits}
    assert soft_and_hard["Max address space"] == [str(1536 * 1024**2)] * 2
    assert soft_and_hard["Max file size"] == ["0", "0"]
    assert soft_and_hard["Max core file size"] == ["0", "0"]
    assert soft_and_hard["Max open files"] == ["64", "64"]
    assert int(soft_and_hard["Max cpu time"][0]) <= decoder.TIMEOUT_S + 5
    assert int(soft_and_hard["Max data size"][0]) < 400 * 1024**2
    assert b"canary" not in Path(f"/proc/{worker.pid}/environ").read_bytes()
    assert {str(Path(f"/proc/{worker.pid}/fd/{n}").readlink()) for n in (0, 1, 2)} == {"/dev/null"}


def test_memory_that_no_slice_needs_is_a_sentence():
    with pytest.raises(OversizedSlice, match="“a” needs more memory than a CT slice ever does"):
        slices.read_slice(files.picture(Image.new("RGBA", (7_950, 7_950)), "PNG"), name="a")


@pytest.mark.parametrize("is_stopped", [False, True])
def test_no_child_outlives_its_process(is_stopped):
    """Also not one that hangs: the process is killed without a chance to say anything."""
    script = (
        "import os, signal, sys, time, psutil\n"
        "from tests.test_decoder import PNG, decoder, slices\n"
        "slices.read_slice(PNG)\n"
        "found = psutil.Process().children(recursive=True)\n"
        f"[os.kill(decoder._pool._idle[0].process_id, signal.SIGSTOP)] if {is_stopped} else None\n"
        "print(*[each.pid for each in found], flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        children = [psutil.Process(int(number)) for number in process.stdout.readline().split()]
        assert len(children) == 2  # server and worker
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_a_forked_child_of_the_process_has_children_of_its_own(pool):
    slices.read_slice(PNG)
    script = (
        "import os\n"
        "from tests.test_decoder import PNG, decoder, slices\n"
        "slices.read_slice(PNG)\n"
        "server = decoder._pool._server.pid\n"
        "if os.fork() == 0:\n"
        "    slices.read_slice(PNG)\n"
        "    same = decoder._pool._server.pid == server\n"
        "    decoder.stop()\n"
        "    os._exit(same)\n"
        "status = os.wait()[1]\n"
        "slices.read_slice(PNG)\n"
        "raise SystemExit(status)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def answered(told: bytes):
    """What `ask` makes of a child that answers these bytes, whatever it is asked."""
    ours, theirs = socket.socketpair()

    def answer():
        with theirs:
            n_asked = decoder.REQUEST.size + len(question.request) + len(question.content)
            theirs.recv(n_asked, socket.MSG_WAITALL)  # all of it: a child that hears half a question is another test
            theirs.sendall(told)

    worker = decoder_pool.Worker(ours, process_id=0)
    question = decoder._Question(b"{}", b"content", processor_s=5.0, max_payload_bytes=1000)
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        return decoder._exchange(worker, question, decoder._first(lambda each: slices._slice_of(each, "a", 0)))
    finally:
        thread.join()
        ours.close()


def an_answer(payload=bytes(12), **changes) -> bytes:
    fields = {
        "unit": "grey",
        "window": [127.5, 255],
        "inverted": False,
        "spacing_mm": None,
        "letters": {},
        "n_frames": 1,
        "facts": {},
        "notes": [],
        "pixels": ["uint8", 3, 4],
        **changes,
    }
    head = json.dumps([[fields, len(payload)]]).encode()
    return decoder.ANSWER.pack(len(head), len(payload)) + head + payload


def test_a_sound_answer_is_a_slice():
    assert answered(an_answer()).pixels.shape == (3, 4)


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"short",
        decoder.ANSWER.pack(2**31, 0),
        decoder.ANSWER.pack(10, 2**60),
        decoder.ANSWER.pack(5, 0) + b"[[[[[",
        decoder.ANSWER.pack(200_000, 0) + b"[" * 200_000,
        decoder.ANSWER.pack(2, 0) + b"{}",
        decoder.ANSWER.pack(4, 0) + b"null",
        an_answer(pixels=["uint8", 300, 400]),
        an_answer(pixels=["uint8", -3, -4]),
        an_answer(pixels=["object", 3, 4]),
        an_answer(pixels=["uint8", 3]),
        an_answer(pixels="uint8"),
        an_answer(pixels=["float32", 1, 3], payload=np.array([1, np.nan, 2], np.float32).tobytes()),
        an_answer(window=[float("nan"), 1]),
        an_answer(window=[1, 0]),
        an_answer(window=None),
        an_answer(spacing_mm=[0, 1]),
        an_answer(unit="<script>"),
        an_answer(n_frames="many"),
        an_answer(n_frames=10**12),
        an_answer(letters=[1]),
        an_answer(facts="text"),
        an_answer(notes=7),
        an_answer(error=["SystemExit", "no error of ours"]),
        an_answer(error=["CheckpointError", "not of slices"]),
        an_answer(error="text"),
        an_answer(error=[1, 2]),
    ],
)
def test_an_answer_that_is_none_ends_the_child(told):
    with pytest.raises(decoder._ChildDied):
        answered(told)


def test_a_sentence_of_a_child_is_cut_to_a_length():
    with pytest.raises(UnreadableSlice) as caught:
        answered(an_answer(error=["UnreadableSlice", "x" * 100_000]))
    assert len(str(caught.value)) == 2000


def test_a_pipe_in_a_folder_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    started = time.monotonic()
    with pytest.raises(UnreadableSlice, match="is no file but a folder, a pipe or a device"):
        slices.read_slice(tmp_path / "pipe.png")
    assert time.monotonic() - started < 5
