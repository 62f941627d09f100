"""Point 6, checkpoints: whatever is done to a checkpoint's folder, nothing is executed and nothing loads silently.

A load is silent when every file is read without an error although one of them does not say what was published.
"""

import dataclasses
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save, save_file

from kidney_core.checkpoints import checkpoint, ood
from kidney_core.common import digests
from kidney_core.common.errors import CheckpointError
from kidney_core.common.files import write_json
from kidney_core.diagnosis import inference
from kidney_core.metrics import evaluation
from kidney_core.metrics.predictions import Predictions
from kidney_core.networks import models
from tests.hardness.table import Figures, Options

SEED, N_LOADS = 6, 1000
Harm = Callable[[Path, np.random.Generator], None]


def measure(options: Options) -> Figures:
    """Harm copies of a sealed checkpoint in a thousand ways and load each; see the module for what is counted."""
    workplace = options.workplace
    original = make_complete(workplace / "original").folder
    marker = workplace / "executed"
    published = everything(original)
    kinds: dict[str, tuple[int, Harm]] = {
        "flips": (4, flip_a_byte),
        "truncations": (2, truncate),
        "renamed_pickles": (1, lambda folder, rng: rename_a_pickle(folder, rng, marker)),
        "wrong_labels": (1, exchange_labels),
        "wrong_shapes": (1, change_a_shape),
        "wrong_numbers": (1, put_a_number_that_is_none),
    }
    total = sum(share for share, _ in kinds.values())
    rng = np.random.default_rng(SEED)
    figures = {"executed": 0, "silent_loads": 0, "harmless": 0, "loads": 0}
    for name, (share, harm) in kinds.items():
        figures[name] = N_LOADS * share // total
        for _ in range(figures[name]):
            folder = workplace / "harmed"
            shutil.copytree(original, folder)
            harm(folder, rng)
            figures["loads"] += 1
            try:
                found = everything(folder)
            except CheckpointError:
                pass
            else:
                # A flip that turns one kind of white space into another changes nothing that is said.
                figures["harmless" if found == published else "silent_loads"] += 1
            figures["executed"] += marker.exists()
            marker.unlink(missing_ok=True)
            shutil.rmtree(folder)
    return figures


def make_complete(folder: Path) -> checkpoint.Checkpoint:
    """A small untrained checkpoint with every file that one can have."""
    rng, labels = np.random.default_rng(SEED), ["Cyst", "Normal", "Stone", "Tumor"]
    torch.manual_seed(SEED)
    model = models.build_model("test_resnet", len(labels), image_size_px=32)
    probabilities = rng.dirichlet(np.ones(4), size=40)
    paths = [f"{labels[i % 4]}/{i}.png" for i in range(40)]
    rows = pd.DataFrame(
        {"path": paths, "label": [labels[i % 4] for i in range(40)], "series": [i // 2 for i in range(40)]}
    )
    predictions = Predictions.from_probabilities(rows, probabilities, labels)
    pixels = rng.integers(0, 255, (24, 32, 32), np.uint8)
    features = ood.slice_features(model, pixels)
    reference = ood.fit_reference(
        features[:16],
        same_scans=features[16:20],
        new_scans=features[20:],
        new_series=np.arange(4),
        paths=tuple(f"{i}.png" for i in range(16)),
        labels=tuple(labels[i % 4] for i in range(16)),
        series=np.arange(16),
    )
    saved = folder.with_name(f"{folder.name}-{checkpoint.REFERENCE_FILE}")
    ood.save(reference, saved)
    card = {
        "architecture": "test_resnet",
        "labels": labels,
        "preprocessing": {"size_px": 32},
        "temperature": 1.5,
        "training": {"init": "scratch"},
        "command": "python train.py",
        "data": {"name": "noise"},
        "split": {"random": {"shared_series_fraction": 1.0, "test_series": 20}},
        "metrics": {"random": evaluation.metrics(predictions)},
        "intended_use": checkpoint.INTENDED_USE,
        "limits": ["Made to be harmed."],
    }
    made = checkpoint.save_checkpoint(
        folder,
        model.state_dict(),
        card,
        {"random": predictions},
        trained_on="\n".join(f"{i:012x}" for i in range(50)).encode(),
        reference=saved.read_bytes(),
    )
    saved.unlink()
    explained = {"format": 1, "weights_sha256": made.card["weights_sha256"], "full_scale": {"Layer-CAM": 0.5}}
    write_json(folder / checkpoint.EXPLANATIONS_FILE, digests.add_seal(explained))
    return made


def everything(folder: Path) -> dict[str, object]:
    """All that a checkpoint makes the app say, in a form that can be compared. Raises CheckpointError."""
    found = checkpoint.read_checkpoint(folder)
    predictor = inference.open_predictor(found)
    with torch.inference_mode():
        answer = predictor.model(torch.linspace(0, 1, 3 * found.size_px**2).reshape(1, 3, found.size_px, found.size_px))
    return {
        "card": found.card,
        "sealed": not found.seal_warning,
        "answer": answer.tolist(),
        "explanations": predictor.explanations,
        "reference": {
            key: np.asarray(value).tolist() for key, value in dataclasses.asdict(predictor.reference).items()
        },
        "trained_on": sorted(found.trained_on()),
        "predictions": {name: found.predictions(name).table.to_csv() for name in found.card["metrics"]},
    }


def flip_a_byte(folder: Path, rng: np.random.Generator) -> None:
    path = _any_file(folder, rng)
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def truncate(folder: Path, rng: np.random.Generator) -> None:
    path = _any_file(folder, rng)
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(len(content.rstrip()))])


