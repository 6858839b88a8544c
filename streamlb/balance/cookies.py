"""One cookie in a `Cookie` field.

What lives here: `NamedCookie`, which finds the value of the first cookie of its name.
What must not: what the value means. Used by `sticky.py`, `hashing.py` and `overrides.py`. RFC 6265 section 5.4.
"""

from __future__ import annotations

import re


class NamedCookie:
    """Reads one cookie; linear in the field's length whatever it holds."""

    __slots__ = ("_key", "_pattern")

    def __init__(self, name: str) -> None:
        self._key = name.encode("ascii") + b"="
        # Anchored at `;`, which the blanks cannot contain.
        self._pattern = re.compile(rb";[ \t]*" + re.escape(self._key))

    def value(self, cookie_header: bytes) -> bytes | None:
        """The value of the first cookie of this name, without quotes around it; None when there is none."""
        at = cookie_header.find(self._key)
        if at < 0:
            return None
        if cookie_header[cookie_header.rfind(b";", 0, at) + 1 : at].strip(b" \t"):
            # That was the end of another name, or inside a value.
            found = self._pattern.search(cookie_header, at)
            if found is None:
                return None
            at = found.end()
        else:
            at += len(self._key)
        end = cookie_header.find(b";", at)
        value = (cookie_header[at:end] if end >= 0 else cookie_header[at:]).rstrip(b" \t")
        return value[1:-1] if len(value) > 1 and value[:1] == b'"' == value[-1:] else value
