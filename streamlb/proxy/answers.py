"""Answers of our own: what the proxy says when no server does.

What lives here: the bodies and heads of local answers, as Traefik words them. What must not: deciding when.
Traefik's status table for failures (its `ComputeStatusCode`), RFC 9110 section 15.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

_TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
_BODIES: Final = {
    404: b"404 page not found\n",
    503: b"no available server\n",
    502: b"Bad Gateway",
    504: b"Gateway Timeout",
}
_WITH_TYPE: Final = frozenset({400, 404, 408, 414, 413, 417, 431, 501, 503, 505})


def render_answer(status: int, method: bytes = b"GET", *, close: bool, cookies: list[bytes] | None = None) -> bytes:
    """A complete local answer, without its body when `method` is HEAD.

    cookies: Set-Cookie values of a pick that was made before the server failed.
    """
    reason = HTTPStatus(status).phrase.encode()
    body = _BODIES.get(status) or b"%d %s\n" % (status, reason)
    return b"".join(
        (
            b"HTTP/1.1 %d %s\r\n" % (status, reason),
            _TEXT if status in _WITH_TYPE else b"",
            b"Content-Length: %d\r\n" % len(body),
            b"Date: " + formatdate(usegmt=True).encode() + b"\r\n",
            *(b"Set-Cookie: " + cookie + b"\r\n" for cookie in cookies or ()),
            b"Connection: close\r\n" if close else b"",
            b"\r\n",
            b"" if method == b"HEAD" else body,
        )
    )
