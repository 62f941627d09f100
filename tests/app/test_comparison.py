"""Evaluation, Comparison: figures first; the paired tests, which take a moment, on request."""

import shutil

import pytest

from tests.app.test_pages import opened, texts


@pytest.mark.slow
def test_models_are_tested_against_each_other_on_request(monkeypatch, published):
    shutil.copytree(published.folder, published.folder.with_name("zweiter"))
    app = opened("pages/2_Evaluation.py", monkeypatch)

    def tables():
        return [each.value for each in app.dataframe]

    assert {"tiny", "zweiter"} == set(tables()[0]["Checkpoint"])
    assert not any("First minus second" in each for each in tables())
    app.toggle(key="evaluation_pairs_asked").set_value(True).run()
    assert not app.exception
    paired = next(each for each in tables() if "First minus second" in each)
    assert {paired["First"].iloc[0], paired["Second"].iloc[0]} == {"tiny", "zweiter"}
    assert paired["First minus second"].iloc[0].endswith("+0.0 points")  # after a space of no width
    app.multiselect(key="evaluation_checkpoints").set_value(["zweiter"]).run()
    assert set(tables()[0]["Checkpoint"]) == {"zweiter"}
    app.multiselect(key="evaluation_checkpoints").set_value([]).run()
    assert "Choose at least one checkpoint" in texts(app.info)
