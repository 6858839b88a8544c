"""Regular expressions that take linear time, whatever a client sends.

What lives here: RE2 behind one function, its limits, and what is wrong with a pattern.
What must not: what a pattern is matched with (`matchers.py`). re2 is imported when the first pattern is compiled, so
that a worker without patterns never loads it. Specified by RE2's syntax page (https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from streamlb.errors import StreamlbError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PATTERN = 4096
"""Bytes of a pattern."""
MAX_PROGRAM = 10_000
"""Steps of a compiled pattern: each byte of a text costs so many at worst. `x{1000}` has a thousand."""
MAX_MEMORY = 1024 * 1024
"""Bytes one pattern may hold in each worker, compiled form and state cache together."""


class PatternError(StreamlbError):
    """A pattern that cannot be used. column: where, counted in characters; width 0 means all of it."""

    def __init__(self, message: str, column: int = 0, width: int = 0, suggestion: str = "") -> None:
        self.message = message
        self.column = column
        self.width = width
        self.suggestion = suggestion
        super().__init__(message)


def searcher(pattern: bytes) -> Callable[[bytes], bool]:
    """Whether the pattern matches somewhere in a text (UTF-8). Raises PatternError."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"the pattern is longer than {MAX_PATTERN} bytes")
    re2 = _re2()
    try:
        compiled = re2.compile(pattern, _options(re2))
    except re2.error as error:
        raise _explain(pattern, error) from None
    if compiled.programsize > MAX_PROGRAM:
        raise PatternError("the pattern is too large: its repetitions multiply")
    # `search` spends four times as long on building a match object that nobody wants.
    match: Callable[[int, bytes, int, int], list[tuple[int, int]]] = compiled._regexp.Match
    anywhere = re2._Anchor.UNANCHORED

    def matches(text: bytes) -> bool:
        if not text.isascii():
            text = _readable(text)
        return match(anywhere, text, 0, len(text))[0][0] >= 0

    return matches


def escape(text: str) -> str:
    """A pattern for the text itself."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def literal_ending(pattern: str) -> str:
    """What a text must end with for the pattern to be found in it, `.example.com` for `^.+\\.example\\.com$`.

    In lower case and from the first dot on; empty when it is not plain to see.
    """
    if _NOT_PLAIN.search(pattern):
        return ""
    *tokens, last = _TOKENS.findall(pattern) or [""]
    if last != "$" or _splits(tokens):
        return ""
    literal = ""
    for token in reversed(tokens):
        character = _LITERALS.get(token) or (token if token.isascii() and (token.isalnum() or token == "-") else "")
        if not character:
            break
        literal = character + literal
    # What is before the first dot may be the rest of an escape such as `\\x41`.
    dot = literal.find(".")
    return literal[dot:].lower() if dot >= 0 else ""


_NOT_PLAIN = re.compile(r"\(\?(?!:|i\)|P?<)|\\Q")
"""Flags other than `(?i)`, which may change what `$` means, and literal stretches."""
_TOKENS = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*\]|.", re.DOTALL)
"""Escapes (the beginning of a long one), classes, and single characters."""
_LITERALS = {r"\.": ".", "[.]": ".", r"\-": "-"}


def _splits(tokens: list[str]) -> bool:
    """Whether a `|` stands outside of all groups."""
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token == "|" and depth <= 0:
            return True
    return False


_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def _re2() -> Any:
    import re2  # Here, because most configurations have no pattern.

    return re2


def _options(re2: Any) -> Any:
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    return options


_STRAY = re.compile("[\udc80-\udcff]")


def _readable(text: bytes) -> bytes:
    """The text with every octet that is no UTF-8 replaced: to RE2 such a one would match nothing, not even `.`."""
    return _STRAY.sub("\ufffd", text.decode("utf-8", "surrogateescape")).encode()


# --- what is wrong with a pattern ----------------------------------------------------------------------------------

_WORDS = {
    "missing )": "a `(` of the pattern is never closed",
    "unexpected )": "a `)` of the pattern was never opened",
    "missing ]": "a `[` of the pattern is never closed",
    "missing argument to repetition operator": "there is nothing to repeat",
    "no argument for repetition operator": "there is nothing to repeat",
    "bad repetition operator": "a repetition of a repetition",
    "invalid repetition size": "a repetition is out of order, or over 1000",
    "invalid character class range": "this range of characters is unknown or runs backwards",
    "invalid character class": "there is no such character class",
    "invalid escape sequence": "RE2 has no such escape",
    "trailing \\": "a backslash with nothing behind it",
    "invalid UTF-8": "the pattern is not UTF-8",
    "invalid named capture group": "the name of a group is wrong or given twice",
    "duplicate capture group name": "the name of a group is given twice",
    "pattern too large - compile failed": "the pattern is too large: its repetitions multiply",
}
_LOOKAROUND = re.compile(r"\(\?<?[=!]")


def _explain(pattern: bytes, error: Exception) -> PatternError:
    """RE2's complaint in our words; it names the piece it stumbled over, which is looked for in the pattern."""
    said = error.args[0] if error.args else b""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    reason, _, piece = text.partition(": ")
    shown = pattern.decode("utf-8", "surrogateescape")
    around = _LOOKAROUND.search(shown)
    if reason == "invalid perl operator" and around:
        return PatternError(
            "patterns look neither ahead nor back: RE2 has no such thing", around.start(), len(around[0]), "use `!`"
        )
    message = _WORDS.get(reason, f"not a valid pattern: {reason}")
    if piece and piece != shown and shown.count(piece) == 1:
        return PatternError(message, shown.index(piece), len(piece))
    return PatternError(message)
