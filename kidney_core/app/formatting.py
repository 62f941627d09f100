"""Numbers, durations and typed texts as pages write them."""

import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def quantity(number: int, noun: str, plural: str = "") -> str:
    """1, "job" -> "1 job"; 2, "job" -> "2 jobs"; 2, "copy", "copies" -> "2 copies"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float | None) -> str:
    """95 -> "1 min 35 s"; empty for None."""
    if seconds is None:
        return ""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def nonbreaking(text: str) -> str:
    """The same text, in which no line ends between a number and its per cent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def escape_markdown(text: str) -> str:
    """A text that somebody typed, or that names a file, as Markdown that shows exactly its letters, in one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
