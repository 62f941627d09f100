"""Every error that a user can do something about.

KidneyError
├── SliceError              an image that cannot be used
│   ├── UnreadableSlice     empty, truncated, damaged, or not an image
│   ├── UnsupportedSlice    an image, but of a kind this workbench does not take
│   └── OversizedSlice      beyond the limits of 64 megapixels or 400 MB
├── ArchiveError            a zip that cannot be used
│   ├── UnreadableArchive   truncated or damaged
│   ├── EncryptedArchive    locked with a password
│   └── OversizedArchive    beyond the limits of 3,000 files and 4 GiB
├── DecoderError            the process that decodes images does not start
├── DatasetError            a folder that is not a usable dataset, or cannot be split
│   └── UnclearTable        a table of labels whose columns the user must choose
├── AccessError             nobody is logged in, a role is missing, or the app would be open to everyone
├── AuditError              the audit log cannot be written, or was changed
├── ClassError              a class that cannot be started or joined
├── PathError               a folder or file outside the allowed folders
├── ModelError              an architecture, its weights, or its explanation
├── CheckpointError         a checkpoint folder that is incomplete or inconsistent
└── RunError                a training run: its configuration, its folder, its process

The message is one or two sentences: what is wrong, where, and what to do next.
A programmer's mistake raises ValueError instead.
"""


class KidneyError(Exception):
    """Base of every error whose message is meant for the user."""


class SliceError(KidneyError):
    """An image cannot be used."""


class UnreadableSlice(SliceError):
    """The bytes are empty, truncated, damaged, or not an image at all."""


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
    """A folder is not a usable dataset, or cannot be split as requested."""


class UnclearTable(DatasetError):
    """A table beside images could be read in several ways.

    Attributes:
        file: the table, relative to the folder.
        columns: its columns, of which the user must choose.
        path_column: the one that names the images; "" where that is the question.
    """

    def __init__(self, message: str, *, file: str, columns: list[str], path_column: str = "") -> None:
        super().__init__(message)
        self.file, self.columns, self.path_column = file, columns, path_column


class AccessError(KidneyError):
    """The user may not do this, or the app may not be served in this way."""


class AuditError(KidneyError):
    """The audit log cannot be written, or was changed afterwards."""


class ClassError(KidneyError):
    """A class that takes a quiz together cannot be started or joined."""


class PathError(KidneyError):
    """A folder or file is outside the allowed folders."""


class ModelError(KidneyError):
    """An architecture, its initial weights or its explanation is not available."""


class CheckpointError(KidneyError):
    """A checkpoint folder is incomplete, damaged or inconsistent."""


class RunError(KidneyError):
    """A training run has a bad configuration, folder or state."""
