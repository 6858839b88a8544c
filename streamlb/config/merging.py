"""Several files that are one configuration.

What lives here: putting their trees together by the model's shape, and what two files cannot both say.
What must not: reading files, what a key means. Called by `assembly.py`. Specified by docs/reference.md ("Sources").

Objects with a name (a router, an entry point, TLS options) are in one file, whole; the mappings around them are in
all that like; lists of which each file may have a part are one behind the other; any other value is said once, or the
same each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlb.config.kinds import Kind, fields_of, is_duration, is_shape, keys_by_lower, kind_of, shorten, takes_one
from streamlb.config.model import Config
from streamlb.config.reading import join, line_of
from streamlb.config.shape import why_strange
from streamlb.config.tree import Entry, Mapping, Node, Scalar, Sequence, duplicate, is_empty, problem_at

if TYPE_CHECKING:
    from streamlb.errors import Problem

JOINED = frozenset({"tls.certificates", "providers.kubernetesManifests.paths"})
"""Lists of which each file may have a part."""

DYNAMIC = ("http", "tcp", "udp", "tls")
"""The keys at the root that any file may hold. The others are for the files that streamlb is started with."""


def merge(roots: list[Node], problems: list[Problem]) -> Node:
    """One tree of several; the trees stay as they are. Needs at least one."""
    return _Merge(problems).join(roots, Config, "", "")


def without_static(root: Mapping, provider: str, problems: list[Problem]) -> Mapping:
    """A file of a provider without the keys it cannot have, each of which is a problem."""
    static = {key.lower() for key in fields_of(Config)} - set(DYNAMIC)
    strays = {key for key in root.entries if key.lower() in static}
    if not strays:
        return root
    for key in strays:
        reason = f"`{key}` cannot be in a file of `{provider}`, which holds `http`, `tcp`, `udp` and `tls` only"
        problems.append(problem_at(root.entries[key].key, key, reason, "move it to the main file"))
    kept = {key: entry for key, entry in root.entries.items() if key not in strays}
    return Mapping(root.source, root.line, root.column, kept, root.width)


class _Merge:
    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    def join(self, nodes: list[Node], hint: Any, label: str, place: str) -> Node:
        """One node of several that stand at the same place of different files."""
        said = [node for node in nodes if not is_empty(node)]
        if len(said) < 2:
            return said[0] if said else nodes[0]
        kind = kind_of(hint)
        wanted = _node_type(kind)
        if takes_one(kind):
            self._agree(said, label)
            return said[0]
        for node in said:
            if not isinstance(node, wanted):
                return node  # A misfit, which is reported by who knows what it should be.
        if wanted is Sequence and place in JOINED:
            return self._append(said)
        if wanted is Mapping:
            mappings = [node for node in said if isinstance(node, Mapping)]
            return (
                self._names(mappings, kind, label, place)
                if kind.base is dict
                else self._object(mappings, kind.base, label, place)
            )
        self._agree(said, label)
        return said[0]

    def _append(self, nodes: list[Node]) -> Sequence:
        first = nodes[0]
        items = [item for node in nodes if isinstance(node, Sequence) for item in node.items]
        return Sequence(first.source, first.line, first.column, items)

    def _object(self, mappings: list[Mapping], cls: Any, label: str, place: str) -> Mapping:
        known = keys_by_lower(cls)
        groups: dict[str, list[Entry]] = {}
        for mapping in mappings:
            own: dict[str, Entry] = {}
            for written, entry in mapping.entries.items():
                key = known.get(written.lower(), written)
                if key in own:
                    self.problems.append(duplicate(entry.key, own[key].key, join(label, key)))
                    continue
                own[key] = entry
                groups.setdefault(key, []).append(entry)
        merged: dict[str, Entry] = {}
        for key, entries in groups.items():
            hint = fields_of(cls).get(key)
            if hint is None:
                self._strangers(entries[1:], cls, label, place)
                merged[key] = entries[0]
                continue
            nodes = [entry.value for entry in entries]
            inner = f"{place}.{key}" if place else key
            merged[key] = Entry(entries[0].key, self.join(nodes, hint, join(label, key), inner))
        return _like(mappings[0], merged)

    def _strangers(self, entries: list[Entry], cls: Any, label: str, place: str) -> None:
        """Keys that nobody knows; the first of them is reported by who meets it in the merged tree."""
        for entry in entries:
            found = why_strange(entry.key.text, entry.value, cls, place)
            if found:
                self.problems.append(problem_at(entry.key, join(label, entry.key.text), found[0], found[1]))

    def _names(self, mappings: list[Mapping], kind: Kind, label: str, place: str) -> Mapping:
        of_objects = is_shape(kind_of(kind.args[1]).base)
        merged: dict[str, Entry] = {}
        for mapping in mappings:
            for name, entry in mapping.entries.items():
                first = merged.setdefault(name, entry)
                if first is entry:
                    continue
                inner = join(label, name)
                if of_objects:
                    where = line_of(first.key, entry.key.source)
                    reason = f"`{shorten(name)}` is given twice; the first is in {where}"
                    self.problems.append(problem_at(entry.key, inner, reason, "remove one of the two, or rename it"))
                else:
                    self.join([first.value, entry.value], kind.args[1], inner, f"{place}.*")
        return _like(mappings[0], merged)

    def _agree(self, nodes: list[Node], label: str) -> None:
        first = nodes[0]
        for other in nodes[1:]:
            if not same(first, other):
                where = line_of(first, other.source)
                reason = f"this is said twice with different values; the first is in {where}"
                self.problems.append(problem_at(other, label, reason, "remove one of the two"))


def same(one: Node, other: Node) -> bool:
    """Whether two trees say the same."""
    if isinstance(one, Scalar) and isinstance(other, Scalar):
        return one.value == other.value and type(one.value) is type(other.value)
    if isinstance(one, Sequence) and isinstance(other, Sequence):
        return len(one.items) == len(other.items) and all(map(same, one.items, other.items))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.entries.keys() == other.entries.keys() and all(
            same(entry.value, other.entries[key].value) for key, entry in one.entries.items()
        )
    return False


def _node_type(kind: Kind) -> type[Scalar | Mapping | Sequence]:
    if is_duration(kind):
        return Scalar
    if is_shape(kind.base) or kind.base is dict:
        return Mapping
    return Sequence if kind.base is list else Scalar


def _like(first: Mapping, entries: dict[str, Entry]) -> Mapping:
    return Mapping(first.source, first.line, first.column, entries, first.width)
