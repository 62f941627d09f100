"""Files are decoded in sandboxed children: a child that dies, hangs or lies costs an error message, nothing else."""

import contextlib
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

from kidney_core.common.errors import OversizedSlice, SliceError, UnreadableSlice, UnsupportedSlice
from kidney_core.imaging import decoder, decoder_pool, decoder_wire, dicom_geometry, slices
from tests.conftest import ROOT
from tests.hardness import bombs, files
from tests.imaging.test_stack import ct_file

PNG = files.picture(Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)), "PNG")
CRASH_MESSAGE = "“a” is damaged and crashes its decoder"


@pytest.fixture
def pool():
    """The pool of children of this process, empty at first."""
    decoder.stop()
    yield decoder._pool
    decoder.stop()


def workers(pool) -> list[psutil.Process]:
    return psutil.Process(pool._server.pid).children()


def signal_new_workers(pool, monkeypatch, number):
    """Send a signal to every new worker before its first file."""
    start = pool.start_worker

    def start_and_signal():
        worker = start()
        os.kill(worker.process_id, number)
        return worker

    monkeypatch.setattr(pool, "start_worker", start_and_signal)


def test_a_dead_child_becomes_an_error_and_the_next_file_is_read(pool, monkeypatch):
    with monkeypatch.context() as during:
        signal_new_workers(pool, during, signal.SIGKILL)
        with pytest.raises(UnreadableSlice, match=CRASH_MESSAGE):
            slices.read_slice(PNG, name="a")
    assert slices.read_slice(PNG).width_px == 16


@pytest.mark.slow
def test_a_hanging_child_becomes_an_error_and_is_killed(pool, monkeypatch):
    with monkeypatch.context() as during:
        during.setattr(decoder_wire, "STILL_S", 0.5)
        signal_new_workers(pool, during, signal.SIGSTOP)
        with pytest.raises(UnreadableSlice, match="“a” could not be decoded: it took longer than 0.5 s") as caught:
            slices.read_slice(PNG, name="a")
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert slices.read_slice(PNG).width_px == 16
    assert len(workers(pool)) == 1


@pytest.fixture(scope="module")
def large_jpeg():
    """33 megapixels, as a phone takes them."""
    rows = np.arange(5744, dtype=np.uint8)[:, None] ^ np.arange(5744, dtype=np.uint8)[None]
    return files.picture(Image.fromarray(rows), "JPEG")


@pytest.mark.slow
def test_a_child_that_is_stopped_again_and_again_is_waited_for(pool, monkeypatch, large_jpeg):
    """As on a machine that gives it a moment now and then: in all it takes far longer than a child may lie still."""
    monkeypatch.setattr(decoder_wire, "STILL_S", 1.5)
    monkeypatch.setattr(decoder_wire, "_STILL_DELIVERING_S", 1.5)
    start, finished, n_pauses = pool.start_worker, threading.Event(), []

    def pause_often(process_id):
        worker = psutil.Process(process_id)
        while not finished.is_set():
            os.kill(process_id, signal.SIGSTOP)
            n_pauses.append(finished.wait(0.8))
            used = sum(worker.cpu_times()[:2])
            os.kill(process_id, signal.SIGCONT)
            while sum(worker.cpu_times()[:2]) == used and not finished.wait(0.01):  # it gets its moment
                pass

    def start_and_pause():
        worker = start()
        threads.submit(pause_often, worker.process_id)
        return worker

    monkeypatch.setattr(pool, "start_worker", start_and_pause)
    with ThreadPoolExecutor(1) as threads:
        try:
            assert slices.read_slice(large_jpeg).pixels.shape == (5744, 5744)
        finally:
            finished.set()
    assert len(n_pauses) > 3


@pytest.mark.slow
def test_a_child_that_waits_for_a_processor_is_waited_for(pool, monkeypatch, large_jpeg):
    monkeypatch.setattr(decoder_wire, "STILL_S", 1.0)
    monkeypatch.setattr(decoder_wire, "_STILL_DELIVERING_S", 1.0)
    start = pool.start_worker

    def start_last_in_line():
        worker = start()
        psutil.Process(worker.process_id).nice(19)
        return worker

    monkeypatch.setattr(pool, "start_worker", start_last_in_line)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        assert slices.read_slice(large_jpeg).pixels.shape == (5744, 5744)
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_child_that_is_asked_late_on_a_busy_machine_has_not_left(pool, monkeypatch):
    """It waits a minute for a request, and a request that came while it was stopped still counts."""
    slices.read_slice(PNG)
    (worker,) = workers(pool)
    worker.suspend()
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(slices.read_slice, PNG)
        time.sleep(1)
        worker.resume()
        assert reading.result().width_px == 16
    assert workers(pool) == [worker]


