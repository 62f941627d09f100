"""What a checkpoint costs: measured in a real process, and refused in words."""

import pytest

from kidney_core.checkpoints import footprint
from kidney_core.checkpoints.checkpoint import WEIGHTS_FILE
from kidney_core.common.errors import CheckpointError


@pytest.mark.slow
def test_a_checkpoint_is_measured_in_a_process_of_its_own(published):
    found = footprint.measure(published)
    print(found)
    assert found.file_mb == pytest.approx((published.folder / WEIGHTS_FILE).stat().st_size / 1e6)
    assert 1e4 < found.n_parameters < 1e6
    assert 0 < found.slice_ms < 60_000
    assert found.slices_per_s > 0
    assert 0 < found.memory_mib < 2000


@pytest.mark.slow
def test_measure__error_damaged_weights_are_a_sentence(published):
    (published.folder / WEIGHTS_FILE).write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"“tiny” could not be measured: .*SHA-256 differs"):
        footprint.measure(published)
