"""A line of the table: what is measured, and what its figures must be."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

Figures = dict[str, float | int | str]
_JUDGES = {"=": operator.eq, "<=": operator.le, ">=": operator.ge}


class CannotMeasure(Exception):
    """This machine or user cannot make what a line measures; the message says what is missing."""


@dataclass(frozen=True)
class Options:
    """How much to do.

    Attributes:
        thorough: everything; otherwise what fits into `make test`.
        folders: whose files are read as well, where a line reads files.
    """

    thorough: bool = False
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Line:
    """One line: of which point, what, how it is measured, and its targets, such as {"t_s": ("<=", 10)}.

    Figures without a target are printed for the reader. A `slow` line has no short form: pytest leaves it out of
    `make test`.
    """

    point: int
    what: str
    measure: Callable[[Options], Figures]
    targets: dict[str, tuple[str, float]]
    slow: bool = False

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


def told(figures: Figures) -> str:
    """Figures as they are printed."""
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in figures.items()
    )


def print_table(lines: Iterable[Line], options: Options) -> bool:
    """Measure and print line after line; True where every target is reached, which one that cannot be measured is not."""
    print("point | what | figures | target | ok", flush=True)
    all_ok = True
    for line in lines:
        try:
            figures = line.measure(options)
        except CannotMeasure as error:
            all_ok = False
            print(f"{line.point} | {line.what} | not measured: {error} | {line.target} | no", flush=True)
            continue
        missed = line.missed(figures)
        all_ok = all_ok and not missed
        print(f"{line.point} | {line.what} | {told(figures)} | {line.target} | {'no' if missed else 'yes'}", flush=True)
    return all_ok