@pytest.mark.slow
def test_a_file_that_takes_too_much_processor_time_becomes_an_error_at_once(pool, monkeypatch):
    """The system kills the child at its limit; the file is not tried again, since the cause is known."""
    monkeypatch.setitem(decoder._PROCESSOR_S, "position", 1.0)
    slices.read_slice(PNG)
    with pytest.raises(UnreadableSlice, match="“a” could not be decoded: it took longer than 1 s of processor time"):
        dicom_geometry.read_positions(bombs.elements_in_an_item(), name="a")
    # The server kills the worker soon after the error, and no other one was started.
    assert psutil.wait_procs(workers(pool), timeout=30)[1] == []
    assert workers(pool) == []


def test_a_child_that_died_between_files_costs_nothing(pool):
    slices.read_slice(PNG)
    workers(pool)[0].kill()
    assert slices.read_slice(PNG).width_px == 16


@pytest.mark.slow
def test_a_new_child_that_is_killed_from_outside_does_not_count_as_a_damaged_file(pool, monkeypatch):
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


@pytest.mark.slow
def test_a_child_is_replaced_after_many_files(pool, monkeypatch):
    monkeypatch.setattr(decoder, "_MAX_SERVED", 3)
    served_by = set()
    for _ in range(7):
        slices.read_slice(PNG)
        served_by |= {worker.process_id for worker in pool._idle}
    assert len(served_by) == 3  # the third file of each is its last


@pytest.mark.slow
def test_many_threads_read_at_once(pool):
    contents = [files.picture(Image.new("L", (32 + i, 32)), "PNG") for i in range(40)]
    with ThreadPoolExecutor(12) as threads:
        widths = list(threads.map(lambda content: slices.read_slice(content).width_px, contents))
    assert widths == [32 + i for i in range(40)]
    assert len(workers(pool)) <= max(2, os.cpu_count())


def test_the_frames_of_a_file_are_sent_once(pool, monkeypatch):
    sent = []
    send = decoder.send
    monkeypatch.setattr(
        decoder, "send", lambda worker, message, patience: (sent.append(len(message)), send(worker, message, patience))
    )
    content = ct_file(3, n_frames=4, size_px=64)
    values = [slices.read_slice(content, frame=frame).pixels[0, 0] for frame in (0, 2, 3)]
    assert values == [3, 5, 6]
    assert sum(size == len(content) for size in sent) == 1
    slices.read_slice(PNG)
    assert slices.read_slice(content, frame=1).pixels[0, 0] == 4


def test_files_read_in_one_batch_give_the_same_as_alone(tmp_path):
    contents = [PNG, b"no image", PNG[:-20], ct_file(7), ct_file(Modality="MR"), files.sound()["tiff I;16"]]
    paths = [tmp_path / f"{i}" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    results = slices.read_slices(paths)
    assert [isinstance(result, SliceError) for result in results] == [False, True, True, False, True, False]
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, SliceError):
            with pytest.raises(type(result), match=re.escape(str(result))):
                slices.read_slice(path)
            continue
        image, content = result
        alone = slices.read_slice(path)
        np.testing.assert_array_equal(image.pixels, alone.pixels)
        assert (image.name, image.window, image.facts) == (path.name, alone.window, alone.facts)
        assert content == path.read_bytes()


def test_one_file_that_crashes_its_decoder_does_not_affect_its_batch(tmp_path, pool, monkeypatch):
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
    assert [image.width_px for image, _ in slices.read_slices(paths)] == [16, 16, 16]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_child_has_limits_and_no_secrets(pool, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "canary")
    slices.read_slice(PNG)
    (worker,) = workers(pool)
    limits = Path(f"/proc/{worker.pid}/limits").read_text(encoding="utf-8").splitlines()
    soft_and_hard = {line[:26].strip(): line[26:].split()[:2] for line in limits}
    assert soft_and_hard["Max address space"] == [str(1536 * 1024**2)] * 2
    assert soft_and_hard["Max file size"] == ["0", "0"]
    assert soft_and_hard["Max core file size"] == ["0", "0"]
    assert soft_and_hard["Max open files"] == ["64", "64"]
    assert int(soft_and_hard["Max cpu time"][0]) <= 15
    assert int(soft_and_hard["Max data size"][0]) < 400 * 1024**2
    assert b"canary" not in Path(f"/proc/{worker.pid}/environ").read_bytes()
    assert {str(Path(f"/proc/{worker.pid}/fd/{n}").readlink()) for n in (0, 1, 2)} == {"/dev/null"}


@pytest.mark.slow
def test_a_file_that_needs_too_much_memory_becomes_an_error():
    with pytest.raises(OversizedSlice, match="“a” needs more memory than any CT slice"):
        slices.read_slice(files.picture(Image.new("RGBA", (7_950, 7_950)), "PNG"), name="a")


