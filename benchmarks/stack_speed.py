"""How long a whole scan takes and how much memory: 300 simulated 512 × 512 DICOM slices in one zip.

    python -m benchmarks.stack_speed [--slices 300] [--threads 2] [--loaded]

Against the way without `stack_reading`: each slice read, diagnosed with its map and judged, one by one. Each way runs in
a process of its own, so that its peak memory is its own.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from kidney_core import phantom, phantom_dicom
from kidney_core.labels import LABELS

CHECKPOINT = "mobilenetv2"


def write_zip(path: Path, n_slices: int) -> None:
    """A shuffled series of simulated slices, enlarged to 512 × 512, with noise that deflates as badly as a patient's."""
    rng, series = np.random.default_rng(0), generate_uid()
    drawn = [each.hu for label in LABELS for each in phantom.draw_series(label, 5, n_slices=8)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for z in rng.permutation(n_slices):
            large = np.kron(drawn[z % len(drawn)], np.ones((2, 2))) + rng.normal(0, 8, (512, 512))
            file.writestr(f"scan/{z:05d}", phantom_dicom.ct_file(large, series=series, number=int(z)))


def measure(way: str, path: Path, n_threads: int, told: multiprocessing.Queue) -> None:
    """Read the zip in one way; tell seconds to open and to read, and the peak memory before and after, in MiB."""
    import torch

    from kidney_core import checkpoint, diagnosis, stack, stack_reading, verdict

    torch.set_num_threads(n_threads)
    reader = diagnosis.open_reader(checkpoint.read_checkpoint(checkpoint.checkpoints_folder() / CHECKPOINT))
    content, before = path.read_bytes(), peak_mib()
    start = time.perf_counter()
    (opened,) = stack.open_stacks([("scan.zip", content)]).stacks
    middle = time.perf_counter()
    if way == "stack":
        found = stack_reading.read_stack(reader, opened).table["predicted"].tolist()
    else:
        found = []
        for item in opened.items:
            image = stack.open_item(item)
            answer = diagnosis.diagnose(reader, image)
            verdict.judge(reader, image, answer)
            found.append(answer.predicted_label)
    told.put((middle - start, time.perf_counter() - middle, before, peak_mib(), found))


def peak_mib() -> float:
    """The largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**2


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--loaded", action="store_true", help="say that other work ran on the machine")
    options = parser.parse_args(arguments)
    process = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.zip"
        write_zip(path, options.slices)
        print(
            f"{options.slices} slices, zip of {path.stat().st_size / 1024**2:.0f} MiB, {CHECKPOINT}, {options.threads} threads"
            f"{' (contended: other work ran on the machine)' if options.loaded else ''}"
        )
        print(f"{'':24}{'open':>8}{'read':>8}{'a slice':>10}{'memory before':>16}{'peak':>10}")
        answers = []
        for way, title in (("stack", "stack_reading"), ("one by one", "one by one, with maps")):
            told = process.Queue()
            child = process.Process(target=measure, args=(way, path, options.threads, told))
            child.start()
            opening, reading, before, peak, found = told.get()
            child.join()
            answers.append(found)
            print(
                f"{title:24}{opening:6.1f} s{reading:6.1f} s{1000 * reading / options.slices:7.0f} ms{before:12.0f} MiB{peak:6.0f} MiB"
            )
        print("the same labels:", answers[0] == answers[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
