"""Point 13, many users at once; what each of them does is in `benchmarks.load`."""

from benchmarks import load
from tests.hardness.table import Figures, Options, require_browser


def measure(options: Options) -> Figures:
    """Twenty users for five minutes where `thorough`, else six for half a minute."""
    require_browser()  # of its own: all users are in one event loop
    return load.measure(20, 300) if options.thorough else load.measure(6, 30)