@pytest.mark.slow
@pytest.mark.parametrize("is_stopped", [False, True])
def test_no_child_outlives_its_process(is_stopped):
    """Not even one that hangs: the process is killed and cannot end its children itself."""
    script = (
        "import os, signal, sys, time, psutil\n"
        "from tests.imaging.test_decoder import PNG, decoder, slices\n"
        "slices.read_slice(PNG)\n"
        "children = psutil.Process().children(recursive=True)\n"
        f"[os.kill(decoder._pool._idle[0].process_id, signal.SIGSTOP)] if {is_stopped} else None\n"
        "print(*[each.pid for each in children], flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        children = [psutil.Process(int(number)) for number in process.stdout.readline().split()]
        assert len(children) == 2  # server and worker
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


@pytest.mark.slow
def test_a_forked_child_of_the_process_has_children_of_its_own(pool):
    slices.read_slice(PNG)
    script = (
        "import os\n"
        "from tests.imaging.test_decoder import PNG, decoder, slices\n"
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


def exchange(response: bytes, *, pieces: int = 1, pause_s: float = 0.0):
    """The slice that is read from a child that sends these bytes to any request, in pieces with pauses between them."""
    ours, theirs = socket.socketpair()

    def respond():
        with theirs, contextlib.suppress(BrokenPipeError):
            n_request_bytes = decoder.REQUEST.size + len(request.header) + len(request.content)
            theirs.recv(n_request_bytes, socket.MSG_WAITALL)
            size = max(1, -(-len(response) // pieces))
            theirs.sendall(response[:size])
            for begin in range(size, len(response), size):
                time.sleep(pause_s)
                theirs.sendall(response[begin : begin + size])

    worker = decoder_pool.Worker(ours, process_id=0)
    request = decoder._Request(b"{}", b"content", processor_s=5.0, max_payload_bytes=1000)
    thread = threading.Thread(target=respond)
    thread.start()
    try:
        return decoder._exchange(worker, request, decoder._read_single(lambda each: slices._from_wire(each, "a", 0)))
    finally:
        thread.join()
        ours.close()


def response(payload=bytes(12), **changes) -> bytes:
    fields = {
        "unit": "grey",
        "window": [127.5, 255],
        "inverted": False,
        "spacing_mm": None,
        "pixel_aspect": 1.0,
        "windows": {},
        "recognised_as_hu": False,
        "letters": {},
        "n_frames": 1,
        "facts": {},
        "notes": [],
        "pixels": ["uint8", 3, 4],
        **changes,
    }
    head = json.dumps([[fields, len(payload)]]).encode()
    return decoder.RESPONSE.pack(len(head), len(payload)) + head + payload


def test_a_valid_response_becomes_a_slice():
    assert exchange(response()).pixels.shape == (3, 4)


@pytest.mark.slow
def test_a_picture_that_is_being_delivered_is_waited_for(monkeypatch):
    monkeypatch.setattr(decoder_wire, "STILL_S", 0.5)
    assert exchange(response(), pieces=3, pause_s=1.5).pixels.shape == (3, 4)


@pytest.mark.slow
def test_a_child_that_sends_a_byte_from_time_to_time_is_given_up(monkeypatch):
    monkeypatch.setattr(decoder_wire, "_STILL_IN_ALL_S", 2.0)
    with pytest.raises(TimeoutError, match="2 s"):
        exchange(response(), pieces=10, pause_s=0.8)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        decoder.RESPONSE.pack(2**31, 0),
        decoder.RESPONSE.pack(10, 2**60),
        decoder.RESPONSE.pack(5, 0) + b"[[[[[",
        decoder.RESPONSE.pack(200_000, 0) + b"[" * 200_000,
        decoder.RESPONSE.pack(2, 0) + b"{}",
        decoder.RESPONSE.pack(4, 0) + b"null",
        response(pixels=["uint8", 300, 400]),
        response(pixels=["uint8", -3, -4]),
        response(pixels=["object", 3, 4]),
        response(pixels=["uint8", 3]),
        response(pixels="uint8"),
        response(pixels=["float32", 1, 3], payload=np.array([1, np.nan, 2], np.float32).tobytes()),
        response(window=[float("nan"), 1]),
        response(window=[1, 0]),
        response(window=None),
        response(spacing_mm=[0, 1]),
        response(unit="<script>"),
        response(n_frames="many"),
        response(n_frames=10**12),
        response(letters=[1]),
        response(facts="text"),
        response(notes=7),
        response(error=["SystemExit", "no error of ours"]),
        response(error=["CheckpointError", "not of slices"]),
        response(error="text"),
        response(error=[1, 2]),
    ],
)
def test_an_invalid_response_ends_the_child(content):
    with pytest.raises(decoder_wire.WorkerDied):
        exchange(content)


def test_an_error_message_of_a_child_is_limited_in_length():
    with pytest.raises(UnreadableSlice) as caught:
        exchange(response(error=["UnreadableSlice", "x" * 100_000]))
    assert len(str(caught.value)) == 2000


def test_a_pipe_in_a_folder_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    started = time.monotonic()
    with pytest.raises(UnreadableSlice, match="is not a file but a folder, a pipe or a device"):
        slices.read_slice(tmp_path / "pipe.png")
    assert time.monotonic() - started < 5
