"""Point 9, patient data: nothing of a patient stays anywhere, uploads are freed, and one visitor cannot fill the memory."""

import contextlib
import io
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pydicom
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, Page
from pydicom.datadict import DicomDictionary

from benchmarks.browser import choose_files, running_app, settled
from kidney_core.app import audit_log
from tests.conftest import ROOT
from tests.ct_files import ct_dataset, saved
from tests.hardness.files import picture
from tests.hardness.table import Figures, Options
from tests.pdf import pdf_text

CANARY = "QX7CANARY"
_TEXT = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_MIB = 1024**2
_CHECKPOINTS = str(ROOT / "checkpoints")
_TIDIED_S = 12.0  # the app gives freed memory back every ten seconds
_PATIENT = "Include the patient and study tags of the DICOM file"
# Where a file may have been left; what the browser keeps is its user's.
_LOOKED_THROUGH = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path.home())
_NOT_THE_APPS = ("playwright", ".org.chromium", "chromium", ".config/chromium", "pytest-of")


def measure_canaries(options: Options) -> Figures:
    """Every kind of upload with a canary in every text, sound and damaged, through answer, error, report, series and audit."""
    started, workplace = time.time(), options.workplace
    home = workplace / "app"
    (home / "tmp").mkdir(parents=True)
    variables = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "KIDNEY_AUDIT_LOG": str(home / "audit.jsonl")}
    variables |= {f"KIDNEY_{name.upper()}": str(home / name) for name in ("runs", "cache")}
    variables["KIDNEY_CHECKPOINTS"] = _CHECKPOINTS
    exported: list[Path] = []
    ticked: list[Path] = []
    urls: list[str] = []
    figures: Figures = {"tags": len(_text_tags()), "uploads": 0, "spilled": 0}
    with running_app(log=home / "log.txt", **variables) as (address, process), _visit(options.browser, urls) as page:
        page.goto(f"{address}/Diagnosis")
        settled(page)
        for files in _uploads():
            figures["uploads"] += len(files)
            _upload(page, files)
            figures["spilled"] += _deleted_files(process.pid)
            exported += exports(page, workplace / "exports")
            if not ticked and page.get_by_text(_PATIENT).count():  # a report that was asked to name the patient does
                page.get_by_text(_PATIENT).click()
                settled(page)
                ticked += exports(page, workplace / "ticked")
            page.reload()
            settled(page)
        page.goto(f"{address}/Teaching")
        settled(page)
        for choice in ("What breaks a model", "Your slice"):
            page.get_by_text(choice, exact=True).first.click()
            settled(page)
        _upload(page, [_file("teaching.png", _png())])
        figures["spilled"] += _deleted_files(process.pid)
    left = [path for path in home.rglob("*") if path.is_file()]
    left += _written_since(started, _LOOKED_THROUGH, beside=workplace)
    figures |= {"exports": len(exported), "files_read": len(left), "urls": len(urls)}
    figures["audit_lines"] = audit_log.verify(home / "audit.jsonl")[0]
    found = [str(path) for path in left if _has_canary(path)]
    found += [str(path) for path in exported if _has_canary(path)] + [
        url for url in urls if CANARY.lower() in url.lower()
    ]
    for each in found:
        print(f"canary in {each}")
    figures["named_when_ticked"] = sum(map(_has_canary, ticked))
    figures["hits"] = len(found)
    return figures


def measure_residual(options: Options, *, idle_s: float = 150, n_files: int = 15) -> Figures:
    """What the server still holds of an upload so long after its visitor left, with nobody there who wakes it."""
    with running_app(KIDNEY_CHECKPOINTS=_CHECKPOINTS) as (address, process):
        with _visit(options.browser, []) as page:
            _warm(page, address)
        time.sleep(_TIDIED_S)
        before = _memory(process.pid)
        with _visit(options.browser, []) as page:
            _show_one(page, address)
            for first in range(0, n_files, 5):  # the driver takes 50 MB at a time
                _upload(page, [_file(f"{first + i}.png", _noise(first + i)) for i in range(5)])
            held = _memory(process.pid) - before
        time.sleep(idle_s)
        residual = _memory(process.pid) - before
    return {"uploaded_mb": 4.2 * n_files, "held_mb": round(held / 1e6, 1), "residual_mb": round(residual / 1e6, 1)}


