"""Point 2: small files that want to become large, long or deep. Each is opened by a process of its own:

python -m tests.hardness.bombs FILE        opens FILE as the upload does, and prints what that took as JSON
"""

import io
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from kidney_core.common.errors import KidneyError
from kidney_core.imaging import decoder, slices, stack
from tests.conftest import ROOT
from tests.hardness import files
from tests.hardness.table import Figures, Options

TARGETS = {"peak_rss_mb": ("<=", 400.0), "t_s": ("<=", 10.0), "unsafe": ("=", 0.0)}
_MB = 1024**2


def measure(make: Callable[[], bytes], _options: Options) -> Figures:
    """Open a bomb: the largest memory of any process, the processor time of all, and what was said.

    `t_s` is the processor time of all processes, the start of the decoders' server included: a clock (`wall_s`) also
    counts what else the machine does.
    """
    with tempfile.TemporaryDirectory() as folder:
        content = make()
        path = Path(folder) / "bomb"
        path.write_bytes(content)
        command = [sys.executable, "-m", "tests.hardness.bombs", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        left = sorted(each.name for each in Path(folder).iterdir())
    if done.returncode:
        return {"peak_rss_mb": 0.0, "t_s": 0.0, "unsafe": 1, "died": done.returncode}
    told = json.loads(done.stdout)
    unsafe = int(told.pop("uncaught") != "" or left != ["bomb"])
    return {"bytes": len(content), **told, "unsafe": unsafe}


def _open(path: Path) -> dict[str, float | str]:
    """What happens to an upload: sorted into stacks, and up to three slices of each decoded."""
    slices.read_slice(files.picture(Image.new("L", (8, 8)), "PNG"), name="warm")  # the server is there before uploads
    content, said, uncaught, n_read = path.read_bytes(), "", "", 0
    started, before = time.monotonic(), _cpu_s()
    try:
        opened = stack.open_stacks([("bomb", content)])
        said = (*opened.problems, "")[0]
        for one in opened.stacks:
            for item in one.items[:3]:
                if not item.name or item.name.startswith(("/", "..")):
                    uncaught = "unsafe name"
                stack.open_item(item).network_grey8()
                n_read += 1
    except KidneyError as error:
        said = str(error)
    except BaseException as error:  # noqa: BLE001 - this is what is counted
        uncaught = type(error).__name__
    wall_s = time.monotonic() - started
    decoder.stop()  # waited for, so that the system counts what it used
    children_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "peak_rss_mb": max(_peak_kb(), children_kb) / 1024,
        "t_s": _cpu_s() - before,
        "wall_s": wall_s,
        "read": n_read,
        "said": said.replace("|", "/")[:80],
        "uncaught": uncaught,
    }


