"""Start the app and say where it is: what `make app` runs."""

import sys
from pathlib import Path

from streamlit.web import cli

APP = Path(__file__).resolve().parent.parent / "streamlit_app.py"


def main() -> None:
    """Run Streamlit with the settings of .streamlit/config.toml; more options are passed on."""
    print("Kidney CT workbench: http://127.0.0.1:8501 (Ctrl+C stops it; training jobs go on)", flush=True)
    sys.argv = ["streamlit", "run", str(APP), *sys.argv[1:]]
    cli.main()


if __name__ == "__main__":
    main()
