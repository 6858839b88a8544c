"""A configuration as it holds, each value with where it came from.

What lives here: the tree that `streamlb show config` prints, and which values nobody is to see.
What must not: reading files, printing. Called by the command line and the control process.
Specified by docs/reference.md ("Sources").

Secrets are what `${file:}` put in, keys, and what header fields, probes and URLs tell a server to prove who asks. For
them stands what was written in the file, or `(secret)`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamlb.config.duration import format_duration
from streamlb.config.interpolation import SECRET_NAME
from streamlb.config.kinds import field_named, fields_of, is_duration, is_shape, kind_of
from streamlb.config.load import resolve
from streamlb.config.transports import MARK
from streamlb.config.tree import Scalar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamlb.config.assembly import Loaded
    from streamlb.config.model import Config
    from streamlb.config.reading import Path, Place

SECRET = "(secret)"
PEM = "(PEM text)"
DEFAULT = "default"
OURS = "streamlb"
"""The origin of what nobody has written and is no default: what streamlb adds to serve what was written."""
FIELDS_OF_SECRETS = re.compile(r"authori[sz]ation|cookie", re.IGNORECASE)
USER = re.compile(r"(?<=://)[^/@?#]*(?=@)")
PLAIN = re.compile(
    r"(?!(?:yes|no|on|off|y|n)$)[A-Za-z/][A-Za-z0-9_./@-]*|(?:[0-9.]+(?:h|m|s|ms|us|ns))+", re.IGNORECASE
)
"""What needs no quotes, whoever reads it."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value, or an empty list or mapping, and where it came from: `lb.yaml:3`, `default`, `streamlb`."""

    value: str | int | float | bool | list[Any] | dict[str, Any] | None
    origin: str


Shown = Leaf | dict[str, Any] | list[Any]
"""A tree of leaves."""


def show(config: Config, loaded: Loaded, *, defaults: bool = False) -> Shown:
    """All that `config` says, which was made of `loaded`; what nobody has written only with `defaults`."""
    return _Tree(loaded.places, loaded.pem, defaults).object(config, ())


def to_plain(shown: Shown, *, origins: bool = False) -> Any:
    """The tree as lists and dicts; with `origins` each value is a dict of two."""
    if isinstance(shown, Leaf):
        return {"value": shown.value, "origin": shown.origin} if origins else shown.value
    if isinstance(shown, list):
        return [to_plain(item, origins=origins) for item in shown]
    return {key: to_plain(value, origins=origins) for key, value in shown.items()}


def to_yaml(shown: Shown, *, origins: bool = False) -> str:
    """The tree as YAML, with `origins` as comments."""
    return "".join(f"{line}\n" for line in _lines(shown, "", origins))


# --- the tree ----------------------------------------------------------------------------------------------------


class _Tree:
    def __init__(self, places: Mapping[Path, Place], pem: Mapping[Path, str], defaults: bool) -> None:
        self.places = places
        self.pem = pem
        self.defaults = defaults

    def object(self, value: Any, path: Path) -> Shown:
        cls: Any = type(value)
        preset = {field.name: field for field in dataclasses.fields(value)}
        found: dict[str, Any] = {}
        for key, hint in fields_of(cls).items():
            name = field_named(cls, key)
            inner = getattr(value, name)
            where = (*path, key)
            is_preset = where not in self.places and inner == _preset(preset[name])
            if inner is None or (is_preset and not self.defaults):
                continue
            shown = self.value(inner, hint, where, is_preset)
            if shown is not None:
                found[key] = shown
        return found or Leaf({}, self.origin(path, False))

    def value(self, value: Any, hint: Any, path: Path, is_preset: bool) -> Shown | None:
        if is_shape(type(value)):
            return self.object(value, path)
        kind = kind_of(hint)
        inner: Any = kind.args[-1] if kind.args else Any
        if isinstance(value, dict) and value:
            return {str(name): self.value(each, inner, (*path, name), is_preset) for name, each in value.items()}
        if isinstance(value, list) and value:
            return [self.value(each, inner, (*path, index), is_preset) for index, each in enumerate(value)]
        if is_duration(kind) and isinstance(value, int | float):
            value = format_duration(value)
        return Leaf(self.discreet(value, path), self.origin(path, is_preset))

    def discreet(self, value: Any, path: Path) -> Any:
        """The value, or what stands for it."""
        if not isinstance(value, str):
            return value
        place = self.places.get(path)
        node = place.node if place else None
        if path in self.pem:
            return self.pem[path]
        if isinstance(node, Scalar) and node.is_secret:
            return node.written
        if MARK in value:
            return SECRET if path[-1] == "keyFile" else PEM
        key, around = str(path[-1]), path[-2] if len(path) > 1 else ""
        if around == "headers" and (SECRET_NAME.search(key) or FIELDS_OF_SECRETS.search(key)):
            return SECRET
        if key == "send" and SECRET_NAME.search(value):
            return SECRET
        return USER.sub(SECRET, value)

    def origin(self, path: Path, is_preset: bool) -> str:
        if is_preset:
            return DEFAULT
        for end in range(len(path), 1, -1):
            place = self.places.get(path[:end])
            if place is not None:
                return _written(place)
        place = self.places.get(path) if len(path) < 2 else None
        return _written(place) if place is not None and path else OURS


def _preset(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else dataclasses.MISSING


def _written(place: Place) -> str:
    node = place.node if isinstance(place.node, Scalar) and place.node.line else place.key or place.node
    origin = f" ({node.origin})" if isinstance(node, Scalar) and node.origin else ""
    return f"{node.source.name}:{node.line}{origin}"


# --- YAML --------------------------------------------------------------------------------------------------------


def _lines(shown: Shown, indent: str, origins: bool) -> Iterator[str]:
    if isinstance(shown, Leaf):
        yield _with_origin(f"{indent}{_scalar(shown.value)}", shown, origins)
    elif isinstance(shown, dict):
        for key, value in shown.items():
            yield from _entry(f"{indent}{_scalar(key)}:", value, f"{indent}  ", origins)
    else:
        for item in shown:
            if isinstance(item, Leaf):
                yield _with_origin(f"{indent}- {_scalar(item.value)}", item, origins)
                continue
            first, *rest = _lines(item, f"{indent}  ", origins)
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from rest


def _entry(head: str, value: Shown, indent: str, origins: bool) -> Iterator[str]:
    if isinstance(value, Leaf):
        yield _with_origin(f"{head} {_scalar(value.value)}", value, origins)
    else:
        yield head
        yield from _lines(value, indent, origins)


def _with_origin(line: str, leaf: Leaf, origins: bool) -> str:
    return f"{line}  # {leaf.origin}" if origins else line


def _scalar(value: Any) -> str:
    """A value in one line, as YAML reads it back."""
    if isinstance(value, str) and PLAIN.fullmatch(value) and isinstance(resolve(value), str):
        return value
    return json.dumps(value, ensure_ascii=False)
