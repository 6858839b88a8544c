"""Answers in our own words: what the proxy says when no server does, and heads it has to change.

What lives here: the bodies and heads of local answers, as Traefik words them. What must not: deciding when.
Traefik's status table for failures (its `ComputeStatusCode`), RFC 9110 section 15.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from streamlb.runtime.local import reason_of
from streamlb.wire.message import CHUNKED, UNTIL_CLOSE

if TYPE_CHECKING:
    from streamlb.wire.message import ResponseHead

_TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
_BODIES: Final = {
    404: b"404 page not found\n",
    503: b"no available server\n",
    502: b"Bad Gateway",
    504: b"Gateway Timeout",
}
_WITH_TYPE: Final = frozenset({200, 301, 302, 307, 308, 400, 404, 408, 414, 413, 417, 421, 431, 501, 503, 505})


def render_answer(
    status: int,
    method: bytes = b"GET",
    *,
    close: bool,
    cookies: list[bytes] | None = None,
    location: bytes = b"",
    body: bytes = b"",
) -> bytes:
    """A complete local answer, without its body when `method` is HEAD.

    cookies: Set-Cookie values of a pick that was made before the server failed. location: where to go instead.
    body: what to say, if that is not what the status says.
    """
    reason = reason_of(status).encode()
    body = body or _BODIES.get(status) or b"%d %s\n" % (status, reason)
    return b"".join(
        (
            b"HTTP/1.1 %d %s\r\n" % (status, reason),
            _TEXT if status in _WITH_TYPE else b"",
            b"Content-Length: %d\r\n" % len(body),
            b"Date: " + formatdate(usegmt=True).encode() + b"\r\n",
            b"Location: " + location + b"\r\n" if location else b"",
            *(b"Set-Cookie: " + cookie + b"\r\n" for cookie in cookies or ()),
            b"Connection: close\r\n" if close else b"",
            b"\r\n",
            b"" if method == b"HEAD" else body,
        )
    )


def render_changed(head: ResponseHead, framing: int, cookies: list[bytes], *, old: bool, keep: bool) -> bytes:
    """A server's head with what the exchange adds to it: cookies, another framing, the end of the connection.

    old: the client speaks HTTP/1.0. keep: its connection carries another request.
    """
    framing_line = head.framing_line
    if framing == UNTIL_CLOSE or (framing == CHUNKED and old):
        framing_line = b"" if old else b"Transfer-Encoding: chunked\r\n"
    elif old and head.framing_line.startswith(b"Transfer"):
        framing_line = b""  # An answer to HEAD.
    persistence = b"" if keep else b"Connection: close\r\n"
    if old and keep:
        persistence = b"Connection: keep-alive\r\n"
    parts = [head.rendered, framing_line]
    parts += [b"Set-Cookie: " + cookie + b"\r\n" for cookie in cookies]
    parts += [persistence, b"\r\n"]
    return b"".join(parts)
