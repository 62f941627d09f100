"""A published model: a folder with weights, and a card with how they were trained and how they perform.

    checkpoints/<name>/
        card.json                   architecture, labels, preprocessing, data, split, metrics, limits
        model.safetensors           weights, half precision (norms and biases in single)
        predictions-grouped.csv.gz  test slices with their probabilities, where the card has their metrics
        predictions-random.csv.gz
        predictions-cross-validated.csv.gz
        explanations.json           whether its heatmaps point at known lesions; see `pointing`
        other-hospitals.json        how it does on other hospitals; see `diagnosis.other_hospitals`
        reference.safetensors       the training slices as thumbnails and the network's features; see `ood`
        trained-on.txt              short SHA-256 of every file that the weights were trained or validated on

The card holds the SHA-256 of every other file but explanations.json and other-hospitals.json, and a seal over itself; these two
have seals of their own, since they are measured later. All are checked when a file is read, never when a page only lists cards.
Nothing is ever unpickled. Reading cards imports no torch.
"""

import gzip
import io
import re
import shlex
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kidney_core.checkpoints.card import CARD_FORMAT, check_card
from kidney_core.common import digests, os_errors, settings
from kidney_core.common.errors import CheckpointError, ModelError
from kidney_core.common.files import new_folder, read_table, remove_leftovers, write_json
from kidney_core.imaging.framing import EACH_KIDNEY, ORIGINAL, WHOLE, View
from kidney_core.metrics.predictions import Predictions, probability_column
from kidney_core.metrics.splits import FOLDER, GROUPED, RANDOM, unseen_protocol
from kidney_core.runs.run_folder import TRAINED_ON_FILE

if TYPE_CHECKING:
    from torch import Tensor, nn

