"""A published model: a folder with weights, and a card that says what they are worth.

    checkpoints/<name>/
        card.json                   architecture, labels, preprocessing, data, split, figures, limits
        model.safetensors           weights, half precision (norms and biases in single)
        predictions-grouped.csv.gz  test slices with their probabilities, where the card has the figures
        predictions-random.csv.gz
        predictions-cross-validated.csv.gz
        explanations.json           whether its heat maps point at known lesions; see `pointing`
        reference.safetensors       the training slices as thumbnails and the network's features; see `familiarity`
        trained-on.txt              short SHA-256 of every file that the weights were trained or validated on

The card holds the SHA-256 of every other file but explanations.json, and a seal over itself; explanations.json has a
seal of its own, since it is measured later. They are checked when a file is read, never when a page only lists cards.
Nothing is ever unpickled. Reading cards imports no torch.
"""

import gzip
import io
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kidney_core import digests
from kidney_core.card import CARD_FORMAT, check_card
from kidney_core.errors import CheckpointError, ModelError
from kidney_core.files import read_table, write_json, write_whole
from kidney_core.framing import WHOLE, View
from kidney_core.runs import TRAINED_ON_FILE
from kidney_core.splits import honest_of

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FILE = "model.safetensors"
REFERENCE_FILE = "reference.safetensors"
EXPLANATIONS_FILE = "explanations.json"

_MAX_TABLE_BYTES = 256 * 1024**2  # a million slices take about 90 MB; a small file can unpack to as much as it likes
_SHORT_HASH = re.compile(rb"[0-9a-f]{12}")

