"""What the commands of the workbench have in common: errors as sentences, progress on the terminal."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

from kidney_core.common import os_errors
from kidney_core.common.errors import KidneyError

_INTERRUPTED = 130  # the exit status of what SIGINT ended, as in a shell: 128 + 2


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Decorate a main function: what a user can mend becomes a sentence on standard error and the exit status 1.

    That is every KidneyError, and what the system refuses: a full disk, a folder that may not be written. Ctrl+C ends it with
    one line as well.
    """

    @functools.wraps(main)
    def run(*arguments: list[str] | None) -> int:
        try:
            return main(*arguments)
        except KidneyError as error:
            print(f"error: {error}", file=sys.stderr)
        except OSError as error:
            print(f"error: {os_errors.describe(error, Path.cwd(), then='try again')}", file=sys.stderr)
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)  # below the terminal's ^C, or a line of progress
            return _INTERRUPTED
        return 1

    return run


def progress_printer(activity: str) -> Callable[[int, int], None] | None:
    """A function that prints progress on one line of the terminal; None where standard error is not a terminal."""
    if not sys.stderr.isatty():
        return None
    return lambda done, total: print(
        f"{activity}: {done:,} of {total:,}", end="\n" if done == total else "\r", file=sys.stderr, flush=True
    )
