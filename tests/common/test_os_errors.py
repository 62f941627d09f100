"""Errors of the operating system become sentences that name the place and the remedy."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from kidney_core.common import files, os_errors
from kidney_core.common.errors import RunError
from kidney_core.engines import jobs
from kidney_core.runs import run_folder
from tests.conftest import tiny_run


def refusing(number):
    def refuse(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk of “/runs/a” is full. Free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/cache/b"), "disk of “/cache/b” is full"),
        (OSError(errno.EROFS, "Read-only file system"), "“/runs/a” is on a read-only disk"),
        (PermissionError(errno.EACCES, "Permission denied", "/c"), "no permission to read or write “/c”"),
        (OSError(errno.EIO, "Input/output error"), "cannot be read or written (Input/output error)"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Memory ran out while working on “a”"),
        (MemoryError(), "smaller batch size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "Memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), "Memory ran out"),
    ],
)
def test_describe_names_the_place_and_the_remedy(error, sentence):
    assert sentence in os_errors.describe(error, Path("/runs/a"))


def test_describe_is_none_for_a_programmers_mistake(tmp_path):
    assert os_errors.describe(RuntimeError("shapes do not match"), tmp_path) is None
    assert os_errors.describe(KeyError("a"), tmp_path) is None


def test_write_atomically_names_the_file_in_the_error(tmp_path):
    def as_safetensors(_partial):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    for write in (refusing(errno.ENOSPC), as_safetensors):
        with pytest.raises(OSError, match="No space left on device") as caught:
            files.write_atomically(tmp_path / "a", write)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a"))


def test_the_state_is_overwritten_in_place_on_a_full_disk(small_dataset, monkeypatch):
    run = tiny_run(small_dataset)
    run.write_state("running", message="x" * 200)
    size = (run.folder / "state.json").stat().st_size
    monkeypatch.setattr(run_folder, "write_json", refusing(errno.ENOSPC))
    run.fail("The disk is full.")
    assert run.state()["state"] == "failed"
    assert run.state()["message"] == "The disk is full."
    assert (run.folder / "state.json").stat().st_size == size
    json.loads((run.folder / "state.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(run_folder, "write_json", refusing(errno.EROFS))
    run.fail("It is read-only.")
    assert run.state()["message"] == "The disk is full."


def test_create__error_on_a_full_disk_leaves_no_folder(small_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "write_json", refusing(errno.ENOSPC))
    with pytest.raises(RunError, match="is full. Free some space there, then try again"):
        tiny_run(small_dataset, "new")
    assert not (tmp_path / "runs" / "new").exists()


def test_the_message_of_a_crashed_run_says_that_it_can_resume(small_dataset):
    run = tiny_run(small_dataset)
    run.write_state("running", message="Reading images")
    assert "Resume continues from the last checkpoint" in jobs.message(run)
    run.write_state("failed", message="There is no folder.")
    assert jobs.message(run) == "There is no folder."
