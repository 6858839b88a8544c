"""A YAML document as a tree that remembers where every key and value was written.

What lives here: `Source` (one file's text), the node classes, how a scalar's inside maps to columns of its file.
What must not: YAML parsing (`load.py`), what a key means (`shape.py`).
Built by `load.py`, read by `shape.py` and `kubernetes.py`, asked for positions by everybody who reports a problem.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from streamlb.errors import Position, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML 1.1 (and so libyaml) counts as a line break
MAX_EXCERPT = 500  # characters; beyond it a line is left out of the report


class Source:
    """One file's text. `name` is the file as the user named it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    @cached_property
    def lines(self) -> list[str]:
        return LINE_BREAK.split(self.text)

    def line(self, number: int) -> str:
        """The text of a line counted from 1; empty when there is no such line."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def problem(self, line: int, column: int, path: str, reason: str, suggestion: str = "", width: int = 1) -> Problem:
        """A problem at a line and column counted from 1, with the line as its excerpt."""
        text = self.line(line)
        excerpt = text if len(text) <= MAX_EXCERPT else ""
        room = max(1, len(text) - column + 1)
        position = Position(self.name, line, column)
        return Problem(position, path, reason, suggestion, excerpt, max(1, min(width, room)))


@dataclass(slots=True, eq=False)
class Scalar:
    """A single value.

    value: what the core schema of YAML 1.2 makes of it. text: what was written, without quotes.
    style: empty for a plain scalar, else YAML's sign: a quote, `|` or `>`.
    line, column, end_line, end_column: counted from 1; the end is the first character behind.
    tagged: it was said to be text or a number.
    written, origin: what stood there before something was put in, and where that came from; empty where nothing was.
    is_secret: the text is not to be shown.
    """

    source: Source
    line: int
    column: int
    value: str | int | float | bool | None = None
    text: str = ""
    style: str = ""
    end_line: int = 0
    end_column: int = 0
    tagged: str = ""
    written: str = ""
    origin: str = ""
    is_secret: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether its type is for the core schema to say."""
        return not self.style and self.tagged in ("", "int", "float", "bool", "null")

    @property
    def width(self) -> int:
        """How many characters of the first line the scalar takes."""
        if self.end_line == self.line:
            return self.end_column - self.column
        return len(self.source.line(self.line)) - self.column + 1

    def spot(self, offset: int) -> tuple[int, int] | None:
        """The line and column of the character `offset` (from 0) of a text written in one line; else None."""
        if self.end_line != self.line or self.style in ("|", ">") or self.written:
            return None
        raw = self.source.line(self.line)[self.column - 1 : self.end_column - 1]
        starts = [*_character_starts(raw, self.style), len(raw) - (1 if self.style else 0)]
        if offset >= len(starts):
            return None
        return self.line, self.column + starts[offset]


@dataclass(slots=True, eq=False)
class Entry:
    """One key of a mapping and its value."""

    key: Scalar
    value: Node


@dataclass(slots=True, eq=False)
class Mapping:
    """`entries` by key as written, in the file's order."""

    source: Source
    line: int
    column: int
    entries: dict[str, Entry] = field(default_factory=dict)
    width: int = 1

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.value if entry else None


@dataclass(slots=True, eq=False)
class Sequence:
    source: Source
    line: int
    column: int
    items: list[Node] = field(default_factory=list)
    width: int = 1


Node = Scalar | Mapping | Sequence


def is_empty(node: Node | None) -> bool:
    """Whether nothing was written: no node, or a null."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def text_of(node: Node | None) -> str:
    """The text of a scalar; empty for anything else."""
    return node.text if isinstance(node, Scalar) and node.value is not None else ""


def problem_at(node: Node, path: str, reason: str, suggestion: str = "") -> Problem:
    """A problem that marks `node`."""
    return node.source.problem(node.line, node.column, path, reason, suggestion, node.width)


def duplicate(key: Scalar, first: Scalar, path: str) -> Problem:
    """The same key twice: both lines are named, the second one is marked."""
    reason = f"the key `{key.text}` is given twice; the first is in line {first.line}"
    if first.text != key.text:
        reason = f"`{key.text}` is the same key as `{first.text}` in line {first.line}"
    return problem_at(key, path or key.text, reason, "remove one of the two")


ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")


def _character_starts(raw: str, style: str) -> Iterator[int]:
    """Where each character of a scalar's text starts in its source `raw`, which includes the quotes."""
    if not style:
        yield from range(len(raw))
        return
    at = 1
    while at < len(raw) - 1:
        yield at
        if style == "'" and raw.startswith("''", at):
            at += 2
        elif style == '"' and (escape := ESCAPE.match(raw, at)):
            at = escape.end()
        else:
            at += 1
