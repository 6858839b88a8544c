"""The model as JSON Schema, so that an editor knows every key, its values and what it does.

What lives here: model classes to draft-07 definitions, one set for each protocol where they differ.
What must not: the words of docs/reference.md (`glossary.py`), files. Called by the command line (`streamlb schema`).
Specified by JSON Schema draft-07, which is what the YAML language servers of editors understand.

A schema says what a value looks like, not what it refers to: that is `streamlb check`'s.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Union

from annotated_types import Ge, Le

from streamlb.config import health, routers, services, tcp
from streamlb.config.duration import MAX_DURATION, NUMBER, UNITS
from streamlb.config.kinds import fields_of, is_duration, is_shape, is_signed, kind_of, required_keys, takes_one
from streamlb.config.model import PROTOCOLS, Config, HealthCheck, Router, Server, Service, TcpMiddleware
from streamlb.config.naming import to_camel
from streamlb.config.traefik import UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.config.kinds import Kind

    Describe = Callable[[type, str], str]
    """`(class of the model, YAML's key)` to what the key does; the key "" asks for the class itself."""

DRAFT = "http://json-schema.org/draft-07/schema#"
MODELINE = "# yaml-language-server: $schema="
"""Before the schema's path or address, at the top of a YAML file: what tells an editor to use it."""

_DURATION = rf"^[+]?(?:(?:{NUMBER}(?:{'|'.join(sorted(UNITS, key=len, reverse=True))}))+|{NUMBER})$"
_SIGNED_DURATION = _DURATION.replace("^[+]?", "^[-+]?")
_ONE_OF: dict[type, tuple[str, ...]] = {Service: services.KINDS, TcpMiddleware: tcp.KINDS}
_PUT_IN = r"\$\{[^}]+\}"
"""`${NAME}` and the like: what is put in there may be of any kind."""

_INTRODUCTION = (
    "A configuration of streamlb, in Traefik's words. streamlb matches keys whatever their case, and words such as "
    "`INFO` too; a schema cannot, so it knows the usual spelling only (`streamlb fmt` writes that). What a schema "
    "cannot see either (rules, references, addresses, certificates) `streamlb check` tells."
)


def schema(describe: Describe) -> dict[str, Any]:
    """The JSON Schema of a configuration file."""
    writer = _Writer(describe)
    root = writer.members(Config, "")
    head = {"$schema": DRAFT, "title": "streamlb configuration", "description": _INTRODUCTION}
    return {**head, **root, "definitions": dict(sorted(writer.definitions.items()))}


class _Writer:
    def __init__(self, describe: Describe) -> None:
        self.describe = describe
        self.definitions: dict[str, Any] = {}

    def members(self, cls: type, protocol: str) -> dict[str, Any]:
        """What a mapping that describes `cls` may hold; `protocol` is that of the section around it, if any."""
        hints = {key: hint for key, hint in fields_of(cls).items() if not _is_foreign(cls, key, protocol)}
        required = sorted(required_keys(cls) | _needed(cls, protocol))
        properties: dict[str, Any] = {}
        for key, hint in hints.items():
            inner = key if cls is Config and key in PROTOCOLS else protocol
            properties[key] = self._member(cls, key, hint, inner)
        shape: dict[str, Any] = {"type": "object" if required else ["object", "null"]}
        shape |= {"properties": properties, "additionalProperties": False}
        if required:
            shape["required"] = required
        if cls in _ONE_OF:
            shape["oneOf"] = [{"required": [kind]} for kind in _ONE_OF[cls]]
        return shape

    def _member(self, cls: type, key: str, hint: Any, protocol: str) -> dict[str, Any]:
        value = self.value(hint, protocol)
        text = self.describe(cls, key)
        extra: dict[str, Any] = {"description": text} if text else {}
        default = _default(cls, key)
        if default is not None:
            extra["default"] = default
        if not extra:
            return value
        return {"allOf": [value], **extra} if "$ref" in value else {**value, **extra}

    def value(self, hint: Any, protocol: str) -> dict[str, Any]:
        """What a value of a type may be."""
        kind = kind_of(hint)
        if is_duration(kind):
            return _duration(kind)
        if is_shape(kind.base):
            return {"$ref": f"#/definitions/{self._definition(kind.base, protocol)}"}
        if kind.base is list:
            return self._list(kind, protocol)
        if kind.base is dict:
            inside = self.value(kind.args[1], protocol)
            if "$ref" in inside:
                inside = {"allOf": [inside, {"type": "object"}]}  # A name with nothing behind it is refused.
            return {"type": ["object", "null"], "additionalProperties": inside}
        return _scalar(kind)

    def _list(self, kind: Kind, protocol: str) -> dict[str, Any]:
        item = self.value(kind.args[0], protocol)
        shape = {"type": ["array", "null"], "items": item}
        return {"anyOf": [shape, item]} if takes_one(kind) else shape

    def _definition(self, cls: type, protocol: str) -> str:
        name = f"{protocol}.{cls.__name__}" if _differs(cls) and protocol else cls.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # Before the members: a class may hold itself.
            shape = self.members(cls, protocol if _differs(cls) else "")
            text = self.describe(cls, "")
            self.definitions[name] = {**({"description": text} if text else {}), **shape}
        return name


