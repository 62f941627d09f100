"""The kidney finder as it ships: a sealed folder with a card and weights, opened into a network that outlines kidneys.

    checkpoints/kidney-finder/
        card.json           encoder, view, training data, metrics on volumes held out, limits
        model.safetensors   weights, half precision (norms and biases in single)
        picture-check.safetensors  tells pictures that are no upright slice, see `picture_check`

Nothing is ever unpickled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from kidney_core.common import digests, settings
from kidney_core.common.errors import CheckpointError
from kidney_core.common.files import write_json
from kidney_core.imaging.framing import FramedImage, View
from kidney_core.kidneys import picture_check
from kidney_core.kidneys.finder_network import KIDNEY, SIDE, FinderNetwork
from kidney_core.kidneys.found import KidneyMap
from kidney_core.kidneys.picture_check import PictureClassifier, features_of
from kidney_core.networks import batch_norm, preprocessing

FOLDER = settings.FINDER_FOLDER
CARD_FILE, WEIGHTS_FILE, PICTURE_CHECK_FILE = "card.json", "model.safetensors", "picture-check.safetensors"
CARD_FORMAT = 1
_BATCH = 16
_NEEDED = ("format", "encoder", "view", "metrics", "weights_sha256")


@dataclass(frozen=True)
class KidneyFinder:
    """The finder ready to read slices; safe to share between threads.

    Attributes:
        picture_check: tells pictures that are no upright slice; None in a finder without it, which takes every picture for one.
    """

    card: dict[str, Any]
    network: FinderNetwork = field(repr=False)
    picture_check: PictureClassifier | None = None

    @property
    def view(self) -> View:
        """How the network sees a slice."""
        return View(int(self.card["view"]["size_px"]), self.card["view"]["framing"])

    @property
    def digest(self) -> str:
        """The SHA-256 of its weights, which names what it finds in caches and reports."""
        return str(self.card["weights_sha256"])

    def find(self, greys: Sequence[np.ndarray]) -> list[KidneyMap]:
        """Where kidneys are in slices, each (H, W) uint8 as `Slice.network_grey8` gives it."""
        return self.find_framed([self.view.frame(grey) for grey in greys])

    def find_framed(self, frames: Sequence[FramedImage]) -> list[KidneyMap]:
        """The same for slices that were framed already by the finder's view."""
        maps: list[KidneyMap] = []
        for start in range(0, len(frames), _BATCH):
            framed = frames[start : start + _BATCH]
            answers = self._answer(np.stack([each.square for each in framed]))
            maps += [KidneyMap(each, *answer) for each, answer in zip(framed, answers, strict=True)]
        return maps

    @torch.inference_mode()
    def _answer(self, squares: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """(B, S, S) uint8 -> for each what a `KidneyMap` holds beside the framed slice."""
        maps, size = self._encode(squares)
        answers = self.network.decode(maps, size).sigmoid().cpu().numpy()
        kinds = self.picture_check.probabilities(features_of(maps)) if self.picture_check else [None] * len(squares)
        return [(answer[KIDNEY], answer[SIDE], kind) for answer, kind in zip(answers, kinds, strict=True)]

    @torch.inference_mode()
    def picture_features(self, squares: np.ndarray) -> torch.Tensor:
        """What tells kinds of pictures, see `picture_check`: (B, S, S) uint8 -> (B, F) float32."""
        return features_of(self._encode(squares)[0]).float().cpu()

    def _encode(self, squares: np.ndarray) -> tuple[list[torch.Tensor], torch.Size]:
        images = preprocessing.to_input(torch.from_numpy(squares).to(next(self.network.parameters()).device))
        return self.network.encoder(images), images.shape[-2:]


def find_folder() -> Path | None:
    """The folder of the finder: the user's own, then the shipped one; None where there is neither."""
    folders = (parent / FOLDER for parent in (*settings.checkpoint_folders(), settings.SHIPPED_CHECKPOINTS))
    return next((folder for folder in folders if (folder / CARD_FILE).is_file()), None)


def installed_folder() -> Path:
    """The same. Raises CheckpointError where there is none."""
    folder = find_folder()
    if folder is None:
        raise CheckpointError(
            f"No kidney finder is installed. Copy its folder “{FOLDER}” into “{settings.checkpoints_folder()}”."
        )
    return folder


def open_installed() -> KidneyFinder:
    """The finder of this installation, opened once until it is replaced.

    Raises: CheckpointError where there is none, or as `open_finder`.
    """
    folder = installed_folder()
    return _open_once(folder, (folder / CARD_FILE).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _open_once(folder: Path, version: int) -> KidneyFinder:
    return open_finder(folder)


def read_card(folder: Path) -> dict[str, Any]:
    """The finder's card. Raises CheckpointError where it is missing, damaged or changed."""
    try:
        card = digests.read_json(folder / CARD_FILE)
    except ValueError as error:
        raise CheckpointError(f"“{folder / CARD_FILE}” is not JSON ({error}). Copy the folder again.") from error
    if not isinstance(card, dict) or not all(name in card for name in _NEEDED) or card["format"] != CARD_FORMAT:
        raise CheckpointError(f"“{folder / CARD_FILE}” is not the card of a kidney finder. Copy the folder again.")
    if not digests.is_intact(card):
        raise CheckpointError(f"“{folder / CARD_FILE}” was changed since it was sealed. Copy the folder again.")
    return card


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write the finder's card with a new seal."""
    write_json(folder / CARD_FILE, digests.add_seal(card))


def open_finder(folder: Path, *, device: str = "cpu") -> KidneyFinder:
    """Open a finder from its folder. Raises CheckpointError where a file is missing, damaged or changed."""
    card = read_card(folder)
    content = digests.read_verified(folder / WEIGHTS_FILE, card["weights_sha256"])
    try:
        network = FinderNetwork(card["encoder"])
        stored = {name: tensor.float() for name, tensor in load(content).items()}
        expected = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
        if expected != set(stored) or not all(bool(tensor.isfinite().all()) for tensor in stored.values()):
            raise ValueError("parameters are missing or not finite")
        network.load_state_dict(stored, strict=False)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"The weights of the kidney finder in “{folder}” do not fit ({error}). Copy the folder again."
        ) from error
    folded = batch_norm.fold_batch_norms(network, int(card["view"]["size_px"]))
    folded.requires_grad_(False)
    return KidneyFinder(
        card, folded.to(memory_format=torch.channels_last).to(device).eval(), _open_picture_check(folder, card, network)
    )


def _open_picture_check(folder: Path, card: dict[str, Any], network: FinderNetwork) -> PictureClassifier | None:
    if "picture_check" not in card:
        return None
    content = digests.read_verified(folder / PICTURE_CHECK_FILE, card["picture_check"]["weights_sha256"])
    try:
        return picture_check.from_bytes(content, picture_check.n_features(network.channels))
    except ValueError as error:
        raise CheckpointError(f"“{folder / PICTURE_CHECK_FILE}” is {error}. Copy the folder again.") from error