def measure_quota(options: Options) -> Figures:
    """Files into one session: by how much the app has grown then, and that the page says why some were not taken.

    `peak_mb` has what receiving and reading took for a moment, in the app and its decoders. The files are no images.
    """
    n_files = 200 if options.thorough else 30
    paths = [options.workplace / f"{number}.bin" for number in range(n_files)]
    for path in paths:
        path.write_bytes(os.urandom(4 * _MIB))
    with (
        running_app("--server.maxUploadSize", "64", KIDNEY_CHECKPOINTS=_CHECKPOINTS) as (address, process),
        _visit(options.browser, []) as page,
    ):
        _warm(page, address)
        page.reload()
        page.get_by_test_id("stFileUploaderDropzoneInput").wait_for(state="attached")
        time.sleep(_TIDIED_S)
        before = _memory(process.pid)
        with _peak(process.pid) as peak:
            _upload(page, paths, seconds=600)
            told = page.get_by_text("not accepted: one visitor can upload").count()
        time.sleep(_TIDIED_S)
        grown = _memory(process.pid) - before
    figures = {"files": n_files, "mb": round(4 * _MIB * n_files / 1e6), "told": told}
    return figures | {"peak_mb": round((peak[0] - before) / 1e6, 1), "grown_mb": round(grown / 1e6, 1)}


def _uploads() -> Iterator[list[dict]]:
    """What is uploaded together, one after the other."""
    sound = _ct(0)
    yield [_file("slice.dcm", sound)]
    yield [_file(f"{number}.dcm", _ct(number)) for number in range(4)]
    yield [
        _file("damaged.dcm", sound[: len(sound) // 2]),
        _file("picture.png", _png()),
        _file("photograph.jpg", _jpeg()),
    ]
    yield [
        _file("page.tif", _tiff()),
        _file("damaged.png", _png()[:-300]),
        _file("notes.txt", f"{CANARY} notes".encode()),
    ]
    yield [_file("series.zip", _zip({f"{CANARY}/{number}.dcm": _ct(number) for number in range(4)}))]
    yield [_file("damaged.zip", _zip({f"{CANARY}.dcm": sound})[:-30])]


def _file(name: str, content: bytes) -> dict:
    return {"name": f"{CANARY}-{name}", "mimeType": "application/octet-stream", "buffer": content}


def _text_tags() -> list[tuple[int, str]]:
    """Every tag of the dictionary whose value is text that a hospital fills in, outside groups that files need."""
    return [
        (tag, entry[0])
        for tag, entry in DicomDictionary.items()
        if entry[0] in _TEXT and not entry[3] and tag >> 16 not in (0x0000, 0x0002, 0x0004, 0xFFFE)
    ]


def _ct(number: int) -> bytes:
    stored = np.random.default_rng(number).normal(40, 60, (128, 128)).astype(np.int16)
    made = ct_dataset(stored, entropy=f"patients {number}", PatientName=f"{CANARY}^Alice", PatientID=CANARY)
    made.SeriesInstanceUID, made.InstanceNumber = "1.2.826.0.1.3680043.8.498.77", number
    made.ImagePositionPatient, made.PixelSpacing = [0, 0, 2.5 * number], [0.8, 0.8]
    for tag, kind in _text_tags():
        if tag not in made:
            made.add_new(tag, kind, f"{CANARY}{'' if kind == 'AE' else f'{tag:08X}'}"[:16])
    made.add_new(0x00091001, "LO", f"{CANARY} private")
    made[0x00080005] = pydicom.DataElement(0x00080005, "CS", "ISO_IR 192")
    return saved(made)


def _grey(seed: int = 1, size: int = 96) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size, size), np.uint8))


def _png(seed: int = 1) -> bytes:
    texts = PngInfo()
    texts.add_text("Author", CANARY)
    texts.add_itxt("Comment", f"{CANARY} it")
    return picture(_grey(seed), "PNG", pnginfo=texts)


def _jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = f"{CANARY} description", f"{CANARY} artist"
    return picture(_grey(), "JPEG", exif=exif, comment=CANARY.encode())