STORED_DIGITS = 5  # of the probabilities of published predictions
WEIGHTS_FILE = "model.safetensors"
REFERENCE_FILE = "reference.safetensors"
EXPLANATIONS_FILE = "explanations.json"
OTHER_HOSPITALS_FILE = "other-hospitals.json"
MEASURED_FILES = (EXPLANATIONS_FILE, OTHER_HOSPITALS_FILE)

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
        preprocessing = self.card["preprocessing"]
        return View(
            int(preprocessing["size_px"]), preprocessing.get("framing", WHOLE), preprocessing.get("greys", ORIGINAL)
        )

    @property
    def temperature(self) -> float:
        return float(self.card["temperature"])

    def metrics(self, protocol: str) -> dict[str, Any] | None:
        """The card's metrics under a protocol, or None where it was not measured."""
        return self.card["metrics"].get(protocol)

    @property
    def shown_protocols(self) -> tuple[str, ...]:
        """The protocols to show beside each other, the most honest first: those measured, where the folder's own split was."""
        pair = (self.unseen_protocol or GROUPED, RANDOM)
        if not self.metrics(FOLDER):
            return pair
        return tuple(protocol for protocol in (pair[0], FOLDER, RANDOM) if self.metrics(protocol))

    @property
    def unseen_protocol(self) -> str | None:
        """The protocol of its metrics on unseen scans: over all folds, or one split; None where they were not measured."""
        return unseen_protocol(self.card["metrics"])

    def unseen_metrics(self) -> dict[str, Any] | None:
        """The card's metrics on unseen scans, or None."""
        return self.metrics(self.unseen_protocol) if self.unseen_protocol else None

    def intervals(self, protocol: str) -> dict[str, list[float | None]]:
        """The 95 % intervals (low, high) of the card's metrics by dotted name; empty where it has none."""
        return self.card.get("intervals", {}).get(protocol, {})

    @property
    def is_evaluated(self) -> bool:
        """Whether it has any figures; a network that was imported has none."""
        return bool(self.card["metrics"])

    @property
    def without_figures(self) -> str:
        """What stands in place of a figure that was not measured, in a sentence."""
        return "Not measured for this model." if self.is_evaluated else "Never evaluated here."

    @property
    def seal_warning(self) -> str:
        """A warning for a card without a seal; empty for a sealed one."""
        if digests.has_seal(self.card):
            return ""
        return (
            f"“{self.name}” was published by an older version and is not sealed: its weights are checked, but changes to its card "
            "(labels, metrics, limits) cannot be detected. Compare it with its source, then seal it: "
            f"{shlex.join(['kidney-ct', 'seal', str(self.folder)])}"
        )

    def trained_on(self) -> frozenset[str]:
        """Short hashes (`dataset.short_hash`) of the files the weights were trained on; empty where unknown.

        Raises: CheckpointError when the file is not the one the card describes.
        """
        return frozenset(self.trained_on_in_order())

    def trained_on_in_order(self) -> tuple[str, ...]:
        """The same, one for each training or validation slice in the order of the dataset. Raises CheckpointError."""
        words = (self._described(TRAINED_ON_FILE) or b"").split()
        if not all(_SHORT_HASH.fullmatch(word) for word in words):
            raise CheckpointError(
                f"“{self.folder / TRAINED_ON_FILE}” is not a list of hashes. Copy the checkpoint's folder again."
            )
        return tuple(word.decode() for word in words)

    def explanations(self) -> dict[str, Any] | None:
        """Whether its heatmaps point at known lesions, as `pointing.measure` found; None where that was not measured.

        Raises: CheckpointError when the file is damaged.
        """
        return self._measured(EXPLANATIONS_FILE, again=shlex.join(["kidney-ct", "pointing", str(self.folder)]))

    def other_hospitals(self) -> dict[str, Any] | None:
        """How it does on other hospitals, as `other_hospitals.measure` found; None where that was not measured.

        Raises: CheckpointError when the file is damaged.
        """
        return self._measured(
            OTHER_HOSPITALS_FILE, again=shlex.join(["kidney-ct", "evaluate", "--outside", "FOLDER", str(self.folder)])
        )

    def _measured(self, file: str, *, again: str) -> dict[str, Any] | None:
        """The content of a sealed file of measures; None where there is none of these weights."""
        path = self.folder / file
        if not path.is_file():
            return None
        try:
            measured = digests.read_json(path)
            if (digests.has_seal(self.card) or digests.has_seal(measured)) and not digests.is_intact(measured):
                raise ValueError("its seal does not fit")
            is_current = measured["weights_sha256"] == self.card["weights_sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"“{path}” is damaged ({error}). Measure it again: {again}") from error
        return measured if is_current else None

    def predictions(self, protocol: str) -> Predictions | None:
        """The stored test predictions under a protocol, or None where there are none.

        Raises: CheckpointError when the file is not the one the card describes, or no table.
        """
        content = self.predictions_csv(protocol)
        if content is None:
            return None
        try:
            table = read_table(io.BytesIO(content))
            missing = {"path", "label", "predicted", *map(probability_column, self.labels)} - set(table.columns)
            if missing:
                raise ValueError(f"it has no column “{min(missing)}”")
            return Predictions.from_table(table)
        except ValueError as error:  # pandas' errors are of this kind
            raise self._no_table(protocol, error) from error

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
        return CheckpointError(f"“{path}” is not a table of predictions ({error}). Copy the checkpoint's folder again.")

    def _described(self, name: str) -> bytes | None:
        """A file beside the card as its digest says it is; None where there is none. Raises CheckpointError."""
        path = self.folder / name
        if not digests.has_seal(self.card):
            return digests.read_file(path) if path.is_file() else None
        digest = self.card["files_sha256"].get(name)
        if digest is not None:
            return digests.read_verified(path, digest)
        if path.exists():
            raise CheckpointError(f"“{path}” is not among the files its card describes. Delete it, or seal the folder.")
        return None


def _predictions_file(protocol: str) -> str:
    return f"predictions-{protocol}.csv.gz"


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
    """The usable checkpoints, the best on unseen scans first, and a sentence for each unusable folder."""
    usable, problems = [], []
    for path in _checkpoint_paths((folder,) if folder else settings.checkpoint_folders()):
        try:
            usable.append(read_checkpoint(path))
        except CheckpointError as error:
            problems.append(str(error))
    return sorted(usable, key=_unseen_balanced_accuracy, reverse=True), problems


def chosen_checkpoints(folders: Sequence[Path]) -> list[Checkpoint]:
    """The checkpoints that a command names, or all usable ones, with a warning on standard error for each of the others.

    Raises: CheckpointError where one that is named cannot be used, or there is none.
    """
    if folders:
        return [read_checkpoint(folder) for folder in folders]
    usable, problems = list_checkpoints()
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    if not usable:
        raise CheckpointError("There is no checkpoint. Publish a run, or give the folder of a checkpoint.")
    return usable


def _checkpoint_paths(parents: tuple[Path, ...]) -> list[Path]:
    """The folders inside these folders by name; of two with one name, the one of the earlier folder."""
    paths: dict[str, Path] = {}
    for path in (path for parent in parents if parent.is_dir() for path in parent.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name != settings.FINDER_FOLDER:
            paths.setdefault(path.name, path)
    return [paths[name] for name in sorted(paths)]


def _unseen_balanced_accuracy(checkpoint: Checkpoint) -> float:
    metrics = checkpoint.unseen_metrics()
    return metrics["balanced_accuracy"] if metrics else -1.0


def load_model(checkpoint: Checkpoint, *, device: str = "cpu", fold: bool = True) -> "nn.Module":
    """Build the checkpoint's network with its weights, in evaluation mode; `fold` merges its batch norms into the convolutions.

    Raises: CheckpointError when the weights are missing, differ from the card's digest, or do not fit.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from kidney_core.networks import batch_norm, models, preprocessing

    content = digests.read_verified(checkpoint.folder / WEIGHTS_FILE, checkpoint.card["weights_sha256"])
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
        model = batch_norm.fold_batch_norms(model, checkpoint.size_px)
    seen = checkpoint.card["preprocessing"]
    preprocessing.normalise_otherwise(model, seen.get("mean", preprocessing.MEAN), seen.get("std", preprocessing.STD))
    return model.to(memory_format=torch.channels_last).to(device).eval()


def load_slice_model(checkpoint: Checkpoint, *, device: str = "cpu") -> "nn.Module":
    """The network that answers for slices as the checkpoint's view shows them. Raises as `load_model`."""
    from kidney_core.networks.strongest_kidney import reading_slices

    model = load_model(checkpoint, device=device)
    return reading_slices(model, checkpoint.labels, each_kidney=checkpoint.view.framing == EACH_KIDNEY)


def _check_complete(model: "nn.Module", stored: dict[str, "Tensor"], name: str) -> None:
    expected = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
    if expected != set(stored):
        first = min(expected ^ set(stored))
        raise CheckpointError(
            f"The weights of “{name}” do not fit its architecture (“{first}”). Publish the run again."
        )
    for key, tensor in stored.items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"The weights of “{name}” are not finite (“{key}”), so its predictions would mean nothing. Train it again."
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
    predictions: dict[str, Predictions],
    *,
    trained_on: bytes = b"",
    reference: bytes = b"",
) -> Checkpoint:
    """Write a new checkpoint, whose folder appears only once it is complete.

    Args:
        state: the network's state dict.
        card: everything but `format` and `weights_sha256`, which are filled in here.
        predictions: test predictions by protocol.
        trained_on: short hashes of the training files, one a line.
        reference: the training slices in the network's features, as `ood.save` wrote them.

    Raises: CheckpointError where the name is taken, or the folder cannot be written.
    """
    from safetensors.torch import save

    weights = save(half_precision(state))
    files = {WEIGHTS_FILE: weights, TRAINED_ON_FILE: trained_on, REFERENCE_FILE: reference}
    for protocol, each in predictions.items():
        # Without a time of day, the same predictions make the same file.
        files[_predictions_file(protocol)] = gzip.compress(each.csv_bytes(digits=STORED_DIGITS), mtime=0)
    described = {"format": CARD_FORMAT, **card, "weights_sha256": digests.sha256(weights)}
    if reference:
        described["reference_sha256"] = digests.sha256(reference)
    with os_errors.reraise_as(CheckpointError, folder):
        remove_leftovers(folder.parent)
        try:
            with new_folder(folder) as partial:
                _write(partial, files, described)
        except FileExistsError as error:
            raise name_taken(folder.name) from error
    return read_checkpoint(folder)


def _write(folder: Path, files: dict[str, bytes], card: dict[str, Any]) -> None:
    """Write the files that have content, and the card with their digests."""
    for name, content in files.items():
        if content:
            (folder / name).write_bytes(content)
    write_json(folder / "card.json", sealed_card(card, folder))


def name_taken(name: str) -> CheckpointError:
    """The error for a new checkpoint with the name of another one."""
    return CheckpointError(f"A checkpoint named “{name}” exists already. Choose another name.")


def sealed_card(card: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A card with the digests of the files beside it, and its seal."""
    packed = [_predictions_file(protocol) for protocol in card["metrics"]]
    named = [TRAINED_ON_FILE, *packed, *(name.removesuffix(".gz") for name in packed)]
    found = {name: digests.sha256(digests.read_file(folder / name)) for name in named if (folder / name).is_file()}
    return digests.add_seal({**card, "files_sha256": found})