INTENDED_USE = (
    "Research and teaching on single CT slices of the kidney region. Not a medical device; not for diagnosis or "
    "treatment of patients."
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder with its card, read and checked for completeness."""

    folder: Path
    card: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.card["labels"])

    @property
    def size_px(self) -> int:
        return self.view.size_px

    @property
    def view(self) -> View:
        """How the network sees an image."""
        asked = self.card["preprocessing"]
        return View(int(asked["size_px"]), asked.get("framing", WHOLE))

    @property
    def temperature(self) -> float:
        return float(self.card["temperature"])

    def figures(self, protocol: str) -> dict[str, Any] | None:
        """The card's figures under a protocol, or None where it was not measured."""
        return self.card["metrics"].get(protocol)

    @property
    def honest(self) -> str | None:
        """How its figures on scans never seen were measured: over all folds, or under one split, or None."""
        return honest_of(self.card["metrics"])

    def honest_figures(self) -> dict[str, Any] | None:
        """The card's figures on scans never seen, or None."""
        return self.figures(self.honest) if self.honest else None

    def intervals(self, protocol: str) -> dict[str, list[float | None]]:
        """The 95 % intervals (low, high) of the card's figures by dotted name; empty where it has none."""
        return self.card.get("intervals", {}).get(protocol, {})

    @property
    def unsealed(self) -> str:
        """What a person must know of a card without a seal, in a sentence; empty for a sealed one."""
        if digests.is_sealed(self.card):
            return ""
        return (
            f"“{self.name}” was published by an older version and is not sealed: its weights are checked, but whether its card "
            "(labels, figures, limits) was changed since cannot be told. Compare it with its source, then seal it: "
            f"python -m kidney_core.seal {self.folder}"
        )

    def trained_on(self) -> frozenset[str]:
        """Short hashes (`dataset.short_hash`) of the files the weights were trained on; empty where unknown.

        Raises: CheckpointError when the file is not the one the card describes.
        """
        words = (self._described(TRAINED_ON_FILE) or b"").split()
        if not all(_SHORT_HASH.fullmatch(word) for word in words):
            raise CheckpointError(
                f"“{self.folder / TRAINED_ON_FILE}” is no list of hashes. Copy the checkpoint's folder again."
            )
        return frozenset(word.decode() for word in words)

    def explanations(self) -> dict[str, Any] | None:
        """Whether its heat maps point at known lesions, as `pointing.measure` found; None where that was not measured.

        Raises: CheckpointError when the file is damaged.
        """
        path = self.folder / EXPLANATIONS_FILE
        if not path.is_file():
            return None
        try:
            found = digests.read_json(path)
            if (digests.is_sealed(self.card) or digests.is_sealed(found)) and not digests.is_intact(found):
                raise ValueError("its seal does not fit")
            current = found["weights_sha256"] == self.card["weights_sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"“{path}” is damaged ({error}). Measure it again: python -m kidney_core.pointing {self.folder}"
            ) from error
        return found if current else None

    def predictions(self, protocol: str) -> pd.DataFrame | None:
        """The stored test predictions under a protocol, or None where there are none.

        Raises: CheckpointError when the file is not the one the card describes, or no table.
        """
        content = self.predictions_csv(protocol)
        if content is None:
            return None
        try:
            table = read_table(io.BytesIO(content))
            absent = {"path", "label", "predicted", *(f"p_{label}" for label in self.labels)} - set(table.columns)
            if absent:
                raise ValueError(f"it has no column “{min(absent)}”")
        except ValueError as error:  # pandas' errors are of this kind
            raise self._no_table(protocol, error) from error
        return table

    def predictions_csv(self, protocol: str) -> bytes | None:
        """The same as the text of a CSV file. Raises CheckpointError as `predictions`."""
        packed = self._described(_predictions_file(protocol))
        if packed is None:  # versions before 0.5 did not pack it
            return self._described(_predictions_file(protocol).removesuffix(".gz"))
        try:
            with gzip.open(io.BytesIO(packed)) as file:
                content = file.read(_MAX_TABLE_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise self._no_table(protocol, error) from error
        if len(content) > _MAX_TABLE_BYTES:
            raise self._no_table(protocol, ValueError(f"it unpacks to more than {_MAX_TABLE_BYTES / 1024**2:.0f} MiB"))
        return content

    def _no_table(self, protocol: str, error: Exception) -> CheckpointError:
        path = self.folder / _predictions_file(protocol)
        path = path if path.is_file() else path.with_suffix("")
        return CheckpointError(f"“{path}” is no table of predictions ({error}). Copy the checkpoint's folder again.")

    def _described(self, name: str) -> bytes | None:
        """A file beside the card as its digest says it is; None where there is none. Raises CheckpointError."""
        path = self.folder / name
        if not digests.is_sealed(self.card):
            return digests.read_file(path) if path.is_file() else None
        digest = self.card["files_sha256"].get(name)
        if digest is not None:
            return digests.read_described(path, digest)
        if path.exists():
            raise CheckpointError(f"“{path}” is not among the files its card describes. Delete it, or seal the folder.")
        return None


def _predictions_file(protocol: str) -> str:
    return f"predictions-{protocol}.csv.gz"


def checkpoints_folder() -> Path:
    """Where checkpoints live: $KIDNEY_CHECKPOINTS, or ./checkpoints."""
    return Path(os.environ.get("KIDNEY_CHECKPOINTS", "checkpoints"))


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint's card.

    Raises: CheckpointError when the card is missing, damaged or incomplete.
    """
    try:
        card = digests.read_json(folder / "card.json")
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint “{folder.name}” has no readable card.json ({error}). Copy the whole folder again."
        ) from error
    check_card(card, folder)
    return Checkpoint(folder, card)


def list_checkpoints(folder: Path | None = None) -> tuple[list[Checkpoint], list[str]]:
    """The usable checkpoints, best honest figure first, and a sentence for each unusable folder."""
    parent = folder or checkpoints_folder()
    usable, problems = [], []
    for path in sorted(parent.iterdir()) if parent.is_dir() else []:
        if not path.is_dir() or path.name.startswith("."):
            continue
        try:
            usable.append(read_checkpoint(path))
        except CheckpointError as error:
            problems.append(str(error))
    return sorted(usable, key=_honest_figure, reverse=True), problems


def _honest_figure(checkpoint: Checkpoint) -> float:
    found = checkpoint.honest_figures()
    return found["balanced_accuracy"] if found else -1.0


def load_model(checkpoint: Checkpoint, *, device: str = "cpu", fold: bool = True) -> "nn.Module":
    """Build the checkpoint's network with its weights, in evaluation mode, its batch norms folded unless told otherwise.

    Raises: CheckpointError when the weights are missing, differ from the card's digest, or do not fit.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from kidney_core import models

    content = digests.read_described(checkpoint.folder / WEIGHTS_FILE, checkpoint.card["weights_sha256"])
    try:
        model = models.build_model(
            checkpoint.card["architecture"], len(checkpoint.labels), image_size_px=checkpoint.size_px
        )
        stored = load(content)
        model.load_state_dict({name: tensor.float() for name, tensor in stored.items()}, strict=False)
        _check_complete(model, stored, checkpoint.name)
    except (SafetensorError, RuntimeError, ModelError) as error:
        raise CheckpointError(f"The weights of “{checkpoint.name}” do not fit its card: {error}") from error
    if fold:
        model = models.fold_batch_norms(model, checkpoint.size_px)
    return model.to(device, memory_format=torch.channels_last).eval()


def _check_complete(model: "nn.Module", stored: dict[str, "Tensor"], name: str) -> None:
    wanted = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
    if wanted != set(stored):
        odd = sorted(wanted ^ set(stored))[0]
        raise CheckpointError(f"The weights of “{name}” do not fit its architecture (“{odd}”). Publish the run again.")
    for key, tensor in stored.items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"The weights of “{name}” hold numbers that are none (“{key}”): it would answer nonsense. Train it again."
            )


def half_precision(state: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Matrices and kernels in float16; norms and biases, which need the range, in float32."""
    import torch

    return {
        name: tensor.to("cpu", torch.float16 if tensor.ndim >= 2 else torch.float32).contiguous()
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }


def save_checkpoint(
    folder: Path,
    state: dict[str, "Tensor"],
    card: dict[str, Any],
    predictions: dict[str, pd.DataFrame],
    *,
    trained_on: str = "",
    reference: bytes = b"",
) -> Checkpoint:
    """Write weights, predictions and, last, the card: a folder without a card is no checkpoint yet.

    Args:
        state: the network's state dict.
        card: everything but `format` and `weights_sha256`, which are filled in here.
        predictions: test predictions by protocol.
        trained_on: short hashes of the training files, one a line.
        reference: the training slices in the network's features, as `familiarity.save` wrote them.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    content = save(half_precision(state))
    write_whole(folder / WEIGHTS_FILE, lambda partial: partial.write_bytes(content))
    for protocol, table in predictions.items():
        # Without a time of day, the same predictions make the same file.
        packed = gzip.compress(table.to_csv(index=False, float_format="%.5g").encode(), mtime=0)
        write_whole(folder / _predictions_file(protocol), lambda partial, packed=packed: partial.write_bytes(packed))
    if trained_on:
        write_whole(folder / TRAINED_ON_FILE, lambda partial: partial.write_text(trained_on))
    described = {"weights_sha256": digests.sha256(content)}
    if reference:
        write_whole(folder / REFERENCE_FILE, lambda partial: partial.write_bytes(reference))
        described["reference_sha256"] = digests.sha256(reference)
    write_json(folder / "card.json", sealed_card({"format": CARD_FORMAT, **card, **described}, folder))
    return read_checkpoint(folder)


def sealed_card(card: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A card with the digests of the files that lie beside it, and its seal."""
    packed = [_predictions_file(protocol) for protocol in card["metrics"]]
    named = [TRAINED_ON_FILE, *packed, *(name.removesuffix(".gz") for name in packed)]
    found = {name: digests.sha256(digests.read_file(folder / name)) for name in named if (folder / name).is_file()}
    return digests.sealed({**card, "files_sha256": found})