def _tiff() -> bytes:
    return picture(_grey(), "TIFF", description=f"{CANARY} tiff", artist=CANARY)


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = CANARY.encode()
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _noise(number: int) -> bytes:
    """A sound PNG of 4 MB."""
    return picture(_grey(number, 2048), "PNG", compress_level=0)


@contextmanager
def _visit(browser: Browser, urls: list[str]) -> Iterator[Page]:
    """A new visitor, whose requests are noted."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.on("request", lambda request: urls.append(request.url))
    try:
        yield page
    finally:
        context.close()


def _warm(page: Page, address: str) -> None:
    """What the first visitor of a server costs: a network, and a whole batch that is read."""
    _show_one(page, address)
    _upload(page, [_file(f"{number}.png", _png(number)) for number in range(20)])


def _show_one(page: Page, address: str) -> None:
    """Open Diagnosis and let a sample be read, so that the network is loaded."""
    page.goto(f"{address}/Diagnosis")
    settled(page)
    page.get_by_role("button", name="Cyst", exact=True).click()
    page.locator(".stage[data-shown]").wait_for()
    settled(page)


def _upload(page: Page, files: list, *, seconds: float = 240) -> None:
    """Upload, and wait until the page has answered: a picture, a table, or an error."""
    choose_files(page, files)
    page.wait_for_timeout(500)  # the upload has begun
    uploading = "document.querySelectorAll('[data-testid=stFileChipIconSpinner]').length"
    page.wait_for_function(f"() => {uploading} === 0", timeout=seconds * 1000)
    settled(page, seconds=seconds)
    page.wait_for_timeout(1000)  # the page is drawn anew when the last file is there
    settled(page, seconds=seconds)


def exports(page: Page, folder: Path) -> Iterator[Path]:
    """Every file that the page offers, with nothing ticked, as it is downloaded."""
    folder.mkdir(exist_ok=True)
    report = page.get_by_role("button", name="Write the report")
    if report.count() == 0 and page.get_by_text("Report", exact=True).count():
        page.get_by_text("Report", exact=True).first.click()
    if report.count():
        report.first.click()
        settled(page)
    for button in page.locator('[data-testid="stDownloadButton"] button').all():
        with page.expect_download() as download:
            button.click()
        path = folder / f"{len(list(folder.iterdir()))}-{download.value.suggested_filename}"
        download.value.save_as(path)
        yield path


def _has_canary(path: Path) -> bool:
    """Whether a file holds a canary: as text of any encoding, or in what it packs."""
    try:
        content = path.read_bytes()
    except OSError:  # gone again
        return False
    if content[:4] == b"%PDF":
        content += pdf_text(content).encode()
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content += b"".join(archive.read(name) for name in archive.namelist())
    upper = content.upper()
    return any(CANARY.encode(encoding) in upper for encoding in ("ascii", "utf-16-le", "utf-16-be"))


def _written_since(moment: float, folders: tuple[Path, ...], *, beside: Path) -> list[Path]:
    """Files written since then in the places where programs leave them, without those of the browser and of `beside`."""
    found = []
    for folder in folders:
        for place, names, files in os.walk(folder):
            names[:] = [
                name
                for name in names
                if Path(place, name) != beside and not any(part in name for part in _NOT_THE_APPS)
            ]
            for name in files:
                path = Path(place, name)
                if not path.is_symlink() and path.is_file() and path.stat().st_mtime >= moment - 1:
                    found.append(path)
    return found


def _family(process_id: int) -> list[psutil.Process]:
    process = psutil.Process(process_id)
    return [process, *process.children(recursive=True)]


def _deleted_files(process_id: int) -> int:
    """Files on a disk that the app has open and nobody can see: what a spooled upload becomes."""
    n = 0
    for process in _family(process_id):
        for entry in Path(f"/proc/{process.pid}/fd").glob("*"):
            try:
                target = str(entry.readlink())
            except OSError:
                continue
            n += target.endswith("(deleted)") and not target.startswith(("/memfd", "/dev/shm", "/dev/zero"))
    return n


def _memory(process_id: int) -> int:
    """Bytes that the app and its children hold, beside files: what they share is counted once."""
    total = 0
    for process in _family(process_id):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
            total += 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total


@contextmanager
def _peak(process_id: int) -> Iterator[list[int]]:
    """The largest memory while it lasts, in the one element of the list."""
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            peak[0] = max(peak[0], _memory(process_id))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
