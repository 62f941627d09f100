"""Everything that can go wrong and that a user can mend.

KidneyError
├── SliceError              an image that cannot be used
│   ├── UnreadableSlice     empty, truncated, damaged, or not an image
│   ├── UnsupportedSlice    an image, but of a kind this workbench does not take
│   └── OversizedSlice      beyond the limits of 64 megapixels or 200 MB
├── ArchiveError            a zip that cannot be used
│   ├── UnreadableArchive   truncated or damaged
│   ├── EncryptedArchive    locked with a password
│   └── OversizedArchive    beyond the limits of 3,000 files and 2 GiB
├── DecoderError            the process that decodes images does not start
├── DatasetError            a folder that is not a usable dataset, or cannot be split
├── AccessError             nobody is logged in, a role is missing, or the app would be open to everybody
├── AuditError              the audit log cannot be written, or was changed
├── PathError               a folder or file that may not be named here
├── ModelError              an architecture, its weights, or its explanation
├── CheckpointError         a checkpoint folder that is incomplete or inconsistent
└── RunError                a training run: its configuration, its folder, its process

The message is one or two sentences: what, where, and what to do next.
A programmer's mistake raises ValueError instead.
"""

import functools
import sys
from collections.abc import Callable


class KidneyError(Exception):
    """Base of every error whose message is meant for the user."""


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Make a main function tell what a user can mend in a sentence on standard error, with exit status 1."""

    @functools.wraps(main)
    def told(*arguments: list[str] | None) -> int:
        try:
            return main(*arguments)
        except KidneyError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return told


class SliceError(KidneyError):
    """An image cannot be used."""


class UnreadableSlice(SliceError):
    """The bytes are empty, truncated, damaged, or no image at all."""


class UnsupportedSlice(SliceError):
    """The bytes are an image of a kind that this workbench refuses."""


class OversizedSlice(SliceError):
    """The image exceeds the limits on pixels or bytes."""


class ArchiveError(KidneyError):
    """A zip cannot be used."""


class UnreadableArchive(ArchiveError):
    """The zip is truncated or damaged as a whole."""


class EncryptedArchive(ArchiveError):
    """The zip is locked with a password."""


class OversizedArchive(ArchiveError):
    """The zip holds more files or bytes than is safe to unpack."""


class DecoderError(KidneyError):
    """The process that decodes images cannot be started or kept alive."""


class DatasetError(KidneyError):
    """A folder is not a usable dataset, or cannot be split as asked."""


class AccessError(KidneyError):
    """Somebody may not do this, or the app may not be reached like this."""


class AuditError(KidneyError):
    """The audit log cannot be written, or is not as it was written."""


class PathError(KidneyError):
    """A folder or file may not be named here."""


class ModelError(KidneyError):
    """An architecture, its starting weights or its explanation is not available."""


class CheckpointError(KidneyError):
    """A checkpoint folder is incomplete, damaged or inconsistent."""


class RunError(KidneyError):
    """A training run has a bad configuration, folder or state."""
