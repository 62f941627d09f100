"""What each of several checkpoints is the choice for, and what it never answers, by their cards."""

from collections.abc import Sequence

from kidney_core.checkpoints.checkpoint import WEIGHTS_FILE, Checkpoint
from kidney_core.common import paper
from kidney_core.metrics import abstention

BEST_UNSEEN, ANSWERS_MOST, SMALLEST, PAPERS = (
    "highest on unseen scans",
    "abstains least",
    "smallest",
    "the paper's recipe",
)


def purposes(checkpoints: Sequence[Checkpoint]) -> dict[str, tuple[str, ...]]:
    """Name -> what a checkpoint is the choice for among these; with a single one only the paper's recipe is said."""
    found: dict[str, list[str]] = {checkpoint.name: [] for checkpoint in checkpoints}
    measured = {each.name: each.unseen_metrics() for each in checkpoints}
    balanced = {name: metrics["balanced_accuracy"] for name, metrics in measured.items() if metrics}
    coverage = {
        each.name: float(each.card["abstention"]["coverage"]) for each in checkpoints if "abstention" in each.card
    }
    sizes = {each.name: -(each.folder / WEIGHTS_FILE).stat().st_size for each in checkpoints}
    for purpose, by_name in ((BEST_UNSEEN, balanced), (ANSWERS_MOST, coverage), (SMALLEST, sizes)):
        if len(by_name) > 1:
            found[max(by_name, key=lambda name: by_name[name])].append(purpose)
    for checkpoint in checkpoints:
        training = checkpoint.card["training"]
        if training.get("recipe") == "paper" and checkpoint.card["architecture"] in paper.TABLE_1:
            found[checkpoint.name].append(PAPERS)
    return {name: tuple(purposes) for name, purposes in found.items()}


def never_answered(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The labels that a checkpoint never answers, since its answers were wrong too often on unseen scans."""
    entry = checkpoint.card.get("abstention")
    return tuple(label for label in checkpoint.labels if entry and abstention.threshold_of(entry, label) is None)
