"""The four conditions of the CT KIDNEY DATASET, in one order, and how folders name them."""

from dataclasses import dataclass

LABELS = ("Cyst", "Normal", "Stone", "Tumor")
NORMAL = "Normal"  # the label of slices without a lesion


@dataclass(frozen=True)
class Description:
    """What a label means, in words for a person who is not a radiologist."""

    plain: str
    noun: str  # what follows "It is"
    color: str  # Okabe & Ito 2008: distinguishable with colour-vision deficiency


DESCRIPTIONS = {
    "Cyst": Description("a fluid-filled sac in or on the kidney, usually harmless", "a cyst", "#0072B2"),
    "Normal": Description("no cyst, stone or tumor visible on this slice", "normal", "#009E73"),
    "Stone": Description("a calcified deposit in the kidney or its collecting system", "a stone", "#E69F00"),
    "Tumor": Description("a solid mass of the kidney, benign or malignant", "a tumor", "#D55E00"),
}
# For class sets other than the four: the rest of the same palette, in order.
_OTHER_COLORS = ("#56B4E9", "#CC79A7", "#F0E442", "#999999")

_SPELLINGS = {
    "cyst": "Cyst",
    "normal": "Normal",
    "healthy": "Normal",
    "stone": "Stone",
    "calculus": "Stone",
    "calculi": "Stone",
    "tumor": "Tumor",
    "tumour": "Tumor",
}


def canonical_label(folder_name: str) -> str:
    """The one of the four labels that a class folder's name stands for, or the name itself.

    Case, a plural s and a leading "kidney" are ignored: "cysts", "TUMOUR", "kidney_stone".
    """
    word = folder_name.strip().lower().replace("-", "_").replace(" ", "_")
    word = word.removeprefix("kidney_").removesuffix("_kidney")
    for candidate in (word, word.removesuffix("s")):
        if candidate in _SPELLINGS:
            return _SPELLINGS[candidate]
    return folder_name.strip()


def order_labels(labels: set[str]) -> tuple[str, ...]:
    """Labels in display order: the four first, in their fixed order, then any others alphabetically."""
    standard = [label for label in LABELS if label in labels]
    return (*standard, *sorted(labels - set(LABELS)))


def color_of(label: str, labels: tuple[str, ...] = LABELS) -> str:
    """A label's colour as a hex string such as "#0072B2", the same on every page."""
    if label in DESCRIPTIONS:
        return DESCRIPTIONS[label].color
    others = [name for name in labels if name not in DESCRIPTIONS] or [label]
    return _OTHER_COLORS[others.index(label) % len(_OTHER_COLORS)]
