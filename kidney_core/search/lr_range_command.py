"""`kidney-ct lr-range`: find a learning rate by a range test; nothing of it is kept among the runs."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from kidney_core.common.entry_point import command, progress_printer
from kidney_core.engines import train_command

if TYPE_CHECKING:
    from kidney_core.search.lr_range import RangeTest

_DESCRIPTION = """\
Find a learning rate: a fresh network is trained for some steps while the rate rises, until its loss diverges. The suggestion is
the rate at which the loss falls fastest (Smith 2017, arXiv:1506.01186). Nothing is kept among the runs.

kidney-ct lr-range --data FOLDER --architecture resnet18
"""
_BAR = 40  # characters


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The options of a range test, and those of a training."""
    parser = argparse.ArgumentParser(
        prog="kidney-ct lr-range",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--steps", type=int, help="steps of the test (default: 100)")
    parser.add_argument("--lowest", type=float, help="learning rate of the first step (default: 1e-7)")
    parser.add_argument("--highest", type=float, help="learning rate of the last step (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON: a line for each step, and one for the result")
    train_command.add_options(parser)
    return parser.parse_args(arguments)


@command
def main(arguments: list[str] | None = None) -> int:
    """Run a range test and print its curve and its suggestion; the exit status."""
    given = vars(parse_arguments(sys.argv[1:] if arguments is None else arguments))
    names = {"steps": "n_steps", "lowest": "lowest", "highest": "highest"}
    limits = {names[name]: given.pop(name) for name in names if name in given}
    as_json = given.pop("json", False)
    config = train_command.config_of(given)
    from kidney_core.search import lr_range  # only now: torch takes seconds
    from kidney_core.training import readiness

    readiness.require_trainable(config, progress_printer)
    printer = progress_printer("Steps")
    total = limits.get("n_steps", lr_range.N_STEPS)

    def on_step(step: int, rate: float, loss: float) -> None:
        if as_json:
            print(json.dumps({"step": step, "n_steps": total, "learning_rate": rate, "loss": loss}), flush=True)
        elif printer is not None:
            printer(step, total)

    def note(title: str, done: int, of: int) -> None:
        if as_json:
            print(json.dumps({"note": title, "step": done, "n_steps": of}), flush=True)

    result = lr_range.measure(config, on_step=on_step, note=note, **limits)
    if as_json:
        print(json.dumps({"result": asdict(result)}), flush=True)
    else:
        print(in_words(result))
    return 0


def in_words(result: "RangeTest") -> str:
    """The smoothed loss at every few steps, and what it suggests."""
    step = max(1, len(result.smoothed_losses) // 25)
    highest = max(result.smoothed_losses, default=1.0)
    lines = [
        f"{rate:9.2e}  {loss:8.4f}  {'#' * round(_BAR * loss / highest)}"
        for rate, loss in list(zip(result.learning_rates, result.smoothed_losses, strict=True))[::step]
    ]
    end = "the loss diverged" if result.diverged else "the highest rate was reached"
    lines.append(f"{len(result.losses)} steps; {end}")
    if result.suggestion is None:
        lines.append("no suggestion: the loss never fell. Try more steps, or other limits")
    else:
        lines.append(f"suggestion: --learning-rate {result.suggestion:.2g}, where the loss falls fastest")
    return "\n".join(["rate       smoothed loss", *lines])


if __name__ == "__main__":
    sys.exit(main())
