"""The pages as Streamlit runs them, without a browser: every page draws, every bad input gets a sentence."""

import io
import re
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.runtime.scriptrunner_utils.exceptions import StopException
from streamlit.testing.v1 import AppTest

from kidney_core.app import progress, tables, uploads
from kidney_core.checkpoints import pointing
from kidney_core.common import settings
from kidney_core.engines import housekeeping
from kidney_core.runs import recipes, run_folder, run_lock
from kidney_core.simulation import phantom_dicom
from kidney_core.training import publish, trainer
from tests.conftest import ROOT, tiny_run, write_series_dataset
from tests.diagnosis.test_inference import made_checkpoint

PAGES = (
    "streamlit_app.py",
    "pages/1_Diagnosis.py",
    "pages/2_Evaluation.py",
    "pages/3_Training.py",
    "pages/4_Dataset.py",
    "pages/5_Teaching.py",
)


def opened(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120).run()
    if page != "streamlit_app.py":
        app.switch_page(page).run()
    assert not app.exception, app.exception
    return app


def texts(elements):
    """What is read on the page: see kidney_core/app/markdown.py."""
    drawn = " ".join(str(element.value) for element in elements).replace(":red[]", "")
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", drawn)


def png(seed=0):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def tiny_checkpoint(tmp_path):
    return made_checkpoint(tmp_path / "checkpoints")


def uploader(app):
    return app.file_uploader(key="diagnosis_uploads_Files or a zip")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_with_nothing_there_and_keeps_the_notice(page, monkeypatch):
    app = opened(page, monkeypatch)
    assert "Not a medical device" in texts(app.caption)
    if page not in ("pages/3_Training.py", "pages/4_Dataset.py"):
        assert "There is no checkpoint" in texts(app.info)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_with_a_checkpoint_of_both_protocols(page, monkeypatch, published):
    opened(page, monkeypatch)


def test_a_sample_is_diagnosed_and_says_that_it_is_simulated(monkeypatch, tiny_checkpoint):
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    app.button(key="diagnosis_sample_Stone").click().run()
    assert not app.exception
    assert "simulated, not a patient" in texts(app.info)
    assert any(label in texts(app.header) for label in tiny_checkpoint.labels)
    assert "Sample 1: Stone" in texts(app.caption)
    app.button(key="diagnosis_sample_Stone").click().run()
    assert "Sample 2: Stone" in texts(app.caption)
    app.button(key="diagnosis_sample_Cyst").click().run()
    assert "Sample 1: Cyst" in texts(app.caption)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "key"), [("pages/1_Diagnosis.py", "diagnosis_model"), ("pages/5_Teaching.py", "teaching_model")]
)
def test_the_chosen_model_stays_when_another_page_was_open(monkeypatch, tiny_checkpoint, page, key):
    shutil.copytree(tiny_checkpoint.folder, tiny_checkpoint.folder.with_name("zweiter"))
    app = opened(page, monkeypatch)
    other = next(each for each in app.selectbox(key=key).options if "zweiter" in each)
    app.selectbox(key=key).select(other).run()
    app.switch_page("pages/2_Evaluation.py").run()
    app.switch_page(page).run()
    assert not app.exception
    assert app.selectbox(key=key).value.name == "zweiter"


@pytest.mark.slow
def test_uploads_of_any_allowed_size_stay_in_memory(monkeypatch):
    """Starlette moves parts above 1 MB to the temporary folder."""
    from starlette import formparsers

    opened("pages/1_Diagnosis.py", monkeypatch)
    assert formparsers.SpooledTemporaryFile("any size")._rolled is False
    assert uploads.limit_bytes() == 1024**3


@pytest.mark.slow
def test_an_upload_that_the_model_was_trained_on_is_named(monkeypatch, without_finder, published, small_dataset):
    split = pd.read_csv(settings.runs_folder() / "grouped" / "split.csv")
    trained, tested = (split.loc[split["part"] == part, "path"].iloc[0] for part in ("train", "test"))
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    for path, warned in ((trained, True), (tested, False)):
        uploader(app).set_value([("a.png", (small_dataset / path).read_bytes(), "")]).run()
        assert not app.exception
        assert ("This very file was used to train" in texts(app.markdown)) == warned


