"""The only door for paths that somebody types, so that none leads out of the allowed folders."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from kidney_core.app import access, form_memory, markdown
from kidney_core.common import allowed_paths
from kidney_core.common.errors import KidneyError
from kidney_core.common.typed_paths import clean_path, clean_paths

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

_DEMO_FOLDER = "demo-data"
_FOLDER_HELP = "A folder on this machine that holds one folder per class, for example Cyst, Normal, Stone and Tumor."


def path_input(
    label: str,
    value: str = "",
    *,
    key: str,
    several: bool = False,
    messages: "DeltaGenerator | None" = None,
    **options: Any,
) -> str:
    """The path that the user types, resolved; empty where it may not be used, with the reason below the field.

    Args:
        several: several paths may be typed, separated by ":" (`os.pathsep`).
        messages: where the reason is shown instead, for a field in a closed menu.
        options: of `st.text_input`.
    """
    typed = st.text_input(markdown.text(label), value, key=key, **options)
    paths = clean_paths(typed) if several else [typed]
    try:
        return os.pathsep.join(allowed_path(path) for path in paths)
    except KidneyError as error:
        (messages or st).error(markdown.text(error))
        return ""


def allowed_path(typed: str) -> str:
    """The resolved path, which must be in an allowed folder; empty for an empty one. Raises PathError, AccessError."""
    path = clean_path(typed)
    if not path:
        return ""
    access.require(access.DIAGNOSER)
    return str(allowed_paths.resolve_allowed(path, access.allowed_roots()))


def folder_input(key: str, *, last: str = "") -> str:
    """The folder of images that the user types; starts with `last`, or the simulated dataset where there is one that may be used."""
    return path_input(
        "Folder of images",
        last or (_DEMO_FOLDER if is_there(_DEMO_FOLDER) else ""),
        key=key,
        placeholder="/data/ct-kidney",
        help=_FOLDER_HELP,
    )


def opened_folder_input(key: str, *, label: str = "Folder of images", has_demo: bool = True) -> str:
    """The folder that the user types; starts with the one that they opened last, on whatever page, and offers it to the others.

    Args:
        has_demo: start with the simulated dataset where nothing was opened yet.
    """
    demo = _DEMO_FOLDER if has_demo and is_there(_DEMO_FOLDER) else ""
    form_memory.start({key: form_memory.opened_folder() or demo})
    folder = path_input(label, key=key, placeholder="/data/ct-kidney", help=_FOLDER_HELP)
    if folder and is_there(folder):
        form_memory.keep_folder(folder)
    return folder


def is_there(typed: str) -> bool:
    """Whether a path may be used and leads to a folder or file."""
    try:
        return Path(allowed_path(typed)).exists()
    except (KidneyError, OSError):
        return False
