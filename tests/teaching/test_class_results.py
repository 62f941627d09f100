"""Tables of a class, counted by hand, and what a spreadsheet gets."""

import pandas as pd

from kidney_core.common import spreadsheet
from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.teaching import class_results
from kidney_core.teaching.cases import Case, Guess
from kidney_core.teaching.fair_answers import Basis, ModelAnswer
from kidney_core.teaching.seats import Reading
from tests.teaching.test_quiz import case

UNKNOWN_PLACE = Case(case().image, "Cyst", None, "there")
CASES = [case(), case("Normal", lesion=False), UNKNOWN_PLACE]
ANSWERS = {
    0: ModelAnswer(Guess("Stone", (45, 25)), {"Stone": 0.8, "Normal": 0.2}, Basis.UNSEEN, Outcome.ANSWERED),
    1: ModelAnswer(Guess("Cyst", None), {"Cyst": 0.6, "Normal": 0.4}, Basis.OUT_OF_FOLD),
    2: ModelAnswer(Guess("Cyst", (2, 2)), {"Cyst": 1.0, "Normal": 0.0}, Basis.SEEN, Outcome.MEMORY),
}
READINGS = {
    "Ann": {
        0: Reading(Guess("Stone", (53, 25)), 4, 10.0, Guess("Stone", (45, 25)), 5, 2.0),
        1: Reading(Guess("Cyst", (1, 1)), 2, 20.0, Guess("Normal", None), 3, 4.0),
    },
    "=HYPERLINK(1)": {0: Reading(Guess("Tumor", (45, 25)), 1, 40.0)},
    "Cy": {},
}


def rows():
    return class_results.answered(READINGS, CASES, ANSWERS)


def test_a_reader_stands_beside_the_model_only_where_it_plays_fair():
    mine = class_results.answered({"you": {**READINGS["Ann"], 2: Reading(Guess("Cyst", None), 3, 1.0)}}, CASES, ANSWERS)
    table = class_results.score_table(mine, "net")
    assert table["Your class"].tolist() == ["correct", "correct", "correct"]
    assert table["Your location"].tolist() == ["correct", "correct", "–"]
    assert table["Model's class"].tolist() == ["correct", "wrong", "–"]
    assert table["Model's location"].tolist() == ["correct", "–", "–"]  # a stored answer points nowhere
    assert table["Model's answer"].tolist() == ["unseen scan", "out-of-fold", "seen in training"]
    assert class_results.totals(table) == {
        "Your class": (3, 3),
        "Your location": (2, 2),
        "Model's class": (1, 2),
        "Model's location": (1, 1),
    }


def test_each_student_is_summed_up_by_first_and_second_answers():
    table = class_results.student_table(rows(), list(READINGS)).set_index("Student")
    assert table.loc["Ann"].tolist() == [2, 1, 0, 1, 2, 2, 3.0, 15.0]
    assert table.loc["=HYPERLINK(1)", "Class correct"] == 0
    assert table.loc["=HYPERLINK(1)", "Location correct"] == 1
    assert table.loc["Cy", "Answered"] == 0
    assert pd.isna(table.loc["Cy", "Median time (s)"])


def test_each_case_is_summed_up():
    table = class_results.case_table(rows(), CASES, ANSWERS)
    assert table["Answered"].tolist() == [2, 1, 0]
    assert table["Class correct"].tolist() == [1, 0, 0]
    assert table["Most frequent error"].tolist() == ["Tumor", "Cyst", "–"]
    assert table["Median time (s)"].iloc[0] == 25.0
    assert table["Model"].tolist() == ["Stone", "Cyst", "Cyst"]


def test_the_export_has_every_answer_with_time_confidence_and_place_and_runs_no_formula():
    table = class_results.answer_table(rows())
    first = table.iloc[0]
    assert (first["student"], first["case"], first["truth"], first["label"], first["location"]) == (
        "Ann",
        1,
        "Stone",
        "Stone",
        "near",
    )
    assert (first["confidence"], first["time_s"], first["mark_x"], first["mark_y"]) == (4, 10.0, 53, 25)
    assert (first["second_location"], first["second_confidence"], first["second_time_s"]) == ("correct", 5, 2.0)
    assert first["model_probability_of_a_finding"] == 0.8
    assert pd.isna(table["second_label"].iloc[2])
    text = spreadsheet.to_csv(table).decode()
    assert "'=HYPERLINK(1)" in text
    assert "\r\n=" not in text
