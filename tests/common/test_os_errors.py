"""What the machine refuses is told in a sentence, whoever notices it."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from kidney_core import files, jobs, runs, shortage
from kidney_core.errors import RunError
from tests.conftest import tiny_run


def refusing(number):
    def refuse(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk of “/runs/a” is full. Free some room"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/cache/b"), "disk of “/cache/b” is full"),
        (OSError(errno.EROFS, "Read-only file system"), "“/runs/a” is on a disk that is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/c"), "“/c” may not be read or written"),
        (OSError(errno.EIO, "Input/output error"), "cannot be read or written (Input/output error)"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Memory ran out while working on “a”"),
        (MemoryError(), "smaller batch size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "Memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), "Memory ran out"),
    ],
)
def test_told_names_the_place_and_the_remedy(error, said):
    assert said in shortage.told(error, Path("/runs/a"))


def test_a_programmers_mistake_is_not_the_machines(tmp_path):
    assert shortage.told(RuntimeError("shapes do not match"), tmp_path) is None
    assert shortage.told(KeyError("a"), tmp_path) is None


def test_write_whole_names_the_file_where_the_system_or_a_library_does_not(tmp_path):
    def as_safetensors(_partial):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    for write in (refusing(errno.ENOSPC), as_safetensors):
        with pytest.raises(OSError, match="No space left on device") as caught:
            files.write_whole(tmp_path / "a", write)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a"))


def test_a_full_disk_takes_the_state_in_the_place_of_the_last(small_dataset, monkeypatch):
    run = tiny_run(small_dataset)
    run.write_state("running", message="x" * 200)
    size = (run.folder / "state.json").stat().st_size
    monkeypatch.setattr(runs, "write_json", refusing(errno.ENOSPC))
    run.fail("The disk is full.")
    assert run.state()["state"] == "failed"
    assert run.state()["message"] == "The disk is full."
    assert (run.folder / "state.json").stat().st_size == size
    json.loads((run.folder / "state.json").read_text())
    monkeypatch.setattr(runs, "write_json", refusing(errno.EROFS))
    run.fail("It is read-only.")
    assert run.state()["message"] == "The disk is full."


def test_create__error_on_a_full_disk_leaves_no_folder(small_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "write_json", refusing(errno.ENOSPC))
    with pytest.raises(RunError, match="is full. Free some room there, then try again"):
        tiny_run(small_dataset, "new")
    assert not (tmp_path / "runs" / "new").exists()


def test_a_crashed_run_says_that_it_resumes(small_dataset):
    run = tiny_run(small_dataset)
    run.write_state("running", message="Reading images")
    assert "resume goes on from the last checkpoint" in jobs.message(run)
    run.write_state("failed", message="There is no folder.")
    assert jobs.message(run) == "There is no folder."
