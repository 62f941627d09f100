"""Folder names map to the four labels; other class sets keep their own."""

import pytest

from kidney_core.common import labels


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("Cyst", "Cyst"),
        ("cysts", "Cyst"),
        ("NORMAL", "Normal"),
        ("kidney_stone", "Stone"),
        ("Kidney Stones", "Stone"),
        ("tumour", "Tumor"),
        ("Tumours", "Tumor"),
        ("Tumor ", "Tumor"),
        ("Hydronephrosis", "Hydronephrosis"),
        ("abscess", "abscess"),
    ],
)
def test_canonical_label(folder, label):
    assert labels.canonical_label(folder) == label


def test_order_labels_puts_the_four_first():
    assert labels.order_labels({"zebra", "Tumor", "Abscess", "Cyst"}) == ("Cyst", "Tumor", "Abscess", "zebra")


def test_color_of_is_distinct_for_known_and_unknown_labels():
    shown = ("Cyst", "Normal", "Stone", "Tumor", "Abscess", "Infarct")
    assert len({labels.color_of(label, shown) for label in shown}) == len(shown)
