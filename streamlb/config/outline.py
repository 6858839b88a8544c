"""Where the keys, dashes, scalars and comments of a YAML text stand: what a formatter has to know.

What lives here: YAML's tokens taken as positions. What must not: what keys mean, trees (`load.py`), changing anything.
Called by `format.py`. Specified by YAML 1.2.2, chapter 8 (block styles).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unclear(Exception):
    """The text is valid, perhaps, but written in a way that this module leaves alone; says in which line and why."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        self.reason = reason
        super().__init__(reason)


@dataclass(slots=True)
class Item:
    """A key or a dash of a block collection; line and column are counted from 0, depth from 0 at the root.

    key: the text of a key, empty for a dash. next_column: where what follows a dash begins in its line; -1 elsewhere.
    """

    line: int
    column: int
    depth: int
    key: str = ""
    is_dash: bool = False
    next_column: int = -1


@dataclass(slots=True)
class Outline:
    """Items in order. scalar_lines: lines that a scalar goes on in, where spaces may count; with that of its first one.
    ends: by line, where the last token ends. flow_lines: lines that a flow collection goes on in. documents: how many.
    has_directives: whether there are `%` lines.
    """

    items: list[Item] = field(default_factory=list)
    scalar_lines: set[int] = field(default_factory=set)
    flow_lines: set[int] = field(default_factory=set)
    ends: dict[int, int] = field(default_factory=dict)
    documents: int = 0
    has_directives: bool = False


def outline(text: str) -> Outline:
    """The outline of a text that `load.parse` has found nothing wrong with. Raises Unclear."""
    reader = _Reader()
    try:
        for token in yaml.scan(text, Loader=_LOADER):
            reader.feed(token)
    except yaml.YAMLError as error:  # The parser would have complained before; nothing is changed then.
        raise Unclear(0, str(error)) from None
    return reader.found


class _Reader:
    def __init__(self) -> None:
        self.found = Outline()
        self.open: list[str] = []  # block collections: map, seq, or loose: a list no deeper than its key
        self.flow: list[int] = []  # lines where the open flow collections began
        self.last: Item | None = None  # waits for what comes behind it

    def feed(self, token: Any) -> None:
        line, column = token.start_mark.line, token.start_mark.column
        end_line, end_column = token.end_mark.line, token.end_mark.column
        name = type(token).__name__.removesuffix("Token")
        if name in ("StreamStart", "StreamEnd"):
            return
        if name == "BlockEnd":
            self._close()
            return
        if self.last is not None and name not in ("BlockMappingStart", "BlockSequenceStart"):
            self._follow(self.last, token, name)
        if name == "Scalar":
            self._scalar(token)
        elif end_line == line:
            self.found.ends[line] = max(self.found.ends.get(line, 0), end_column)
        if name in ("FlowMappingStart", "FlowSequenceStart"):
            self.flow.append(line)
        elif name in ("FlowMappingEnd", "FlowSequenceEnd"):
            self.found.flow_lines.update(range(self.flow.pop() + 1, end_line + 1))
        elif name == "Directive":
            self.found.has_directives = True
        elif not self.flow:
            self._block(name, line, column, end_column)

    def _block(self, name: str, line: int, column: int, end_column: int) -> None:
        if name in ("BlockMappingStart", "BlockSequenceStart"):
            self.open.append("map" if name == "BlockMappingStart" else "seq")
        elif name == "DocumentStart":
            self.found.documents += 1
        elif name == "BlockEntry":
            if self.open and self.open[-1] == "map":
                self.open.append("loose")
            self.last = Item(line, column, len(self.open) - 1, is_dash=True)
            self.found.items.append(self.last)
        elif name == "Key":
            if end_column > column:
                raise Unclear(line + 1, "a key behind a question mark")
            if self.open and self.open[-1] == "loose":
                self.open.pop()
            self.last = Item(line, column, len(self.open) - 1)
            self.found.items.append(self.last)

    def _follow(self, item: Item, token: Any, name: str) -> None:
        """What comes behind a dash, or the text of a key."""
        if item.is_dash:
            item.next_column = token.start_mark.column if token.start_mark.line == item.line else -1
        elif name in ("Anchor", "Tag"):
            return
        elif name == "Scalar":
            item.key = token.value
        elif name != "Alias":
            raise Unclear(item.line + 1, "a key that is not a word")
        self.last = None

    def _scalar(self, token: Any) -> None:
        first, last = token.start_mark.line, token.end_mark.line
        if token.style in ("|", ">") and token.end_mark.column == 0:
            last -= 1
        self.found.scalar_lines.update(range(first + 1, last + 1))
        if last == first and token.style not in ("|", ">"):
            self.found.ends[first] = max(self.found.ends.get(first, 0), token.end_mark.column)
        elif token.style not in ("|", ">"):
            self.found.ends[last] = max(self.found.ends.get(last, 0), token.end_mark.column)

    def _close(self) -> None:
        if self.open and self.open[-1] == "loose":
            self.open.pop()
        if self.open:
            self.open.pop()
