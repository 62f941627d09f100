"""The font of the reports: DejaVu Sans, which has every character they use and comes with matplotlib."""

from pathlib import Path


def font_path(*, bold: bool = False) -> Path:
    """The path of the TrueType file of DejaVu Sans."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
