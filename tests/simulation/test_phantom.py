"""Simulated slices: reproducible, marked as simulated, with a lesion unless they are normal."""

import numpy as np
import pytest

from kidney_core.common.labels import LABELS
from kidney_core.data import dataset, series
from kidney_core.simulation import phantom


@pytest.mark.parametrize("label", LABELS)
def test_every_slice_of_a_series_shows_its_lesion(label):
    for seed in range(4):
        for drawn in phantom.draw_series(label, seed, n_slices=3):
            assert drawn.hu.shape == (256, 256)
            assert drawn.lesion.any() == (label != "Normal")
            assert drawn.hu.min() < -900
            assert drawn.hu.max() > 300


def test_lesions_have_the_attenuation_of_their_class():
    for seed in range(4):
        cyst, stone = (phantom.draw_series(label, seed, n_slices=1)[0] for label in ("Cyst", "Stone"))
        assert -5 < np.median(cyst.hu[cyst.lesion]) < 30
        assert stone.hu[stone.lesion].max() > 200


def test_the_same_seed_draws_the_same_scan_and_another_seed_another_scan():
    one, same, other = (phantom.draw_series("Tumor", seed, n_slices=2) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[1].hu, same[1].hu)
    assert (one[1].hu != other[1].hu).any()


def test_a_phantom_is_marked_as_simulated():
    image = phantom.draw_series("Cyst", 0, n_slices=1)[0].as_slice("sample")
    assert "simulated" in image.notes[0]
    assert image.facts["Format"] == "simulated"


def test_write_dataset_writes_a_dataset_with_masks_and_series(tmp_path):
    assert phantom.main([str(tmp_path / "demo"), "--series", "3", "--slices", "2"]) == 0
    demo = dataset.read_dataset(tmp_path / "demo")
    assert demo.counts() == dict.fromkeys(LABELS, 6)
    assert len(np.unique(series.group_series(demo))) == 12
    assert (tmp_path / "demo" / "masks" / "Stone" / "Stone- (6).png").is_file()
    assert "not patients" in (tmp_path / "demo" / "README.txt").read_text(encoding="utf-8")


def test_draw_series__error_unknown_label():
    with pytest.raises(ValueError, match="label must be one of"):
        phantom.draw_series("Abscess", 0)


def test_command_line__error_folder_that_is_not_empty(tmp_path, capsys):
    (tmp_path / "old.png").touch()
    assert phantom.main([str(tmp_path)]) == 1
    assert "is not an empty folder" in capsys.readouterr().err
