"""What a card says of the epoch whose weights it holds."""

import pytest

from kidney_core.checkpoints.card import reported_epoch


def curves(**measured):
    ((name, values),) = measured.items()
    return [{"kind": "epoch", "epoch": number, name: value} for number, value in enumerate(values, start=1)]


def test_the_last_epoch_without_a_validation_part_has_its_reason():
    card = {"training": {"reported_epoch": "last"}, "curves": curves(validation_loss=[1.0, 0.5, 0.7])}
    assert reported_epoch(card).startswith("The weights are those of the last epoch, 3: there was no validation part")


def test_the_last_epoch_beside_a_validation_part_is_the_choice_of_the_recipe():
    card = {"training": {"validation_fraction": 0.1, "n_epochs": 2}, "curves": curves(validation_loss=[1.0, 0.5])}
    assert reported_epoch(card) == (
        "The weights are those of the last epoch, 2: the recipe reports the last epoch, whatever the validation part says."
    )


@pytest.mark.parametrize(
    ("best_by", "name", "values", "words"),
    [
        ("loss", "calibrated_validation_loss", [0.9, 0.4, 0.6], "by its loss after calibration"),
        ("loss", "validation_loss", [0.9, 0.4, 0.6], "by its loss after calibration"),
        ("balanced_accuracy", "validation_balanced_accuracy", [0.5, 0.8, 0.7], "by balanced accuracy"),
        ("recall:Stone", "validation_recall_Stone", [0.5, 0.8, 0.7], "by recall of Stone"),
    ],
)
def test_the_best_epoch_of_an_older_card_is_read_from_its_curves(best_by, name, values, words):
    training = {"reported_epoch": "best", "best_by": best_by, "validation_fraction": 0.1, "n_epochs": 3}
    card = {"training": training, "curves": curves(**{name: values})}
    assert (
        reported_epoch(card)
        == f"The weights are those of epoch 2 of 3: it was the best on the validation part, {words}."
    )


def test_early_stopping_and_the_epoch_of_the_card_are_told():
    training = {"reported_epoch": "best", "validation_fraction": 0.1, "n_epochs": 30}
    card = {"training": training, "epoch": 3, "curves": curves(validation_loss=[1.0, 0.5, 0.4, 0.3])}
    assert reported_epoch(card) == (
        "The weights are those of epoch 3 of 4: it was the best on the validation part, by its loss after calibration. "
        "Early stopping ended the training before its 30 epochs."
    )


def test_a_card_without_curves_has_a_sentence():
    assert reported_epoch({"training": {"reported_epoch": "best"}}).startswith(
        "The weights are those of the best epoch: "
    )
