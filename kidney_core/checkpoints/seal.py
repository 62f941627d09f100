"""Vouch for a checkpoint as it lies there: digests of its files and a seal are written into its card.

python -m kidney_core.seal checkpoints/NAME ...

For checkpoints of versions before 0.5, and for those whose card you changed yourself. Nothing else of the card changes.
"""

import argparse
import sys
from pathlib import Path

from kidney_core import digests
from kidney_core.checkpoint import (
    EXPLANATIONS_FILE,
    REFERENCE_FILE,
    WEIGHTS_FILE,
    Checkpoint,
    read_checkpoint,
    sealed_card,
)
from kidney_core.errors import CheckpointError, command
from kidney_core.files import write_json


def seal(folder: Path) -> Checkpoint:
    """Write digests and seals.

    Raises: CheckpointError when the weights or the reference are not those the card describes, which no seal mends.
    """
    try:
        card = digests.read_json(folder / "card.json")
        digests.read_described(folder / WEIGHTS_FILE, card["weights_sha256"])
        if "reference_sha256" in card:
            digests.read_described(folder / REFERENCE_FILE, card["reference_sha256"])
        made = sealed_card(card, folder)
        explanations = folder / EXPLANATIONS_FILE
        if explanations.is_file():
            write_json(explanations, digests.sealed(digests.read_json(explanations)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"“{folder}” is no checkpoint that can be sealed ({error}).") from error
    write_json(folder / "card.json", made)
    return read_checkpoint(folder)


@command
def main(arguments: list[str] | None = None) -> int:
    """Seal from the command line."""
    parser = argparse.ArgumentParser(description="Vouch for checkpoints as they lie there.")
    parser.add_argument("folders", type=Path, nargs="+")
    for folder in parser.parse_args(arguments).folders:
        print(f"sealed {seal(folder).folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