def test_an_image_that_is_no_ct_is_refused_with_its_reason(monkeypatch, without_finder, tmp_path):
    folder = write_series_dataset(tmp_path / "many", n_series=12, n_slices=6)
    run = tiny_run(folder, "grouped", protocol="grouped", validation_fraction=0.3)
    trainer.train(run)
    made = publish.publish(run, name="judge")
    stripes = io.BytesIO()
    Image.fromarray(np.tile(np.array([0, 255], np.uint8), (48, 24))).save(stripes, "PNG")
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    uploader(app).set_value([("stripes.png", stripes.getvalue(), "")]).run()
    assert not app.exception
    assert "No prediction: out of distribution" in texts(app.header)
    assert "unlike the CT slices" in texts(app.markdown)
    assert "Any label would be a guess" in texts(app.markdown)
    assert not any(label in texts(app.header) for label in made.labels)
    next(each for each in app.toggle if each.label == "Show the prediction anyway").set_value(True).run()
    assert "Out of distribution, so do not trust this" in texts(app.caption)
    app.toggle(key="diagnosis_ask_all").set_value(True).run()
    assert not app.exception
    assert app.dataframe[-1].value["Verdict"].tolist() == ["out of distribution"]
    assert "No model gives a label" in texts(app.caption)


def test_a_picture_without_kidneys_gets_no_label_and_both_reasons(monkeypatch, published):
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    uploader(app).set_value([("noise.png", png(), "image/png")]).run()
    assert not app.exception
    assert app.header[0].value == "No prediction: no kidney visible"
    assert "No kidney is visible in this slice" in texts(app.markdown)
    assert "% ·" not in texts(app.header)


def test_the_range_of_the_kidneys_can_be_moved(monkeypatch, published):
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    files = [(name, content, "") for name, content in phantom_dicom.series_files("Cyst", 7, n_slices=9)]
    uploader(app).set_value(files).run()
    assert not app.exception
    (chosen,) = app.slider
    assert chosen.value == (1, 9)
    chosen.set_value((3, 6)).run()
    assert not app.exception
    assert "Found: right on slices" in texts(app.markdown)


@pytest.mark.slow
def test_a_scan_has_a_report_and_a_segmentation(monkeypatch, published):
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    files = [(name, content, "") for name, content in phantom_dicom.series_files("Cyst", 7, n_slices=6)]
    uploader(app).set_value(files).run()
    app.button(key="diagnosis_scan_report").click().run(timeout=60)
    assert not app.exception
    assert [each.label for each in app.get("download_button")][:4] == [
        "PDF",
        "DICOM picture (secondary capture)",
        "DICOM structured report",
        "Kidneys (DICOM segmentation)",
    ]


@pytest.mark.slow
def test_uploads_good_and_bad_together(monkeypatch, without_finder, tiny_checkpoint):
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    files = [("one.png", png(1), "image/png"), ("two.dcm", png(2), ""), ("broken.png", png(3)[:300], "image/png")]
    uploader(app).set_value(files).run()
    assert not app.exception
    table = app.dataframe[0].value
    assert table["File"].tolist() == ["broken.png", "one.png", "two.dcm"]
    assert table["Verdict"].tolist()[0] == "unreadable"
    assert "“broken.png” is truncated or damaged" in table["Problem"].tolist()[0]
    assert "Slice 2 of 3: one.png" in texts(app.markdown)
    table = table[1:]
    assert app.segmented_control[1].value == "separate slices"
    (reading,) = app.session_state["diagnosis_readings"].values()
    probabilities = reading.table.loc[1:, [f"p_{label}" for label in tiny_checkpoint.labels]]
    assert probabilities.sum(axis=1).tolist() == pytest.approx([1, 1])
    sure = probabilities.max(axis=1) >= 0.5
    assert table["Verdict"].tolist() == ["answered" if each else "abstains" for each in sure]