def _peak_kb() -> int:
    """The largest memory of this process; the system's own count begins with that of who started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0])


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(each.ru_utime + each.ru_stime for each in used)


def png_of_178_megapixels() -> bytes:
    """22 KB of nothing, at one bit a pixel."""
    return files.picture(Image.new("1", (13_342, 13_342)), "PNG", compress_level=9)


def png_of_63_megapixels_in_colour() -> bytes:
    """Within the limit of megapixels, 252 MB as Pillow holds it."""
    return files.picture(Image.new("RGBA", (7_950, 7_950)), "PNG")


def png_of_16_bit_rgba() -> bytes:
    size = 4_000
    rows = zlib.compress(bytes(size * (1 + 8 * size)), 1)
    header = struct.pack(">IIBBBBB", size, size, 16, 6, 0, 0, 0)
    return slices.PNG_START + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def png_with_endless_text() -> bytes:
    png = files.picture(Image.new("L", (64, 64)), "PNG")
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(300 * _MB), 1))
    return png[:33] + text * 3 + png[33:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def cmyk_jpeg() -> bytes:
    return files.picture(Image.new("CMYK", (7_950, 7_950)), "JPEG")


def tiff_of_many_pages() -> bytes:
    """A hundred thousand directories that share one pixel."""
    n_pages, tags = 100_000, [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    size = 2 + len(entries) + 4
    pages = (
        struct.pack("<H", len(tags)) + entries + struct.pack("<I", 16 + (page + 1) * size if page + 1 < n_pages else 0)
        for page in range(n_pages)
    )
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + b"".join(pages)


def deflated_dicom(n_bytes: int) -> bytes:
    """A deflated file whose pixel data are that many zeros (PS3.5 A.5)."""
    small = files.ct(np.zeros((8, 8), np.uint16), DeflatedExplicitVRLittleEndian)
    start = small.index(DeflatedExplicitVRLittleEndian.encode()) + len(DeflatedExplicitVRLittleEndian)
    start += start % 2
    while small[start : start + 2] == b"\x02\x00":  # the rest of group 0002, all of it of short types
        start += 8 + struct.unpack_from("<H", small, start + 6)[0]
    plain = zlib.decompress(small[start:], -zlib.MAX_WBITS)
    pixels = plain.index(b"\xe0\x7f\x10\x00")
    side = int((n_bytes / 2) ** 0.5)
    head = plain[:pixels].replace(b"US\x02\x00\x08\x00", b"US\x02\x00" + struct.pack("<H", side))
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflater.compress(head + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", 2 * side * side))
    for _ in range(2 * side * side // _MB):
        packed += deflater.compress(bytes(_MB))
    return small[:start] + packed + deflater.compress(bytes(2 * side * side % _MB)) + deflater.flush()


def nested_sequences(depth: int) -> bytes:
    """Sequences of undefined length within one another (PS3.5 7.5)."""
    opened = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth
    return _with_elements(opened + closed)


def empty_items() -> bytes:
    """Four million items of nothing: 2 KB each, once pydicom makes objects of them."""
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 4_000_000
    return _with_elements(b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0")


def empty_elements() -> bytes:
    """Three million private elements without a value, 8 bytes each."""
    numbers = np.arange(3_000_000)
    made = np.zeros(len(numbers), [("group", "<u2"), ("element", "<u2"), ("type", "S2"), ("length", "<u2")])
    made["group"], made["element"], made["type"] = 0x0009 + 2 * (numbers >> 16), numbers & 0xFFFF, b"SH"
    return _with_elements(made.tobytes())


def empty_meta_elements() -> bytes:
    """Three million elements of group 0002, before any data set."""
    return bytes(128) + b"DICM" + b"\x02\x00\x02\x01SH\0\0" * 3_000_000


def elements_in_an_item() -> bytes:
    """Two million elements of one item, which pydicom reads before it can be asked to stop."""
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x09\x00\x00\x10SH\0\0" * 2_000_000
    return _with_elements(
        b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    )


def _with_elements(elements: bytes) -> bytes:
    """A CT file with more elements before its modality."""
    plain = files.ct(np.zeros((8, 8), np.uint16))
    position = plain.index(b"\x08\x00\x60\x00CS")
    return plain[:position] + elements + plain[position:]


def jpeg2000_of_another_size() -> bytes:
    """A code stream of 900 megapixels in a file that says 64 × 48 (T.800 A.5.1: Xsiz and Ysiz of SIZ)."""
    content = bytearray(files.ct(files.ramp(), JPEG2000Lossless))
    position = content.index(b"\xff\x4f\xff\x51")
    for offset in (8, 24):  # the image, and its one tile
        content[position + offset : position + offset + 8] = struct.pack(">II", 30_000, 30_000)
    return bytes(content)


def zip_of_zeros() -> bytes:
    """Two gigabytes of nothing in files below the limit of each."""
    return _zip([(f"{number}.dcm", bytes(190 * _MB)) for number in range(1)] * 11)


def zip_of_dicom_zeros() -> bytes:
    return _zip([("a.dcm", bytes(128) + b"DICM" + bytes(190 * _MB))] * 11)


def zip_within_zips() -> bytes:
    content = _zip([("0", bytes(10 * _MB))])
    for _ in range(5):
        content = _zip([(f"{number}.zip", content) for number in range(10)])
    return content


def zip_with_names_that_climb() -> bytes:
    plain = files.ct(np.zeros((8, 8), np.uint16))
    names = ("../../evil.dcm", "/etc/evil.dcm", "..\\..\\evil.dcm", "a/../../evil.dcm", "C:\\evil.dcm", "~/evil.dcm")
    return _zip([(name, plain + bytes(number * 2)) for number, name in enumerate(names)])


def zip_of_endless_names() -> bytes:
    """A directory of a million entries, which zipfile would make objects of."""
    entry = b"PK\x01\x02" + bytes(42)
    return _zip([("a", b"a")])[:-22] + entry * 1_000_000 + b"PK\x05\x06" + bytes(18)


def _zip(named: list[tuple[str, bytes]]) -> bytes:
    """A zip, in which neighbours of the same content are deflated once."""
    file, kept = io.BytesIO(), b""
    directory, last = [], b""
    for name, content in named:
        if content is not last:
            deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
            kept, last = deflater.compress(content) + deflater.flush(), content
        encoded, sizes = name.encode(), struct.pack("<III", zlib.crc32(content), len(kept), len(content))
        head = struct.pack("<HHHHH", 20, 0, zipfile.ZIP_DEFLATED, 0, 0) + sizes + struct.pack("<HH", len(encoded), 0)
        directory.append(b"PK\x01\x02\x14\0" + head + bytes(10) + struct.pack("<I", file.tell()) + encoded)
        file.write(b"PK\x03\x04" + head + encoded + kept)
    start, listed = file.tell(), b"".join(directory)
    count = struct.pack("<HH", len(named), len(named))
    file.write(listed + b"PK\x05\x06\0\0\0\0" + count + struct.pack("<IIH", len(listed), start, 0))
    return file.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG of 178 megapixels": png_of_178_megapixels,
    "PNG of 63 megapixels in colour": png_of_63_megapixels_in_colour,
    "PNG of 16-bit RGBA": png_of_16_bit_rgba,
    "PNG with endless text": png_with_endless_text,
    "JPEG of 63 megapixels in CMYK": cmyk_jpeg,
    "TIFF of 100,000 pages": tiff_of_many_pages,
    "deflated DICOM of 300 MB": lambda: deflated_dicom(300 * _MB),
    "deflated DICOM of 90 MB": lambda: deflated_dicom(90 * _MB),
    "300 nested sequences": lambda: nested_sequences(300),
    "100,000 nested sequences": lambda: nested_sequences(100_000),
    "4 million empty items": empty_items,
    "3 million empty elements": empty_elements,
    "3 million empty elements of group 2": empty_meta_elements,
    "2 million empty elements in an item": elements_in_an_item,
    "JPEG 2000 of another size than the file says": jpeg2000_of_another_size,
    "zip of 2 GB of zeros": zip_of_zeros,
    "zip of 2 GB of DICOM zeros": zip_of_dicom_zeros,
    "zip within zips": zip_within_zips,
    "zip with names that climb": zip_with_names_that_climb,
    "zip of a million names": zip_of_endless_names,
}


if __name__ == "__main__":
    print(json.dumps(_open(Path(sys.argv[1]))))
