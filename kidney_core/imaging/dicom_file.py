"""The bytes of a DICOM file -> its data set, guarded against files that grow without bounds when parsed."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from kidney_core.common.errors import KidneyError, OversizedSlice, UnreadableSlice

# pydicom quotes a damaged value in its warnings, and that value may be the patient's. This is pydicom's own switch,
# since Python's warning filters apply to all threads at once.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
# The item tag (FFFE,E000) of PS3.5 7.5 in both byte orders: pydicom builds an object of 2 KB for each of 8 bytes.
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_DELIMITER = b"\xfe\xff\xdd\xe0"  # (FFFE,E0DD)
_MAX_ELEMENTS = 20_000  # a CT image has about 200
_MAX_META_ELEMENTS = 200  # PS3.10 7.1 defines about a dozen
_PADDING = Tag(0, 0)  # no element: some archives fill files up to whole blocks
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_MAX_ITEMS = 200_000  # an enhanced CT of 3,000 frames has about 30 per frame
_MAX_INFLATED_BYTES = 100 * 1024**2
_PIECE_BYTES = 1024**2


def parse(
    content: bytes,
    name: str,
    *,
    stop_before_pixels: bool = False,
    specific_tags: list[str] | None = None,
    is_whole: bool = True,
) -> pydicom.Dataset:
    """Parse a file into its data set; the options are those of `pydicom.dcmread`.

    Args:
        is_whole: False for the first bytes of a longer file, which must reach to its pixels.

    Raises: UnreadableSlice (also where the first bytes do not reach that far), OversizedSlice.
    """
    stop = _Stop(at_pixels=stop_before_pixels, name=name)
    try:
        with warnings.catch_warnings():
            # pydicom quotes a damaged value in its warnings, and that value may be the patient's.
            warnings.simplefilter("ignore")
            _check_growth(content, name)
            dataset = read_partial(
                io.BytesIO(content),
                stop,
                force=True,
                specific_tags=[Tag(each) for each in specific_tags] if specific_tags else None,
            )
            _set_transfer_syntax(dataset)
            syntax = dataset.file_meta.TransferSyntaxUID
            if not is_whole and not stop.reached_pixels:
                raise EOFError("the pixels are farther on")
            if is_whole and syntax.is_transfer_syntax and not syntax.is_private and syntax.is_encapsulated:
                _check_end(content)
            return dataset
    except (KidneyError, MemoryError):
        raise
    except Exception as error:
        raise UnreadableSlice(
            f"“{name}” starts like a DICOM file but cannot be parsed ({type(error).__name__}). Export it again."
        ) from error


class _Stop:
    """The callback of pydicom that stops before an element, or zeros that fill the file up; it also limits their number.

    Parsing would take minutes otherwise.
    """

    def __init__(self, *, at_pixels: bool, name: str) -> None:
        self._at_pixels, self._name, self._n_elements = at_pixels, name, 0
        self.reached_pixels = False

    def __call__(self, tag: BaseTag, _kind: str | None, _length: int) -> bool:
        self._n_elements += 1
        if self._n_elements > _MAX_ELEMENTS:
            raise OversizedSlice(
                f"“{self._name}” lists more than {_MAX_ELEMENTS:,} tags. Export the image files of the CT series."
            )
        self.reached_pixels = self.reached_pixels or tag in _PIXEL_TAGS
        return tag == _PADDING or (self._at_pixels and tag in _PIXEL_TAGS)


def _set_transfer_syntax(dataset: pydicom.Dataset) -> None:
    """Files older than PS3.10 state no transfer syntax: it is the one in which the data set was read."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0] is not False
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def _check_growth(content: bytes, name: str) -> None:
    """Raise OversizedSlice for a file that would fill the memory before its first pixel is decoded.

    pydicom inflates a deflated file as a whole, to any size, and builds an object for each empty item.
    """
    start, syntax = _find_data_set(content, name)
    if start and content[start : start + 2] == b"\0\0":
        # pydicom would read any number of them.
        raise ValueError("command elements of group 0000 are not allowed in a file (PS3.10 7.1)")
    pieces = _inflate(content, start) if syntax == DeflatedExplicitVRLittleEndian else iter((content,))
    size = n_items = 0
    for piece in pieces:
        size += len(piece)
        n_items += max(piece.count(tag) for tag in _ITEM_TAGS)
        if n_items > _MAX_ITEMS:
            raise OversizedSlice(
                f"“{name}” lists more than {_MAX_ITEMS:,} items. Export the image files of the CT series."
            )
        if piece is not content and size > _MAX_INFLATED_BYTES:
            raise OversizedSlice(
                f"“{name}” inflates to more than {_MAX_INFLATED_BYTES // 1024**2} MB. Export it uncompressed."
            )


def _check_end(content: bytes) -> None:
    """Raise EOFError where the last delimiter (PS3.5 A.4: tag and length 0) is cut short, which pydicom accepts."""
    if content.rfind(_DELIMITER) > len(content) - 8:
        raise EOFError("the file ends within its last delimiter")


def _find_data_set(content: bytes, name: str) -> tuple[int, str]:
    """The offset of the data set in a file, after group 0002 if there is one, and its transfer syntax or "".

    Raises: OversizedSlice.
    """
    position, syntax = 132 if content[128:132] == b"DICM" else 0, ""
    for _ in range(_MAX_META_ELEMENTS):
        if content[position : position + 2] != b"\x02\x00":
            return position, syntax
        # PS3.5 7.1.2: these VRs have a length of 4 bytes after 2 reserved ones.
        is_long = content[position + 4 : position + 6] in (b"OB", b"OW", b"UN", b"UT", b"SQ")
        header_size, layout = (12, "<8xI") if is_long else (8, "<6xH")
        (length,) = struct.unpack_from(layout, content, position)
        value = position + header_size
        if content[position + 2 : position + 4] == b"\x10\x00":
            syntax = content[value : value + length].decode("ascii", "replace").strip("\0 ")
        position = value + length
    raise OversizedSlice(f"“{name}” lists more than {_MAX_META_ELEMENTS} tags about the file itself. Export it again.")


def _inflate(content: bytes, start: int) -> Iterator[bytes]:
    """The pieces of a deflated data set (PS3.5 A.5), one at a time."""
    inflater, rest = zlib.decompressobj(-zlib.MAX_WBITS), content[start:]
    while rest and not inflater.eof:
        yield inflater.decompress(rest, _PIECE_BYTES)
        rest = inflater.unconsumed_tail
