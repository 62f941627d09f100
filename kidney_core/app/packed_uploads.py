"""Uploads are kept packed in the server's store, each from the moment it is there."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from streamlit.runtime.uploaded_file_manager import UploadedFile

from kidney_core.app import streamlit_internals
from kidney_core.app.streamlit_internals import HeldFile
from kidney_core.common.packing import pack
from kidney_core.imaging.archive import Member

# Up to this size a file is packed at once, in about 20 ms; for longer, the server could not answer others.
AT_ONCE_BYTES = 4 * 1024**2
_later = ThreadPoolExecutor(1, thread_name_prefix="packing")


def keep_packed(store: Any, session: str, file_id: str) -> None:
    """Keep a file that a store of uploads holds packed from now on, where that saves memory."""
    for file in store.get_files(session, [file_id]):
        held = HeldFile.of(file)
        streamlit_internals.replace_file(store, session, file, held)
        if held.size <= AT_ONCE_BYTES:
            _pack(held)
        else:
            _later.submit(_pack, held)


def _pack(file: HeldFile) -> None:
    """Hold a file packed where that saves memory."""
    file.content = pack(file.read()) or file.content


def content(file: UploadedFile) -> bytes:
    """The bytes of an uploaded file."""
    return streamlit_internals.upload_reader(file)()


def member(file: UploadedFile) -> Member:
    """An uploaded file to be sorted into stacks; it stays packed until it is needed."""
    read = streamlit_internals.upload_reader(file)
    return Member.of_bytes(file.name, read(), read)
