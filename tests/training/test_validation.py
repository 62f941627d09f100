"""What the loop reads on its validation part, against hand-computed cases."""

from math import log

import numpy as np
import pytest
import torch
from torch import nn

from kidney_core.common.errors import RunError
from kidney_core.training import validation


class Remembered:
    """A source whose logits are written down."""

    def __init__(self, logits):
        self.all = torch.tensor(logits)

    def batch(self, positions, numbers=None):
        assert numbers is None, "validation slices are not augmented"
        return self.all[torch.from_numpy(positions)]

    def network(self, batch):
        return batch


def validate(logits, y, class_weights=None):
    weights = None if class_weights is None else torch.tensor(class_weights)
    positions = np.arange(len(y))
    return validation.validate(
        nn.Identity(), Remembered(logits), positions, torch.tensor(y), labels=("A", "B"), class_weights=weights
    )


def test_loss_and_accuracy_by_hand():
    # Probabilities of class 0: 0.75, 0.5, 0.2.
    found = validate([[log(3.0), 0.0], [0.0, 0.0], [0.0, log(4.0)]], [0, 1, 0])
    assert found.loss == pytest.approx(-(log(0.75) + log(0.5) + log(0.2)) / 3)
    assert found.accuracy == pytest.approx(1 / 3)


def test_loss_is_weighted_as_in_training():
    found = validate([[log(3.0), 0.0], [0.0, 0.0]], [0, 1], class_weights=[3.0, 1.0])
    assert found.loss == pytest.approx(-(3 * log(0.75) + log(0.5)) / 4)


def test_overconfidence_costs_the_plain_loss_only():
    """The same network five times as sure of itself: no calibrated answer differs."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    logits = rng.normal(size=(200, 2)) + np.eye(2)[y]
    modest, overconfident = validate(logits.tolist(), y), validate((5 * logits).tolist(), y)
    assert overconfident.loss > 1.5 * modest.loss
    assert overconfident.calibrated_loss == pytest.approx(modest.calibrated_loss, rel=1e-3)
    assert overconfident.accuracy == modest.accuracy


def test_more_slices_than_a_batch_are_all_measured():
    logits = [[2.0, 0.0]] * 130
    assert validate(logits, [0] * 129 + [1]).accuracy == pytest.approx(129 / 130)


def test_recall_of_each_label_and_what_the_best_epoch_is_chosen_by():
    # Predicted A, A, B, A; true A, B, B, B.
    found = validate([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [0, 1, 1, 1])
    assert found.recall == {"A": 1.0, "B": pytest.approx(1 / 3)}
    assert found.balanced_accuracy == pytest.approx(2 / 3)
    assert found.cost("loss") == found.calibrated_loss
    assert found.cost("accuracy") == pytest.approx(0.5, abs=1e-4)
    assert found.cost("balanced_accuracy") == pytest.approx(1 / 3, abs=1e-4)
    assert found.cost("recall:B") == pytest.approx(2 / 3, abs=1e-4)
    with pytest.raises(RunError, match="the recall of “C”, but the validation part has no slice of it"):
        found.cost("recall:C")
