"""Problems as people and programs read them.

What lives here: the text with excerpt and caret, the JSON form, the one-line summary of a good configuration.
What must not: finding problems, printing. Called by the command line and by the control process at start.
Specified by docs/reference.md (`streamlb check`).
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import msgspec

from streamlb.config.model import PROTOCOLS
from streamlb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamlb.config.check import Loaded
    from streamlb.config.model import Config
    from streamlb.errors import Problem

RESET, BOLD, RED, GREEN, YELLOW, BLUE = "\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[34m"

MAX_EXCERPT_WIDTH = 150  # columns; a longer line is cut around the mark


def report(load: Callable[[], Loaded], name: str, form: str = "text", *, colour: bool = False) -> tuple[bool, str]:
    """Whether what `load` reads is valid, and all there is to say about it."""
    try:
        loaded = load()
    except ConfigError as error:
        if form == "json":
            return False, _json(to_objects(error.problems))
        return False, render(error.problems, colour) + count_line(len(error.problems), colour=colour)
    if form == "json":
        return True, _json(to_objects(loaded.notes, "note"))
    notes = render(loaded.notes, colour, word="note")
    return True, f"{notes}{clean(name)} is valid: {summary(loaded.config)}\n"


def _json(objects: list[dict[str, Any]]) -> str:
    return msgspec.json.format(msgspec.json.encode(objects), indent=2).decode("utf-8") + "\n"


def render(problems: Iterable[Problem], colour: bool = False, *, word: str = "error") -> str:
    """All problems with their excerpts, one after the other; ends with a newline unless there is none."""
    paint = _Paint(colour)
    return "".join(_problem(problem, word, paint) for problem in problems)


def count_line(errors: int, notes: int = 0, colour: bool = False) -> str:
    """The last line of a report."""
    paint = _Paint(colour)
    counted = [_count(errors, "error")] if errors else []
    if notes:
        counted.append(_count(notes, "note"))
    return paint(", ".join(counted), BOLD, RED if errors else YELLOW) + "\n" if counted else ""


def to_objects(problems: Iterable[Problem], severity: str = "error") -> list[dict[str, Any]]:
    """The JSON form: one flat object per problem."""
    return [
        {
            "severity": severity,
            "file": _utf8(problem.position.file),
            "line": problem.position.line,
            "column": problem.position.column,
            "width": problem.width,
            "path": problem.path,
            "reason": _utf8(problem.reason),
            "suggestion": problem.suggestion,
            "excerpt": problem.excerpt,
        }
        for problem in problems
    ]


def _utf8(text: str) -> str:
    """A file's name may hold bytes that are no text; JSON cannot."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def summary(config: Config) -> str:
    """`2 entry points, 3 routers, 4 services, 8 servers`."""
    sections = [config.section(protocol) for protocol in PROTOCOLS]
    services = [service for section in sections for service in section.services.values()]
    balancers = [service.load_balancer for service in services if service.load_balancer]
    counts = (
        _count(len(config.entry_points), "entry point"),
        _count(sum(len(section.routers) for section in sections), "router"),
        _count(len(services), "service"),
        _count(sum(len(balancer.servers) for balancer in balancers), "server"),
    )
    return ", ".join(counts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class _Paint:
    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def __call__(self, text: str, *codes: str) -> str:
        return f"{''.join(codes)}{text}{RESET}" if self.colour and text else text


def _problem(problem: Problem, word: str, paint: _Paint) -> str:
    tone = RED if word == "error" else YELLOW
    where = clean(str(problem.position))
    path = f" {clean(problem.path)}:" if problem.path else ""
    head = f"{paint(where, BOLD)}: {paint(f'{word}:', BOLD, tone)}{paint(path, BOLD)} {clean(problem.reason)}\n"
    hint = clean(problem.suggestion)
    if not problem.excerpt:
        return head + (f"  {paint(hint, GREEN)}\n" if hint else "")
    before, marked, after = _window(problem)
    number = str(problem.position.line)
    gutter = " " * len(number)
    source = f" {paint(f'{number} |', BLUE)} {before}{marked}{after}".rstrip()
    indent = " " * _columns(before)
    carets = paint("^" * max(1, _columns(marked)), BOLD, tone)
    return f"{head}{source}\n {paint(f'{gutter} |', BLUE)} {indent}{carets} {paint(hint, GREEN)}".rstrip() + "\n"


def _window(problem: Problem) -> tuple[str, str, str]:
    """The excerpt before, inside and after the mark, cut where the line is too long."""
    start = problem.position.column - 1
    end = start + problem.width
    text = problem.excerpt
    before, marked, after = clean(text[:start]), clean(text[start:end]), clean(text[end:])
    room = MAX_EXCERPT_WIDTH
    if len(before) + len(marked) + len(after) <= room:
        return before, marked, after
    if len(before) > room // 2:
        before = "..." + before[-(room // 2) :]
    marked = marked[: room // 2]
    left = max(0, room - len(before) - len(marked))
    return before, marked, after if len(after) <= left else after[:left] + "..."


def clean(text: str) -> str:
    """Nothing that moves a cursor or changes colours reaches a terminal from a file."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char.isprintable() else (" " if char == "\t" else "?") for char in text)


def _columns(text: str) -> int:
    """How many columns a terminal gives to a text; East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(_width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
