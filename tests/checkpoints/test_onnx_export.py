"""A checkpoint as ONNX answers as the checkpoint does; `make test-engines` runs this where the packages are."""

import importlib.util
import json

import numpy as np
import pytest

from kidney_core.checkpoints import checkpoint as checkpoints
from kidney_core.checkpoints import onnx_export, prediction
from kidney_core.common.errors import CheckpointError
from tests.conftest import ROOT

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(bool(missing), reason=f"not installed here: {', '.join(missing)}")
@pytest.mark.parametrize("name", ["mobilenetv2", "resnet18", "efficientnet-b0"])
def test_the_file_answers_as_the_checkpoint_for_any_number_of_slices(tmp_path, name):
    import onnxruntime

    shown = checkpoints.read_checkpoint(ROOT / "checkpoints" / name)
    file = tmp_path / f"{name}.onnx"
    assert onnx_export.export(shown, file) <= onnx_export.TOLERANCE
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    squares = np.random.default_rng(0).integers(0, 256, (5, shown.size_px, shown.size_px), np.uint8)
    expected = prediction.predict_probabilities(checkpoints.load_model(shown), squares)
    expected = expected ** (1 / shown.temperature)
    (found,) = session.run(None, {"grey": squares})
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=1e-4)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["kidney-ct"])
    assert facts["labels"] == list(shown.labels)


@pytest.mark.skipif(bool(missing), reason=f"not installed here: {', '.join(missing)}")
def test_a_file_that_would_answer_otherwise_is_not_written(tmp_path, monkeypatch):
    shown = checkpoints.read_checkpoint(ROOT / "checkpoints" / "mobilenetv2")
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(CheckpointError, match="gives different predictions"):
        onnx_export.export(shown, tmp_path / "other.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not missing, reason="the packages are installed here")
def test_export__error_missing_package(tmp_path, published):
    with pytest.raises(CheckpointError, match="pip install onnx"):
        onnx_export.export(published, tmp_path / "tiny.onnx")
