"""Files of weights that were made elsewhere: safetensors as they are, PyTorch's converted once by a child process.

Nothing is unpickled in this process: see `common.pytorch_reader`. Other formats are refused with what to do.
"""

import hashlib
import json
import stat
import subprocess
import threading
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from kidney_core.common import child_process, os_errors, pytorch_reader
from kidney_core.common.cache import cache_folder, make_room, mark_used
from kidney_core.common.errors import ModelError
from kidney_core.common.files import write_atomically

MAX_BYTES = 2 * 1024**3
_VERSION = 1  # raised when a file is read differently, so that older caches are not used
_HEAD_BYTES = 512
_START_S, _BYTES_PER_S = 180.0, 5e6  # patience with a busy machine
_SAVE = 'torch.save(model.state_dict(), "weights.pth")'
_ELSEWHERE = f"Carry the weights over to the same network in PyTorch and save them with {_SAVE}, or train it here."
# What a file is -> what that means here, and what to do.
_SENTENCES = {
    pytorch_reader.UNSAFE: "holds Python objects beside its weights ({detail}); reading them could run a program, so they are not read. "
    f"Where it was trained: {_SAVE}.",
    pytorch_reader.DAMAGED: "is cut off or damaged, or not a file of PyTorch. Copy or download it again.",
    pytorch_reader.TORCHSCRIPT: "is a TorchScript program. Where it was made: torch.save(torch.jit.load(FILE).state_dict(), "
    '"weights.pth").',
    pytorch_reader.KERAS: f"is a model of Keras, whose layers are not those of PyTorch. {_ELSEWHERE}",
    pytorch_reader.NO_WEIGHTS: f"holds no weights with names (it holds {{detail}}). Save them with {_SAVE}.",
    pytorch_reader.HUGE: "needs more memory than weights of its size do. Use it only if you trust its source, and save its weights "
    f"again with {_SAVE}.",
    pytorch_reader.ARCHIVE: "is a zip that holds “{detail}”, not a file of PyTorch. Unpack it, and choose the file of weights in it.",
    "tensorflow": f"is of TensorFlow. {_ELSEWHERE}",
    "onnx": f"is an ONNX file, which holds no weights that can be trained. Use the network it was exported from: {_SAVE}.",
    "numpy": f"is of NumPy. {_ELSEWHERE}",
    "pointer": "is only a pointer of Git LFS. Fetch the file itself with git lfs pull.",
    "page": "is a web page: the download needed a log-in or failed. Download the file again.",
    "empty": "is empty. Copy or download it again.",
    "slow": "took too long to read. Save only its weights: " + _SAVE + ".",
}
_BY_SUFFIX = {
    **dict.fromkeys((".h5", ".hdf5", ".keras"), pytorch_reader.KERAS),
    **dict.fromkeys((".pb", ".tflite", ".index", ".meta"), "tensorflow"),
    ".onnx": "onnx",
    **dict.fromkeys((".npy", ".npz"), "numpy"),
}
_BY_START = {
    b"\x89HDF\r\n\x1a\n": pytorch_reader.KERAS,
    b"\x93NUMPY": "numpy",
    b"version https://git-lfs": "pointer",
    b"<!doctype html": "page",
    b"<html": "page",
}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights by the names that they have there, without what training scripts wrap around them.

    A file of PyTorch (.pth, .pt, .bin, .ckpt) is converted once; the cache keeps the result by the content of the file.

    Raises: ModelError for a file of another kind, with what to do; DatasetError where there is no cache folder.
    """
    try:
        _require_file(path)
        with path.open("rb") as file:
            kind = _kind(path, file)
            if kind == "safetensors":
                return load_file(path)
            if kind != "pytorch":
                raise _refused(path, kind)
            return _converted(path, file)
    except (OSError, SafetensorError, ValueError) as error:  # a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ModelError(
            f"The weights “{path}” cannot be read as safetensors or PyTorch ({reason}). Check the path."
        ) from error


def _require_file(path: Path) -> None:
    """Raise ModelError for a folder, a pipe, which would never end, or a huge file; OSError where there is none."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"“{path}” is not a file. Choose the file of weights.")
    if status.st_size > MAX_BYTES:
        raise ModelError(
            f"“{path.name}” has {status.st_size / 1024**3:.1f} GiB; {MAX_BYTES / 1024**3:.0f} GiB is the limit for weights."
        )


def _kind(path: Path, file: BinaryIO) -> str:
    """What a file is, by its first bytes, and where these tell nothing by its name."""
    head = file.read(_HEAD_BYTES)
    for start, kind in _BY_START.items():
        if head.lstrip().lower().startswith(start.lower()):
            return kind
    if head[4:8] == b"TFL3" or path.name.endswith(".data-00000-of-00001"):
        return "tensorflow"
    if not head:
        return "empty"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return "safetensors"
    if head[:1] == b"\x80" or head[:2] == b"PK":
        return (
            _BY_SUFFIX.get(path.suffix.lower(), "pytorch") if path.suffix.lower() in (".npz", ".keras") else "pytorch"
        )
    if path.suffix.lower() == ".safetensors":
        return "safetensors"
    return _BY_SUFFIX.get(path.suffix.lower(), pytorch_reader.DAMAGED)


def _refused(path: Path, kind: str, detail: str = "") -> ModelError:
    sentence = _SENTENCES.get(kind, _SENTENCES[pytorch_reader.DAMAGED])
    return ModelError(f"“{path.name}” {sentence.format(detail=detail or 'nothing that is known')}")


def _converted(path: Path, file: BinaryIO) -> dict[str, Tensor]:
    """The tensors of a file of PyTorch, from the cache where it was converted before."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    cached = cache_folder() / f"weights-{_VERSION}-{digest}.safetensors"
    try:
        tensors = load_file(cached)
        mark_used(cached)
        return tensors
    except FileNotFoundError:
        pass
    except (OSError, SafetensorError):
        cached.unlink(missing_ok=True)
    tensors = _read_in_child(path, file)
    with os_errors.reraise_as(ModelError, cached):
        make_room(sum(each.numel() * each.element_size() for each in tensors.values()))
        write_atomically(cached, lambda partial: save_file(tensors, partial))
    return tensors


def _read_in_child(path: Path, file: BinaryIO) -> dict[str, Tensor]:
    """The tensors as the child sends them. Raises ModelError for a file that it refuses, or that it dies or hangs of."""
    size = path.stat().st_size
    file.seek(0)
    child = subprocess.Popen(
        child_process.python_command("kidney_core.common.pytorch_reader"),
        env=child_process.bare_environment({"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}),
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        child.kill()

    timer = threading.Timer(_START_S + size / _BYTES_PER_S, end)
    timer.start()
    try:
        assert child.stdout is not None
        answer = child.stdout.read(2 * size + 128 * 1024**2)
    finally:
        timer.cancel()
        child.kill()
        child.stdout.close()  # type: ignore[union-attr]
        child.wait()
    if is_late.is_set():
        raise _refused(path, "slow")
    end_of_head = 8 + int.from_bytes(answer[:8], "little")
    try:
        fields = json.loads(answer[8:end_of_head])
        if "refused" in fields:
            raise _refused(path, str(fields["refused"]), str(fields.get("detail", "")))
        return load(answer[end_of_head:])
    except (ValueError, TypeError, AttributeError, RecursionError, SafetensorError) as error:  # the child died
        raise _refused(path, pytorch_reader.DAMAGED) from error
