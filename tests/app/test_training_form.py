"""The training form: presets, what they leave, commands of a sweep, and what a reload or another page does not lose."""

import pytest

from kidney_core.app import access, form_memory, preset_gallery, streamlit_internals, training_form
from kidney_core.app.access import Person
from kidney_core.runs.presets import PRESETS
from tests.app.test_pages import opened, texts
from tests.diagnosis.test_inference import made_checkpoint
from tests.runs.test_durations import finished

PAGE = "pages/3_Training.py"


@pytest.fixture
def browser(monkeypatch):
    """Whose browser the page is in: set `secret` and `name`. What was kept before is gone."""
    here = type("Browser", (), {"secret": "one", "name": access.LOCAL})()
    monkeypatch.setattr(streamlit_internals, "browser_secret", lambda: here.secret)
    require = access.require

    def as_named(needed):
        return Person(here.name, require(needed).role)

    monkeypatch.setattr(access, "require", as_named)
    form_memory._browsers.clear()
    return here


def with_options(app):
    """The page with its options open."""
    app.session_state[training_form.OPTIONS] = True
    return app.run()


def test_one_press_fills_the_form_and_changes_are_named(monkeypatch):
    app = with_options(opened(PAGE, monkeypatch))
    app.button(key="training_preset_quick").click().run()
    assert app.number_input(key="training_option_n_epochs").value == 2
    assert app.number_input(key="training_option_image_size_px").value == 96
    assert app.button(key="training_submit").label == "Start 1 job"
    assert "Changed" not in texts(app.caption)
    app.number_input(key="training_option_n_epochs").set_value(7).run()
    app.text_input(key="training_seeds").set_value("1, 2").run()
    assert "**Changed:** Seeds, Epochs" in texts(app.caption)
    app.button(key="training_preset_quick").click().run()
    assert "Changed" not in texts(app.caption)
    assert app.number_input(key="training_option_n_epochs").value == 2


def test_a_preset_leaves_folder_extra_data_and_initial_weights(monkeypatch, small_dataset, tmp_path):
    app = opened(PAGE, monkeypatch)
    app.text_input(key="training_folder").set_value(str(small_dataset)).run()
    app.text_input(key="training_extra_data").set_value(str(tmp_path)).run()
    app.selectbox(key="training_start").set_value("Random weights").run()
    app.button(key="training_preset_paper").click().run()
    assert app.text_input(key="training_folder").value == str(small_dataset)
    assert app.text_input(key="training_extra_data").value == str(tmp_path)
    assert app.selectbox(key="training_start").value == "Random weights"


def test_folded_options_count(monkeypatch, small_dataset):
    app = with_options(opened(PAGE, monkeypatch))
    app.button(key="training_preset_paper").click().run()
    app.text_input(key="training_folder").set_value(str(small_dataset)).run()
    app.number_input(key="training_option_batch_size").set_value(8).run()
    app.session_state[training_form.OPTIONS] = False
    app.run()
    app.text_input(key="training_seeds").set_value("3").run()
    assert not [each for each in app.number_input if each.key == "training_option_batch_size"]
    assert all("--batch-size 8" in line for line in app.code[0].value.splitlines())
    app.button(key="training_preset_paper").click().run()
    assert "--batch-size" not in app.code[0].value
    assert with_options(app).number_input(key="training_option_batch_size").value == PRESETS["paper"].config.batch_size


def test_the_commands_of_all_jobs_of_a_sweep_are_lines_to_copy(monkeypatch, small_dataset):
    app = opened(PAGE, monkeypatch)
    app.button(key="training_preset_paper").click().run()
    app.text_input(key="training_folder").set_value(str(small_dataset)).run()
    app.multiselect(key="training_architectures").set_value(["resnet18", "convnext_atto"]).run()
    app.text_input(key="training_seeds").set_value("3, 4").run()
    lines = app.code[0].value.splitlines()
    assert len(lines) == 8  # two architectures, two seeds, two splits
    assert all(line.startswith("kidney-ct train --recipe paper --data ") for line in lines)
    assert len({line.partition("--architecture ")[2] for line in lines}) == 8


@pytest.mark.slow
def test_architectures_are_found_by_a_part_of_their_name(monkeypatch):
    app = opened(PAGE, monkeypatch)
    app.text_input(key="training_architecture_text").set_value("resnet18").run()
    assert app.button(key="training_add_resnet18").label == "resnet18 (11.2), pretrained"
    app.button(key="training_add_resnet18").click().run()
    assert app.multiselect(key="training_architectures").value == ["mobilenetv2_100", "resnet18"]
    app.text_input(key="training_architecture_text").set_value("no such network").run()
    assert "timm has no architecture with “no such network” in its name" in texts(app.info)


