"""Messages as the proxy sees them: heads with the few fields it acts on, and everything else as bytes.

What lives here: `RequestFields`, `RequestHead`, `ResponseHead` and the three ways a body can be framed.
What must not: reading them from bytes (`http1.py`), forwarding rules (`forwarding.py`). RFC 9110, RFC 9112 section 6.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

NO_BODY: Final = 0
"""A body length of zero; any framing >= 0 is a length in bytes."""
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

RESERVED: Final = b":/?#[]@!$&'()*+,;=%"
"""Characters that stay percent-encoded in the path that rules see (Traefik's routing path)."""


class RequestFields:
    """The reading of one header block; the same block on the same connection is read once.

    host: `Host` as received. host_name: lower case, without port and trailing dot.
    framing: a length, or CHUNKED. keep_alive: None when the block does not say (the version decides).
    upgrade: the protocols asked for, or empty. expectation: the `Expect` line, or empty.
    kept: end-to-end lines without Host, framing, expectation and the managed fields.
    managed: (lower-case name, value) of the forwarding fields as received. pairs: all fields, for header rules.
    """

    __slots__ = (
        "cookie",
        "expectation",
        "framing",
        "framing_line",
        "host",
        "host_name",
        "keep_alive",
        "kept",
        "managed",
        "pairs",
        "trailers",
        "upgrade",
        "upstream_block",
        "upstream_rest",
    )

    def __init__(self) -> None:
        self.host = b""
        self.host_name = b""
        self.framing: int = NO_BODY
        self.framing_line = b""
        self.keep_alive: bool | None = None
        self.expectation = b""
        self.upgrade = b""
        self.trailers = False
        self.cookie = b""
        self.kept = b""
        self.managed: list[tuple[bytes, bytes]] = []
        self.pairs: list[tuple[bytes, bytes]] = []
        # Filled by the connection that owns the block: what goes upstream after the request line. `upstream_rest`
        # lacks Host, framing and expectation, `upstream_block` is complete with the client's Host.
        self.upstream_rest = b""
        self.upstream_block = b""

    def values(self, name: bytes) -> list[bytes]:
        """The values of the field `name` (lower case), in order of appearance."""
        return [value for key, value in self.pairs if key == name]


class RequestHead:
    """A request line and its fields; what rules match on.

    line: the request line to send upstream, with CRLF, and behind it the fields of this request alone, if any.
    minor: 0 or 1. peer: the client's address as text. marks: what those fields say, or None.
    """

    __slots__ = ("fields", "host", "line", "marks", "method", "minor", "peer", "target")

    def __init__(self, method: bytes, target: bytes, minor: int, line: bytes, fields: RequestFields) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.line = line
        self.fields = fields
        self.host = fields.host_name
        self.peer = ""
        self.marks: Any = None

    def mark(self, marks: Any) -> None:
        """Send `marks.lines` with this request; its target stays as it is from now on."""
        self.marks = marks
        self.line += marks.lines

    def retarget(self, target: bytes) -> None:
        """Replace the target, for rules and for the server."""
        self.target = target
        self.line = b"%b %b HTTP/1.1\r\n" % (self.method, target)

    def line_below(self, prefix: bytes) -> bytes:
        """The request line for a server whose URL has the path `prefix` (without a slash at its end)."""
        below = self.target if self.target == b"*" else prefix + self.target
        line = b"%b %b HTTP/1.1\r\n" % (self.method, below)
        return line if self.marks is None else line + self.marks.lines

    @property
    def client(self) -> IPv4Address | IPv6Address:
        return ip_address(self.peer)

    @property
    def path(self) -> bytes:
        """The path as rules see it: percent-decoded but for reserved characters."""
        path = self.target.partition(b"?")[0]
        return decode_path(path) if b"%" in path else path

    @property
    def query(self) -> bytes:
        return self.target.partition(b"?")[2]

    def values(self, name: bytes) -> list[bytes]:
        return self.fields.values(name)

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to go on after this exchange (RFC 9112 section 9.3)."""
        said = self.fields.keep_alive
        return self.minor == 1 if said is None else said

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice is the same as sending it once (RFC 9110 section 9.2.2)."""
        return self.method in IDEMPOTENT


IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


class ResponseHead:
    """A status line and its fields.

    framing: of the message as it stands, before the request's method is considered (`body_framing`).
    rendered: status line and end-to-end fields, without framing and without the empty line.
    framing_line: `Content-Length` or `Transfer-Encoding` with CRLF, or empty.
    """

    __slots__ = ("framing", "framing_line", "keep_alive", "plain", "rendered", "status", "upgrade")

    def __init__(self, status: int) -> None:
        self.status = status
        self.framing: int = UNTIL_CLOSE
        self.framing_line = b""
        self.keep_alive = True
        self.upgrade = b""
        self.rendered = b""
        self.plain = b""
        """rendered + framing_line + the empty line: what most answers need."""

    def body_framing(self, method: bytes) -> int:
        """How the body of this answer to `method` is framed (RFC 9112 section 6.3)."""
        return NO_BODY if method == b"HEAD" else self.framing


def decode_path(path: bytes) -> bytes:
    """Percent-decode what is not reserved: `/foo%20bar%2Fx` -> `/foo bar%2Fx`. Broken escapes stay as they are."""
    head, *rest = path.split(b"%")
    out = [head]
    for piece in rest:
        byte = unquote_to_bytes(b"%" + piece[:2])
        if len(byte) == 1 and byte not in RESERVED:
            out.append(byte + piece[2:])
        else:
            out.append(b"%" + piece)
    return b"".join(out)
