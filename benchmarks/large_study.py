"""How much memory a study of 600 slices takes: uploaded in a real browser, read to its verdict, and scrolled through.

    python -m benchmarks.large_study [--slices 600] [--study FOLDER] [--ways files folder zip compressed path]

The slices are 512 × 512 in 16 bits (315 MB as they come), interpolated between those of a real series (`--study`, a folder of
DICOM files of one series) or of the phantom, with noise that packs as badly as a patient's. "compressed" are the same in lossless
JPEG 2000; "path" opens the folder by its path. Each way starts an app of its own and answers a sample first, so that torch and
the networks count as before. Memory is the resident set of the app's process; that of its decoders is told apart.
"""

import argparse
import io
import os
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pydicom
from playwright.sync_api import Page
from pydicom.uid import JPEG2000Lossless, generate_uid

from benchmarks.browser import launched_browser, running_app, settled
from kidney_core.simulation import phantom, phantom_dicom

WAYS = ("files", "folder", "zip", "compressed", "path")
_SIDE_PX, _NOISE_HU = 512, 8.0
_DISTANCE_MM = 0.8
_PATIENCE_MS = 1_800_000
_N_SCROLLED = 60
_MIB = 1024**2


@dataclass
class Memory:
    """Resident memory of the app and of its decoders, in MiB, by the part of the visit that ran.

    Attributes:
        part: what runs now.
        peaks: part -> (app, decoders), the largest seen.
        last: part -> app, when it ended.
    """

    app: psutil.Process
    part: str = "start"
    peaks: dict[str, tuple[float, float]] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Weigh until stopped, about ten times a second."""
        while not self.stopped.wait(0.1):
            app = self.app.memory_info().rss / _MIB
            decoders = 0.0
            for child in self.app.children(recursive=True):
                try:
                    decoders += child.memory_info().rss / _MIB
                except psutil.Error:  # it ended meanwhile
                    continue
            before = self.peaks.get(self.part, (0.0, 0.0))
            self.peaks[self.part] = (max(before[0], app), max(before[1], decoders))
            self.last[self.part] = app


def volume_of(study: Path | None) -> np.ndarray:
    """Slices of a scan in HU, (N, 512, 512) float32: of a DICOM series in the order of its positions, or of the phantom."""
    if study is None:
        drawn = [each.hu for each in phantom.draw_series("Cyst", 5, n_slices=24)]
        return np.stack([np.kron(hu, np.ones((2, 2))) for hu in drawn]).astype(np.float32)
    files = [pydicom.dcmread(path) for path in study.iterdir()]
    files.sort(key=lambda each: float(each.ImagePositionPatient[2]))
    return np.stack(
        [each.pixel_array * np.float32(each.RescaleSlope) + np.float32(each.RescaleIntercept) for each in files]
    )


def write_study(folder: Path, volume: np.ndarray, n_slices: int, *, compressed: bool) -> int:
    """Write the slices as DICOM files; their bytes in all."""
    rng, series = np.random.default_rng(0), generate_uid()
    folder.mkdir()
    for number, place in enumerate(np.linspace(0, len(volume) - 1, n_slices)):
        low = min(int(place), len(volume) - 2)
        hu = volume[low] + (place - low) * (volume[low + 1] - volume[low])
        hu = np.clip(hu + rng.normal(0, _NOISE_HU, hu.shape), -1024, 3071)
        dataset = pydicom.dcmread(io.BytesIO(phantom_dicom.ct_file(hu, series=series, number=number)))
        dataset.ImagePositionPatient = [0.0, 0.0, number * _DISTANCE_MM]
        if compressed:
            dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.save_as(folder / f"IM{number:05d}")
    return sum(path.stat().st_size for path in folder.iterdir())


def give(page: Page, way: str, folder: Path) -> None:
    """Choose the study in one of the ways."""
    if way == "path":
        page.get_by_test_id("stButtonGroup").get_by_text("By path", exact=True).click()
        settled(page)
        page.get_by_role("textbox", name="Folder or file on this machine").fill(str(folder))
        page.keyboard.press("Enter")
        return
    if way == "folder":
        page.get_by_test_id("stButtonGroup").get_by_text("A folder", exact=True).click()
        settled(page)
    chosen: Path | Sequence[Path] = sorted(folder.iterdir())
    if way == "folder":
        chosen = folder
    if way == "zip":
        chosen = folder.with_suffix(".zip")
        with zipfile.ZipFile(chosen, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(folder.iterdir()):
                packed.write(path, path.name)
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(chosen)


def visit(page: Page, address: str, way: str, folder: Path, memory: Memory) -> dict[str, float]:
    """One visit; the seconds of its parts."""
    page.set_default_timeout(_PATIENCE_MS)
    page.goto(f"{address}/Diagnosis")
    settled(page)
    page.get_by_role("button", name="Tumor", exact=True).click()
    page.locator(".stage[data-shown]").wait_for()
    settled(page)
    page.goto("about:blank")
    page.goto(f"{address}/Diagnosis")
    settled(page)
    page.wait_for_timeout(3000)
    seconds: dict[str, float] = {}

    def next_part(name: str) -> float:
        seconds[memory.part] = time.perf_counter() - started
        memory.part = name
        return time.perf_counter()

    started = time.perf_counter()
    started = next_part("upload")
    give(page, way, folder)
    page.get_by_role("button", name="Stop reading").wait_for()
    started = next_part("read")
    page.locator(".film figure").first.wait_for()
    page.locator(".stage[data-shown]").wait_for()
    settled(page, seconds=600)
    started = next_part("scroll")
    for _ in range(_N_SCROLLED):
        page.locator(".stage").focus()
        page.keyboard.press("ArrowDown")
        page.wait_for_timeout(100)
    settled(page)
    started = next_part("held")
    page.wait_for_timeout(12_000)  # longer than the app waits before it returns freed memory
    next_part("end")
    print(f"   {page.locator('.corner.place').inner_text()!r}", file=sys.stderr)
    return seconds


def measure(way: str, volume: np.ndarray, n_slices: int, parent: Path) -> str:
    """A line of the table."""
    folder = parent / ("packed" if way == "compressed" else "plain")
    n_bytes = (
        sum(path.stat().st_size for path in folder.iterdir())
        if folder.exists()
        else write_study(folder, volume, n_slices, compressed=way == "compressed")
    )
    options = ("--server.maxUploadSize", "1024")
    with launched_browser() as browser, running_app(*options) as (address, process):
        memory = Memory(psutil.Process(process.pid))
        watcher = threading.Thread(target=memory.watch)
        watcher.start()
        try:
            seconds = visit(browser.new_page(viewport={"width": 1440, "height": 900}), address, way, folder, memory)
        finally:
            memory.stopped.set()
            watcher.join()
    start = memory.last["start"]
    grown = [f"{memory.peaks[part][0] - start:8.0f}" for part in ("upload", "read", "scroll")]
    decoders = max(peak[1] for part, peak in memory.peaks.items() if part != "start")
    times = "".join(f"{seconds[part]:7.0f} s" for part in ("upload", "read"))
    return f"{way:12}{n_bytes / 1e6:6.0f} MB{start:8.0f}{''.join(grown)}{memory.last['held'] - start:8.0f}{decoders:10.0f}{times}"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--study", type=Path, help="a folder of DICOM files of one series; the phantom by default")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args(arguments)
    volume = volume_of(options.study)
    print(
        f"{options.slices} slices of {_SIDE_PX} × {_SIDE_PX}; MiB of the app before, and how much more while and after"
    )
    print(
        f"{'way':12}{'study':>9}{'before':>8}{'upload':>8}{'read':>8}{'scroll':>8}{'held':>8}{'decoders':>10}{'upload':>9}{'read':>9}"
    )
    with tempfile.TemporaryDirectory() as name:
        for way in options.ways:
            print(measure(way, volume, options.slices, Path(name)), flush=True)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
