"""Start the app and say where it is: what `make app` runs."""

import logging
import sys
from pathlib import Path

import plotly.io
import pyarrow  # noqa: F401 - Streamlit imports it at the first table
from streamlit import config
from streamlit.web import bootstrap, cli

from kidney_core import access, decoder
from kidney_core.errors import command

APP = Path(__file__).resolve().parent.parent / "streamlit_app.py"


def import_pages() -> None:
    """Import what the pages import, so that it is paid before the server answers and not by its first visitor."""
    caching = logging.getLogger("streamlit.runtime.caching.cache_data_api")
    caching.disabled = True  # it would warn that no server runs yet
    from kidney_core import comparison_panel, figures, job_panel, model_panel, new_jobs, ui, viewer  # noqa: F401

    caching.disabled = False
    plotly.io.templates["plotly"]  # parsed at the first figure otherwise


def read_options(arguments: list[str]) -> None:
    """Make Streamlit's settings what they will be in the app: its files and environment, then these options."""
    given = cli.main_run.make_context("run", [str(APP), *arguments]).params
    bootstrap.load_config_options({name: value for name, value in given.items() if name not in ("target", "args")})


@command
def main(arguments: list[str] | None = None) -> int:
    """Run Streamlit with the settings of .streamlit/config.toml; more options are passed on.

    Raises: AccessError, told with exit status 1, where the app would be open to everybody.
    """
    given = sys.argv[1:] if arguments is None else arguments
    read_options(given)
    access.check_start()
    decoder.start()  # it imports its decoders while this process imports the pages
    import_pages()
    address, port = config.get_option("server.address"), config.get_option("server.port")
    print(f"Kidney CT workbench: http://{address}:{port} (Ctrl+C stops it; training jobs go on)", flush=True)
    sys.argv = ["streamlit", "run", str(APP), *given]
    cli.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
