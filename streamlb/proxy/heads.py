"""The heads of one client's requests, read and completed with what its connection knows.

What lives here: `HeadReader`, which remembers the last header block, and adds the forwarding fields to a new one;
`head_for`, what a server gets of it; `Habits`, which remembers it for the client's next connection.
What must not: the grammar (`wire/http1.py`), where a head begins and what a refusal means (`downstream.py`).
RFC 9112 sections 3 and 5; Traefik's forwardedHeaders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from streamlb.errors import DownstreamError
from streamlb.wire.forwarding import MANAGED, render_forwarded
from streamlb.wire.http1 import MAX_REQUEST_LINE, read_fields, read_request_line, read_unusual_request
from streamlb.wire.message import RequestFields, RequestHead
from streamlb.wire.target import clean_target, is_plain

if TYPE_CHECKING:
    from streamlb.balance.selection import Server
    from streamlb.proxy.http import HttpEntry


MAX_HABITS: Final = 512
"""Clients whose last header block is remembered."""
MAX_HABIT: Final = 1024
"""Bytes of a block worth remembering: a client that makes a connection for each request says little."""


class Habits:
    """What each client said last on one entry point, by its address: many come back and say it again."""

    __slots__ = ("_last", "recall")

    def __init__(self) -> None:
        self._last: dict[str, tuple[bytes, RequestFields]] = {}
        self.recall = self._last.get

    def note(self, peer: str, block: bytes, fields: RequestFields) -> None:
        if not 0 < len(block) <= MAX_HABIT:
            return
        last = self._last
        last.pop(peer, None)
        last[peer] = block, fields
        if len(last) > MAX_HABITS:
            del last[next(iter(last))]


class HeadReader:
    """Reads what the client at `peer` asks; whether its own forwarding fields are believed: trusted."""

    __slots__ = ("_block", "_entry", "_fields", "_marking", "peer", "trusted")

    def __init__(self, entry: HttpEntry, peer: str) -> None:
        # connection
        self._entry = entry
        self._marking = entry.marking
        self.peer = peer
        self.trusted = entry.trusted.covers(peer)
        self._block, self._fields = entry.habits.recall(peer) or (b"", cast("RequestFields", None))

    def leave(self) -> None:
        """The connection has ended."""
        self._entry.habits.note(self.peer, self._block, self._fields)

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
        if not is_plain(parts[1]):
            self._clean(head)
        if self._marking is not None:
            self._marking.mark(head)
        return head

    def _read_unusual(self, raw: bytes) -> RequestHead:
        head = read_unusual_request(raw, self._entry.policy)
        self._complete(head.fields)
        head.peer = self.peer
        self._clean(head)
        if self._marking is not None:
            self._marking.mark(head)
        return head

    def _clean(self, head: RequestHead) -> None:
        """Give the head the one spelling of its target that rules and servers see."""
        target = clean_target(head.target, self._entry.policy)
        if target != head.target:
            head.retarget(target)

    def _complete(self, fields: RequestFields) -> None:
        """Add what this connection adds to a header block: the forwarding fields, and what goes upstream."""
        if fields.managed and not self.trusted:
            fields.managed = []
            fields.pairs = [pair for pair in fields.pairs if pair[0] not in MANAGED]
        if self._marking is not None:
            self._marking.clear(fields, self.trusted)
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
