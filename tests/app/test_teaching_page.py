"""The Teaching page as Streamlit runs it: each part draws, answers count, bad input gets a sentence."""

import hashlib
import json

import pytest
from streamlit.testing.v1 import AppTest

from kidney_core.app import access, shortcut_panel, student_panel
from kidney_core.common.labels import DESCRIPTIONS
from kidney_core.metrics.splits import GROUPED, PROTOCOL_NAMES
from kidney_core.simulation import phantom_dicom
from kidney_core.teaching import (
    breaks,
    kidney_pictures,
    label_shuffling,
    quiz,
    ready_results,
    shortcut,
    split_puzzle,
    stack_cases,
)
from tests.app.test_pages import opened, png, texts
from tests.conftest import ROOT, write_series_dataset
from tests.diagnosis.test_inference import made_checkpoint

PAGE = "pages/5_Teaching.py"


@pytest.fixture
def tiny_checkpoint(tmp_path):
    return made_checkpoint(tmp_path / "checkpoints")


def part(app, name):
    app.segmented_control(key="teaching_part").set_value(name).run()
    assert not app.exception, app.exception


def answer(app, name, at, label):
    app.radio(key=f"teaching_label_{name}_{at}").set_value(label).run()
    app.segmented_control(key=f"teaching_confidence_{name}_{at}").set_value(3).run()
    app.button(key="teaching_answer").click().run()
    assert not app.exception, app.exception


def test_without_a_checkpoint_the_page_says_what_to_do(monkeypatch):
    app = opened(PAGE, monkeypatch)
    assert "There is no checkpoint" in texts(app.info)


def told(label):
    return f"It is {DESCRIPTIONS[label].noun}"


def test_a_quiz_asks_first_and_tells_after_the_answer(monkeypatch, tiny_checkpoint):
    app = opened(PAGE, monkeypatch)
    truth = quiz.draw_cases(1)[0].label
    assert "Case 1 of 8" in texts(app.header)
    assert "### It is" not in texts(app.markdown)
    assert not app.metric  # no figure of the model stands above the quiz
    assert "simulated, not a patient" in texts(app.caption)
    assert app.button(key="teaching_answer").disabled
    app.radio(key="teaching_label_simulated 1_0").set_value("Cyst").run()
    app.segmented_control(key="teaching_confidence_simulated 1_0").set_value(5).run()
    assert app.button(key="teaching_answer").disabled  # a lesion has to be marked
    app.session_state["teaching_mark_simulated 1_0"] = (10, 10)
    app.run()
    answer(app, "simulated 1", 0, "Normal")
    assert told(truth) in texts(app.markdown)
    table = app.dataframe[0].value
    assert table["Truth"].tolist() == [truth]
    assert table["You"].tolist() == ["Normal"]
    assert table["Your class"].tolist() == ["correct" if truth == "Normal" else "wrong"]
    app.button(key="teaching_next").click().run()
    assert "Case 2 of 8" in texts(app.header)
    app.number_input(key="teaching_quiz_number").set_value(2).run()
    assert "Case 1 of 8" in texts(app.header)
    assert not app.dataframe


def test_on_simulated_cases_the_model_gets_a_reason_instead_of_a_score(monkeypatch, tiny_checkpoint):
    app = opened(PAGE, monkeypatch)
    answer(app, "simulated 1", 0, "Normal")
    assert "Not scored: the case is simulated" in texts(app.caption)
    assert app.dataframe[0].value["Model's class"].tolist() == ["–"]
    assert [each.value for each in app.metric][2:] == ["not scored", "not scored"]


def test_an_answered_case_can_be_opened_again(monkeypatch, tiny_checkpoint):
    app = opened(PAGE, monkeypatch)
    answer(app, "simulated 1", 0, "Normal")
    app.button(key="teaching_next").click().run()
    open_again(app, 0)
    assert "Case 1 of 8" in texts(app.header)
    assert "**You:** Normal" in texts(app.markdown)