class _Payload:
    """What a pickle can carry: a call of anything."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self.marker,)


def rename_a_pickle(folder: Path, rng: np.random.Generator, marker: Path) -> None:
    """A pickle, or what torch.save makes of it, under the name of a file; half of the time the forger knows seals."""
    path = _any_file(folder, rng)
    if rng.integers(2):
        path.write_bytes(pickle.dumps(_Payload(marker)))
    else:
        torch.save(_Payload(marker), path)
    if rng.integers(2) and path.suffix != ".json":
        forge(folder)


def exchange_labels(folder: Path, rng: np.random.Generator) -> None:
    """The card's labels in another order, or one more or less; a forger can only do the latter two to no avail."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    kind = rng.integers(3)
    if kind == 0:
        card["labels"] = card["labels"][1:] + card["labels"][:1]
    else:
        card["labels"] = card["labels"][1:] if kind == 1 else [*card["labels"], "Abscess"]
    write_json(folder / "card.json", card)
    if kind:
        forge(folder)


def change_a_shape(folder: Path, rng: np.random.Generator) -> None:
    """A tensor of another shape, one too few, or one too many, under a forged card."""
    path = folder / checkpoint.WEIGHTS_FILE
    state = load_file(path)
    name = sorted(state)[rng.integers(len(state))]
    kind = rng.integers(3)
    if kind == 0:
        state[name] = torch.zeros(*state[name].shape, 2)
    elif kind == 1:
        del state[name]
    else:
        state[f"{name}.more"] = torch.zeros(3)
    save_file(state, path)
    forge(folder)


def put_a_number_that_is_none(folder: Path, rng: np.random.Generator) -> None:
    """Infinity or not-a-number among the weights, under a forged card."""
    path = folder / checkpoint.WEIGHTS_FILE
    state = load_file(path)
    values = state[sorted(state)[rng.integers(len(state))]].flatten()
    values[rng.integers(len(values))] = (float("nan"), float("inf"))[rng.integers(2)]
    path.write_bytes(save(state))
    forge(folder)


def forge(folder: Path) -> None:
    """What a malicious maker does: all digests and the seal fit what lies there."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card["weights_sha256"] = digests.sha256((folder / checkpoint.WEIGHTS_FILE).read_bytes())
    card["reference_sha256"] = digests.sha256((folder / checkpoint.REFERENCE_FILE).read_bytes())
    write_json(folder / "card.json", checkpoint.sealed_card(card, folder))


def _any_file(folder: Path, rng: np.random.Generator) -> Path:
    return sorted(folder.iterdir())[rng.integers(len(list(folder.iterdir())))]
