"""Search in the table of runs."""

from kidney_core.engines import run_search
from tests.engines.made_rows import plain


def test_search_needs_every_word_and_can_ask_one_column():
    rows = [
        plain("one", learning_rate=0.001, seed=1, protocol="unseen scans", tags="first"),
        plain("two", learning_rate=0.01, seed=1, protocol="random split (paper)", state="failed"),
    ]

    def found(text, **options):
        return [row["run"] for row in run_search.search(rows, text, **options)]

    assert found("") == ["one", "two"]
    assert found("FIRST unseen") == ["one"]
    assert found("first random") == []
    assert found("seed=1 split=random") == ["two"]
    assert found("learning_rate=1e-3") == ["one"]
    assert found("learningrate=x") == []
    assert found("", states=["failed"]) == ["two"]