@pytest.mark.slow
def test_a_quiz_of_a_folder_without_masks_asks_for_the_class_only(monkeypatch, tiny_checkpoint, tmp_path):
    folder = write_series_dataset(tmp_path / "mine", n_series=1, n_slices=1)
    app = opened(PAGE, monkeypatch)
    app.segmented_control(key="teaching_quiz_source").set_value("Your folder").run()
    app.text_input(key="teaching_quiz_folder").set_value("/nowhere").run()
    assert "There is no folder “/nowhere”" in texts(app.error)
    app.text_input(key="teaching_quiz_folder").set_value(str(folder)).run()
    assert not app.exception
    assert "only the class is scored" in texts(app.caption)
    for at in range(4):
        answer(app, quiz_name(app), at, "Stone")
        if at < 3:
            app.button(key="teaching_next").click().run()
    assert "That was the last case" in texts(app.success)
    assert app.dataframe[0].value["Your location"].tolist() == ["–"] * 4
    assert (app.dataframe[0].value["Your class"] == "correct").sum() == 1
    assert set(app.dataframe[0].value["Model's answer"]) == {
        "unknown"
    }  # nobody knows what this checkpoint was trained on
    assert app.metric[2].value == "not scored"


@pytest.mark.slow
def test_on_scans_that_a_model_was_trained_on_it_is_not_scored(monkeypatch, without_finder, published, small_dataset):
    app = opened(PAGE, monkeypatch)
    app.segmented_control(key="teaching_quiz_source").set_value("Your folder").run()
    app.text_input(key="teaching_quiz_folder").set_value(str(small_dataset)).run()
    for at in range(quiz.N_CASES):
        answer(app, quiz_name(app), at, "Stone")
        if at < quiz.N_CASES - 1:
            app.button(key="teaching_next").click().run()
    table = app.dataframe[0].value
    seen = table["Model's answer"] == "seen in training"
    assert seen.sum() > 1
    assert set(table.loc[seen, "Model's class"]) == {"–"}
    assert "It is not scored on cases that it was trained on" in texts(app.caption)


def quiz_name(app):
    key = next(each.key for each in app.radio if each.key.startswith("teaching_label_"))
    return key.removeprefix("teaching_label_").rsplit("_", 1)[0]


@pytest.mark.slow
def test_the_part_opens_on_a_slice_and_every_disturbance_draws(monkeypatch, tiny_checkpoint):
    known = breaks.Break(breaks.Sample("Stone", 2), "Mirror", 2, answered=False)
    monkeypatch.setattr(ready_results, "breaks_of", lambda checkpoint: [known])
    app = opened(PAGE, monkeypatch)
    part(app, "What breaks a model")
    assert app.segmented_control(key="teaching_slice").value == "Stone"
    assert app.segmented_control(key="teaching_disturbance").value == "Mirror"
    assert app.segmented_control(key="teaching_amount_Mirror").value == 2
    assert "simulated as Stone" in texts(app.caption)
    for name in app.segmented_control(key="teaching_disturbance").options:
        app.segmented_control(key="teaching_disturbance").set_value(name).run()
        assert not app.exception, (name, app.exception)
        said = texts(app.success) + texts(app.warning) + texts(app.error) + texts(app.info)
        assert any(word in said for word in ("holds", "follows", "Broken", "abstains", "gate")), name
    app.button(key="teaching_show_break").click().run()  # none is known any more: it searches
    assert not app.exception, app.exception


@pytest.mark.slow
def test_an_uploaded_slice_is_disturbed_and_a_damaged_one_named(monkeypatch, tiny_checkpoint):
    app = opened(PAGE, monkeypatch)
    part(app, "What breaks a model")
    app.segmented_control(key="teaching_slice").set_value("Your slice").run()
    assert not app.exception
    app.file_uploader(key="teaching_upload").set_value(("a.png", png(1), "image/png")).run()
    assert not app.exception, app.exception
    assert app.segmented_control(key="teaching_disturbance").value
    assert "HU" not in texts(app.caption)  # a grey picture has none
    app.button(key="teaching_show_break").click().run()
    assert not app.exception, app.exception
    app.file_uploader(key="teaching_upload").set_value(("b.png", png(2)[:300], "image/png")).run()
    assert "“b.png” is truncated or damaged" in texts(app.error)


def test_a_viewer_uploads_nothing(monkeypatch, tiny_checkpoint):
    monkeypatch.setattr(
        access, "identify", lambda claims, headers: access.Person("class@school.example", access.VIEWER)
    )
    app = opened(PAGE, monkeypatch)
    part(app, "What breaks a model")
    app.segmented_control(key="teaching_slice").set_value("Your slice").run()
    assert "You need the role “diagnoser”" in texts(app.error)
    assert not app.get("file_uploader")


