"""From a tree of nodes to the dataclasses of the model, with every misfit reported at its place.

What lives here: matching keys, replacing what does not fit; pydantic is the judge, its messages are not shown.
What must not: the words for types (`kinds.py`), rules between objects (`services.py`, `routers.py`), YAML (`load.py`).
Called by `check.py` for the main file and by `documents.py` for manifests. Specified by `model.py`'s annotations.

After an error the value is replaced by a placeholder and its path noted in `broken`, so that all the rest can still be
checked without complaining twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from pydantic import TypeAdapter, ValidationError

from streamlb.config import traefik
from streamlb.config.duration import EXAMPLES, DurationError, parse_duration
from streamlb.config.kinds import (
    Kind,
    describe,
    describe_node,
    fields_of,
    is_duration,
    is_shape,
    is_signed,
    keys_by_lower,
    kind_of,
    placeholder,
    remedy,
    required_keys,
    shorten,
    takes_one,
    words_of,
)
from streamlb.config.near import nearest
from streamlb.config.reading import Place, join
from streamlb.config.tree import Entry, Mapping, Node, Scalar, Sequence, duplicate, is_empty, problem_at

if TYPE_CHECKING:
    from streamlb.config.reading import Path, Reading

T = TypeVar("T")


def read(
    node: Node,
    cls: type[T],
    reading: Reading,
    *,
    root: Path = (),
    label: str = "",
    place: str = "",
    key: Scalar | None = None,
) -> T:
    """The object a tree describes. Problems go to `reading`; what is broken holds placeholders.

    root: path under which places are kept. place: the pattern of the root in `traefik.py`. key: the root's own key.
    """
    reader = _Reader(reading)
    reading.places[root] = Place(label, key, node)
    plain = reader.walk(node, cls, _Step(root, label, place))
    shape: Any = cls
    adapter: TypeAdapter[T] = _adapter(shape)
    # Every round mends all it found; a mended value may uncover another, three deep at most.
    for _ in range(8):
        try:
            result = adapter.validate_json(msgspec.json.encode(plain), strict=True)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_context=False, include_input=False):
                reader.misfit(plain, tuple(item["loc"]), item["type"], root, cls)
        else:
            return result
    raise AssertionError(f"no placeholder fits {cls.__name__}")


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


# --- the walk ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    """Where the walk is: `path` with names and indexes, `label` for people, `place` as in `traefik.py`."""

    path: Path
    label: str
    place: str

    def to(self, part: str | int, *, is_name: bool = False) -> _Step:
        word = "*" if is_name or isinstance(part, int) else part
        place = f"{self.place}.{word}" if self.place else word
        return _Step((*self.path, part), join(self.label, part), place)


class _Reader:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def walk(self, node: Node, hint: Any, step: _Step) -> Any:
        """The plain value for pydantic: keys in canonical spelling, durations in seconds, nulls where they may be."""
        kind = kind_of(hint)
        if is_duration(kind):
            return self._duration(node, kind, step)
        if is_shape(kind.base):
            return self._object(node, hint, step)
        if kind.base is list:
            return self._list(node, kind, step)
        if kind.base is dict:
            return self._names(node, kind, step)
        if not isinstance(node, Scalar):
            self._misfit(step.path, hint, node)
            return placeholder(hint)
        return self._scalar(node, kind)

    def _scalar(self, node: Scalar, kind: Kind) -> Any:
        value = node.value
        if isinstance(value, float) and not math.isfinite(value):
            return node.text
        if kind.base is str and isinstance(value, int | float) and not isinstance(value, bool):
            return node.text  # `service: 8080` names the service 8080, as its key does.
        words = [arg for arg in words_of(kind) if isinstance(value, str) and arg.lower() == value.lower()]
        return words[0] if words else value

    def _duration(self, node: Node, kind: Kind, step: _Step) -> float:
        if not isinstance(node, Scalar) or node.value is None or isinstance(node.value, bool):
            reason = f"expected a duration such as {EXAMPLES}, got {describe_node(node)}"
            self.reading.error(step.path, reason)
            return 0.0
        try:
            return parse_duration(node.text, signed=is_signed(kind))
        except DurationError as error:
            self.reading.error(step.path, str(error))
            return 0.0

    def _object(self, node: Node, hint: Any, step: _Step) -> Any:
        cls = kind_of(hint).base
        if is_empty(node):
            return {}
        if not isinstance(node, Mapping):
            self._misfit(step.path, hint, node)
            return {key: placeholder(fields_of(cls)[key]) for key in required_keys(cls)}
        hints = fields_of(cls)
        plain: dict[str, Any] = {}
        for written, entry in node.entries.items():
            key = keys_by_lower(cls).get(written.lower())
            if key is None or key.lower() in traefik.UNSUPPORTED.get(step.place, {}):
                self._stranger(entry, node, cls, step)
                continue
            inner = step.to(key)
            first = self.reading.places.get(inner.path)
            if key in plain and first and first.key:
                self.reading.problems.append(duplicate(entry.key, first.key, inner.label))
                continue
            self.reading.places[inner.path] = Place(inner.label, entry.key, entry.value)
            plain[key] = self.walk(entry.value, hints[key], inner)
        return plain

    def _list(self, node: Node, kind: Kind, step: _Step) -> Any:
        if is_empty(node):
            return []
        if takes_one(kind) and isinstance(node, Scalar):
            return [self.walk(node, kind.args[0], step)]
        if not isinstance(node, Sequence):
            self._misfit(step.path, list, node)
            return []
        plain = []
        for index, item in enumerate(node.items):
            inner = step.to(index)
            self.reading.places[inner.path] = Place(inner.label, None, item)
            plain.append(self.walk(item, kind.args[0], inner))
        return plain

    def _names(self, node: Node, kind: Kind, step: _Step) -> Any:
        if is_empty(node):
            return {}
        if not isinstance(node, Mapping):
            self._misfit(step.path, dict, node)
            return {}
        plain = {}
        for name, entry in node.entries.items():
            inner = step.to(name, is_name=True)
            self.reading.places[inner.path] = Place(inner.label, entry.key, entry.value)
            if is_empty(entry.value):
                self.reading.error(inner.path, f"`{shorten(name)}` is empty", at_key=True)
                plain[name] = placeholder(kind.args[1])
            else:
                plain[name] = self.walk(entry.value, kind.args[1], inner)
        return plain

    # --- keys that do not belong -----------------------------------------------------------------------------

    def _stranger(self, entry: Entry, node: Mapping, cls: Any, step: _Step) -> None:
        key, value = entry.key, entry.value
        found = why_strange(key.text, value, cls, step.place)
        if found is None:
            return
        reason, suggestion, guess = found
        if guess in fields_of(cls) and guess.lower() not in map(str.lower, node.entries):
            # What stands below is meant for the key guessed at: no complaints that it is missing.
            self.reading.broken.add((*step.path, guess))
        self._report_key(step.to(key.text), key, value, reason, suggestion)

    def _report_key(self, step: _Step, key: Scalar, value: Node, reason: str, suggestion: str) -> None:
        self.reading.places[step.path] = Place(step.label, key, value)
        self.reading.error(step.path, reason, suggestion, at_key=True)

    # --- values that do not fit ------------------------------------------------------------------------------

    def misfit(self, plain: Any, loc: Path, error: str, root: Path, cls: Any) -> None:
        """Report what pydantic did not like and put a placeholder there."""
        if error == "missing":
            self._missing(plain, loc, root, cls)
            return
        while loc and (*root, *loc) not in self.reading.places:
            loc = loc[:-1]  # pydantic adds the branch of a union.
        holder, hint = _follow(plain, loc, cls)
        node = self.reading.places[(*root, *loc)].node
        self._misfit((*root, *loc), hint, node)
        holder[loc[-1]] = placeholder(hint)

    def _missing(self, plain: Any, loc: Path, root: Path, cls: Any) -> None:
        key = str(loc[-1])
        holder, hint = _follow(plain, loc, cls)
        holder[key] = placeholder(hint)
        where = (*root, *loc[:-1])
        if not self.reading.is_broken((*where, key)):
            place = self.reading.place(where)
            spot = place.key or place.node
            self.reading.problems.append(problem_at(spot, join(place.label, key), f"`{key}` is missing"))
            self.reading.broken.add((*where, key))

    def _misfit(self, path: Path, hint: Any, node: Node) -> None:
        reason = f"expected {describe(hint)}, got {describe_node(node)}"
        self.reading.error(path, reason, remedy(hint, node))


def why_strange(key: str, value: Node, cls: Any, place: str) -> tuple[str, str, str] | None:
    """Why a key has no place in a class, what to do, and which key may be meant; None if it may stay all the same."""
    if getattr(cls, "__pydantic_config__", {}).get("extra") == "ignore":
        return None
    elsewhere = traefik.UNSUPPORTED.get(place, {})
    known = elsewhere.get(key.lower())
    if known:
        reason = f"Traefik's `{known}` is not supported by streamlb yet"
        return None if _is_harmless(place, known, value) else (reason, traefik.ADVICE.get((place, known), ""), "")
    guess = nearest(key, {**fields_of(cls), **dict.fromkeys(elsewhere.values())})
    known_here = ", ".join(f"`{name}`" for name in fields_of(cls))
    otherwise = f"known here: {known_here}" if known_here else "nothing goes in here: write `{}`"
    return f"unknown key `{shorten(key)}`", f"did you mean `{guess}`?" if guess else otherwise, guess


def _is_harmless(place: str, key: str, value: Node) -> bool:
    allowed = traefik.HARMLESS.get(place, {}).get(key, frozenset())
    return isinstance(value, Scalar) and (value.text in allowed or "*" in allowed)


def _follow(plain: Any, loc: Path, cls: Any) -> tuple[Any, Any]:
    """The container of a value in the plain tree, and the value's type."""
    hint: Any = cls
    holder = plain
    for depth, part in enumerate(loc):
        if depth:
            holder = holder[loc[depth - 1]]
        kind = kind_of(hint)
        if is_shape(kind.base):
            hint = fields_of(kind.base)[str(part)]
        else:
            hint = kind.args[-1]
    return holder, hint


def entries_of(node: Node | None) -> dict[str, Entry]:
    """The entries of a mapping; nothing for anything else."""
    return node.entries if isinstance(node, Mapping) else {}
