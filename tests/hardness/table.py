"""A line of the table: what is measured, and what its figures must be."""

import operator
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.browser import chromium_path, launched_browser

Figures = dict[str, float | int | str]
_JUDGES = {"=": operator.eq, "<=": operator.le, ">=": operator.ge}


class NotMeasured(Exception):
    """Why a line cannot be measured on this machine; pytest skips it, and in the table it counts as missed."""


@dataclass(frozen=True)
class Options:
    """How much to do.

    Attributes:
        thorough: everything; otherwise what fits into `make test`.
        folders: whose files are read as well, where a line reads files.
        workplace: an empty folder of this measurement alone.
        browser: headless Chromium, for a line that `needs_browser`.
    """

    thorough: bool = False
    folders: tuple[Path, ...] = ()
    workplace: Path | None = None
    browser: Browser | None = None


@dataclass(frozen=True)
class Line:
    """One line: of which point, what, how it is measured, and its targets, such as {"t_s": ("<=", 10)}.

    Figures without a target are printed for the reader. A `slow` line has no short form: pytest leaves it out of
    `make test`. `measure` may raise NotMeasured.
    """

    point: int
    what: str
    measure: Callable[[Options], Figures]
    targets: dict[str, tuple[str, float]]
    slow: bool = False
    needs_browser: bool = False

    def figures(self, options: Options) -> Figures:
        """Measure in an empty folder, with a browser where one is needed. Raises NotMeasured."""
        with tempfile.TemporaryDirectory() as folder, _browser() if self.needs_browser else nullcontext() as browser:
            return self.measure(replace(options, workplace=Path(folder), browser=browser))

    def missed(self, figures: Figures) -> list[str]:
        """The targets that the figures do not reach."""
        return [
            f"{name}{sign}{bound:g}"
            for name, (sign, bound) in self.targets.items()
            if not _JUDGES[sign](figures[name], bound)
        ]

    @property
    def target(self) -> str:
        return " ".join(f"{name}{sign}{bound:g}" for name, (sign, bound) in self.targets.items())


def require_browser() -> None:
    """Raises: NotMeasured."""
    if chromium_path() is None:
        raise NotMeasured("there is no Chromium or Chrome on this machine")


@contextmanager
def _browser() -> Iterator[Browser]:
    require_browser()
    with launched_browser() as browser:
        yield browser


def told(figures: Figures) -> str:
    """Figures as they are printed."""
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in figures.items()
    )


def print_table(lines: Iterable[Line], options: Options) -> bool:
    """Measure and print line after line; True where every target is reached, and every line was measured."""
    print("point | what | figures | target | ok", flush=True)
    all_ok = True
    for line in lines:
        try:
            figures = line.figures(options)
            said, ok = told(figures), "no" if line.missed(figures) else "yes"
        except NotMeasured as reason:
            said, ok = f"not measured: {reason}", "not measured"
        all_ok = all_ok and ok == "yes"
        print(f"{line.point} | {line.what} | {said} | {line.target} | {ok}", flush=True)
    return all_ok
