"""Sticky cookies: which child a request's cookie names, and what to set.

What lives here: names and values of the cookies, the rendered `Set-Cookie` values.
What must not: when to set one (`tree.py`), how one is found in a `Cookie` field (`cookies.py`).
Built by `runtime/build.py`, read by `tree.py`.
Specified by Traefik's sticky sessions and RFC 6265 sections 4.1 and 5.4.
"""

from __future__ import annotations

import hashlib
import re
from typing import Generic, TypeVar

from streamlb.balance.cookies import NamedCookie

T = TypeVar("T")

SAME_SITE = {"none": "None", "lax": "Lax", "strict": "Strict"}

_NAME_CHARACTER = re.compile(r"[^0-9A-Za-z!#$%&'*+\-.^`|~]")
_ATTRIBUTE_CHARACTER = re.compile(r"[^\x20-\x3a\x3c-\x7e]")


def cookie_name(configured: str, qualified_service: str) -> str:
    """The configured name made legal, or one generated from the service's name (`wrr@file`) as Traefik does."""
    if configured:
        return _NAME_CHARACTER.sub("_", configured)
    digest = hashlib.sha1(b"_TRAEFIK_BACKEND_" + qualified_service.encode(), usedforsecurity=False)
    return "_" + digest.hexdigest()[:5]


def token(child: str) -> str:
    """The value written for a child: the first 16 hex digits of the SHA-256 of its name."""
    return hashlib.sha256(child.encode()).hexdigest()[:16]


def old_tokens(child: str) -> tuple[str, str, str]:
    """Values that older Traefiks wrote for a child: its name, FNV-1 of it, FNV-1 of that."""
    fnv = _fnv1(child)
    return child, fnv, _fnv1(fnv)


def _fnv1(text: str) -> str:
    value = 0xCBF29CE484222325
    for octet in text.encode():
        value = (value * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF) ^ octet
    return f"{value:x}"


class Attributes:
    """What a `Set-Cookie` says besides name and value. `max_age`: seconds, 0 a session cookie, below 0 expire now."""

    __slots__ = ("_suffix",)

    def __init__(
        self,
        *,
        path: str = "/",
        domain: str = "",
        max_age: int = 0,
        http_only: bool = False,
        secure: bool = False,
        same_site: str | None = None,
    ) -> None:
        parts = [
            f"Path={_clean(path)}" if path else "",
            f"Domain={_clean(domain).removeprefix('.')}" if domain else "",
            f"Max-Age={max(max_age, 0)}" if max_age else "",
            "HttpOnly" if http_only else "",
            "Secure" if secure else "",
            f"SameSite={SAME_SITE[same_site.lower()]}" if same_site else "",
        ]
        self._suffix = "".join(f"; {part}" for part in parts if part)

    def render(self, name: str, value: str) -> bytes:
        """The whole field value."""
        return f"{name}={value}{self._suffix}".encode("ascii")


def _clean(attribute: str) -> str:
    """Without what would end the attribute, or the field."""
    return _ATTRIBUTE_CHARACTER.sub("", attribute)


class Sticky(Generic[T]):
    """The cookie of one balancer.

    cookies: the `Set-Cookie` value that binds a client to a child.
    """

    __slots__ = ("_children", "_cookie", "cookies")

    def __init__(self, name: str, children: list[tuple[str, T]], attributes: Attributes) -> None:
        """`children`: named as in the configuration; of children with one name the cookie means the first."""
        self._cookie = NamedCookie(name)
        self.cookies = {child: attributes.render(name, token(text)) for text, child in children}
        self._children: dict[bytes, tuple[T, bool]] = {}
        for text, child in reversed(children):
            self._children.update((value.encode(), (child, True)) for value in old_tokens(text))
        for text, child in reversed(children):
            self._children[token(text).encode()] = (child, False)

    def find(self, cookie_header: bytes) -> tuple[T, bool] | None:
        """The child that the first cookie of our name means, and whether its value is of an old form."""
        value = self._cookie.value(cookie_header)
        return self._children.get(value) if value is not None else None
