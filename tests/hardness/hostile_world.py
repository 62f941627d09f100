"""A dataset, runs and a checkpoint in which every name that somebody gives is hostile: see `names`."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from kidney_core.common import digests
from kidney_core.common.files import write_json
from kidney_core.engines import housekeeping
from kidney_core.runs.run_folder import Run
from kidney_core.training import publish, trainer
from tests.conftest import tiny_run, write_series_dataset
from tests.hardness import names

_LABELS = {"Cyst": f"Cyst {names.FILE_PICTURE}", "Stone": "=Stone $a^2$", "Tumor": f"Tumor www.{names.HOST} <b>x"}


@dataclass(frozen=True)
class HostileWorld:
    """Where it is, and the variables by which `kidney_core` finds it."""

    data: Path
    variables: dict[str, str]


def make(folder: Path) -> HostileWorld:
    """Train the same network under both splits on hostile names, publish it, and give all that a hostile name."""
    data = folder / names.FILE_NAME
    write_series_dataset(data)
    for label, hostile in _LABELS.items():
        renamed = (data / label).rename(data / hostile)
        first = min(renamed.iterdir())
        first.rename(renamed / f"{names.FILE_NAME}{first.suffix}")
        (renamed / f"broken {names.FILE_PICTURE}.png").write_bytes(b"no picture")
    variables = {f"KIDNEY_{name.upper()}": str(folder / name) for name in ("runs", "cache", "checkpoints")}
    with mock.patch.dict(os.environ, variables):
        pair = {protocol: tiny_run(data, protocol, protocol=protocol) for protocol in ("grouped", "random")}
        for run in pair.values():
            trainer.train(run)
        checkpoint = publish.publish(pair["grouped"], name="tiny", other=pair["random"])
    _rename(checkpoint.folder, pair["grouped"])
    return HostileWorld(data, variables)


def _rename(checkpoint: Path, run: Run) -> None:
    """Hostile names that the product would not give, but reads: of copied folders, of cards made elsewhere."""
    card = json.loads((checkpoint / "card.json").read_text(encoding="utf-8"))
    said = f"{names.PICTURE} http://{names.HOST} `x` :smile:"
    card |= {"intended_use": said, "limits": [said, f"<img src=http://{names.HOST}/y.png>"], "command": said}
    card["data"]["name"] = card["training"]["recipe"] = said
    write_json(checkpoint / "card.json", digests.add_seal(card))
    checkpoint.rename(checkpoint.with_name(names.FILE_NAME))
    housekeeping.write_note(run, said, f"{names.PICTURE}, www.{names.HOST}")
    run.folder.rename(run.folder.with_name(names.FILE_NAME))
