"""One HTTP connection from a client: requests in, answers out.

What lives here: `Downstream`, which cuts the client's bytes into heads and bodies, keeps pipelined requests in order,
holds the connection's deadlines, and ends it so that neither side misreads what was left.
What must not: which server is asked (`forwarder.py`), how heads are read (`wire/http1.py`).
RFC 9112 sections 2, 3, 9; after a refusal not one further byte of the connection is interpreted.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, cast

from streamlb.errors import DownstreamError
from streamlb.net.address import client_of
from streamlb.net.outgoing import count_untaken
from streamlb.net.secure_transport import write_last
from streamlb.net.subjects import subject_of
from streamlb.observe import records
from streamlb.proxy.answers import render_answer
from streamlb.proxy.clock import NEVER
from streamlb.proxy.forwarder import Forwarder
from streamlb.proxy.heads import HeadReader
from streamlb.proxy.introducing import endpoint_of
from streamlb.proxy.ledger import tls_facts
from streamlb.proxy.live import LAST_CALL
from streamlb.proxy.pump import reset_on_close
from streamlb.wire.body import Body, BodyError
from streamlb.wire.http1 import MAX_REQUEST_LINE, find_flaw

if TYPE_CHECKING:
    from streamlb.proxy.arrival import Arrival
    from streamlb.proxy.bypass import Bypass
    from streamlb.proxy.http import HttpEntry
    from streamlb.proxy.introducing import Ends
    from streamlb.wire.message import RequestHead

LINGER: Final = 2.0
"""Seconds the last answer gets to arrive while unread bytes of the client are thrown away."""
MAX_INBOX: Final = 64 * 1024
"""Bytes of pipelined requests held before reading stops."""


class Downstream(asyncio.Protocol):
    """A client's connection. It serves one exchange at a time; `busy` says whether one is under way.

    arrival: who the client is, if not whom the transport names.
    options: those of its TLS handshake, by name; empty in the clear. subject: of the client's certificate, if any.
    body: of the request under way, until its last byte was read.
    ending: nothing more is read as a request. eof: the client has shut its side. last: no request follows this one.
    outflow, inflow: the way past the transports, of what the client says, and of what it is told.
    due_at: when something must have happened, in the loop's time; what is set by `renew`.
    """

    __slots__ = (
        "_arrival",
        "_forwarder",
        "_inbox",
        "_looping",
        "_opened_at",
        "_reader",
        "_reading_paused",
        "_served",
        "_unread",
        "body",
        "busy",
        "copies",
        "due_at",
        "ending",
        "entry",
        "eof",
        "inflow",
        "last",
        "options",
        "outflow",
        "subject",
        "transport",
        "upstream_full",
        "write_blocked",
    )

    def __init__(self, entry: HttpEntry, arrival: Arrival | None = None, options: str = "") -> None:
        # connection
        self.entry = entry
        self.options = options
        self._arrival = arrival
        self.transport = cast("asyncio.Transport", None)
        self.subject = ""
        self.due_at = NEVER
        self.ending = False
        self.write_blocked = False
        self.eof = False
        self.last = False
        self.copies = False
        self.outflow: Bypass | None = None
        self.inflow: Bypass | None = None
        self._served = 0
        self._opened_at = entry.clock.now
        self._unread = 0
        self._reader = cast("HeadReader", None)
        self._inbox = b""
        self._looping = False
        self._reading_paused = False
        self._forwarder = Forwarder(entry, self)
        # exchange
        self.busy = False
        self.body: Body | None = None
        self.upstream_full = False

    # --- what the loop calls -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._reader = HeadReader(self.entry, self._client_address())
        if self.entry.is_secure:
            self._note_tls()
        self.entry.opened(self)
        self._opened_at = self.entry.clock.now
        self.due_at = self.entry.clock.after(self.entry.idle_timeout)

    def _client_address(self) -> str:
        if self._arrival is not None:
            return self._arrival.text
        peer = self.transport.get_extra_info("peername")
        return client_of(peer[0])[1] if peer else "0.0.0.0"

    def _note_tls(self) -> None:
        ssl_object = self.transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            facts = tls_facts(ssl_object.version(), ssl_object.cipher()[0])
            self._forwarder.ledger = self.entry.ledger.over_tls(facts)
            self.subject = subject_of(ssl_object)

    @property
    def source(self) -> tuple[str, int]:
        """The client's address as text, and its port."""
        if self._arrival is not None:
            return self._reader.peer, self._arrival.port
        peer = self.transport.get_extra_info("peername")
        return self._reader.peer, peer[1] if peer else 0

    @property
    def ends(self) -> Ends:
        """Who the client is, with its port, and what it connected to."""
        source = endpoint_of(self.transport.get_extra_info("peername"))
        destination = endpoint_of(self.transport.get_extra_info("sockname"))
        if self._arrival is None:
            return source, destination
        return self._arrival.source, self._arrival.destination or destination

    @property
    def peer(self) -> str:
        """The client's address as text."""
        return self._reader.peer

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            if not self.ending:
                self._read_heads(self._inbox + data if self._inbox else data, len(self._inbox))
        elif self.body is not None:
            self._read_body(self.body, data)
        elif self._forwarder.tunnel is not None:
            self._forwarder.tunnel.on_client_data(data)
        else:
            self._inbox += data
            self._update_reading()

    def eof_received(self) -> bool:
        """A client may shut its side and wait for its answer; anything less complete than that is over."""
        self.eof = True
        if self.busy and self.body is None:
            self._forwarder.on_client_end()
            if self.due_at == NEVER:
                self.renew()
            return not self.ending
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy and not self.ending:
            self.entry.gone += 1
        self.ending = True
        self._forwarder.abandon()
        self._reader.leave()
        self.entry.closed(self)
        # They hold each other: without a word they, and what TLS has left, would wait for the collector.
        self._forwarder.tunnel = None
        self._forwarder = cast("Forwarder", None)

    def pause_writing(self) -> None:
        self.write_blocked = True
        self.renew()
        self._forwarder.on_client_full()

    def resume_writing(self) -> None:
        self.write_blocked = False
        self.renew()
        self._forwarder.on_client_room()
        if self.inflow is not None:
            self.inflow.on_room()
        if not self.busy and not self.ending:
            self._update_reading()
            self._read_heads(self._inbox)

    def renew(self) -> None:
        """Set the deadline of what is awaited now."""
        if self.ending:
            return
        if self.write_blocked:
            self._unread = self._count_unread()
            limit = self.entry.write_timeout
        elif not self.busy:
            limit = self.entry.idle_timeout
        elif self.body is not None:
            limit = self._forwarder.upload_patience()
        else:
            limit = self._forwarder.patience()
        due_at = self.entry.clock.after(limit)
        if self.busy and self._forwarder.deadline < due_at:
            due_at = self._forwarder.deadline
        self.due_at = due_at

    # --- reading requests --------------------------------------------------------------------------------------

    def _read_heads(self, data: bytes, known: int = 0) -> None:
        """Begin the requests in `data`, one after the other; what is not read stays in the inbox.

        known: bytes of an unfinished head that were looked at before.
        """
        self._looping = True
        while True:
            if data[:2] == b"\r\n":  # RFC 9112 section 2.2: an empty line before a request is ignored.
                data = _past_empty_lines(data)
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 or end > self.entry.max_head or self.write_blocked:
                self._inbox = data
                self._wait_for_head(data, end, known)
                break
            head = self._read_head(data, end)
            if head is None:
                break
            self._begin(head, data[end:])
            if self.busy or self.ending:
                break
            data, known = self._inbox, 0
        self._looping = False

    def _wait_for_head(self, data: bytes, end: int, known: int) -> None:
        """There is no complete head, or no room for its answer."""
        if self.write_blocked and data:
            self._update_reading()
        elif self.eof:
            self._end()
        elif not data:
            pass
        elif len(data) > self.entry.max_head or end > self.entry.max_head:
            longest = min(MAX_REQUEST_LINE, self.entry.max_head)
            self.refuse(414 if data.find(b"\r\n", 0, longest) < 0 else 431, records.TOO_LARGE)
        elif find_flaw(data, max(known - 2, 0)) is not None:
            self.refuse(400, records.UNREADABLE)  # Its end might never come: TLS, or another language.
        elif not known and self.entry.head_timeout < NEVER:
            self.due_at = self.entry.clock.after(self.entry.head_timeout)

    def _read_head(self, data: bytes, end: int) -> RequestHead | None:
        """The head in `data[:end]`, or None after a refusal. Hot."""
        try:
            return self._reader.read(data, end)
        except DownstreamError as error:
            self.entry.refused(self.peer, error)
            self.refuse(error.status, error.reason)
            return None

    def _begin(self, head: RequestHead, rest: bytes) -> None:
        self.busy = True
        self.due_at = NEVER
        if self.entry.wears_out:
            self._wear()
        framing = head.fields.framing
        if framing == 0:
            self._inbox = rest
            self._forwarder.start(head, b"", True)
            return
        body = self.body = Body(framing)
        try:
            taken = body.feed(rest)
        except BodyError:
            self.refuse(400, records.UNREADABLE, head)
            return
        self._forwarder.request_body = body
        self._inbox = rest[taken:]
        if body.done:
            self.body = None
        else:
            self.due_at = self.entry.clock.after(self.entry.read_timeout)
        self._forwarder.start(head, rest[:taken], body.done)

    def _wear(self) -> None:
        """Count a request; the last one the connection may carry is answered with `Connection: close`."""
        entry = self.entry
        self._served += 1
        used_up = entry.max_requests and self._served >= entry.max_requests
        aged = entry.max_age and entry.clock.now - self._opened_at >= entry.max_age
        self.last = bool(used_up or aged)

    def _read_body(self, body: Body, data: bytes) -> None:
        try:
            taken = body.feed(data)
        except BodyError:
            self._forwarder.on_broken_request()
            return
        if body.done:
            self.body = None
            self.renew()
            if taken < len(data):
                self._inbox = data[taken:]
                data = data[:taken]
        else:
            self.renew()
        self._forwarder.on_request_body(data, body.done)

    # --- what the forwarder calls ------------------------------------------------------------------------------

    def finish(self, keep: bool, last: bytes) -> None:
        """Write the last bytes of an answer; go on with the next request, or end."""
        self.busy = False
        self.upstream_full = False
        if not keep:
            self._end(last)
            return
        if last:
            self.transport.write(last)
        self.due_at = self.entry.clock.after(self.entry.idle_timeout)
        if self.entry.live.draining:
            # Its answer had begun before, without a word of that: the next request may be on its way.
            self.drain()
        if self._reading_paused:
            self._update_reading()
        if (self._inbox or self.eof) and not self._looping:
            self._read_heads(self._inbox)

    def set_upstream_full(self, full: bool) -> None:
        """Whether the server's side has no room for more of the request's body."""
        if full != self.upstream_full:
            self.upstream_full = full
            self._update_reading()
            if self.body is not None:
                self.renew()

    def take_inbox(self) -> bytes:
        """What the client sent behind its upgrade request."""
        early, self._inbox = self._inbox, b""
        self._update_reading()
        return early

    @property
    def counted(self) -> int:
        """Bytes missing of a request's body whose length is known."""
        return self.body.counted if self.body is not None else 0

    def on_bypass_start(self) -> None:
        self._update_reading()

    def on_bypassed(self, count: int) -> None:
        if self.body is not None:
            self.body.skip(count)
            self.renew()
            self._forwarder.on_request_body(b"", False)
        elif self._forwarder.tunnel is not None:
            self._forwarder.bytes_up += count
            self._forwarder.tunnel.on_client_data(b"")

    def on_bypass_end(self, error: OSError | None) -> None:
        if error is not None:
            self.transport.abort()
            return
        self._update_reading()
        if self.body is not None and not self.body.left:
            self._read_body(self.body, b"")

    def on_bypass_lost(self) -> None:
        self.transport.abort()

    def shut_writing(self) -> None:
        """Pass the end of a tunnel's server on to the client."""
        if not self.transport.is_closing():
            self.transport.write_eof()
        self.renew()

    def end_tunnel(self) -> None:
        """Both sides have ended; what is still to be written gets its time."""
        self.ending = True
        self.due_at = self.entry.clock.after(self.entry.write_timeout)
        self.transport.close()

    def refuse(self, status: int, reason: str = "", head: RequestHead | None = None) -> None:
        """Answer and end: what follows cannot be read with certainty. reason: of a request that nobody forwarded."""
        if reason:
            self._forwarder.ledger.refused(self, status, reason, head)
        self.busy = False
        self._end(render_answer(status, close=True), linger=True)

    def cut(self) -> None:
        """End visibly in the middle of an answer, by a reset: nobody may take it for complete."""
        self.ending = True
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                reset_on_close(sock)
        self.transport.abort()

    # --- the end -----------------------------------------------------------------------------------------------

    def _end(self, last: bytes = b"", *, linger: bool = False) -> None:
        """Write `last`, and close once everything is written."""
        if self.ending:
            return
        self.ending = True
        if (linger or self.body is not None or self._inbox) and not self.eof:
            self._linger(last)
        else:
            self.due_at = self.entry.clock.after(self.entry.write_timeout)
            write_last(self.transport, last)

    def _linger(self, last: bytes) -> None:
        """End our side only. Bytes the client still sends would turn a close into a reset and could take the answer
        with it, so they are read and dropped for a while."""
        self.transport.write(last)
        self._inbox = b""
        self.body = None
        self.upstream_full = self.write_blocked = False
        self.due_at = self.entry.clock.after(LINGER)
        if not self.transport.is_closing():
            self._update_reading()
            self.transport.write_eof()

    def drain(self) -> None:
        """Who has a request under way, or sends one yet, is answered `Connection: close`."""
        if not self.busy and not self.ending:
            self.due_at = min(self.due_at, self.entry.clock.after(LAST_CALL))

    def abort(self) -> None:
        if self.entry.live.draining:
            self._forwarder.reason = records.SHUTDOWN
        self.ending = True
        self.transport.abort()

    def on_due(self) -> None:
        self.due_at = NEVER
        if self.ending:
            self.abort()
        elif self.busy and self._forwarder.overdue:
            self._forwarder.on_due()
        elif self.write_blocked:
            if self._count_unread() == self._unread:
                self._forwarder.reason = records.CLIENT_SLOW
                self.cut()
            else:
                self.renew()  # It takes its answer, if slowly.
        elif self.busy:
            self._forwarder.on_due()
        elif self._inbox:
            self.refuse(408, records.CLIENT_SLOW)
        else:
            self._end()

    def _count_unread(self) -> int:
        """Bytes of its answer that the client has not taken."""
        sock = self.transport.get_extra_info("socket")
        held = self.transport.get_write_buffer_size() + (self.inflow.held if self.inflow is not None else 0)
        return held + (count_untaken(sock.fileno()) if sock is not None else 0)

    def _update_reading(self) -> None:
        pause = (
            self.upstream_full
            or self.outflow is not None
            or (len(self._inbox) > MAX_INBOX if self.busy else self.write_blocked and not self.ending)
        )
        if pause == self._reading_paused or self.eof or self.transport.is_closing():
            return
        self._reading_paused = pause
        if pause:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()


def _past_empty_lines(data: bytes) -> bytes:
    at = 0
    while data.startswith(b"\r\n", at):
        at += 2
    return data[at:]