def test_the_duration_of_a_preset_is_told_where_runs_of_this_machine_tell_it(monkeypatch, small_dataset):
    assert "Here" not in texts(opened(PAGE, monkeypatch).caption)
    quick = PRESETS["quick"].config
    options = {name: getattr(quick, name) for name in ("architecture", "init", "trainable", "image_size_px")}
    finished(small_dataset, "once", seconds=40.0, **options)
    preset_gallery._known.clear()
    # 0.4 s a slice and epoch, 800 training slices of 1,000, two epochs: 640 s
    assert "Here about 11 min for 1,000 slices, 1 job." in texts(opened(PAGE, monkeypatch).caption)


def test_the_form_survives_a_reload_and_another_page(monkeypatch, browser, small_dataset):
    app = with_options(opened(PAGE, monkeypatch))
    app.button(key="training_preset_quick").click().run()
    app.text_input(key="training_folder").set_value(str(small_dataset)).run()
    app.number_input(key="training_option_batch_size").set_value(8).run()
    app.switch_page("pages/4_Dataset.py").run()
    app.switch_page(PAGE).run()
    reloaded = opened(PAGE, monkeypatch)
    for each in (app, reloaded):
        assert "**Changed:** Batch size" in texts(each.caption)  # with the options folded
        with_options(each)
        assert each.text_input(key="training_folder").value == str(small_dataset)
        assert each.number_input(key="training_option_batch_size").value == 8
        assert "**Changed:** Batch size" in texts(each.caption)


def test_nobody_else_gets_what_was_entered(monkeypatch, browser, small_dataset):
    app = opened(PAGE, monkeypatch)
    app.text_input(key="training_folder").set_value(str(small_dataset)).run()
    for secret, name in (("two", access.LOCAL), ("one", "ada@example.org")):
        browser.secret, browser.name = secret, name
        assert str(small_dataset) not in str(opened(PAGE, monkeypatch).text_input(key="training_folder").value)
    browser.secret, browser.name = "one", access.LOCAL
    assert opened(PAGE, monkeypatch).text_input(key="training_folder").value == str(small_dataset)


def test_a_folder_that_was_opened_on_one_page_is_offered_on_the_others(monkeypatch, small_dataset, tmp_path):
    made_checkpoint(tmp_path / "checkpoints")
    app = opened("pages/4_Dataset.py", monkeypatch)
    app.text_input(key="dataset_folder").set_value(str(small_dataset))
    app.button[0].click().run()
    app.switch_page(PAGE).run()
    assert app.text_input(key="training_folder").value == str(small_dataset)
    app.text_input(key="training_folder").set_value(str(small_dataset / "Cyst")).run()
    app.switch_page("pages/2_Evaluation.py").run()
    app.segmented_control(key="evaluation_view").set_value("Your folder").run()
    assert app.text_input(key="evaluation_folder").value == str(small_dataset / "Cyst")
    app.switch_page("pages/4_Dataset.py").run()
    assert app.text_input(key="dataset_folder").value == str(small_dataset / "Cyst")


def test_only_the_newest_browsers_are_remembered(monkeypatch, browser, small_dataset):
    monkeypatch.setattr(form_memory, "MOST_BROWSERS", 1)
    opened(PAGE, monkeypatch).text_input(key="training_seeds").set_value("5").run()
    browser.secret = "two"
    opened(PAGE, monkeypatch)
    browser.secret = "one"
    assert opened(PAGE, monkeypatch).text_input(key="training_seeds").value == "0"


def test_what_a_preset_fills_outlives_an_interrupted_run(monkeypatch):
    """The run that fills the fields is interrupted by an entry, with which the browser sends the old values of all fields."""
    app = with_options(opened(PAGE, monkeypatch))
    old = {key: app.session_state[key] for key in preset_gallery.values_of("paper") if key in app.session_state}
    new = preset_gallery.values_of("quick")
    app.session_state[preset_gallery._FILLING] = {key: (old.get(key), value) for key, value in new.items()}
    app.session_state[preset_gallery.SEEDS] = "7, 8"  # what interrupted it
    app.run()
    assert not app.exception
    for key, value in new.items():
        assert app.session_state[key] == ("7, 8" if key == preset_gallery.SEEDS else value), key
    assert preset_gallery._FILLING not in app.session_state
