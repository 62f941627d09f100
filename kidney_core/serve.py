"""Start the app and say where it is: what `make app` runs."""

import logging
import sys
from pathlib import Path

import plotly.io
import pyarrow  # noqa: F401 - Streamlit imports it at the first table
from streamlit.web import cli

from kidney_core import decoder

APP = Path(__file__).resolve().parent.parent / "streamlit_app.py"


def import_pages() -> None:
    """Import what the pages import, so that it is paid before the server answers and not by its first visitor."""
    caching = logging.getLogger("streamlit.runtime.caching.cache_data_api")
    caching.disabled = True  # it would warn that no server runs yet
    from kidney_core import comparison_panel, figures, job_panel, model_panel, new_jobs, ui, viewer  # noqa: F401

    caching.disabled = False
    plotly.io.templates["plotly"]  # parsed at the first figure otherwise


def main() -> None:
    """Run Streamlit with the settings of .streamlit/config.toml; more options are passed on."""
    decoder.start()  # it imports its decoders while this process imports the pages
    import_pages()
    given = dict(zip(sys.argv[1:], sys.argv[2:], strict=False))
    port = given.get("--server.port", "8501")
    print(f"Kidney CT workbench: http://127.0.0.1:{port} (Ctrl+C stops it; training jobs go on)", flush=True)
    sys.argv = ["streamlit", "run", str(APP), *sys.argv[1:]]
    cli.main()


if __name__ == "__main__":
    main()
