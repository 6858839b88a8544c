"""Which parts of a message an access log shows: fields of heads, and parameters of queries.

What lives here: `HeadFields`, `Parameters`, compiled from `accessLog.fields`. What must not: what a line looks like.
Used by the shapes of lines. Specified by Traefik's `accessLog.fields.headers` and `.queryParameters`.
Where nothing is kept, nothing is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote_to_bytes

from streamlb.observe.access_text import text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlb.config.observation import KeepDropRedact

REDACTED: Final = "REDACTED"

SECRETS: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})
"""Fields that are redacted unless they are kept by name: `defaultMode: keep` does not mean them."""


class HeadFields:
    """The fields of heads that are shown: by name, lower case. any: whether there are such at all."""

    __slots__ = ("_default", "_names", "any")

    def __init__(self, options: KeepDropRedact) -> None:
        self._default = options.default_mode
        self._names = {name.lower().encode(): mode for name, mode in options.names.items()}
        self.any = self._default != "drop" or any(mode != "drop" for mode in self._names.values())

    def mode(self, name: bytes) -> Literal["keep", "drop", "redact"]:
        said = self._names.get(name)
        if said is not None:
            return said
        return "redact" if self._default == "keep" and name in SECRETS else self._default

    def of_pairs(self, prefix: str, pairs: Iterable[tuple[bytes, bytes]], into: dict[str, str]) -> None:
        """Add what is shown of `pairs` (lower-case names) as `prefix` and the name as Go spells it."""
        for name, value in pairs:
            mode = self.mode(name)
            if mode == "drop":
                continue
            key = prefix + text(name.title())
            shown = REDACTED if mode == "redact" else text(value)
            into[key] = f"{into[key]},{shown}" if key in into and mode == "keep" else shown

    def of_head(self, prefix: str, head: bytes, into: dict[str, str]) -> None:
        """The same of a head as it was sent: a status line, and a field on each line; what comes behind is not read."""
        lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        pairs = (line.partition(b":") for line in lines if line)
        self.of_pairs(prefix, ((name.lower(), value.strip(b" \t")) for name, _, value in pairs), into)


class Parameters:
    """What is shown of a target's query. any: whether anything is hidden at all."""

    __slots__ = ("_default", "_names", "any")

    def __init__(self, options: KeepDropRedact) -> None:
        self._default = options.default_mode
        self._names = {name.encode(): mode for name, mode in options.names.items()}
        self.any = self._default != "keep" or any(mode != "keep" for mode in self._names.values())

    def shown(self, target: bytes) -> bytes:
        """The target without the parameters that are dropped, and without the values of those redacted."""
        path, mark, query = target.partition(b"?")
        if not mark or not self.any:
            return target
        kept = []
        for parameter in query.split(b"&"):
            name, _, _ = parameter.partition(b"=")
            mode = self._names.get(_decoded(name), self._default)
            if mode == "keep":
                kept.append(parameter)
            elif mode == "redact":
                kept.append(name + b"=" + REDACTED.encode())
        return path + b"?" + b"&".join(kept) if kept else path


def _decoded(name: bytes) -> bytes:
    return unquote_to_bytes(name.replace(b"+", b" ")) if b"%" in name or b"+" in name else name
