"""Painting lesions over: measured with a network that sees bright spots, on slices whose spots are marked."""

import numpy as np
import pytest
import torch
from PIL import Image

from kidney_core.common.errors import DatasetError
from kidney_core.diagnosis import inference, paint_over
from tests.diagnosis.test_inference import made_checkpoint


@pytest.fixture
def marked(tmp_path):
    """Six slices labelled Stone with a bright square on one side and a mask of it; two slices without a mask."""
    root, rng = tmp_path / "marked", np.random.default_rng(0)
    for folder in ("Stone", "Normal", "masks/Stone"):
        (root / folder).mkdir(parents=True)
    for number in range(8):
        grey = np.zeros((96, 96), np.uint8)
        grey[10:86, 10:86] = rng.normal(100, 5, (76, 76)).clip(1, 160)
        if number < 6:
            spot = np.zeros((96, 96), bool)
            spot[40:48, 20:28] = True
            grey[spot] = 255
            Image.fromarray(np.where(spot, 255, 0).astype(np.uint8)).save(root / "masks" / "Stone" / f"{number}.png")
        Image.fromarray(grey).save(root / ("Stone" if number < 6 else "Normal") / f"{number}.png")
    return root


class SeesBrightSpots(torch.nn.Module):
    """Stone where a pixel is nearly white, else Normal: (B, 3, S, S) -> (B, 4) logits."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        is_stone = (images.flatten(1).amax(1) > 2).float()[:, None]
        return torch.cat([is_stone * 0 - 9, 4 * (1 - is_stone), 4 * is_stone, is_stone * 0 - 9], dim=1)


def test_the_answer_of_a_network_that_sees_the_lesion_falls_with_it(marked, tmp_path):
    predictor = inference.open_predictor(made_checkpoint(tmp_path / "made"))
    seeing = inference.Predictor(predictor.checkpoint, SeesBrightSpots())
    slices = paint_over.read_slices_with_lesions(marked)
    assert len(slices) == 6
    measured = paint_over.measure(seeing, slices)
    assert measured.n == 6
    assert measured.predicted == {paint_over.AS_IS: 1.0, paint_over.PAINTED: 0.0, paint_over.MIRRORED: 1.0}
    assert measured.changed == {paint_over.PAINTED: 1.0, paint_over.MIRRORED: 0.0}
    assert measured.probability[paint_over.AS_IS] > 0.8 > 0.2 > measured.probability[paint_over.PAINTED]
    assert "0 % with the lesion painted over" in paint_over.in_words(measured).replace("\N{NO-BREAK SPACE}", " ")


def test_a_folder_without_marked_lesions_is_a_sentence(marked, tmp_path, capsys):
    (marked / "masks").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="has no marked lesions"):
        paint_over.read_slices_with_lesions(marked)
    (tmp_path / "yolo" / "images").mkdir(parents=True)
    assert paint_over.main([str(tmp_path / "yolo")]) == 1
    assert "Say which label every slice has" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_prints_a_sentence_for_each_checkpoint(marked, published, capsys):
    assert paint_over.main([str(marked), str(published.folder)]) == 0
    printed = capsys.readouterr().out
    assert f"tiny on {marked}. Of 6 slices" in printed
