"""A file whose bytes are read only when they are needed: packed in memory, in a zip, or on the disk."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

HEAD_BYTES = 64 * 1024  # holds the header of a CT slice, which has about 2 to 8 KB
_KEPT_BYTES = 352  # of the head, by which kinds of files are told apart; the longest is the header of a volume


@dataclass(frozen=True, eq=False)
class FileContent:
    """The bytes of one file. Two of them are the same file only where they are the same object.

    Attributes:
        size: in bytes.
        start: the first bytes, which tell its kind.
        load: returns all bytes.
        head_digest: of its first `HEAD_BYTES`.
        known_sha256: of all bytes, where somebody has read them; otherwise "".
        version: what changes when the file does, such as the time it was written; "" for one that cannot change.
    """

    size: int
    start: bytes
    load: Callable[[], bytes]
    head_digest: str
    known_sha256: str = ""
    version: str = ""

    @classmethod
    def of_head(
        cls, head: bytes, size: int, load: Callable[[], bytes], *, sha256: str = "", version: str = ""
    ) -> "FileContent":
        """A file of which the first `HEAD_BYTES` are at hand."""
        return cls(size, head[:_KEPT_BYTES], load, hashlib.sha256(head).hexdigest(), sha256, version)

    @classmethod
    def of_bytes(cls, content: bytes, load: Callable[[], bytes] | None = None) -> "FileContent":
        """A file whose bytes are at hand; `load` returns them later, the same object by default."""
        return cls.of_head(
            content[:HEAD_BYTES],
            len(content),
            load or functools.partial(bytes, content),  # the same object, not a copy
            sha256=hashlib.sha256(content).hexdigest(),
        )

    @property
    def identity(self) -> str:
        """What tells it from other files without reading it whole, in hexadecimal: its digest where that is known."""
        if self.known_sha256:
            return self.known_sha256
        return hashlib.sha256(f"{self.size}:{self.version}:{self.head_digest}".encode()).hexdigest()

    def read(self) -> bytes:
        """All bytes. Raises SliceError where they cannot be read any more."""
        content = self.load()
        if not self.known_sha256 and "sha256" not in self.__dict__:
            self.__dict__["sha256"] = hashlib.sha256(content).hexdigest()  # it costs nothing now
        return content

    @functools.cached_property
    def sha256(self) -> str:
        """The digest of all bytes, in hexadecimal; reads them where nobody has yet. Raises SliceError."""
        return self.known_sha256 or hashlib.sha256(self.load()).hexdigest()


def start_of(content: bytes | FileContent) -> bytes:
    """The first bytes of a file, at least 352 where it has them."""
    return content.start if isinstance(content, FileContent) else content


def bytes_of(content: bytes | FileContent) -> bytes:
    """All bytes of a file. Raises SliceError."""
    return content.read() if isinstance(content, FileContent) else content
