"""Masks and boxes of lesions beside a dataset's class folders."""

import numpy as np
import pytest
from PIL import Image

from kidney_core.common.errors import DatasetError
from kidney_core.data import lesions
from tests import public_data

MASK = np.zeros((10, 20), bool)
MASK[2:4, 5:9] = True


def save_mask(path, mask, *, foreground=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * foreground).save(path)


@pytest.mark.parametrize("foreground", [1, 255])
def test_lesion_mask_reads_the_mask_with_the_path_of_the_slice(tmp_path, foreground):
    save_mask(tmp_path / "masks" / "Stone" / "1.png", MASK, foreground=foreground)
    assert lesions.has_lesion_file(tmp_path, "Stone/1.png")
    np.testing.assert_array_equal(lesions.lesion_mask(tmp_path, "Stone/1.png", MASK.shape), MASK)


def test_lesion_mask_reads_the_png_mask_of_a_jpeg_slice(tmp_path):
    """A mask cannot be a JPEG without loss, so the suffix differs from that of the slice."""
    save_mask(tmp_path / "masks" / "Stone" / "Stone- (1.5).png", MASK)
    assert lesions.has_lesion_file(tmp_path, "Stone/Stone- (1.5).jpg")
    np.testing.assert_array_equal(lesions.lesion_mask(tmp_path, "Stone/Stone- (1.5).jpg", MASK.shape), MASK)


def test_lesion_mask_covers_the_boxes_of_a_slice(tmp_path):
    """A box around (.5, .5) of .2 x .4 covers columns 8 to 11 and rows 3 to 6 of 20 x 10 pixels."""
    (tmp_path / "labels" / "Stone").mkdir(parents=True)
    (tmp_path / "labels" / "Stone" / "1.txt").write_text("0 0.5 0.5 0.2 0.4\n", encoding="utf-8")
    mask = lesions.lesion_mask(tmp_path, "Stone/1.jpg", (10, 20))
    expected = np.zeros((10, 20), bool)
    expected[3:7, 8:12] = True
    np.testing.assert_array_equal(mask, expected)


def test_slices_without_a_suffix_have_boxes_of_their_own(tmp_path):
    """DICOM files are often named by their UID."""
    (tmp_path / "labels" / "Stone").mkdir(parents=True)
    (tmp_path / "labels" / "Stone" / "1.2.840.1.txt").write_text("0 0.5 0.5 0.2 0.4\n", encoding="utf-8")
    found = [lesions.has_lesion_file(tmp_path, f"Stone/1.2.840.{name}") for name in ("1", "2", "1.dcm")]
    assert found == [True, False, True]
    assert lesions.lesion_mask(tmp_path, "Stone/1.2.840.2", (10, 20)) is None


def test_lesion_mask_is_none_without_a_mask_and_boxes(tmp_path):
    save_mask(tmp_path / "masks" / "Stone" / "1.png", MASK)
    assert not lesions.has_lesion_file(tmp_path, "Stone/2.png")
    assert lesions.lesion_mask(tmp_path, "Stone/2.png", MASK.shape) is None


def test_lesion_mask__error_other_size_than_the_slice(tmp_path):
    save_mask(tmp_path / "masks" / "Stone" / "1.png", MASK)
    with pytest.raises(DatasetError, match="has 20 × 10 px and its slice 30 × 10. Export the mask in the size"):
        lesions.lesion_mask(tmp_path, "Stone/1.png", (10, 30))


@pytest.mark.slow
@pytest.mark.data
def test_the_public_dataset_has_718_masks_of_stones(shared_data):
    plain = public_data.read_once(shared_data / "ct-kidney-plain")
    table = plain.table[[lesions.has_lesion_file(plain.root, path) for path in plain.table["path"]]]
    assert table["label"].value_counts().to_dict() == {"Stone": 718}
    for path in table["path"][::40]:
        mask = lesions.lesion_mask(plain.root, path, (256, 256))
        assert 0 < mask.mean() < 0.1
