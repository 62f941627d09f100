"""Files of weights from elsewhere: read by a child, converted once, named where they cannot be used; nothing of them is run."""

import argparse
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kidney_core.common import child_process
from kidney_core.common.cache import cache_folder
from kidney_core.common.errors import ModelError
from kidney_core.networks import weight_files

STATE = {"conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "conv.bias": torch.tensor([1.0, -1.0])}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class _Attack:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"echo here > {self.path}",)


@pytest.mark.parametrize(("suffix", "legacy"), [(".pth", False), (".ckpt", False), (".bin", True), ("", True)])
def test_a_state_dict_is_read_whatever_its_suffix(tmp_path, suffix, legacy):
    path = tmp_path / f"weights{suffix}"
    torch.save(STATE, path, _use_new_zipfile_serialization=not legacy)
    assert equal(weight_files.read_weights(path), STATE)


@pytest.mark.parametrize(
    "saved",
    [
        {"state_dict": STATE, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        {"model": {"state_dict": STATE}, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.9)},
        {"epoch": 1, "my network": STATE},
        {"state_dict": STATE, "best_acc1": torch.tensor(93.5)},  # as in PyTorch's example for ImageNet
        {"best_model_wts": STATE, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]}},
    ],
)
def test_what_training_scripts_wrap_around_weights_is_taken_off(tmp_path, saved):
    torch.save(saved, tmp_path / "checkpoint.pth")
    found = weight_files.read_weights(tmp_path / "checkpoint.pth")
    assert {name.removeprefix("my network."): tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in STATE.items()
    }


def test_a_file_is_converted_once_by_its_content(tmp_path, monkeypatch):
    torch.save(STATE, tmp_path / "a.pth")
    weight_files.read_weights(tmp_path / "a.pth")
    (cached,) = cache_folder().glob("weights-*.safetensors")
    (tmp_path / "a.pth").rename(tmp_path / "b.pt")
    monkeypatch.setattr(child_process, "python_command", lambda *_: ["/bin/false"])
    assert equal(weight_files.read_weights(tmp_path / "b.pt"), STATE)
    cached.write_bytes(b"damaged")
    with pytest.raises(ModelError, match="is cut off or damaged"):  # no child to convert it again
        weight_files.read_weights(tmp_path / "b.pt")
    assert not cached.exists()


