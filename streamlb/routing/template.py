"""Traefik 2's paths and hosts with patterns in braces: `/articles/{id:[0-9]+}`, `{sub:[a-z]+}.example.com`.

What lives here: such a text turned into one pattern. What must not: compiling it (`pattern.py`).
Called by `vocabulary.py` to check one and by `v2.py` to use one. Specified by Traefik 2's routers page, which leans on
gorilla/mux: `{name}` is a whole segment, `{name:pattern}` is the pattern, everything else is meant literally.
"""

from __future__ import annotations

from typing import NamedTuple

from streamlb.routing.pattern import PatternError, escape, searcher


class TemplateKind(NamedTuple):
    """What a template is matched with. segment: the pattern of a bare `{name}`. flags, end: around the whole."""

    segment: str
    flags: str = ""
    end: str = "$"


PATH = TemplateKind("[^/]+")
PREFIX = TemplateKind("[^/]+", end="")
HOST = TemplateKind("[^.]+", flags="(?i)")
QUERY = TemplateKind(".*")


def to_pattern(text: str, kind: TemplateKind) -> str:
    """The pattern of a template. Raises PatternError with the column in the template."""
    out = [kind.flags, "^"]
    at = 0
    for start, end in _braces(text):
        out += [escape(text[at:start]), _piece(text, start, end, kind)]
        at = end
    out += [escape(text[at:]), kind.end]
    return "".join(out)


def has_patterns(text: str) -> bool:
    return "{" in text


def _piece(text: str, start: int, end: int, kind: TemplateKind) -> str:
    name, colon, pattern = text[start + 1 : end - 1].partition(":")
    if not name or (colon and not pattern):
        raise PatternError("expected `{name}` or `{name:pattern}`", start, end - start)
    if not colon:
        return kind.segment
    try:
        searcher(pattern.encode("utf-8", "surrogateescape"))
    except PatternError as error:
        first = start + 2 + len(name)
        width = error.width or len(pattern)
        raise PatternError(error.message, first + error.column, width, error.suggestion) from None
    return f"(?:{pattern})"


def _braces(text: str) -> list[tuple[int, int]]:
    """Where each outer pair of braces begins, and the place behind it."""
    found: list[tuple[int, int]] = []
    depth = start = 0
    for place, character in enumerate(text):
        if character == "{":
            depth += 1
            if depth == 1:
                start = place
        elif character == "}":
            depth -= 1
            if depth == 0:
                found.append((start, place + 1))
            elif depth < 0:
                raise PatternError("a `}` was never opened", place, 1)
    if depth:
        raise PatternError("a `{` is never closed", start, 1)
    return found
