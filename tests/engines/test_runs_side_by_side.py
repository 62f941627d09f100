"""Runs side by side."""

from kidney_core.engines import runs_side_by_side
from tests.engines.made_rows import plain


def test_side_by_side_says_what_differs():
    one, two = plain("a", learning_rate=0.001, seed=1), plain("b", learning_rate=0.01, seed=1)
    table = runs_side_by_side.side_by_side([one, two], only_differences=True)
    assert table.to_dict("records") == [
        {runs_side_by_side.WHAT: "Learning rate", "a": "0.001", "b": "0.01", runs_side_by_side.DIFFERS: True}
    ]
    whole = runs_side_by_side.side_by_side([one, two], only_differences=False)
    assert whole.loc[whole[runs_side_by_side.WHAT] == "Seed", runs_side_by_side.DIFFERS].tolist() == [False]
