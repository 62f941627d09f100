"""What a user says about class names is one line of text and back, without loss."""

import pytest

from kidney_core.common.errors import DatasetError
from kidney_core.common.labelling import NOT_STATED, Labelling


def test_names_are_found_whatever_their_case_and_accents():
    stated = Labelling.from_text(classes="0=cysts, Ca\u0301lculo = Stone ,unclear=")
    assert stated.classes == (("0", "Cyst"), ("Ca\u0301lculo", "Stone"), ("unclear", ""))
    assert [stated.label_of(name) for name in ("0", "cálculo", "UNCLEAR", "kidney_tumor", "other")] == [
        *("Cyst", "Stone", "", "Tumor", "other")
    ]
    assert stated.names("CÁLCULO")
    assert not stated.names("Tumor")


@pytest.mark.parametrize(
    "stated",
    [
        NOT_STATED,
        Labelling(
            (("a, b", "Cyst"), ('say "c"', "Tumor"), ("x=y", "Stone"), ("out", "")), ("labels.csv", "path", "Class")
        ),
        Labelling((), ("my labels, new.csv", "", "")),
    ],
)
def test_text_holds_all_of_it(stated):
    assert Labelling.from_text(classes=stated.classes_text, table=stated.table_text) == stated


@pytest.mark.parametrize(
    ("classes", "table", "message"),
    [
        ("Cyst", "", "must be NAME=LABEL"),
        ("=Cyst", "", "must be NAME=LABEL"),
        ("a=Cyst,A=Stone", "", "names “A” twice"),
        ('"a=Cyst', "", "Close its quotes"),
        ("a=Cyst\nb=Stone", "", "one line"),
        ("", "labels.csv,path", "must be a CSV file"),
        ("", ",path,Class", "must be a CSV file"),
    ],
)
def test_other_text_is_a_sentence(classes, table, message):
    with pytest.raises(DatasetError, match=message):
        Labelling.from_text(classes=classes, table=table)