@pytest.mark.slow
def test_what_the_model_is_asked_stands_in_the_audit_log(monkeypatch, tiny_checkpoint, tmp_path):
    log = tmp_path / "audit.jsonl"
    monkeypatch.setenv("KIDNEY_AUDIT_LOG", str(log))
    app = opened(PAGE, monkeypatch)
    app.session_state["teaching_mark_simulated 1_0"] = (10, 10)
    answer(app, "simulated 1", 0, "Normal")
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1
    part(app, "What breaks a model")
    app.segmented_control(key="teaching_slice").set_value("Your slice").run()
    app.file_uploader(key="teaching_upload").set_value(("a.png", png(1), "image/png")).run()
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert lines[-1]["input"] == hashlib.sha256(png(1)).hexdigest()
    assert lines[-1]["model"] == tiny_checkpoint.card["weights_sha256"]
    app.segmented_control(key="teaching_disturbance").set_value("Rotation").run()
    assert len(log.read_text(encoding="utf-8").splitlines()) == len(lines)
    monkeypatch.setenv("KIDNEY_AUDIT_LOG", str(tmp_path))
    app.file_uploader(key="teaching_upload").set_value(("b.png", png(2), "image/png")).run()
    assert not app.exception
    assert app.error
    assert not [each for each in app.segmented_control if each.key == "teaching_disturbance"]  # no line, no answer


@pytest.mark.slow
def test_the_shortcut_lesson_shows_its_ready_result_and_trains_on_the_spot(monkeypatch, tiny_checkpoint):
    monkeypatch.setattr(shortcut, "N_EPOCHS", 1)
    pictures = kidney_pictures.draw_pictures(n_scans=4, n_slices=1)
    monkeypatch.setattr(kidney_pictures, "draw_pictures", lambda progress: pictures)
    shortcut_panel._pictures.clear()  # another test may have drawn them
    app = opened(PAGE, monkeypatch)
    part(app, "Shortcut learning")
    assert "Computed beforehand" in texts(app.caption)
    assert "It learned the mark" in texts(app.markdown)
    app.button(key="teaching_shortcut_train").click().run()
    assert not app.exception, app.exception
    assert "Trained just now" in texts(app.caption)
    assert "12 pictures to train on" in texts(app.caption)


def test_the_puzzle_tells_the_leak_and_its_evidence_after_the_answer(monkeypatch, tiny_checkpoint):
    app = opened(PAGE, monkeypatch)
    part(app, "Find the leak")
    assert not app.dataframe
    leaking = next(
        name for name, each in split_puzzle.make_puzzle(ready_results.puzzle_data(), 1).items() if each.leaks
    )
    wrong = "A" if leaking != "A" else "B"
    app.button(key=f"teaching_puzzle_{wrong}").click().run()
    assert not app.exception, app.exception
    assert f"It is {leaking}, not {wrong}" in texts(app.error)
    table = app.dataframe[0].value
    assert table["Leaks"].tolist() == ["yes" if name == leaking else "no" for name in "ABCD"]
    app.number_input(key="teaching_puzzle_number").set_value(2).run()
    assert not app.error
    assert not app.dataframe


@pytest.mark.slow
def test_the_puzzle_is_made_of_a_folder_too(monkeypatch, tiny_checkpoint, tmp_path):
    folder = write_series_dataset(tmp_path / "mine", n_series=4, n_slices=4)
    app = opened(PAGE, monkeypatch)
    part(app, "Find the leak")
    app.segmented_control(key="teaching_puzzle_source").set_value("Your folder").run()
    app.text_input(key="teaching_puzzle_folder").set_value(str(folder)).run()
    app.button(key="teaching_puzzle_A").click().run()
    assert not app.exception, app.exception
    assert len(app.dataframe[0].value) == 4


@pytest.mark.slow
def test_heads_are_trained_on_a_folder_and_one_slice_is_shown_under_both_splits(monkeypatch, tiny_checkpoint, tmp_path):
    folder = write_series_dataset(tmp_path / "mine", n_series=4, n_slices=4)
    app = opened(PAGE, monkeypatch)
    part(app, "Why 99 % can mean nothing")
    app.segmented_control(key="teaching_spot_source").set_value("Your folder").run()
    app.text_input(key="teaching_spot_folder").set_value("").run()
    app.button(key="teaching_train").click().run()
    assert "Enter the folder of images first" in texts(app.error)
    app.text_input(key="teaching_spot_folder").set_value(str(folder)).run()
    app.button(key="teaching_train").click().run()
    assert not app.exception, app.exception
    assert "Look at the middle group" in texts(app.markdown)
    app.segmented_control(key="teaching_labelling").set_value(label_shuffling.BY_SCAN).run()
    assert not app.exception, app.exception
    assert "Random split (paper): predicted" in texts(app.markdown)
    assert ":green[correct]" in texts(app.markdown)
    assert f"{PROTOCOL_NAMES[GROUPED].capitalize()}: predicted" in texts(app.markdown)
    assert ":red[wrong]" in texts(app.markdown)
    first = app.slider(key=f"teaching_row_{label_shuffling.BY_SCAN}").value
    app.button(key="teaching_differs").click().run()
    assert not app.exception, app.exception
    assert app.slider(key=f"teaching_row_{label_shuffling.BY_SCAN}").value != first


