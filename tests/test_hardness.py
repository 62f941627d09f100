"""Every line of the table reaches its targets (`make hardness` prints it; see tests/hardness)."""

import pytest

from tests.hardness.lines import LINES
from tests.hardness.table import NotMeasured, Options, told

pytestmark = pytest.mark.slow


def marks(line):
    return [pytest.mark.hardness] * line.slow + [pytest.mark.browser] * line.needs_browser


@pytest.mark.parametrize("line", [pytest.param(line, id=line.what, marks=marks(line)) for line in LINES])
def test_a_line_of_the_table_reaches_its_targets(line):
    try:
        figures = line.figures(Options())
    except NotMeasured as reason:
        pytest.skip(str(reason))
    print(f"{line.point} | {line.what} | {told(figures)}")
    assert not line.missed(figures), told(figures)
