"""The heads of one client's requests, read and completed with what its connection knows.

What lives here: `HeadReader`, which remembers the last header block, and adds the forwarding fields to a new one;
`head_for`, what a server gets of it.
What must not: the grammar (`wire/http1.py`), where a head begins and what a refusal means (`downstream.py`).
RFC 9112 sections 3 and 5; Traefik's forwardedHeaders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from streamlb.errors import DownstreamError
from streamlb.wire.forwarding import MANAGED, render_forwarded
from streamlb.wire.http1 import MAX_REQUEST_LINE, read_fields, read_request_line, read_unusual_request
from streamlb.wire.message import RequestFields, RequestHead
from streamlb.wire.target import clean_target, is_plain

if TYPE_CHECKING:
    from streamlb.balance.selection import Server
    from streamlb.proxy.http import HttpEntry


class HeadReader:
    """Reads what the client at `peer` asks; whether its own forwarding fields are believed: trusted."""

    __slots__ = ("_block", "_entry", "_fields", "peer", "trusted")

    def __init__(self, entry: HttpEntry, peer: str) -> None:
        # connection
        self._entry = entry
        self.peer = peer
        self.trusted = entry.trusted.covers(peer)
        self._block = b""
        self._fields = cast("RequestFields", None)

    def read(self, data: bytes, end: int) -> RequestHead:
        """The head in `data[:end]`; raises DownstreamError. Hot."""
        line_end = data.find(b"\r\n") + 2
        if line_end > MAX_REQUEST_LINE:
            raise DownstreamError(414, "the request line is too long")
        line = data[:line_end]
        parts = read_request_line(line)
        if parts is None:
            return self._read_unusual(data[:end])
        block = data[line_end:end]
        if block != self._block:
            fields = read_fields(block, self._entry.policy)
            if fields is None:
                return self._read_unusual(data[:end])
            self._complete(fields)
            self._block, self._fields = block, fields
        head = RequestHead(parts[0], parts[1], 1, line, self._fields)
        head.peer = self.peer
        return head if is_plain(parts[1]) else self._clean(head)

    def _read_unusual(self, raw: bytes) -> RequestHead:
        head = read_unusual_request(raw, self._entry.policy)
        self._complete(head.fields)
        head.peer = self.peer
        return self._clean(head)

    def _clean(self, head: RequestHead) -> RequestHead:
        """The head with the one spelling of its target that rules and servers see."""
        target = clean_target(head.target, self._entry.policy)
        if target != head.target:
            head.retarget(target)
        return head

    def _complete(self, fields: RequestFields) -> None:
        """Add what this connection adds to a header block: the forwarding fields, and what goes upstream."""
        if fields.managed and not self.trusted:
            fields.managed = []
            fields.pairs = [pair for pair in fields.pairs if pair[0] not in MANAGED]
        options = self._entry.forwarding
        forwarded = render_forwarded(
            self.peer.encode(),
            self._entry.server_name,
            fields.host,
            fields.upgrade,
            fields.managed,
            append=not options.not_append_x_forwarded_for,
            schemes=options.add_x_forwarded_scheme_headers,
            secure=self._entry.is_secure,
        )
        fields.upstream_rest = b"".join((fields.kept, forwarded, b"\r\n"))
        fields.upstream_block = b"".join(
            (b"Host: ", fields.host, b"\r\n", fields.framing_line, fields.expectation, fields.upstream_rest)
        )


def head_for(head: RequestHead, server: Server) -> bytes:
    """What a server is sent: with the client's Host, unless the service replaces it or there is none to pass."""
    line = head.line_below(server.prefix) if server.prefix else head.line
    fields = head.fields
    host = server.host_field
    if host is None:
        if fields.host:
            return line + fields.upstream_block
        host = server.pool.authority
    return b"".join((line, b"Host: ", host, b"\r\n", fields.framing_line, fields.expectation, fields.upstream_rest))