@pytest.mark.slow
def test_slices_that_the_model_was_trained_on_are_named(monkeypatch, published, tmp_path, small_dataset):
    monkeypatch.setattr(label_shuffling, "N_FOLDS", 3)
    app = opened(PAGE, monkeypatch)
    part(app, "Why 99 % can mean nothing")
    app.segmented_control(key="teaching_spot_source").set_value("Your folder").run()
    app.text_input(key="teaching_spot_folder").set_value(str(small_dataset)).run()
    app.button(key="teaching_train").click().run()
    assert not app.exception, app.exception
    assert "was itself trained on" in texts(app.warning)


@pytest.mark.slow
def test_too_few_scans_are_a_sentence(monkeypatch, tiny_checkpoint, small_dataset):
    app = opened(PAGE, monkeypatch)
    part(app, "Why 99 % can mean nothing")
    app.segmented_control(key="teaching_spot_source").set_value("Your folder").run()
    app.text_input(key="teaching_spot_folder").set_value(str(small_dataset)).run()
    app.button(key="teaching_train").click().run()
    assert f"at least {label_shuffling.N_FOLDS} of each are needed" in texts(app.error)


def test_a_class_joins_by_its_link_and_sees_the_truth_when_the_teacher_reveals_it(monkeypatch, tiny_checkpoint):
    teacher = opened(PAGE, monkeypatch)
    teacher.text_input(key="teaching_class_name").set_value("Year 3 *A*")
    next(each for each in teacher.button if each.label == "Start the class").click().run()
    assert not teacher.exception, teacher.exception
    assert "Year 3 \\*A\\*" in teacher.header[0].value
    code = in_address(teacher, "class")

    student = in_class(monkeypatch, code)
    assert "Year 3 \\*A\\*" in student.header[0].value
    student.text_input(key="teaching_student_name").set_value("Ann")
    next(each for each in student.button if each.label == "Join the class").click().run()
    name = f"class {code}"
    student.radio(key=f"teaching_label_{name}_0").set_value("Normal").run()
    student.segmented_control(key=f"teaching_confidence_{name}_0").set_value(5).run()
    student = in_class(
        monkeypatch, code, seat=in_address(student, "seat")
    )  # loaded again before the answer is submitted
    assert student.radio(key=f"teaching_label_{name}_0").value == "Normal"
    assert student.segmented_control(key=f"teaching_confidence_{name}_0").value == 5
    student.button(key="teaching_answer").click().run()
    assert "Your teacher reveals the truth" in texts(student.info)
    assert "### It is" not in texts(student.markdown)

    reloaded = in_class(monkeypatch, code, seat=in_address(student, "seat"))
    assert "Case 2 of 8" in texts(reloaded.header)  # the first open one
    open_again(reloaded, 0)
    assert "### Your answer: Normal" in texts(reloaded.markdown)

    teacher.segmented_control(key="teaching_board_view").set_value("Cases").run()
    teacher.button(key="teaching_reveal").click().run()
    assert told(quiz.draw_cases(1)[0].label) in texts(teacher.markdown)
    reloaded.run()
    assert told(quiz.draw_cases(1)[0].label) in texts(reloaded.markdown)

    teacher.segmented_control(key="teaching_board_view").set_value("Results").run()
    assert not teacher.exception, teacher.exception
    assert teacher.dataframe[0].value["Student"].tolist() == ["Ann"]
    assert teacher.dataframe[1].value["Answered"].tolist() == [1] + [0] * 7

    teacher.button(key="teaching_close").click().run()
    reloaded.run()
    assert f"There is no class “{code}” on this server" in texts(reloaded.error)


def test_waiting_pages_of_a_large_class_look_less_often():
    assert student_panel.poll_s(1) == student_panel.poll_s(10) == 2
    for n_students in (20, 200):
        assert n_students / student_panel.poll_s(n_students) == student_panel.MAX_POLLS_PER_S


def open_again(app, at):
    next(each for each in app.segmented_control if each.label == "Cases" and "1 ✓" in each.options).set_value(at).run()


def in_address(app, name):
    value = app.query_params[name]
    return value if isinstance(value, str) else value[0]


