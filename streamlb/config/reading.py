"""What was read so far: where every value was written, and what is wrong with it.

What lives here: `Reading`, filled by `shape.py` and asked by every check that comes after it.
What must not: any rule. Problems are reported by path and marked where the path was written.
Used by all modules of this room behind `shape.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlb.config.tree import Mapping, Node, Scalar, Sequence, is_empty, problem_at

if TYPE_CHECKING:
    from streamlb.config.tree import Source
    from streamlb.errors import Problem

Path = tuple[str | int, ...]


@dataclass(slots=True)
class Place:
    """Where a value of the configuration was written.

    label: the path people read, `http.routers.web.rule`. key: the key's node; None for a list item.
    node: the value's node.
    """

    label: str
    key: Scalar | None
    node: Node


class Reading:
    """What was read so far: the places of all values, the problems, and the paths that hold placeholders."""

    def __init__(self) -> None:
        self.places: dict[Path, Place] = {}
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.broken: set[Path] = set()

    def is_broken(self, path: Path) -> bool:
        """Whether a problem was already reported for the path or something around it."""
        return bool(self.broken) and any(path[:end] in self.broken for end in range(len(path) + 1))

    def place(self, path: Path) -> Place:
        """The place of a path, or of the nearest thing around it that was written."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        raise KeyError(path)

    def node(self, path: Path) -> Node | None:
        place = self.places.get(path)
        return place.node if place else None

    def has(self, path: Path) -> bool:
        return path in self.places

    def line_of(self, path: Path, seen_from: Path) -> str:
        """Where something stands: `line 3`, or `line 3 of b.yaml` if that is another file."""
        there = self.place(path)
        node = there.key or there.node
        here = self.place(seen_from)
        return line_of(node, (here.key or here.node).source)

    def error(self, path: Path, reason: str, suggestion: str = "", *, at_key: bool = False) -> None:
        """Report a problem once per path; it marks the value, or its key."""
        if self.is_broken(path):
            return
        self.broken.add(path)
        self.problems.append(self._problem(path, reason, suggestion, at_key))

    def check_own_name(self, path: Path) -> None:
        """`@` separates a name from its provider, so the file's own names (the end of `path`) cannot hold one."""
        *kind, name = path
        if "@" in str(name) and self.place(path).label.startswith(".".join(map(str, kind)) + "."):
            self.error(path, "a name cannot hold `@`: it separates a name from its provider", at_key=True)

    def note(self, path: Path, reason: str, suggestion: str = "", *, at_key: bool = True) -> None:
        self.notes.append(self._problem(path, reason, suggestion, at_key))

    def _problem(self, path: Path, reason: str, suggestion: str, at_key: bool) -> Problem:
        place = self.place(path)
        label = place.label if path in self.places else label_of(path, place.label, self.places)
        spot = place.key if place.key and (at_key or path not in self.places or is_block(place.node)) else place.node
        return problem_at(spot, label, reason, suggestion)


def line_of(node: Node, seen_from: Source) -> str:
    """Where a node stands; its file is named only if it is another one."""
    same = node.source is seen_from
    return f"line {node.line}" if same else f"line {node.line} of {node.source.name}"


def is_block(node: Node) -> bool:
    """Whether a value begins on a line of its own, so that its key is the better mark."""
    return isinstance(node, Mapping | Sequence) or is_empty(node)


def label_of(path: Path, known: str, places: dict[Path, Place]) -> str:
    """The label of a path of which only the beginning was written."""
    end = len(path)
    while end and path[:end] not in places:
        end -= 1
    label = known
    for part in path[end:]:
        label = join(label, part)
    return label


def join(label: str, part: str | int) -> str:
    if isinstance(part, int):
        return f"{label}[{part}]"
    return f"{label}{part}" if not label or label.endswith(" ") else f"{label}.{part}"
