"""What a class, or one reader, answered: a row for each answer, each student and each case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from kidney_core.teaching import marks
from kidney_core.teaching.cases import Case, Guess
from kidney_core.teaching.fair_answers import ModelAnswer
from kidney_core.teaching.marks import Grade
from kidney_core.teaching.seats import Reading

NOT_SCORED = "–"


@dataclass(frozen=True)
class Answered:
    """One answer to one case, with all that it is compared with.

    Attributes:
        student: the name of the seat.
        number: of the case, from 0.
    """

    student: str
    number: int
    case: Case
    reading: Reading
    model: ModelAnswer


def answered(
    readings: Mapping[str, Mapping[int, Reading]], cases: Sequence[Case], answers: Mapping[int, ModelAnswer]
) -> list[Answered]:
    """The answers of all students, by name and case, beside the model's, which it must have for each answered case."""
    return [
        Answered(name, number, cases[number], reading, answers[number])
        for name, of_student in readings.items()
        for number, reading in of_student.items()
    ]


def answer_table(rows: Sequence[Answered]) -> pd.DataFrame:
    """One row for each answer, as it is exported."""
    return pd.DataFrame([_answer_row(each) for each in rows], columns=list(_ANSWER_COLUMNS))


def score_table(rows: Sequence[Answered], model_name: str) -> pd.DataFrame:
    """One row for each case of one reader: the true label, and reader and model side by side."""
    table = []
    for each in rows:
        mine, model = marks.score(each.case, each.reading.final), marks.score(each.case, each.model.guess)
        table.append(
            {
                "Case": each.number + 1,
                "Truth": each.case.label,
                "You": each.reading.final.label,
                "Your class": _word(mine.label),
                "Your location": _word(mine.place),
                model_name: each.model.guess.label,
                "Model's class": _word(model.label if each.model.is_fair else None),
                "Model's location": _word(model.place if _is_place_fair(each.model) else None),
                "Model's answer": str(each.model.basis),
            }
        )
    return pd.DataFrame(table)


def totals(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """(correct, scored) of each column of marks in a `score_table`."""
    columns = ("Your class", "Your location", "Model's class", "Model's location")
    return {name: (int((table[name] == "correct").sum()), int((table[name] != NOT_SCORED).sum())) for name in columns}


def student_table(rows: Sequence[Answered], names: Sequence[str]) -> pd.DataFrame:
    """One row for each student, also for those without an answer yet."""
    table = []
    for name in names:
        mine = [each for each in rows if each.student == name]
        first = [marks.score(each.case, each.reading.first) for each in mine]
        places = [each.place for each in first if each.place is not None]
        again = [each.reading.second.label == each.case.label for each in mine if each.reading.second]
        table.append(
            {
                "Student": name,
                "Answered": len(mine),
                "Class correct": sum(each.label for each in first),
                "Location correct": places.count(Grade.CORRECT),
                "Location near": places.count(Grade.NEAR),
                "Second answers": len(again),
                "Second class correct": sum(again),
                "Mean confidence": _mean([each.reading.confidence for each in mine]),
                "Median time (s)": _median([each.reading.time_s for each in mine]),
            }
        )
    return pd.DataFrame(table)


def case_table(rows: Sequence[Answered], cases: Sequence[Case], answers: Mapping[int, ModelAnswer]) -> pd.DataFrame:
    """One row for each case: how many answered, how many of them correctly, and what the model said."""
    table = []
    for number, case in enumerate(cases):
        these = [each for each in rows if each.number == number]
        labels = pd.Series([each.reading.first.label for each in these], dtype=object)
        wrong = labels[labels != case.label].mode()
        model = answers.get(number)
        table.append(
            {
                "Case": number + 1,
                "Truth": case.label,
                "Answered": len(these),
                "Class correct": int((labels == case.label).sum()),
                "Location correct": sum(marks.score(case, each.reading.first).place == Grade.CORRECT for each in these),
                "Most frequent error": wrong.iloc[0] if len(wrong) else NOT_SCORED,
                "Mean confidence": _mean([each.reading.confidence for each in these]),
                "Median time (s)": _median([each.reading.time_s for each in these]),
                "Model": model.guess.label if model else NOT_SCORED,
                "Model's answer": str(model.basis) if model else NOT_SCORED,
            }
        )
    return pd.DataFrame(table)


_ANSWER_COLUMNS = (
    "student", "case", "origin", "truth", "label", "label_correct", "location", "confidence", "time_s", "mark_x", "mark_y", "mark_slice",
    "second_label", "second_label_correct", "second_location", "second_confidence", "second_time_s", "second_mark_x", "second_mark_y",
    "second_mark_slice", "model_label", "model_label_correct", "model_probability", "model_probability_of_a_finding", "model_answer",
)  # fmt: skip


def _answer_row(each: Answered) -> dict[str, object]:
    reading, model = each.reading, each.model
    return {
        "student": each.student,
        "case": each.number + 1,
        "origin": each.case.origin,
        "truth": each.case.label,
        **_guess_columns(each.case, reading.first, ""),
        "confidence": reading.confidence,
        "time_s": round(reading.time_s, 1),
        **(_guess_columns(each.case, reading.second, "second_") if reading.second else {}),
        "second_confidence": reading.second_confidence,
        "second_time_s": None if reading.second_time_s is None else round(reading.second_time_s, 1),
        "model_label": model.guess.label,
        "model_label_correct": int(model.guess.label == each.case.label),
        "model_probability": model.confidence,
        "model_probability_of_a_finding": model.finding,
        "model_answer": str(model.basis),
    }


def _guess_columns(case: Case, guess: Guess, prefix: str) -> dict[str, object]:
    score = marks.score(case, guess)
    x, y = guess.mark or (None, None)
    return {
        f"{prefix}label": guess.label,
        f"{prefix}label_correct": int(score.label),
        f"{prefix}location": None if score.place is None else str(score.place),
        f"{prefix}mark_x": x,
        f"{prefix}mark_y": y,
        f"{prefix}mark_slice": guess.at + 1 if guess.mark and case.stack else None,
    }


def _is_place_fair(model: ModelAnswer) -> bool:
    """A stored answer points nowhere, since it has no heatmap."""
    return model.is_fair and model.outcome is not None


def _word(right: bool | Grade | None) -> str:
    if right is None:
        return NOT_SCORED
    return str(right) if isinstance(right, Grade) else "correct" if right else "wrong"


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 1) if values else None


def _median(values: Sequence[float]) -> float | None:
    return round(float(pd.Series(values).median()), 1) if values else None
