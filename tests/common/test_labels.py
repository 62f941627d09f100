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
        ("Cyst_images", "Cyst"),
        ("KidneyStone", "Stone"),
        ("0-Normal", "Normal"),
        ("CT Kidney Tumors (2)", "Tumor"),
        ("renal calculi", "Stone"),
        ("left_kidney_cyst", "Cyst"),
        ("stone free", "stone free"),
        ("benign tumor", "benign tumor"),
        ("no_stone", "no_stone"),
        ("Cyst_masks", "Cyst_masks"),
        ("Cyst and Stone", "Cyst and Stone"),
        ("abnormal", "abnormal"),
        ("kidney", "kidney"),
        ("Quiste", "Quiste"),
        ("0", "0"),
    ],
)
def test_canonical_label(folder, label):
    assert labels.canonical_label(folder) == label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Quiste", "Cyst"),
        ("CÁLCULO", "Stone"),
        ("Ca\u0301lculo", "Stone"),
        ("Zyste", "Cyst"),
        ("kist", "Cyst"),
        ("Böbrek taşı", "Stone"),
        ("tümör", "Tumor"),
        ("囊肿", "Cyst"),
        ("正常", "Normal"),
        ("опухоль", "Tumor"),
        ("Tumor", "Tumor"),
        ("0", None),
        ("Hydronephrosis", None),
        ("quiste y calculo", None),
    ],
)
def test_a_name_in_another_language_is_suggested(name, label):
    assert (labels.recognised_label(name) or labels.suggested_label(name)) == label


def test_order_labels_puts_the_four_first():
    assert labels.order_labels({"zebra", "Tumor", "Abscess", "Cyst"}) == ("Cyst", "Tumor", "Abscess", "zebra")


def test_color_of_is_distinct_for_known_and_unknown_labels():
    shown = ("Cyst", "Normal", "Stone", "Tumor", "Abscess", "Infarct")
    assert len({labels.color_of(label, shown) for label in shown}) == len(shown)