def test_tensors_that_share_memory_are_read(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": shared, "b": shared.T, "c": shared[0]}, tmp_path / "w.pth")
    found = weight_files.read_weights(tmp_path / "w.pth")
    assert equal(found, {"a": shared, "b": shared.T, "c": shared[0]})


@pytest.mark.parametrize(("wrapped", "legacy"), [(True, False), (False, True)])
def test_a_program_in_a_file_is_not_run(tmp_path, wrapped, legacy):
    attack = _Attack(tmp_path / "written")
    saved = {"state_dict": STATE, "extra": attack} if wrapped else attack
    torch.save(saved, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(
        ModelError, match=r"“w.pth” holds Python objects beside its weights \((os|posix)\.system\).*model.state_dict"
    ):
        weight_files.read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "written").exists()


def test_a_bare_pickle_is_not_run_and_a_whole_network_is_named(tmp_path):
    (tmp_path / "w.bin").write_bytes(pickle.dumps(_Attack(tmp_path / "written")))
    with pytest.raises(ModelError, match="“w.bin” (holds Python objects|is cut off or damaged)"):
        weight_files.read_weights(tmp_path / "w.bin")
    assert not (tmp_path / "written").exists()
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(ModelError, match=r"holds Python objects beside its weights \(torch.nn.modules.linear.Linear\)"):
        weight_files.read_weights(tmp_path / "whole.pth")


def test_a_file_that_is_cut_off_anywhere_is_a_sentence(tmp_path):
    torch.save({"a": torch.zeros(2000)}, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    for n in (3, len(content) // 2, len(content) - 1):
        (tmp_path / "w.pth").write_bytes(content[:n])
        with pytest.raises(ModelError, match="“w.pth” is cut off or damaged"):
            weight_files.read_weights(tmp_path / "w.pth")


def _nested(depth):
    """A pickle of dictionaries in dictionaries, which a recursive reader could not leave."""
    return b"\x80\x02" + b"}X\x01\x00\x00\x00a" * depth + b"}" + b"s" * depth + b"."


def test_a_deeply_nested_file_is_a_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", _nested(200_000))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    with pytest.raises(ModelError, match="“w.pth” (holds no weights|is cut off or damaged)"):
        weight_files.read_weights(tmp_path / "w.pth")


def test_a_small_file_of_huge_tensors_is_refused_without_the_memory(tmp_path):
    torch.save({"a": torch.zeros(1).expand(10**7, 10**5)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="“w.pth” needs more memory"):
        weight_files.read_weights(tmp_path / "w.pth")


def test_a_file_that_unpacks_to_more_than_it_weighs_is_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(300 * 1024**2 // 4)}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert (tmp_path / "w.pth").stat().st_size < 1024**2
    with pytest.raises(ModelError, match="“w.pth” (needs more memory|is cut off or damaged)"):
        weight_files.read_weights(tmp_path / "w.pth")


def test_a_file_beyond_the_limit_is_not_read(tmp_path):
    with (tmp_path / "w.pth").open("wb") as file:
        file.truncate(weight_files.MAX_BYTES + 1)
    with pytest.raises(ModelError, match="“w.pth” has 2.0 GiB; 2 GiB is the limit"):
        weight_files.read_weights(tmp_path / "w.pth")


def _keras(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.h5", b"\x89HDF\r\n\x1a\nrest", "is a model of Keras"),
        ("renamed.pth", b"\x89HDF\r\n\x1a\nrest", "is a model of Keras"),
        ("a.onnx", b"\x08\x07\x12\x07pytorch", "is an ONNX file"),
        ("saved_model.pb", b"\x08\x01\x12", "is of TensorFlow"),
        ("a.tflite", b"\x1c\x00\x00\x00TFL3", "is of TensorFlow"),
        ("model.ckpt.data-00000-of-00001", b"\x01\x02\x03", "is of TensorFlow"),
        ("a.npz", b"PK\x03\x04", "is of NumPy"),
        ("a.npy", b"\x93NUMPY\x01\x00", "is of NumPy"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\n", "is only a pointer of Git LFS"),
        ("a.pth", b"\n<!DOCTYPE html><html>", "is a web page"),
        ("a.pth", b"", "is empty"),
        ("a.pth", b"\x00" * 999, "is cut off or damaged"),
        ("a.safetensors", b"pickle?", "cannot be read as safetensors"),
    ],
)
def test_other_kinds_are_named_with_what_to_do(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"“.*{name}” {sentence}.*\\."):
        weight_files.read_weights(tmp_path / name)


def test_other_archives_are_named(tmp_path):
    _keras(tmp_path / "a.keras")
    _keras(tmp_path / "b.pth")
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        for name in ("c/data.pkl", "c/constants.pkl", "c/code/network.py"):  # as torch.jit.save packs it
            archive.writestr(name, b"")
    with zipfile.ZipFile(tmp_path / "d.pth", "w") as archive:
        archive.writestr("weights/model.pth", b"")
    for name, sentence in (
        ("a.keras", "Keras"),
        ("b.pth", "Keras"),
        ("c.pt", "TorchScript"),
        ("d.pth", "a zip that holds “model.pth”"),
    ):
        with pytest.raises(ModelError, match=f"“{name}” is .*{sentence}"):
            weight_files.read_weights(tmp_path / name)


@pytest.mark.parametrize("saved", [[1, 2], {"epoch": 3}])
def test_a_file_without_named_weights_is_a_sentence(tmp_path, saved):
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="“w.pth” holds no weights with names"):
        weight_files.read_weights(tmp_path / "w.pth")


def test_folders_pipes_and_what_is_not_there_are_sentences(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    save_file(STATE, tmp_path / "w.safetensors")
    assert equal(weight_files.read_weights(tmp_path / "w.safetensors"), STATE)
    for path in (tmp_path, tmp_path / "none.pth", tmp_path / "a\0b", tmp_path / "pipe.pth"):
        with pytest.raises(ModelError, match="cannot be read|is not a file"):
            weight_files.read_weights(path)
