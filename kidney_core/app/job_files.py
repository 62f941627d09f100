"""Training jobs outside of the form: their commands, a configuration as a file, and a saved one that is started."""

from collections.abc import Sequence

import streamlit as st

from kidney_core.app import job_check, job_start, markdown, packed_uploads
from kidney_core.common.errors import KidneyError
from kidney_core.runs import recipes
from kidney_core.runs.recipes import TrainingConfig

_LINES_SHOWN, _HEIGHT_PX = 6, 180  # of commands, before their box scrolls


def show(configs: Sequence[TrainingConfig], engine: str) -> None:
    """The commands of jobs to copy, one a line; the first job as a file; a saved file to start."""
    if configs:
        commands = "\n".join(map(recipes.command_line, configs))
        several = len(configs) > 1
        is_long = len(configs) > _LINES_SHOWN
        st.code(commands, language="bash", wrap_lines=not several, height=_HEIGHT_PX if is_long else "content")
        st.download_button(
            "Save the first configuration" if several else "Save the configuration",
            recipes.to_file(configs[0]),
            "kidney-ct-training.json",
            "application/json",
            on_click="ignore",
        )
    upload = st.file_uploader("Start a saved configuration", type="json", key="training_config_file")
    if upload is None:
        return
    try:
        config = recipes.from_file(packed_uploads.content(upload))
        st.code(recipes.command_line(config), language="bash", wrap_lines=True)
        if st.button("Start this configuration", key="training_config_start"):
            job_start.start([config], engine)
            job_check.show(config.data, [config])
    except KidneyError as error:
        st.error(markdown.text(error))