@pytest.mark.slow
def test_a_zip_of_dicom_is_read_as_one_scan_whose_verdict_leads(monkeypatch, published):
    pointing.main([str(published.folder), "--phantoms", "1"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in reversed(phantom_dicom.series_files("Stone", 5, n_slices=6)):
            file.writestr(f"export/{name}", content)
        file.writestr("export/README.txt", "no image")
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    uploader(app).set_value([("scan.zip", buffer.getvalue(), "application/zip")]).run()
    assert not app.exception
    assert "README.txt" in texts(app.warning)
    assert "mean over its slices" in app.header[0].value
    assert "6 of 6 slices were read" in texts(app.markdown)
    assert "Accuracy per scan on" in texts(app.markdown)
    assert "Slice " in texts(app.markdown)
    assert not [each for each in app.button if each.label == "Stop reading"]
    app.segmented_control[1].set_value("separate slices").run()
    assert not app.exception
    assert app.dataframe[0].value["File"].tolist() == [f"export/slice-{n:03d}.dcm" for n in range(1, 7)]


@pytest.mark.slow
def test_reading_that_a_click_interrupts_keeps_what_was_read(monkeypatch, published):
    """Streamlit ends the running page when it draws the next thing after a click."""
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    done_counts, bar = [], progress.progress_bar

    def interrupted(text):
        tell = bar(text)

        def count(done, total):
            done_counts.append(done)
            tell(done, total)
            if len(done_counts) == 2:
                raise StopException

        return count

    monkeypatch.setattr(progress, "progress_bar", interrupted)
    files = [(name, content, "") for name, content in phantom_dicom.series_files("Stone", 5, n_slices=40)]
    uploader(app).set_value(files).run()
    assert done_counts == [8, 14]
    app.button(key="diagnosis_stop").click().run()
    assert "Stopped after 14 of 40 slices" in texts(app.warning)
    app.button(key="diagnosis_read_on").click().run()
    assert done_counts[:5] == [8, 14, 22, 30, 38]  # slices looked at, then those with a kidney predicted
    assert done_counts[-1] > 40
    assert "40 of 40 slices were read" in texts(app.markdown)


@pytest.mark.parametrize(("position", "place"), [(12.5, "3 of 40\n12.5 mm"), (float("nan"), "3 of 40")])
def test_the_place_of_a_slice_is_one_text_with_and_without_a_position(position, place):
    from kidney_core.app import stack_panel

    reading = SimpleNamespace(table=pd.DataFrame({"position_mm": [0.0, 0.0, position]}), n_slices=40)
    assert stack_panel.place_of(reading, 2) == place


@pytest.mark.slow
def test_the_table_of_results_names_files_only_when_ticked(monkeypatch, tiny_checkpoint):
    from kidney_core.app import stack_panel

    app = opened("pages/1_Diagnosis.py", monkeypatch)
    written, to_csv = [], tables.csv_bytes
    monkeypatch.setattr(tables, "csv_bytes", lambda table: written.append(to_csv(table).decode()) or b"")
    assert stack_panel.tables is tables
    files = [("=DOE^JANE.png", png(1), ""), ("two.png", png(2), ""), ("JANE-broken.png", png(3)[:300], "")]
    uploader(app).set_value(files).run()
    assert "JANE" not in written[-1]
    app.checkbox(key="diagnosis_csv_named").set_value(True).run()
    assert "'=DOE^JANE.png" in written[-1]


def test_an_upload_of_nothing_says_so(monkeypatch, tiny_checkpoint):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("DICOMDIR", "an index")
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    uploader(app).set_value([("scan.zip", buffer.getvalue(), "")]).run()
    assert "Nothing in this upload is an image" in texts(app.error)


@pytest.mark.slow
def test_a_map_is_asked_for_graded_and_put_into_a_report(monkeypatch, published):
    pointing.main([str(published.folder), "--phantoms", "1"])
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    app.button(key="diagnosis_sample_Stone").click().run()
    app.selectbox(key="diagnosis_method").set_value("Grad-CAM++").run()
    explained = next(each for each in app.segmented_control if each.label == "Show evidence for")
    explained.set_value("Cyst").run()
    against = next(each for each in app.selectbox if each.label == "Compared with")
    assert "Cyst" not in against.options
    against.set_value("Tumor").run()
    assert not app.exception
    said = texts(app.caption)
    assert "Grad-CAM++ of Cyst rather than Tumor" in said or "Nothing in this image supports Cyst" in said
    app.selectbox(key="diagnosis_method").set_value("Eigen-CAM").run()  # the same for every label: no label to choose
    assert not app.exception
    assert "Show evidence for" not in [each.label for each in app.segmented_control]
    assert "Compared with" not in [each.label for each in app.selectbox]
    said = texts(app.caption)
    assert "Eigen-CAM, the same for every label" in said or "Eigen-CAM finds no pattern in this image" in said
    app.selectbox(key="diagnosis_method").set_value("Grad-CAM++").run()
    explained = next(each for each in app.segmented_control if each.label == "Show evidence for")
    explained.set_value("Normal").run()
    if "Grade this heatmap" in [each.label for each in app.button]:
        app.button(key="diagnosis_grade").click().run()
        assert not app.exception
        assert "When the image moves by 4 pixels" in texts(app.markdown)
        assert "than a map that ignores the model" in texts(app.markdown)
        # Three slices are too few to show that the map is better than null maps.
        assert "Blurring the brightest 20 % of the body" not in texts(app.markdown)
        assert "a map that ignores the model is graded as high: “Faithful”" in texts(app.caption)
    app.button(key="diagnosis_report").click().run()
    assert not app.exception
    assert [each.label for each in app.get("download_button")][-3:] == [
        "PDF",
        "DICOM picture (secondary capture)",
        "DICOM structured report",
    ]


@pytest.mark.slow
def test_evaluation_views_draw_and_the_folder_is_evaluated(monkeypatch, published, small_dataset):
    app = opened("pages/2_Evaluation.py", monkeypatch)
    for view in ("Compared with the paper", "One model"):
        app.segmented_control(key="evaluation_view").set_value(view).run()
        assert not app.exception
    for panel in (
        "Clinical use",
        "Curves",
        "Calibration",
        "Abstention",
        "Worst errors",
        "Planes",
        "Scans",
        "Explanations",
        "Training",
        "Model card",
    ):
        app.segmented_control(key="evaluation_panel").set_value(panel).run()
        assert not app.exception, panel
        if panel in ("Clinical use", "Curves", "Calibration", "Abstention", "Worst errors", "Planes", "Scans"):
            app.segmented_control(key="evaluation_measured").set_value("random").run()
            assert "These results are inflated" in texts(app.warning)
    app.segmented_control(key="evaluation_view").set_value("Your folder").run()
    assert not app.exception
    app.text_input(key="evaluation_folder").set_value(str(small_dataset))
    app.button[0].click().run()
    assert not app.exception
    assert "Used for training, of these files: tiny" in texts(app.warning)
    kept = app.selectbox(key="evaluation_earlier").value
    for panel in ("Gate and answers", "Clinical use", "Curves", "Calibration", "Worst errors", "Planes", "Scans"):
        app.segmented_control(key="evaluation_folder_panel").set_value(panel).run()
        assert not app.exception, panel
    for question in ("Calibration by label", "Decision curve", "Abstention and prediction sets"):
        app.segmented_control(key="evaluation_folder_panel").set_value("Clinical use").run()
        app.segmented_control(key="evaluation_own_clinical_question").set_value(question).run()
        assert not app.exception, question
    app.selectbox(key="evaluation_folder_label").set_value("Stone")
    app.button[0].click().run()
    assert app.selectbox(key="evaluation_earlier").value != kept  # the new one is shown
    assert "only some of the classes" in texts(app.caption)
    app.selectbox(key="evaluation_folder_label").set_value("from the folder names, or series.csv")
    again = opened("pages/2_Evaluation.py", monkeypatch)  # as after a reload of the browser, which keeps the address
    again.query_params["evaluation"] = kept
    again.segmented_control(key="evaluation_view").set_value("Your folder").run()
    assert not again.exception
    assert again.selectbox(key="evaluation_earlier").value == kept
    assert again.segmented_control(key="evaluation_folder_panel").value == "Matrix and report"
    app.text_input(key="evaluation_folder").set_value("/nowhere")
    app.button[0].click().run()
    assert "There is no folder “/nowhere”. Check its name" in texts(app.error)


@pytest.mark.slow
def test_a_slice_of_a_folder_is_opened_in_diagnosis_and_closed(monkeypatch, tiny_checkpoint, small_dataset):
    app = opened("streamlit_app.py", monkeypatch)
    app.session_state["diagnosis_opened"] = (str(small_dataset), "Stone/Stone- (1).png")
    app.switch_page("pages/1_Diagnosis.py").run()
    assert not app.exception
    assert "From a folder: Stone/Stone- (1).png" in texts(app.text)
    assert "Or try a" not in texts(app.caption)
    app.button(key="diagnosis_close_opened").click().run()
    assert not app.exception
    assert "From a folder" not in texts(app.text)
    assert "Or try a" in texts(app.caption)
    app.session_state["diagnosis_opened"] = (str(small_dataset), "../secret.png")
    app.run()
    assert "is not a file below" in texts(app.error)


@pytest.mark.slow
def test_evaluation_is_left_for_diagnosis_where_a_slice_was_asked_for(monkeypatch, tiny_checkpoint, small_dataset):
    app = opened("pages/2_Evaluation.py", monkeypatch)
    app.segmented_control(key="evaluation_view").set_value("Your folder").run()
    app.session_state["diagnosis_opened"] = (str(small_dataset), "Stone/Stone- (1).png")
    app.session_state["diagnosis_going"] = True
    app.run()
    assert not app.exception
    assert [title.value for title in app.title] == ["Diagnosis"]
    assert "From a folder: Stone/Stone- (1).png" in texts(app.text)


@pytest.mark.slow
def test_planes_are_counted_on_the_page(monkeypatch, published):
    app = opened("pages/2_Evaluation.py", monkeypatch)
    app.segmented_control(key="evaluation_view").set_value("One model").run()
    app.segmented_control(key="evaluation_panel").set_value("Planes").run()
    tested = published.predictions("grouped")
    shown = app.table[0].value
    assert [name.lower() for name in shown.columns] == sorted(tested.table["plane"].unique())
    assert shown.loc["Slices"].astype(int).sum() == len(tested)


@pytest.mark.slow
def test_a_checkpoint_of_an_older_version_is_shown_all_the_same(monkeypatch, published_by_0_1):
    app = opened("pages/2_Evaluation.py", monkeypatch)
    app.segmented_control(key="evaluation_view").set_value("One model").run()
    assert not app.exception, app.exception
    for panel in ("Curves", "Calibration", "Planes", "Scans", "Model card"):
        app.segmented_control(key="evaluation_panel").set_value(panel).run()
        assert not app.exception, panel
        if panel == "Planes":
            assert "stored by an older version, without planes" in texts(app.info)
    assert "was published by an older version and is not sealed" in texts(app.warning)


@pytest.mark.slow
def test_dataset_page_audits_a_folder_and_shows_both_protocols(monkeypatch, tmp_path):
    folder = write_series_dataset(tmp_path / "wide", n_series=6, n_slices=4)
    app = opened("pages/4_Dataset.py", monkeypatch)
    app.text_input(key="dataset_folder").set_value(str(folder))
    app.button[0].click().run()
    assert not app.exception
    assert "96 slices in 24 scans" in texts(app.markdown)
    shown = [metric.value for metric in app.metric if metric.label == "Near-duplicate in training"]
    assert shown == ["0.0 %", "100.0 %"]
    app.segmented_control(key="dataset_label").set_value("Stone").run()
    assert "of 24 of Stone, in file order" in texts(app.caption)
    assert "96 CT slices of 24 scans" in app.code[0].value
    assert "No checkpoint has out-of-fold predictions" in texts(app.caption)
    app.session_state["dataset_open_row"] = 1  # as a click on a thumbnail does
    app.run()
    assert "File: Cyst/Cyst- (2).png" in texts(app.text)
    assert "slice 2 of 4" in texts(app.text)
    app.button(key="dataset_after").click().run()
    assert not app.exception, app.exception
    assert "slice 3 of 4" in texts(app.text)
    app.button(key="dataset_close").click().run()
    assert not app.text
    app.text_input(key="dataset_folder").set_value("/nowhere")
    app.button[0].click().run()
    assert "There is no folder “/nowhere”" in texts(app.error)


@pytest.mark.slow
def test_dataset_page_says_which_protocol_the_data_do_not_allow(monkeypatch, small_dataset):
    app = opened("pages/4_Dataset.py", monkeypatch)
    app.text_input(key="dataset_folder").set_value(str(small_dataset))
    app.button[0].click().run()
    assert not app.exception
    assert "has 3 scans; at least 5" in texts(app.info)


def test_training_page_says_what_a_bad_folder_lacks(monkeypatch):
    app = opened("pages/3_Training.py", monkeypatch)
    app.text_input(key="training_folder").set_value("").run()  # demo-data is offered where it is there
    app.button(key="training_submit").click().run()
    assert "Enter the folder of images first" in texts(app.error)
    app.text_input(key="training_folder").set_value("/nowhere").run()
    app.button(key="training_check").click().run()
    assert "Expected one folder per class" in texts(app.error)


@pytest.mark.slow
def test_training_page_checks_a_folder_and_starts_both_protocols(monkeypatch, small_dataset):
    submitted = []
    engines = []
    monkeypatch.setattr(
        "kidney_core.engines.jobs.submit", lambda run, engine: (submitted.append(run), engines.append(engine))
    )
    app = opened("pages/3_Training.py", monkeypatch)
    app.button(key="training_preset_paper").click().run()  # `travel` needs kidneys
    app.text_input(key="training_folder").set_value(str(small_dataset)).run()
    app.button(key="training_check").click().run()
    assert "60 slices in 12 scans" in texts(app.success)
    app.multiselect(key="training_architectures").set_value([]).run()
    assert "60 slices in 12 scans" in texts(app.success)  # what was found stays
    app.multiselect(key="training_architectures").set_value(["test_resnet"]).run()
    app.selectbox(key="training_start").set_value("Random weights").run()
    app.number_input(key="training_folds").set_value(1).run()
    assert "n_folds is 1, which is not a cross-validation" in texts(app.error)
    app.number_input(key="training_folds").set_value(8).run()  # more than there are scans of a class
    app.button(key="training_submit").click().run()
    assert "This stops 8 jobs" in texts(app.error)
    assert "Cyst has 3 scans, Normal has 3 scans" in texts(app.error)
    assert "at least 8 of each" in texts(app.error)
    assert not submitted
    assert run_folder.list_runs() == []
    app.number_input(key="training_folds").set_value(3).run()
    assert app.button(key="training_submit").label == "Start 5 jobs"
    app.button(key="training_check").click().run()
    assert "5 jobs can be trained" in texts(app.success)
    app.button(key="training_submit").click().run()
    assert not app.error
    assert [run.config().protocol for run in submitted] == ["grouped", "random", "grouped", "grouped", "grouped"]
    assert [(run.config().n_folds, run.config().fold) for run in submitted[2:]] == [(3, 0), (3, 1), (3, 2)]
    assert {run.config().architecture for run in submitted} == {"test_resnet"}
    assert set(engines) == {"local"}
    assert app.session_state["training_selected"] == [run.name for run in submitted]
    assert {run.config().trainable for run in submitted} == {"all"}


@pytest.mark.slow
def test_training_page_sweeps_seeds_and_starts_a_saved_configuration(monkeypatch, small_dataset):
    submitted = []
    monkeypatch.setattr("kidney_core.engines.jobs.submit", lambda run, engine: submitted.append(run.config()))
    app = opened("pages/3_Training.py", monkeypatch)
    app.button(key="training_preset_paper").click().run()  # `travel` needs kidneys
    app.text_input(key="training_folder").set_value(str(small_dataset)).run()
    app.multiselect(key="training_architectures").set_value(["test_resnet"]).run()
    app.selectbox(key="training_start").set_value("Random weights").run()
    app.text_input(key="training_seeds").set_value("1, 2, x").run()
    assert "is not a list of seeds" in texts(app.error)
    app.text_input(key="training_seeds").set_value("1, 2").run()
    assert app.button(key="training_submit").label == "Start 4 jobs"
    app.button(key="training_submit").click().run()
    assert [(config.seed, config.protocol) for config in submitted] == [
        (1, "grouped"), (1, "random"), (2, "grouped"), (2, "random"),
    ]  # fmt: skip
    saved = recipes.to_file(submitted[2])
    app.file_uploader(key="training_config_file").set_value([("mine.json", saved, "application/json")]).run()
    app.button(key="training_config_start").click().run()
    assert not app.exception
    assert submitted[4] == submitted[2]


@pytest.mark.slow
def test_training_page_notes_renames_archives_and_deletes_a_run(monkeypatch, small_dataset):
    run = tiny_run(small_dataset, "one", n_epochs=1)
    trainer.train(run)
    app = opened("pages/3_Training.py", monkeypatch)
    app.multiselect(key="training_quantities").set_value(["learning_rate", "recall_Stone", "memory_mib"]).run()
    assert not app.exception
    app.text_area[0].set_value("a first try")
    next(each for each in app.text_input if each.label.startswith("Tags")).set_value("phantoms")
    next(each for each in app.button if each.label == "Save note").click().run()
    assert housekeeping.read_note(run).tags == ("phantoms",)
    app.text_input(key="training_rename_one").set_value("better").run()
    app.button(key="training_rename").click().run()
    assert [each.name for each in run_folder.list_runs()] == ["better"]
    app.button(key="training_archive").click().run()
    assert not [each for each in app.dataframe if "State" in each.value]
    app.toggle(key="training_archived").set_value(True).run()
    app.button(key="training_delete").click().run()
    assert not app.exception
    assert run_folder.list_runs() == []


@pytest.mark.slow
def test_training_page_acts_on_the_selected_runs(monkeypatch, small_dataset):
    """Two finished runs and one that failed: side by side, the failure in full, archived and deleted together."""
    runs = {name: tiny_run(small_dataset, name, n_epochs=2, seed=seed) for seed, name in enumerate(("one", "two"))}
    for run in runs.values():
        trainer.train(run)
    failed = tiny_run(small_dataset, "broken", learning_rate=0.5)
    failed.fail("The training loss became nan at step 3. Lower the learning rate.")
    (failed.folder / "log.txt").write_text("Traceback\nRunError: nan\n", encoding="utf-8")
    app = opened("pages/3_Training.py", monkeypatch)
    assert "broken failed. The training loss became nan at step 3" in texts(app.error)  # the newest one
    assert any("RunError: nan" in each.value for each in app.code)
    app.session_state["training_selected"] = ["one", "two"]
    app.run()
    assert not app.exception
    assert not app.error
    beside = next(each.value for each in app.dataframe if "one" in each.value.columns)
    assert beside.set_index("Option or figure").loc["Seed"].tolist() == ["1", "0"]  # newest first
    assert "Test accuracy" not in beside.columns
    app.toggle(key="training_average").set_value(True).run()
    app.segmented_control(key="training_axis").set_value("minutes").run()
    app.multiselect(key="training_quantities").set_value(["loss", "recall_Stone", "memory_mib", "cpu_percent"]).run()
    assert not app.exception
    app.selectbox(key="training_group").set_value("architecture").run()
    assert app.button(key="training_archive").label == "Archive 2 runs"
    app.button(key="training_archive").click().run()
    assert sorted(run.name for run in run_folder.list_runs() if housekeeping.is_archived(run)) == ["one", "two"]
    app.toggle(key="training_archived").set_value(True).run()
    assert app.button(key="training_delete").label == "Delete 2 runs"
    app.button(key="training_delete").click().run()
    assert [run.name for run in run_folder.list_runs()] == ["broken"]


def test_training_page_searches_and_remembers_columns(monkeypatch, small_dataset):
    for seed in (0, 1):
        tiny_run(small_dataset, f"run-{seed}", seed=seed)
    app = opened("pages/3_Training.py", monkeypatch)
    app.text_input(key="training_search").set_value("seed=1").run()

    def table():
        return next(each.value for each in app.dataframe if "Run" in each.value)

    assert table()["Run"].tolist() == ["run-1"]
    app.multiselect(key="training_columns").set_value(["run", "seed", "batch_size"]).run()
    assert list(table()) == ["Run", "Seed", "Batch size"]
    app.text_input(key="training_search").set_value("nothing like it").run()
    assert "No run matches" in texts(app.info)
    again = opened("pages/3_Training.py", monkeypatch)
    assert again.multiselect(key="training_columns").value == ["run", "seed", "batch_size"]


@pytest.mark.slow
def test_training_page_asks_for_the_engine_where_there_are_several(monkeypatch, small_dataset):
    monkeypatch.setenv("KIDNEY_RAY_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("KIDNEY_ENGINE", "ray")
    app = opened("pages/3_Training.py", monkeypatch)
    assert app.selectbox(key="training_engine").value == "ray"
    app.button(key="training_preset_paper").click().run()  # `travel` needs kidneys
    app.text_input(key="training_folder").set_value(str(small_dataset)).run()
    app.multiselect(key="training_architectures").set_value(["test_resnet"]).run()
    app.selectbox(key="training_start").set_value("Random weights").run()
    app.button(key="training_submit").click().run()
    assert "The Ray cluster at http://127.0.0.1:9 cannot be reached" in texts(app.error)
    assert [run.state()["state"] for run in run_folder.list_runs()] == ["failed"]


def test_training_page_names_an_unknown_architecture(monkeypatch, small_dataset):
    app = opened("pages/3_Training.py", monkeypatch)
    app.text_input(key="training_folder").set_value(str(small_dataset)).run()
    app.multiselect(key="training_architectures").set_value(["resnet1"]).run()
    app.button(key="training_submit").click().run()
    assert "timm has no architecture “resnet1”" in texts(app.error)
    assert run_folder.list_runs() == []


@pytest.mark.slow
def test_training_page_finds_runs_again_and_shows_a_crashed_one(monkeypatch, small_dataset):
    run = tiny_run(small_dataset, "orphan")
    run.write_state("running", step=5, n_steps=10, epoch=1, n_epochs=2)
    assert run_lock.status(run) == "crashed"
    app = opened("pages/3_Training.py", monkeypatch)
    table = next(each.value for each in app.dataframe if "State" in each.value)
    assert table["State"].tolist() == ["crashed"]
    assert "orphan crashed" in texts(app.error)
    assert "Resume continues from the last checkpoint" in texts(app.error)
    assert not app.button(key="training_resume").disabled
    assert app.button(key="training_stop").disabled


@pytest.mark.slow
def test_training_page_publishes_a_finished_run(monkeypatch, small_dataset):
    run = tiny_run(small_dataset, "done", n_epochs=1)
    trainer.train(run)
    app = opened("pages/3_Training.py", monkeypatch)
    app.text_input(key="training_publish_name_done").set_value("mine").run()
    app.button(key="training_publish").click().run()
    assert "Published as “mine”" in texts(app.success)
    assert "“mine” cannot" not in texts(app.error)
