"""Start the app and say where it is: what `make app` runs."""

import argparse
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import plotly.io
import pyarrow  # noqa: F401 - Streamlit imports it at the first table
import streamlit as st

from kidney_core.app import access, streamlit_internals, unexpected_errors, upload_room, upload_route
from kidney_core.common import settings
from kidney_core.common.entry_point import command
from kidney_core.imaging import decoder

_EPILOG = """\
Any other option goes to Streamlit, for example --server.maxUploadSize 256 or --server.baseUrlPath ct
(`streamlit run --help` lists them). Settings come from the app's own .streamlit/config.toml, then from environment
variables such as STREAMLIT_SERVER_PORT, then from these options. On any address but 127.0.0.1 the app needs a log-in:
an [auth] section in .streamlit/secrets.toml (docs.streamlit.io, st.login), or a proxy that logs people in and
--server.trustedUserHeaders '{"X-Forwarded-Email": "email"}'.
"""


def app_script() -> Path:
    """The script of the Home page, with `pages/` and `.streamlit/` beside it; the only place that knows where they are."""
    folder = settings.CHECKOUT or Path(__file__).resolve().parent / "entry"  # a wheel holds copies, see pyproject.toml
    return folder / "streamlit_app.py"


def own_settings(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The app's settings as options of `streamlit run`, so that they hold whatever folder it is started from.

    Streamlit would let an option win over an environment variable: a setting that one of those names is left out.
    """
    path = app_script().parent / ".streamlit" / "config.toml"
    own = _flat(tomllib.loads(path.read_text(encoding="utf-8")))
    # An option cannot hold a list. The only one, colours of charts, Streamlit reads from the file beside the script itself.
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in own
        if not isinstance(value, list) and _variable(name) not in environment
    ]


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting with its full name, such as "theme.light.primaryColor"."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _variable(name: str) -> str:
    """The environment variable by which Streamlit takes a setting: server.maxUploadSize -> STREAMLIT_SERVER_MAX_UPLOAD_SIZE."""
    words = "".join(f"_{letter}" if letter.isupper() else letter for letter in name)
    return "STREAMLIT_" + words.replace(".", "_").upper()


def import_pages() -> None:
    """Import what the pages import, so that it is paid before the server answers and not by its first visitor."""
    with streamlit_internals.without_cache_warnings():
        from kidney_core.app import (  # noqa: F401
            comparison_panel,
            home_panel,
            jobs_panel,
            model_panel,
            training_form,
            upload_panel,
            viewer,
        )
        from kidney_core.metrics import plots  # noqa: F401
    plotly.io.templates["plotly"]  # parsed at the first figure otherwise


def read_arguments(arguments: list[str] | None) -> list[str]:
    """The options for Streamlit: the app's own settings, then those of the command line. `--help` prints and exits."""
    parser = argparse.ArgumentParser(
        description="Start the kidney CT workbench in a web server on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--server.port", metavar="PORT", help="default: 8501")
    parser.add_argument("--server.address", metavar="ADDRESS", help="default: 127.0.0.1, this machine only")
    parser.parse_known_args(arguments)
    return own_settings() + (sys.argv[1:] if arguments is None else arguments)


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the app until it is stopped.

    Raises: AccessError, shown with exit status 1, where the app would be open to everybody.
    """
    options = read_arguments(arguments)
    try:
        streamlit_internals.read_options(app_script(), options)
    except click.ClickException as error:
        print(f"error: {error.format_message()} (--help lists the options)", file=sys.stderr)
        return 2
    access.check_start()
    upload_room.total_bytes()
    upload_route.guard_server()
    unexpected_errors.install_for_process()
    decoder.start()  # it imports its decoders while this process imports the pages
    import_pages()
    address, port = st.get_option("server.address"), st.get_option("server.port")
    print(f"Kidney CT workbench: http://{address}:{port} (Ctrl+C stops it; training jobs go on)", flush=True)
    streamlit_internals.run(app_script(), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
