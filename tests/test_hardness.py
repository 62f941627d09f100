"""Every line of the table reaches its targets (`make hardness` prints it; see tests/hardness)."""

import pytest

from tests.hardness.lines import LINES
from tests.hardness.table import CannotMeasure, Options, told


@pytest.mark.parametrize(
    "line",
    [pytest.param(line, id=line.what, marks=[pytest.mark.hardness] if line.slow else []) for line in LINES],
)
def test_a_line_of_the_table_reaches_its_targets(line):
    try:
        figures = line.measure(Options())
    except CannotMeasure as error:
        pytest.skip(str(error))
    print(f"{line.point} | {line.what} | {told(figures)}")
    assert not line.missed(figures), told(figures)
