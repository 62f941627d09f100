"""Simulated slices as files, for tests that need kidneys."""

from pathlib import Path

from PIL import Image

from kidney_core.simulation import phantom


def write_scan(folder: Path, label: str, seed: int, *, n_slices: int, first: int = 0) -> None:
    """The slices of one simulated scan as NUMBER.png, numbered from `first`, in a folder that is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, drawn in enumerate(phantom.draw_series(label, seed, n_slices=n_slices), start=first):
        Image.fromarray(drawn.as_slice("a").network_grey8()).save(folder / f"{number}.png")
