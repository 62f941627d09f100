"""The form that makes a checkpoint of a network that was trained elsewhere."""

from dataclasses import asdict
from pathlib import Path

import streamlit as st

from kidney_core.app import access, audit_recorder, markdown, path_inputs
from kidney_core.common.errors import CheckpointError, KidneyError
from kidney_core.common.labels import LABELS
from kidney_core.common.paper import ARCHITECTURE_NAMES
from kidney_core.imaging.framing import FRAMINGS, GREYS, STRETCHED
from kidney_core.runs import recipes

# ImageNet's, as `networks.preprocessing` has them, which imports torch.
_MEAN, _STD = "0.485, 0.456, 0.406", "0.229, 0.224, 0.225"


def show() -> None:
    """The form in an expander, for researchers."""
    if not access.is_allowed(access.RESEARCHER):
        return
    if imported := st.session_state.pop("evaluation_imported", None):
        st.success(
            f"Imported as “{markdown.text(imported)}”, which was never evaluated here. Add it under *Checkpoints*, and choose a labelled folder "
            "under *Your folder*."
        )
    with st.expander("Import a network trained elsewhere", icon=":material/upload_file:"):
        st.caption(
            "It becomes a checkpoint without figures: Diagnosis shows its probabilities, but it always abstains."
        )
        with st.form("evaluation_import", border=False):
            _form()


def _form() -> None:
    path = path_inputs.path_input(
        "File of weights",
        key="evaluation_import_file",
        placeholder="/models/weights.pth",
        help="On this machine: safetensors, or PyTorch (.pth, .pt, .bin), with the parameter names of timm or torchvision.",
    )
    left, right = st.columns(2)
    architecture = left.selectbox(
        "Architecture",
        list(ARCHITECTURE_NAMES.values()),
        accept_new_options=True,
        help="One of these, or any timm name.",
        key="evaluation_import_architecture",
    )
    labels = right.text_input(
        "Labels, in the order of its outputs",
        ", ".join(LABELS),
        help="torchvision's ImageFolder numbers class folders by name: capital letters come before small ones.",
        key="evaluation_import_labels",
    )
    size, framing, greys = st.columns(3)
    size_px = size.number_input("Image size (px)", 32, 1024, 224, 32, key="evaluation_import_size")
    seen = framing.selectbox(
        "Framing",
        FRAMINGS,
        FRAMINGS.index(STRETCHED),
        help=markdown.text(recipes.help_text("framing")),
        key="evaluation_import_framing",
    )
    grey = greys.selectbox(
        "Grey values", GREYS, help=markdown.text(recipes.help_text("greys")), key="evaluation_import_greys"
    )
    left, right = st.columns(2)
    mean = left.text_input(
        "Mean of red, green, blue", _MEAN, help="Of values from 0 to 1", key="evaluation_import_mean"
    )
    std = right.text_input(
        "Standard deviation of red, green, blue", _STD, help="Of values from 0 to 1", key="evaluation_import_std"
    )
    name = st.text_input(
        "Name of the checkpoint", placeholder="resnet18-of-our-lab", key="evaluation_import_name"
    ).strip()
    if not st.form_submit_button("Import", type="primary"):
        return
    try:
        access.require(access.RESEARCHER)
        if not path:
            raise CheckpointError("Enter the file of weights first.")
        from kidney_core.checkpoints import import_weights

        stated = import_weights.StatedNetwork(
            architecture=(architecture or "").strip(),
            labels=tuple(label.strip() for label in labels.split(",")),
            image_size_px=int(size_px),
            framing=seen,
            greys=grey,
            mean=_numbers(mean),
            std=_numbers(std),
        )
        with st.spinner("Reading the weights…"):
            checkpoint = import_weights.import_weights(Path(path), stated, name=name)
        audit_recorder.published(checkpoint, asdict(stated))
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    st.session_state["evaluation_imported"] = checkpoint.name
    st.rerun()


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise CheckpointError(f"“{text}” is not a list of numbers. Enter three, separated by commas.") from error
