"""Shared parts of the tests: private folders for every test, small datasets, the shared data where they are."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kidney_core.checkpoints import checkpoint
from kidney_core.common.files import write_json
from kidney_core.runs import recipes, run_folder
from kidney_core.training import publish

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may depend on a download
# Tiny networks gain nothing from threads, and several test processes with spinning threads starve each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("KIDNEY_SHARED", ROOT.parent / "shared"))


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    """Runs, caches and checkpoints of a test stay in its own folder."""
    for name in ("home", "runs", "cache", "checkpoints"):
        monkeypatch.setenv(f"KIDNEY_{name.upper()}", str(tmp_path / name))


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    from benchmarks.browser import chromium_path, launched_browser

    if chromium_path() is None:
        pytest.skip("no Chromium or Chrome on this machine (.ci/run installs Debian's chromium)")
    with launched_browser() as launched:
        yield launched


@pytest.fixture
def shared_data():
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"the CT images are not on this machine (looked in {folder}; set KIDNEY_SHARED)")
    return folder


@pytest.fixture
def shared_weights():
    path = SHARED / "weights" / "mobilenetv2_100.imagenet.safetensors"
    if not path.is_file():
        pytest.skip(f"the ImageNet weights are not on this machine (looked for {path}; set KIDNEY_SHARED)")
    return path


def write_series_dataset(
    folder: Path, *, n_series: int = 3, n_slices: int = 5, size_px: int = 48, seed: int = 0
) -> Path:
    """Four classes of noise images; the slices of one series differ by a little noise, the series by all of it.

    The brightness of a square in the corner tells the class, so that a network can learn it at once.
    """
    rng = np.random.default_rng(seed)
    for position, label in enumerate(("Cyst", "Normal", "Stone", "Tumor")):
        (folder / label).mkdir(parents=True)
        number = 0
        for _ in range(n_series):
            base = rng.integers(0, 160, size=(size_px, size_px))
            base[: size_px // 2, : size_px // 2] = 60 * position + 20
            for _ in range(n_slices):
                number += 1
                pixels = np.clip(base + rng.normal(0, 3, base.shape), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / label / f"{label}- ({number}).png")
    return folder


@pytest.fixture
def small_dataset(tmp_path):
    """60 images: 4 classes of 3 series of 5 slices, 48 px."""
    return write_series_dataset(tmp_path / "dataset")


TINY = {
    "architecture": "test_resnet",
    "init": "scratch",
    "trainable": "all",
    "image_size_px": 32,
    "batch_size": 8,
    "precision": "fp32",  # the same on every processor
}


def tiny_run(data, name="run", **changes):
    return run_folder.Run.create(
        recipes.config_from_recipe("paper", data=str(data), **{**TINY, "n_epochs": 2, **changes}), name=name
    )


@pytest.fixture(scope="session")
def trained_pair(tmp_path_factory):
    """The folder in which two runs of one recipe were trained, one under each protocol, on `dataset` in it."""
    from kidney_core.training import trainer

    folder = tmp_path_factory.mktemp("trained")
    data = write_series_dataset(folder / "dataset")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("runs", "cache"):
            patch.setenv(f"KIDNEY_{name.upper()}", str(folder / name))
        for protocol in ("grouped", "random"):
            trainer.train(tiny_run(data, protocol, protocol=protocol))
    return folder


@pytest.fixture
def pair(small_dataset, trained_pair, tmp_path):
    """Two finished runs of one recipe, one under each protocol; copies of `trained_pair` on the dataset of this test."""
    made = {}
    shutil.copytree(trained_pair / "cache", tmp_path / "cache")
    for protocol in ("grouped", "random"):
        folder = shutil.copytree(trained_pair / "runs" / protocol, tmp_path / "runs" / protocol)
        config = (folder / "config.json").read_text(encoding="utf-8")
        (folder / "config.json").write_text(config.replace(str(trained_pair / "dataset"), str(small_dataset)), "utf-8")
        made[protocol] = run_folder.Run(folder)
    return made


@pytest.fixture
def published(pair):
    """The checkpoint "tiny", published from the pair."""
    return publish.publish(pair["grouped"], name="tiny", other=pair["random"])


@pytest.fixture
def published_by_0_1(published):
    """The same as an older version wrote it: no average precision, no calibration error, no planes, no seal."""
    card = json.loads((published.folder / "card.json").read_text(encoding="utf-8"))
    del card["seal_sha256"], card["files_sha256"]
    for protocol, found in card["metrics"].items():
        del found["calibration_error"]
        for rates in (*found["per_label"].values(), found["macro"], found["weighted"]):
            del rates["average_precision"]
        path = published.folder / f"predictions-{protocol}.csv.gz"
        pd.read_csv(path).drop(columns="plane").to_csv(path.with_suffix(""), index=False)
        path.unlink()
    for row in card["curves"]:
        row.pop("calibrated_validation_loss", None)
    write_json(published.folder / "card.json", card)
    return checkpoint.read_checkpoint(published.folder)


@pytest.fixture
def without_finder(monkeypatch):
    """For pages with images of noise, which show no kidney."""
    from kidney_core.app import loading

    monkeypatch.setattr(loading, "kidney_finder", lambda: None)
