"""Confirm a checkpoint as it is: write digests of its files and a seal into its card.

kidney-ct seal checkpoints/NAME ...

For checkpoints of versions before 0.5, and for those whose card you changed yourself. Nothing else of the card changes.
"""

import argparse
import sys
from pathlib import Path

from kidney_core.checkpoints.checkpoint import (
    MEASURED_FILES,
    REFERENCE_FILE,
    WEIGHTS_FILE,
    Checkpoint,
    read_checkpoint,
    sealed_card,
)
from kidney_core.common import digests
from kidney_core.common.entry_point import command
from kidney_core.common.errors import CheckpointError
from kidney_core.common.files import write_json
from kidney_core.common.typed_paths import path_argument


def seal(folder: Path) -> Checkpoint:
    """Write digests and seals.

    Raises: CheckpointError when the weights or the reference are not those the card describes, which a seal cannot repair.
    """
    try:
        card = digests.read_json(folder / "card.json")
        digests.read_verified(folder / WEIGHTS_FILE, card["weights_sha256"])
        if "reference_sha256" in card:
            digests.read_verified(folder / REFERENCE_FILE, card["reference_sha256"])
        sealed = sealed_card(card, folder)
        for measured in (folder / name for name in MEASURED_FILES):
            if measured.is_file():
                write_json(measured, digests.add_seal(digests.read_json(measured)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"“{folder}” is not a checkpoint that can be sealed ({error}).") from error
    write_json(folder / "card.json", sealed)
    return read_checkpoint(folder)


@command
def main(arguments: list[str] | None = None) -> int:
    """Seal from the command line."""
    parser = argparse.ArgumentParser(
        description="Confirm checkpoints as they are: write digests of their files and a seal into their cards."
    )
    parser.add_argument("folders", type=path_argument, nargs="+")
    for folder in parser.parse_args(arguments).folders:
        print(f"sealed {seal(folder).folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