def in_class(monkeypatch, code, seat=""):
    """The page as a link to a class opens it."""
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120).run()
    app.query_params["class"] = code
    if seat:
        app.query_params["seat"] = seat
    app.switch_page(PAGE).run()
    assert not app.exception, app.exception
    return app


def test_before_and_after_ai_shows_the_model_between_two_answers(monkeypatch, tiny_checkpoint):
    app = opened(PAGE, monkeypatch)
    app.toggle(key="teaching_again").set_value(True).run()
    answer(app, "simulated 1", 0, "Normal")
    assert "The model can be wrong" in texts(app.caption)
    assert "### It is" not in texts(app.markdown)
    app.segmented_control(key="teaching_confidence_simulated 1_0_again").set_value(2).run()
    app.button(key="teaching_answer").click().run()
    assert "**You, before:** Normal" in texts(app.markdown)
    assert "**You, after:** Normal" in texts(app.markdown)
    assert told(quiz.draw_cases(1)[0].label) in texts(app.markdown)


def test_a_viewer_joins_a_class_and_starts_none(monkeypatch, tiny_checkpoint):
    monkeypatch.setattr(
        access, "identify", lambda claims, headers: access.Person("class@school.example", access.VIEWER)
    )
    app = opened(PAGE, monkeypatch)
    assert "Join a class: code" in [each.label for each in app.text_input]
    assert "Start the class" not in [each.label for each in app.button]
    app.text_input(key="teaching_join_code").set_value("nope")
    next(each for each in app.button if each.label == "Join").click().run()
    assert "There is no class “NOPE” on this server" in texts(app.error)


def test_a_link_opens_its_quiz(monkeypatch, tiny_checkpoint):
    app = opened("streamlit_app.py", monkeypatch)
    for name, value in {"part": "quiz", "quiz": "7", "cases": "simulated-cases", "model": tiny_checkpoint.name}.items():
        app.query_params[name] = value
    app.switch_page(PAGE).run()
    assert app.number_input(key="teaching_quiz_number").value == 7
    app.number_input(key="teaching_quiz_number").set_value(8).run()
    assert in_address(app, "quiz") == "8"
    forged = opened("streamlit_app.py", monkeypatch)
    forged.query_params["quiz"], forged.query_params["part"] = "99999999999", "<b>"
    forged.switch_page(PAGE).run()
    assert not forged.exception
    assert forged.number_input(key="teaching_quiz_number").value == 1


def test_whole_scans_are_scrolled_and_answered(monkeypatch, tiny_checkpoint):
    app = opened(PAGE, monkeypatch)
    app.toggle(key="teaching_stacks").set_value(True).run()
    assert not app.exception, app.exception
    assert "Case 1 of 4" in texts(app.header)
    answer(app, "simulated scans 1", 0, "Normal")
    assert told(stack_cases.draw_stacks(1)[0].label) in texts(app.markdown)
    assert in_address(app, "scans") == "1"


@pytest.mark.slow
def test_a_volume_on_this_machine_is_a_case_with_the_label_the_teacher_tells(monkeypatch, tiny_checkpoint, tmp_path):
    series = tmp_path / "patient name"
    series.mkdir()
    for name, content in phantom_dicom.series_files("Stone", 1, n_slices=6):
        (series / name).write_bytes(content)
    app = opened(PAGE, monkeypatch)
    app.segmented_control(key="teaching_quiz_source").set_value("Your volume").run()
    app.text_input(key="teaching_volume").set_value(str(tmp_path / "nowhere")).run()
    app.selectbox(key="teaching_volume_label").set_value("Stone").run()
    assert not app.exception, app.exception
    assert texts(app.error)
    app.text_input(key="teaching_volume").set_value(str(series)).run()
    assert "Case 1 of 1" in texts(app.header)
    answer(app, quiz_name(app), 0, "Stone")
    assert told("Stone") in texts(app.markdown)
    assert "patient name" not in texts(app.caption) + texts(app.markdown)


@pytest.mark.slow
def test_the_scans_of_a_folder_are_cases(monkeypatch, tiny_checkpoint, tmp_path):
    folder = write_series_dataset(tmp_path / "mine", n_series=2, n_slices=5)
    app = opened(PAGE, monkeypatch)
    app.toggle(key="teaching_stacks").set_value(True).run()
    app.segmented_control(key="teaching_quiz_source").set_value("Your folder").run()
    app.text_input(key="teaching_quiz_folder").set_value(str(folder)).run()
    assert not app.exception, app.exception
    assert "Case 1 of 4" in texts(app.header)
