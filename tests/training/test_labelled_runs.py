"""A run keeps what its class names stand for: it is trained, resumed and published with that, whatever is said later."""

import shutil

import pytest

from kidney_core.common.labelling import NOT_STATED, Labelling
from kidney_core.data import remembered_labels
from kidney_core.engines import train_command
from kidney_core.runs.cross_validation import same_recipe
from kidney_core.runs.run_folder import Run
from kidney_core.training import trainer
from kidney_core.training.training_data import read_training_data
from tests.conftest import TINY, tiny_run, write_series_dataset

NUMBERS = "0=Cyst,1=Normal,2=Stone,3=Tumor"


@pytest.fixture
def numbered(tmp_path):
    """The small dataset with its class folders called 0 to 3."""
    folder = write_series_dataset(tmp_path / "numbered")
    for number, label in enumerate(("Cyst", "Normal", "Stone", "Tumor")):
        (folder / label).rename(folder / str(number))
    return folder


def arguments(folder, *more):
    options = {name: str(value) for name, value in TINY.items()}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    return ["--data", str(folder), *words, "--epochs", "1", "--name", "one", *more]


def labels_of(run):
    return read_training_data(run, lambda _title: lambda _done, _total: None, writes=False).dataset.labels


def test_a_run_is_trained_and_resumed_with_the_labels_of_its_configuration(numbered):
    (run,) = train_command.open_runs(train_command.parse_arguments(arguments(numbered, "--classes", NUMBERS)))
    assert Run(run.folder).config().classes == NUMBERS
    trainer.train(run)
    remembered_labels.remember(numbered, Labelling.from_text(classes="0=Tumor,1=Stone,2=Normal,3=Cyst"))
    assert labels_of(run) == ("Cyst", "Normal", "Stone", "Tumor")
    assert run.data()["counts"] == {"Cyst": 15, "Normal": 15, "Stone": 15, "Tumor": 15}


def test_what_was_said_before_goes_into_the_configuration(numbered):
    remembered_labels.remember(numbered, Labelling.from_text(classes=NUMBERS))
    (run,) = train_command.open_runs(train_command.parse_arguments(arguments(numbered)))
    remembered_labels.remember(numbered, NOT_STATED)
    assert (run.config().classes, labels_of(run)) == (NUMBERS, ("Cyst", "Normal", "Stone", "Tumor"))


def test_extra_folders_have_names_of_their_own(numbered, tmp_path):
    data = write_series_dataset(tmp_path / "named", seed=1)
    run = tiny_run(data, extra_data=str(numbered), extra_classes=NUMBERS)
    data = read_training_data(run, lambda _title: lambda _done, _total: None)
    assert data.n_extra == 60
    assert set(data.y[-15:]) == {3}


def test_runs_of_older_versions_are_read(tmp_path, numbered):
    run = tiny_run(numbered)
    shutil.copy(run.folder / "config.json", tmp_path / "new.json")
    text = (run.folder / "config.json").read_text(encoding="utf-8")
    kept = [line for line in text.split("\n") if not line.startswith((' "classes"', ' "table"', ' "extra_classes"'))]
    (run.folder / "config.json").write_text("\n".join(kept), encoding="utf-8")
    assert (run.config().labelling, labels_of(run)) == (NOT_STATED, ("0", "1", "2", "3"))


def test_two_runs_on_the_same_images_are_a_pair_however_their_folders_are_called(numbered):
    one, two = tiny_run(numbered, "one", classes=NUMBERS), tiny_run(numbered, "two")
    assert same_recipe(one.config(), two.config(), but=())
