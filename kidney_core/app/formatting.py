"""Numbers and durations as people write them."""


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
