"""`kidney-ct COMMAND …`: every command of the workbench under one name."""

import importlib
import sys

from kidney_core import __version__
from kidney_core.common.entry_point import command

# Command -> (module with `main(arguments)`, what it does). Modules are imported when they are called: some load torch.
COMMANDS = {
    "app": ("kidney_core.app.serve", "Start the workbench in the browser."),
    "train": ("kidney_core.engines.train_command", "Train a network on a folder of CT slices."),
    "search": ("kidney_core.search.search_command", "Search for good settings of a training."),
    "lr-range": ("kidney_core.search.lr_range_command", "Find a learning rate by a range test."),
    "train-finder": ("kidney_core.training.finder_command", "Train the network that finds the kidneys."),
    "train-picture-check": (
        "kidney_core.training.picture_check_command",
        "Train the check for turned pictures and contact sheets.",
    ),
    "publish": ("kidney_core.training.publish", "Publish a finished run as a checkpoint."),
    "import-weights": (
        "kidney_core.checkpoints.import_weights",
        "Make a checkpoint of a network trained elsewhere.",
    ),
    "evaluate": ("kidney_core.diagnosis.evaluate", "Evaluate checkpoints on a labelled folder."),
    "audit": ("kidney_core.data.leak_audit", "Audit a folder for data leakage between training and test."),
    "phantom": ("kidney_core.simulation.phantom", "Write a dataset of simulated CT slices."),
    "pointing": ("kidney_core.checkpoints.pointing", "Measure whether heatmaps point at known lesions."),
    "paint-over": ("kidney_core.diagnosis.paint_over", "Measure whether predictions depend on the lesion."),
    "lessons": ("kidney_core.teaching.ready_results", "Recompute the stored results of the Teaching page."),
    "export-onnx": ("kidney_core.checkpoints.onnx_export", "Export a checkpoint to ONNX."),
    "seal": ("kidney_core.checkpoints.seal", "Seal a checkpoint folder after a change of your own."),
    "report-check": ("kidney_core.reports.report_check", "Recompute the numbers of an exported zip."),
    "verify-log": ("kidney_core.app.audit_log", "Check that an audit log is as it was written."),
    "mlflow": ("kidney_core.engines.mlflow_mirror", "Copy training runs to an MLflow server."),
    "export-tensorboard": ("kidney_core.engines.tensorboard_export", "Write the curves of runs for TensorBoard."),
    "settings": ("kidney_core.common.settings", "Print every setting with the value in force."),
}


def usage() -> str:
    """The text of `kidney-ct --help`."""
    commands = "\n".join(f"  {name:20}{purpose}" for name, (_, purpose) in COMMANDS.items())
    return (
        f"usage: kidney-ct COMMAND [OPTIONS]\n\nKidney CT workbench {__version__}. For research and teaching, not a medical "
        f"device.\n\ncommands:\n{commands}\n\nkidney-ct COMMAND --help lists the options of a command."
    )


@command
def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status: 0 for success, 1 for an error with its sentence, 2 for a wrong call."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] in (["--version"], ["-V"]):
        print(__version__)
        return 0
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name, *options = given
    if name not in COMMANDS:
        print(f"error: there is no command “{name}”.\n\n{usage()}", file=sys.stderr)
        return 2
    sys.argv[0] = f"kidney-ct {name}"  # as argparse names the program in its help
    status = importlib.import_module(COMMANDS[name][0]).main(options)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
