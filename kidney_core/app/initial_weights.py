"""The choice of what networks start from."""

import streamlit as st

from kidney_core.app import path_inputs

DOWNLOADED, RANDOM = "imagenet", "scratch"  # initial weights that are no file
NO_FILE = "FILE"  # stands in a command for a file that is not entered yet
_FILE = "file"
STARTS = {"ImageNet weights (downloaded by timm)": DOWNLOADED, "A file": _FILE, "Random weights": RANDOM}
AT_FIRST = next(iter(STARTS))


def choose(*, start_key: str, file_key: str) -> str:
    """DOWNLOADED, RANDOM, or the path of a file; NO_FILE before it is entered.

    Args:
        start_key, file_key: the session keys of the choice and of the path.
    """
    init = STARTS[st.selectbox("Initial weights", list(STARTS), key=start_key)]
    if init != _FILE:
        return init
    path = path_inputs.path_input(
        "File of weights",
        key=file_key,
        placeholder="/models/weights.pth",
        help="safetensors, or PyTorch (.pth, .pt, .bin), with the parameter names of timm or torchvision. Its head is replaced.",
    )
    return path or NO_FILE
