"""Point 13, many users at once; what each of them does is in `benchmarks.load`."""

from benchmarks import load
from benchmarks.browser import chromium_path
from tests.hardness.table import Figures, NotMeasured, Options


def measure(options: Options) -> Figures:
    """Twenty users for five minutes where `thorough`, else six for half a minute."""
    if chromium_path() is None:
        raise NotMeasured("there is no Chromium or Chrome on this machine")
    return load.measure(20, 300) if options.thorough else load.measure(6, 30)
