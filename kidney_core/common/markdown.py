"""Names as text in Markdown: what comes from files, people and other machines never becomes markup."""

import re

JOINT = "\0"  # in words to escape: a place for what `escape` is asked to put there
_WHITE_SPACE = re.compile(r"[\x00-\x20\x7f\x85\u2028\u2029]+")
# Unicode's controls of the direction of writing, and the halves of characters by which Python reads names that are no UTF-8.
_DECEIVING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKUP = re.compile(
    r"""
      [\\`*\[\]<~|$]               # code, emphasis, links, HTML, strokes, tables, formulas
    | (?<![^\W_])_ | _(?![^\W_])   # emphasis; underscores within a word mean nothing
    | &(?=[#\w])                   # entities
    | :(?=\S)                      # addresses, and what extensions make of colons
    | ^[-+=\#>]                    # lists, headings, quotations
    """,
    re.VERBOSE,
)
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


def one_line(value: object) -> str:
    """Words without breaks, and without signs that turn their order around; of an error, its message."""
    return _DECEIVING.sub("\N{REPLACEMENT CHARACTER}", _WHITE_SPACE.sub(" ", str(value))).strip(" ")


def escape(value: object) -> str:
    """Markdown of exactly these words, on one line. Source: CommonMark 0.31, 2.4 Backslash escapes."""
    return escape_line(one_line(value))


def escape_line(words: str, *, joint: str = "") -> str:
    """`escape` of words that are one line already; `joint` is put where `JOINT` stands in them."""
    return _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", words)).replace(JOINT, joint)


def code(value: object) -> str:
    """Markdown of exactly these words as code: between more backticks than they have in a row."""
    words = one_line(value)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", words)), default=0))
    inner = f" {words} " if words.startswith("`") or words.endswith("`") else words
    return f"{fence}{inner}{fence}"
