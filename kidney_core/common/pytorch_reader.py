"""The child process that reads a file of PyTorch: what is in the file can do no more here than fail.

Standard input is the file. Standard output gets the length of a JSON object in 8 bytes, the object, and the tensors as
safetensors. Only tensors, numbers, texts and containers are unpickled (`weights_only`), under limits on memory and time,
by a process that may write no file. Only `networks.weight_files` starts `python -m kidney_core.common.pytorch_reader`.
"""

import argparse
import json
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kidney_core.common import rlimits

UNSAFE, DAMAGED, TORCHSCRIPT, KERAS, NO_WEIGHTS, HUGE, ARCHIVE = (
    *("unsafe", "damaged", "torchscript", "keras", "no weights", "huge", "archive"),
)
WORKING_BYTES = 768 * 1024**2  # beside the tensors
# Under which names programs keep the weights of a network, the most usual first.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params", "module")
_MAX_DEPTH, _MAX_TENSORS, _MAX_NAME = 6, 20_000, 500
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


class _Refusal(Exception):
    """The file holds no weights that can be read; `args` are the kind, and a word of detail."""


def main() -> None:
    """Read standard input and answer on standard output."""
    rlimits.die_with_parent()
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints is no part of the answer
    try:
        fields, content = {"tensors_below": ""}, b""
        with open(0, "rb", closefd=False) as file:
            _refuse_other_archives(file)
            content = _as_safetensors(file)
    except _Refusal as refusal:
        fields, content = {"refused": str(refusal.args[0]), "detail": str(refusal.args[1])[:_MAX_NAME]}, b""
    except MemoryError:
        fields = {"refused": HUGE, "detail": ""}
    head = json.dumps(fields).encode()
    answer.write(len(head).to_bytes(8, "little") + head)
    answer.write(content)
    answer.flush()
    os._exit(0)


def _refuse_other_archives(file: Any) -> None:
    """Raise _Refusal for a zip that is none of PyTorch's files of weights."""
    if file.read(2) != b"PK":
        return
    try:
        names = {Path(name).name for name in zipfile.ZipFile(file).namelist()[:200_000]}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _Refusal(DAMAGED, "") from error
    if "model.weights.h5" in names:
        raise _Refusal(KERAS, "")
    if "constants.pkl" in names:
        raise _Refusal(TORCHSCRIPT, "")
    if "data.pkl" not in names:
        raise _Refusal(ARCHIVE, min(names, default=""))


def _as_safetensors(file: Any) -> bytes:
    import numpy as np
    import torch
    from safetensors.torch import save

    torch.set_num_threads(1)
    # Plain values that training scripts store beside the weights: options, and the best accuracy so far.
    scalar: Any = np.float64(0).__reduce__()[0]
    named: list[Any] = [
        (scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")
    ]  # of versions 1 and 2
    kinds = {type(np.dtype(kind)) for kind in "?bhilqBHILQefd"}
    torch.serialization.add_safe_globals([argparse.Namespace, np.dtype, *kinds, *named])
    size = os.fstat(file.fileno()).st_size
    rlimits.confine(address_space=False)
    rlimits.allow(memory_bytes=_data_bytes() + 4 * size + WORKING_BYTES, cpu_s=60 + size / 20e6)
    file.seek(0)
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file provokes
        raise _refusal_of(error) from error
    tensors = _flat(_state_of(loaded))
    if not tensors:
        raise _Refusal(
            NO_WEIGHTS, ", ".join(map(str, loaded))[:200] if isinstance(loaded, Mapping) else type(loaded).__name__
        )
    if sum(each.numel() * each.element_size() for each in tensors.values()) > 2 * size + 64 * 1024**2:
        raise _Refusal(HUGE, "")
    return save(
        {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    )


def _refusal_of(error: Exception) -> _Refusal:
    text = str(error)
    if "allocate memory" in text or "out of memory" in text:
        return _Refusal(HUGE, "")
    if "TorchScript" in text:
        return _Refusal(TORCHSCRIPT, "")
    named = _GLOBAL.search(text)
    if named or (isinstance(error, pickle.UnpicklingError) and "Unsupported" in text):
        return _Refusal(UNSAFE, named[1] if named else "")
    return _Refusal(DAMAGED, type(error).__name__)


def _state_of(loaded: Any, depth: int = 0) -> Any:
    """The state dict in what a training script saved."""
    if not isinstance(loaded, Mapping) or depth > _MAX_DEPTH:
        return loaded
    for name in _WRAPPERS:  # also beside a tensor, such as the best accuracy so far
        if isinstance(loaded.get(name), Mapping) and _flat(loaded[name]):
            return _state_of(loaded[name], depth + 1)
    if any(map(_is_tensor, loaded.values())):
        return loaded
    others = [each for each in loaded.values() if isinstance(each, Mapping) and any(map(_is_tensor, each.values()))]
    return others[0] if len(others) == 1 else loaded


def _flat(loaded: Any, prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """The tensors of nested dictionaries by their dotted names."""
    tensors: dict[str, Any] = {}
    if not isinstance(loaded, Mapping) or depth > _MAX_DEPTH:
        return tensors
    for key, value in loaded.items():
        name = f"{prefix}{key}"
        if _is_tensor(value):
            tensors[name[:_MAX_NAME]] = value
        else:
            tensors |= _flat(value, f"{name}.", depth + 1)
        if len(tensors) > _MAX_TENSORS:
            raise _Refusal(HUGE, "")
    return tensors


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized


def _data_bytes() -> int:
    """The memory for data that this process has now, as RLIMIT_DATA counts it (Linux)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return 4 * 1024**3
    found = re.search(r"^VmData:\s+(\d+) kB", status, flags=re.M)
    return int(found[1]) * 1024 if found else 4 * 1024**3


if __name__ == "__main__":
    main()
