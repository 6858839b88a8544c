"""The model's type annotations taken apart, and the words for them.

What lives here: which keys a dataclass has in YAML, what a type takes in words, what to write instead of a misfit.
What must not: walking a document (`shape.py`). Specified by `model.py`'s annotations.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le

from streamlb.config.duration import EXAMPLES
from streamlb.config.naming import Derived, to_camel
from streamlb.config.near import did_you_mean
from streamlb.config.quantities import OneOrMany, Seconds
from streamlb.config.tree import Mapping, Node, Scalar, Sequence

MAX_SHOWN = 60  # characters of a user's value in a message


@cache
def fields_of(cls: Any) -> dict[str, Any]:
    """YAML's keys of a dataclass with their types, in the class's order."""
    hints = get_type_hints(cls, include_extras=True)
    fields = {to_camel(field.name): hints[field.name] for field in dataclasses.fields(cls)}
    return {key: hint for key, hint in fields.items() if not _is_derived(hint)}


def _is_derived(hint: Any) -> bool:
    return any(isinstance(each, Derived) for each in getattr(hint, "__metadata__", ()))


@cache
def keys_by_lower(cls: Any) -> dict[str, str]:
    return {key.lower(): key for key in fields_of(cls)}


@cache
def field_named(cls: Any, key: str) -> str:
    """The attribute of a dataclass that YAML calls `key`; empty if there is none."""
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return next((field.name for field in fields if to_camel(field.name) == key), "")


@cache
def required_keys(cls: Any) -> frozenset[str]:
    missing = dataclasses.MISSING
    return frozenset(
        to_camel(field.name)
        for field in dataclasses.fields(cls)
        if field.default is missing and field.default_factory is missing
    )


# --- types -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind:
    """A type annotation taken apart. `base` is a class, `list`, `dict`, `Literal`, `Union` or `Any`."""

    base: Any
    args: tuple[Any, ...]
    metadata: tuple[Any, ...]
    optional: bool


@cache
def kind_of(hint: Any) -> Kind:
    metadata: tuple[Any, ...] = ()
    optional = False
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            hint, *extra = get_args(hint)
            metadata += tuple(extra)
        elif origin in (Union, types.UnionType):
            args = tuple(arg for arg in get_args(hint) if arg is not type(None))
            optional = optional or len(args) < len(get_args(hint))
            if len(args) > 1:
                return Kind(Union, args, metadata, optional)
            hint = args[0]
        elif origin is not None:
            return Kind(origin, get_args(hint), metadata, optional)
        else:
            return Kind(hint, (), metadata, optional)


def is_duration(kind: Kind) -> bool:
    return any(isinstance(mark, Seconds) or mark is Seconds for mark in kind.metadata)


def takes_one(kind: Kind) -> bool:
    """Whether a list may be written as its only item."""
    return any(isinstance(mark, OneOrMany) for mark in kind.metadata)


def is_signed(kind: Kind) -> bool:
    """Whether a duration may be negative."""
    return any(isinstance(mark, Seconds) and mark.signed for mark in kind.metadata)


def is_shape(base: Any) -> bool:
    """Whether a type is one of our dataclasses: a mapping with known keys."""
    return dataclasses.is_dataclass(base)


def placeholder(hint: Any) -> Any:
    """The least value that fits a type."""
    kind = kind_of(hint)
    if kind.optional:
        return None
    if kind.base is Union:
        return placeholder(kind.args[0])
    if kind.base is Literal:
        return kind.args[0]
    if is_shape(kind.base):
        hints = fields_of(kind.base)
        return {key: placeholder(hints[key]) for key in required_keys(kind.base)}
    if kind.base in (int, float):
        least: list[Any] = [mark.ge for mark in kind.metadata if isinstance(mark, Ge)]
        return least[0] if least else 0
    plain: dict[Any, Any] = {str: "", bool: False, list: [], dict: {}}
    return plain.get(kind.base)


def describe(hint: Any) -> str:
    """What a type takes, in words: `a whole number from 0 to 100`."""
    kind = kind_of(hint)
    if is_duration(kind):
        return f"a duration such as {EXAMPLES}"
    if kind.base is Union:
        return ", or ".join(describe(arg) for arg in kind.args)
    if kind.base is Literal:
        words = [f"`{arg}`" for arg in kind.args]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if kind.base in (int, float):
        return ("a whole number" if kind.base is int else "a number") + _range(kind)
    if kind.base is list:
        return "a list (`- item` lines)"
    if kind.base is dict or is_shape(kind.base):
        return "a mapping (`key: value` lines)"
    return {str: "text", bool: "`true` or `false`"}.get(kind.base, "something else")


def _range(kind: Kind) -> str:
    least = [mark.ge for mark in kind.metadata if isinstance(mark, Ge)]
    most = [mark.le for mark in kind.metadata if isinstance(mark, Le)]
    if least and most:
        return f" from {least[0]} to {most[0]}"
    if least:
        return f", {least[0]} or more"
    return f", {most[0]} or less" if most else ""


def describe_node(node: Node) -> str:
    """What was written, in words."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node.value is None:
        return "nothing"
    shown = shorten(node.text)
    if isinstance(node.value, str):
        return f'the text "{shown}"'
    return f"`{shown}`" if isinstance(node.value, bool) else f"the number {shown}"


def shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def words_of(kind: Kind) -> list[str]:
    """The words a type takes besides other things."""
    if kind.base is Literal:
        return [arg for arg in kind.args if isinstance(arg, str)]
    if kind.base is Union:
        return [word for arg in kind.args for word in words_of(kind_of(arg))]
    return []


# --- what to write instead -------------------------------------------------------------------------------------

BOOLEANS = {**dict.fromkeys(("yes", "on", "y"), "true"), **dict.fromkeys(("no", "off", "n"), "false")}


def remedy(hint: Any, node: Node) -> str:
    """What to write instead, when that is plain to see."""
    kind = kind_of(hint)
    if isinstance(node, Scalar):
        return _scalar_remedy(kind, node)
    if kind.base is list and isinstance(node, Mapping):
        return "put `- ` in front of each item"
    if isinstance(node, Sequence) and (kind.base is dict or is_shape(kind.base)):
        named = any(isinstance(item, Mapping) and "name" in item.entries for item in node.items)
        return "the names are keys here: `name:` and the rest below it" if named else "remove the `- `"
    return ""


def _scalar_remedy(kind: Kind, node: Scalar) -> str:
    text = node.text
    if kind.base is bool and text.lower() in BOOLEANS:
        return f"did you mean `{BOOLEANS[text.lower()]}`?"
    if kind.base in (int, float, bool) and node.style in ("'", '"') and _is_plain(kind.base, text):
        return f"remove the quotes: `{text}`"
    words = words_of(kind)
    if words:
        return did_you_mean(text, words)
    if kind.base is str and isinstance(node.value, bool):
        return f'if you mean the word, quote it: "{text}"'
    if kind.base is list and isinstance(node.value, str):
        return f"write `[{shorten(text)}]`"
    if kind.optional and is_shape(kind.base) and not required_keys(kind.base) and isinstance(node.value, bool):
        return "write `{}`: to be there is enough" if node.value else "remove the line"
    if kind.base is dict or is_shape(kind.base):
        key, colon, rest = text.partition(":")
        if colon and key.isidentifier() and rest and not rest.startswith("/"):
            return f"put a space behind the colon: `{key}: {shorten(rest)}`"
    return ""


def _is_plain(base: type, text: str) -> bool:
    if base is bool:
        return text in ("true", "false")
    return text.removeprefix("-").isdigit()
