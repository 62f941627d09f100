"""Where a font with every sign of the reports' text lies: DejaVu Sans, which matplotlib brings along."""

from pathlib import Path


def path_of(*, bold: bool = False) -> Path:
    """The TrueType file of DejaVu Sans."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
