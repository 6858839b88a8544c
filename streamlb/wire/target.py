"""Request targets: one spelling of each, so that what a rule saw is what the server gets.

What lives here: `is_plain`, which says that there is nothing to do, and `clean_target`, which does it.
What must not: the forms of a target (`http1.py`), decoding for rules (`message.py`).
Called by `proxy/downstream.py` before routing. RFC 3986 sections 2.3 and 6.2.2, Traefik's request path page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from streamlb.errors import DownstreamError

if TYPE_CHECKING:
    from streamlb.wire.policy import RequestPolicy

is_plain = re.compile(
    rb"(?:/(?!/|\.\.?(?:[/?]|\Z))[A-Za-z0-9\-._~!$&'()*+,;=:@\[\]]*+)+(?:\?[^;]*+)?|\*",
).fullmatch
"""Takes a target that no policy would change or refuse: no escape, no dot segment, no double slash."""

_care = re.compile(rb"%([0-9A-Fa-f]{2})|[%\"<>\\^`{|}]").sub
"""Escapes, broken ones, and the characters no URL may hold as they are (RFC 3986 section 2)."""
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def clean_target(target: bytes, policy: RequestPolicy) -> bytes:
    """The target to route by and to send on. Raises DownstreamError(400)."""
    if is_plain(target):
        return target
    path, mark, query = target.partition(b"?")
    path = normalise(path)
    if policy.sanitize:
        path = resolve_dots(path)
    if policy.refused:
        _refuse_escapes(path, policy.refused)
    return path + mark + query.replace(b";", policy.semicolon)


def normalise(path: bytes) -> bytes:
    """Escapes of unreserved characters decoded, the others in upper case: `/%7ea%2f` -> `/~a%2F`.

    A character that may not stand in a path is escaped: a server could take `\\` for `/`. Raises DownstreamError(400).
    """
    return _care(_spelled, path)


def _spelled(found: re.Match[bytes]) -> bytes:
    digits = found[1]
    if digits is None:
        if found[0] == b"%":
            raise DownstreamError(400, "a broken escape in the path")
        return b"%%%02X" % found[0][0]
    code = int(digits, 16)
    return bytes((code,)) if code in _UNRESERVED else b"%" + digits.upper()


def resolve_dots(path: bytes) -> bytes:
    """`.`, `..` and empty segments resolved; a slash at the end stays: `/a//b/../c/` -> `/a/c/`."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment and segment != b".":
            kept.append(segment)
    slash = b"/" if kept and path.endswith(b"/") else b""
    return b"/" + b"/".join(kept) + slash


def _refuse_escapes(path: bytes, refused: frozenset[bytes]) -> None:
    for piece in path.split(b"%")[1:]:
        if piece[:2] in refused:
            raise DownstreamError(400, f"%{piece[:2].decode()} in the path, which this entry point does not allow")
