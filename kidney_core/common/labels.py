"""The four conditions of the CT KIDNEY DATASET, in one order, and how folders name them."""

import re
import unicodedata
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
    "Stone": Description("a hard mineral deposit in the kidney or its collecting system", "a stone", "#E69F00"),
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
# Words beside the one that names the class which change nothing about it. “free”, “no” or “benign” would.
_FILLERS = {
    *("kidney", "kidneys", "renal", "left", "right", "ct", "axial", "coronal"),
    *("image", "images", "img", "imgs", "picture", "pictures", "slice", "slices", "scan", "scans"),
    *("class", "classes", "label", "folder", "data", "dataset", "case", "cases", "patient", "patients"),
    *("png", "jpg", "jpeg", "dicom", "dcm"),
}
# What other languages call the four, without accents: offered to the user, never taken without asking.
_TRANSLATIONS = {
    "Cyst": "quiste quistes cisto cistos cisti ciste kyste kystes zyste zysten kist kistler cyste cysta torbiel cista "
    "киста кисты 囊肿 腎囊腫 肾囊肿 囊腫 嚢胞 낭종 كيس κυστη",
    "Normal": "normale normales normals normaal normalny norma sano sana sain saine gesund gesunde saudavel sağlıklı saglikli sağlam "
    "норма здоровый 正常 健康 정상 طبيعي",
    "Stone": "calculo calculos calcolo calcoli calcul calculs piedra piedras pedra pedras pierre pierres stein steine "
    "nierenstein nierensteine taş tas tasi taşı steen stenen kamien kamen камень камни конкремент 结石 肾结石 結石 결석 حصاة",
    "Tumor": "tumore tumori tumores tumeur tumeurs tumoren tumör tumorler guz опухоль опухоли 肿瘤 肾肿瘤 腫瘤 腫瘍 종양 ورم",
}


def recognised_label(name: str) -> str | None:
    """The one of the four labels that a class name can only stand for, or None.

    Case, numbers, a plural s and words such as “kidney” or “images” are ignored: "cysts", "TUMOUR", "KidneyStone",
    "0_Cyst_images". A second word of meaning leaves it open: "stone free", "benign tumor".
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    words = [word for word in re.findall(r"[^\W_]+", spaced.lower()) if not word.isdigit()]
    meant = [word for word in words if word not in _FILLERS]
    if len(meant) != 1:
        return None
    return _SPELLINGS.get(meant[0]) or _SPELLINGS.get(meant[0].removesuffix("s"))


def canonical_label(folder_name: str) -> str:
    """The one of the four labels that a class folder's name stands for, see `recognised_label`, or the name itself."""
    return recognised_label(folder_name) or folder_name.strip()


def suggested_label(name: str) -> str | None:
    """The label that a class name probably stands for in another language, to be confirmed by the user; None without an idea."""
    plain = _without_accents(name)
    words = set(re.findall(r"[^\W_]+", plain))
    found = {label for label, known in _TRANSLATIONS.items() if words & set(_without_accents(known).split())}
    return found.pop() if len(found) == 1 else None


def _without_accents(text: str) -> str:
    return "".join(each for each in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(each))


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