# --- scalars -----------------------------------------------------------------------------------------------------


def _duration(kind: Kind) -> dict[str, Any]:
    signed = is_signed(kind)
    pattern = _SIGNED_DURATION if signed else _DURATION
    least = -MAX_DURATION if signed else 0
    return {
        "type": ["string", "number", *(["null"] if kind.optional else [])],
        "pattern": f"{pattern}|{_PUT_IN}",
        "minimum": least,
        "maximum": MAX_DURATION,
        "examples": ["300ms", "3s", "1m30s"],
    }


def _scalar(kind: Kind) -> dict[str, Any]:
    if kind.base is Union:
        return {"anyOf": [*(_scalar(kind_of(arg)) for arg in kind.args)]}
    if kind.base is Literal:
        return {"enum": [*kind.args, *([None] if kind.optional else [])]}
    null = ["null"] if kind.optional else []
    if kind.base is str:
        return {"type": ["string", "number", *null]}  # `service: 8080` names the service 8080.
    put_in = {"pattern": _PUT_IN}
    if kind.base is bool:
        return {"type": ["boolean", "string", *null], **put_in}
    if kind.base not in (int, float):
        return {}
    shape: dict[str, Any] = {"type": ["integer" if kind.base is int else "number", "string", *null], **put_in}
    for mark in kind.metadata:
        if isinstance(mark, Ge):
            shape["minimum"] = mark.ge
        if isinstance(mark, Le):
            shape["maximum"] = mark.le
    return shape


def _default(cls: type, key: str) -> Any:
    """A default that an editor can show: a plain value other than nothing."""
    for field in dataclasses.fields(cls):
        if to_camel(field.name) == key and isinstance(field.default, str | int | float | bool) and field.default != "":
            kind = kind_of(fields_of(cls)[key])
            if is_duration(kind):
                return f"{field.default:g}s"
            return field.default
    return None


# --- what differs by protocol ------------------------------------------------------------------------------------

_KINDS_OF_SERVICES: dict[str, type] = {key: kind_of(hint).base for key, hint in fields_of(Service).items()}
_BALANCER = _KINDS_OF_SERVICES["loadBalancer"]
_HTTP_ONLY = {
    (Server, "url"),
    (Server, "preservePath"),
    (Router, "timeouts"),
    (Service, "timeouts"),
    *((_KINDS_OF_SERVICES[kind], key) for kind, key in services.HTTP_ONLY),
    *((HealthCheck, key) for key in health.HTTP_ONLY),
}
_FOREIGN: dict[str, set[tuple[type, str]]] = {
    "http": {
        (Server, "address"),
        (Server, "tls"),
        *((Router, key) for key in fields_of(Router) if key.lower() in UNSUPPORTED["http.routers.*"]),
        *((HealthCheck, key) for key in health.NOT_HTTP),
        *((_BALANCER, key) for key in tcp.NOT_FOR_HTTP),
    },
    "tcp": _HTTP_ONLY,
    "udp": {
        *_HTTP_ONLY,
        (Server, "tls"),
        (_BALANCER, "queue"),
        (_BALANCER, "serversTransport"),
        *((_BALANCER, key) for key in tcp.NOT_FOR_UDP),
        *((Router, key) for key in routers.NOT_FOR_UDP),
    },
}
"""By protocol: keys of classes that mean nothing there."""

_NEEDED: dict[str, set[tuple[type, str]]] = {
    "http": {(Router, "rule"), (Server, "url")},
    "tcp": {(Router, "rule"), (Server, "address")},
    "udp": {(Server, "address")},
}
"""By protocol: keys that must be there although the model has a default for them."""


@cache
def _differs(cls: type) -> bool:
    """Whether a class holds something that one protocol has and another has not, itself or further down."""
    own = any(each is cls for keys in _FOREIGN.values() for each, _ in keys)
    return own or any(_differs(inner) for hint in fields_of(cls).values() for inner in _classes(hint))


def _classes(hint: Any) -> list[type]:
    kind = kind_of(hint)
    return [kind.base] if is_shape(kind.base) else [cls for arg in kind.args for cls in _classes(arg)]


def _is_foreign(cls: type, key: str, protocol: str) -> bool:
    return (cls, key) in _FOREIGN.get(protocol, ())


def _needed(cls: type, protocol: str) -> set[str]:
    return {key for each, key in _NEEDED.get(protocol, ()) if each is cls}
