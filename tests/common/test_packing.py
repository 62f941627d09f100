"""Packed bytes come back exactly, and only what saves memory is packed."""

import numpy as np
import pytest

from kidney_core.common import packing
from tests.ct_files import ct_dataset, saved

RNG = np.random.default_rng(0)


def noisy_slice(size_px: int) -> bytes:
    """A CT file with the noise of a patient's."""
    return saved(ct_dataset(RNG.normal(40, 12, (size_px, size_px)).astype(np.int16)))


@pytest.mark.parametrize("n_more", [0, 1, 2, 4 * 1024**2, 9 * 1024**2 + 1])
def test_content_comes_back_exactly(n_more):
    content = noisy_slice(512) + bytes(n_more)
    packed = packing.pack(content)
    assert packed is not None
    assert packed.size == len(content)
    assert packed.unpack() == content


def test_a_ct_slice_takes_less_than_half():
    content = noisy_slice(512)
    packed = packing.pack(content)
    assert packed is not None
    assert len(packed.data) < 0.5 * len(content)


def test_what_is_packed_already_or_small_is_left_as_it_is():
    assert packing.pack(RNG.bytes(1_000_000)) is None
    assert packing.pack(bytes(1000)) is None
