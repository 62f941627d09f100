"""How long a whole scan takes and how much memory: 300 simulated 512 × 512 DICOM slices in one zip.

"range" is when it is known on about which slices the kidneys are, "read" when the verdict stands.

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

from kidney_core.common import settings
from kidney_core.simulation import phantom, phantom_dicom

CHECKPOINT = "mobilenetv2"
_MUSCLE_HU = 50.0


def write_zip(path: Path, n_slices: int) -> None:
    """A shuffled series of simulated slices, enlarged to 512 × 512, with noise that deflates as badly as a patient's.

    As in a scan of the abdomen, the kidneys show on four tenths of it.
    """
    rng, series = np.random.default_rng(0), generate_uid()
    begin, end = round(0.3 * n_slices), round(0.7 * n_slices)
    drawn = phantom.draw_series("Cyst", 5, n_slices=end - begin)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for z in rng.permutation(n_slices):
            nearest = drawn[min(max(z - begin, 0), len(drawn) - 1)]
            hu = nearest.hu if begin <= z < end else np.where(nearest.hu > -300, _MUSCLE_HU, nearest.hu)
            large = np.kron(hu, np.ones((2, 2))) + rng.normal(0, 8, (512, 512))
            file.writestr(f"scan/{z:05d}", phantom_dicom.ct_file(large, series=series, number=int(z)))


def measure(way: str, path: Path, n_threads: int, told: multiprocessing.Queue) -> None:
    """Read the zip in one way; tell seconds to open, to the range and to read, and the peak memory before and after, in MiB."""
    import torch

    from kidney_core.checkpoints import checkpoint
    from kidney_core.diagnosis import inference, stack_reading, verdict
    from kidney_core.imaging import stack
    from kidney_core.kidneys import finder

    torch.set_num_threads(n_threads)
    shown = checkpoint.read_checkpoint(settings.checkpoints_folder() / CHECKPOINT)
    predictor = inference.open_predictor(shown, finder=finder.open_installed())
    content, before = path.read_bytes(), peak_mib()
    start = time.perf_counter()
    (opened,) = stack.open_stacks([("scan.zip", content)]).stacks
    middle = time.perf_counter()
    ranged = float("nan")
    if way == "stack":
        reading = None
        while not (reading and reading.complete):
            answers = iter((False, True))
            reading = stack_reading.read_stack(predictor, opened, earlier=reading, stop=lambda it=answers: next(it))
            if reading.rough_range and np.isnan(ranged):
                ranged = time.perf_counter() - middle
        found = reading.table["predicted"].tolist()
    else:
        found = []
        for item in opened.items:
            image = stack.open_item(item)
            answer = inference.diagnose(predictor, image)
            verdict.judge(predictor, image, answer)
            found.append(answer.predicted_label if answer.kidneys.mask.any() else None)
    told.put((middle - start, ranged, time.perf_counter() - middle, before, peak_mib(), found))


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
        print(f"{'':24}{'open':>8}{'range':>8}{'read':>8}{'a slice':>10}{'memory before':>16}{'peak':>10}")
        answers = []
        for way, title in (("stack", "stack_reading"), ("one by one", "one by one, with maps")):
            told = process.Queue()
            child = process.Process(target=measure, args=(way, path, options.threads, told))
            child.start()
            opening, ranged, reading, before, peak, found = told.get()
            child.join()
            answers.append(found)
            print(
                f"{title:24}{opening:6.1f} s{ranged:6.1f} s{reading:6.1f} s{1000 * reading / options.slices:7.0f} ms{before:12.0f} MiB{peak:6.0f} MiB"
            )
        same = sum(one == other for one, other in zip(*answers, strict=True))
        print(f"the same label, or none, on {same} of {options.slices} slices")
    return 0


if __name__ == "__main__":
    sys.exit(main())
