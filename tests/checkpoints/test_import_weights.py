"""A network that was trained elsewhere answers as it did there, and nothing claims to know how well."""

import json

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from kidney_core.checkpoints import checkpoint as checkpoints
from kidney_core.checkpoints import import_weights, model_card
from kidney_core.checkpoints.import_weights import StatedNetwork
from kidney_core.common import digests
from kidney_core.common.errors import CheckpointError, ModelError
from kidney_core.diagnosis import inference, verdict
from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.imaging.slices import read_slice

LABELS = ("Tumor", "Normal", "Cyst", "Stone")


@pytest.fixture
def foreign(tmp_path):
    """A ResNet18 of torchvision with four outputs, and its file."""
    torch.manual_seed(3)
    model = torchvision.models.resnet18(num_classes=4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    save_file({f"module.{name}": each for name, each in model.state_dict().items()}, tmp_path / "w.safetensors")
    return model.eval(), tmp_path / "w.safetensors"


@pytest.fixture
def imported(foreign):
    return import_weights.import_weights(foreign[1], StatedNetwork("ResNet18", LABELS, image_size_px=64), name="theirs")


@pytest.fixture
def picture(tmp_path):
    """A grey picture that is not square, 90 × 120 px."""
    rng = np.random.default_rng(5)
    Image.fromarray(rng.integers(0, 255, (90, 120)).astype(np.uint8)).save(tmp_path / "slice.png")
    return tmp_path / "slice.png"


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), ((0, 0, 0), (1, 1, 1))],
)
def test_it_answers_as_it_did_where_it_was_trained(foreign, picture, mean, std):
    model, path = foreign
    stated = StatedNetwork("resnet18", LABELS, image_size_px=64, mean=mean, std=std)
    made = import_weights.import_weights(path, stated, name="theirs")
    answer = inference.diagnose(inference.open_predictor(made), read_slice(picture))
    resized = Image.open(picture).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    normalise = torchvision.transforms.Compose(
        [torchvision.transforms.ToTensor(), torchvision.transforms.Normalize(mean, std)]
    )
    with torch.inference_mode():
        theirs = model(normalise(resized)[None]).softmax(dim=1)[0]
    assert list(answer.probabilities) == list(LABELS)
    assert list(answer.probabilities.values()) == pytest.approx(theirs.tolist(), abs=0.02)
    assert answer.heatmap is not None or answer.no_heatmap_because


def test_its_card_claims_nothing(imported):
    assert (imported.is_evaluated, imported.labels, imported.view.framing) == (False, LABELS, "stretched")
    assert imported.unseen_metrics() is None
    assert imported.seal_warning == ""
    assert "never evaluated here" in " ".join(imported.card["limits"])
    text = model_card.markdown(imported)
    assert "Never evaluated here." in text
    assert "the network was trained elsewhere" in text
    assert "| Not known. To be filled in by the holder of the data |" in model_card.claim_checklist(imported)


def test_the_diagnosis_abstains_and_says_why(imported, picture):
    predictor, image = inference.open_predictor(imported), read_slice(picture)
    answer = inference.diagnose(predictor, image)
    judged = verdict.judge(predictor, image, answer)
    assert judged.outcome == Outcome.UNDECIDED
    reasons = {step.title: step.reason for step in judged.steps}
    assert "was never evaluated here" in reasons["Confidence"]
    assert "this checkpoint has no reference" in reasons["Out-of-distribution check"]
    assert "lack of any evaluation here" in reasons["Calibration"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"labels": ("Cyst", "Normal")},
            ModelError,
            "parameter module.fc.weight does not match: it has the shape 4 × 512",
        ),
        ({"labels": ("Cyst",)}, CheckpointError, "needs 2 to 1000 labels"),
        ({"labels": ("Cyst", "cysts", "Stone", "Tumor")}, CheckpointError, "label Cyst is given twice"),
        (
            {"architecture": "mobilenetv2_100"},
            ModelError,
            "are not those of mobilenetv2_100: parameter conv_stem.weight",
        ),
        ({"architecture": "resnet180"}, ModelError, "Did you mean"),
        ({"image_size_px": 5}, CheckpointError, "image size must be between"),
        ({"framing": "cut"}, CheckpointError, "framing must be one of"),
        ({"mean": (0.5, 0.5)}, CheckpointError, "three numbers each"),
        ({"std": (0.0, 1.0, 1.0)}, CheckpointError, "a deviation is above 0"),
        ({"mean": (float("nan"), 0, 0)}, CheckpointError, "three numbers each"),
    ],
)
def test_what_does_not_fit_is_a_sentence_and_leaves_no_checkpoint(foreign, tmp_path, changes, error, message):
    stated = {"architecture": "resnet18", "labels": LABELS, **changes}
    with pytest.raises(error, match=message):
        import_weights.import_weights(foreign[1], StatedNetwork(**stated), name="theirs")
    assert checkpoints.list_checkpoints() == ([], [])


def test_weights_that_are_not_finite_are_refused(foreign, tmp_path):
    state = foreign[0].state_dict()
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"] * 1e9  # beyond half precision
    save_file(state, tmp_path / "wild.safetensors")
    with pytest.raises(
        CheckpointError, match="“wild.safetensors” has values in layer1.0.conv1.weight that are not finite"
    ):
        import_weights.import_weights(tmp_path / "wild.safetensors", StatedNetwork("resnet18", LABELS), name="theirs")


@pytest.mark.parametrize("name", ["../up", "", "a b"])
def test_a_name_stays_in_the_folder_of_checkpoints(foreign, name):
    with pytest.raises(CheckpointError, match="cannot be the name of a checkpoint"):
        import_weights.import_weights(foreign[1], StatedNetwork("resnet18", LABELS), name=name)


def test_a_card_with_an_impossible_normalisation_is_refused(imported):
    card = json.loads((imported.folder / "card.json").read_text(encoding="utf-8"))
    card["preprocessing"]["std"] = [1, 0, 1]
    (imported.folder / "card.json").write_text(json.dumps(digests.add_seal(card)), encoding="utf-8")
    with pytest.raises(CheckpointError, match="its std of the channels is"):
        checkpoints.read_checkpoint(imported.folder)


def test_the_command_imports_and_refuses_a_taken_name(foreign, capsys):
    torch.save({"state_dict": foreign[0].state_dict()}, foreign[1].with_suffix(".pth"))
    words = [
        foreign[1].with_suffix(".pth").as_uri(),
        "--architecture",
        "resnet18",
        "--labels",
        *LABELS,
        "--name",
        "theirs",
        "--mean",
        "0",
        "0",
        "0",
    ]
    assert import_weights.main(words) == 0
    assert "never evaluated here" in capsys.readouterr().out
    (made,) = checkpoints.list_checkpoints()[0]
    assert made.card["preprocessing"]["mean"] == [0.0, 0.0, 0.0]
    assert import_weights.main(words) == 1
    assert "“theirs” exists already" in capsys.readouterr().err
