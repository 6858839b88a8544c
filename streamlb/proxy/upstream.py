"""One HTTP connection to a server: requests out, answers in.

What lives here: `Upstream`, which reads heads and bodies of answers and hands them to whoever owns the exchange.
What must not: retries, routing, what the client sees (`forwarder.py`), keeping connections (`pool.py`).
RFC 9112 sections 4, 6, 7 and 9; a byte that belongs to no answer spoils the connection.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, Protocol, cast

from streamlb.errors import UpstreamError
from streamlb.net.tls import reason_of
from streamlb.proxy.clock import NEVER
from streamlb.wire.body import Body, BodyError
from streamlb.wire.http1 import MAX_HEAD, find_flaw, read_response

if TYPE_CHECKING:
    from streamlb.proxy.bypass import Bypass
    from streamlb.proxy.introducing import Ends
    from streamlb.proxy.pool import Dialling, Pool
    from streamlb.wire.message import ResponseHead

WRITE_LIMIT: Final = 64 * 1024
"""Bytes written to a server that may wait; what the loops allow a plain connection, they allow TLS eight times."""
EARLY: Final = 64 * 1024
"""Bytes of an early answer read before more of its request is sent."""
CLOSE_TIMEOUT: Final = 60.0
"""Seconds a closing tunnel has to get rid of its last bytes."""


class Owner(Protocol):
    """Whoever sent a request over an `Upstream` and gets its answer; called synchronously, must not raise."""

    @property
    def ends(self) -> Ends:
        """What a server is told that wants to know who the client is; asked of nobody else."""

    def on_connected(self, upstream: Upstream) -> None: ...
    def on_dial_failed(self, error: UpstreamError) -> None: ...
    def on_interim(self, head: ResponseHead) -> None: ...
    def on_answer(self, upstream: Upstream, head: ResponseHead, data: bytes, done: bool) -> None:
        """The final head, with the first bytes of its body; `done` when they are all."""

    def on_answer_body(self, upstream: Upstream, data: bytes, done: bool) -> None: ...
    def on_tunnel_data(self, data: bytes) -> None: ...
    def on_tunnel_passed(self, count: int) -> None:
        """So many bytes went past the transports."""

    def on_tunnel_end(self) -> None: ...
    def on_upstream_lost(self, upstream: Upstream, error: UpstreamError | None) -> None:
        """The connection is gone before the answer was done; error: None after an orderly end (FIN)."""

    def on_upstream_full(self) -> None: ...
    def on_upstream_room(self) -> None: ...


class Upstream(asyncio.Protocol):
    """A connection to a server; idle in its pool, or lent to one `Owner` for one exchange.

    reused: has served an exchange before this one, and nothing of the next answer was heard yet.
    spoiled: must not be used again. full: the server takes in less than is sent to it.
    ends: what the server was told about the client; only the same client may use the connection again.
    outflow, inflow: the way past the transports, of what the server says, and of what it is told. held: the answer is
    not to be read, its receiver has no room. body: of the answer under way, unless it came in one piece.
    """

    __slots__ = (
        "_dialling",
        "_head",
        "_inbox",
        "_method",
        "_raw_head",
        "_tunnel",
        "_unchunk",
        "body",
        "copies",
        "due_at",
        "ends",
        "full",
        "held",
        "inflow",
        "outflow",
        "owner",
        "pool",
        "reused",
        "spoiled",
        "transport",
    )

    def __init__(self, pool: Pool, dialling: Dialling | None = None) -> None:
        # connection
        self.pool = pool
        self._dialling = dialling
        self.transport = cast("asyncio.Transport", None)
        self.ends: Ends = (None, None)
        self.reused = False
        self.spoiled = False
        self.full = False
        self.held = False
        self.copies = False
        self.outflow: Bypass | None = None
        self.inflow: Bypass | None = None
        self.due_at = NEVER
        self._raw_head = b""
        self._head = cast("ResponseHead", None)
        # exchange
        self.owner: Owner | None = None
        self._method = b""
        self._unchunk = False
        self._inbox = b""
        self.body: Body | None = None
        self._tunnel = False

    def start(self, owner: Owner, method: bytes, message: bytes, *, unchunk: bool = False) -> None:
        """Send a request's head (and the body bytes at hand). unchunk: hand over bodies without chunk framing."""
        self.owner = owner
        self._method = method
        self._unchunk = unchunk
        self.due_at = NEVER
        self.transport.write(message)

    def hear_first(self) -> None:
        """Read what the server has said already, before more is sent to it: an early answer may have a reset behind it,
        which a write would run into, and the loop would forget the answer."""
        sock = self.transport.get_extra_info("socket")
        if sock is None or self.pool.server.tls_name or self.held or self.transport.is_closing():
            return
        try:
            data = os.read(sock.fileno(), EARLY)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(UpstreamError(502, reason_of(error) or "connection reset"))
            self.transport.abort()
            return
        if data:
            self.data_received(data)

    def release(self) -> None:
        """The exchange is over and the connection may serve another."""
        self.owner = None
        self.body = None
        self.reused = True
        if self.spoiled or self.full or self.transport.is_closing():
            self.transport.abort()
        else:
            self.pool.put(self)

    def close(self) -> None:
        """The owner is done with this connection, and nobody else may have it."""
        self.owner = None
        self.pool.forget(self)
        if self.outflow is not None:
            self.outflow.stop()
        if self.inflow is not None:
            self.inflow.hand_back(flush=self._tunnel)
        if self._tunnel:
            self.due_at = self.pool.clock.after(CLOSE_TIMEOUT)
            self.transport.close()
        else:
            self.transport.abort()

    def shut_writing(self) -> None:
        """Pass the end of a tunnel's client on. TLS cannot: its server will hear nothing, and end of itself."""
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def on_due(self) -> None:
        self.due_at = NEVER
        if self.owner is None:
            self.pool.forget(self)
            self.transport.abort()

    # --- what the loop calls -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.pool.server.tls_name:
            self.transport.set_write_buffer_limits(WRITE_LIMIT)
        self.pool.opened(self)
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            # At once: what the server says or does first must find an owner.
            dialling.on_made(self)

    def data_received(self, data: bytes) -> None:
        if self.owner is None:
            self.close()  # An answer nobody asked for would be taken for the next one's.
        elif self._tunnel:
            self.owner.on_tunnel_data(data)
        elif self.body is not None:
            self._read_body(data)
        else:
            self._read_head(data)

    def eof_received(self) -> bool:
        owner = self.owner
        if owner is None:
            self.close()  # Under TLS the transport does not know yet that it is closing.
            return False
        if self._tunnel:
            owner.on_tunnel_end()
            return not self.pool.server.tls_name
        self._lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.closed(self)
        reason = "connection reset" if exc is not None else "connection closed"
        self._lost(UpstreamError(502, reason_of(exc) or reason))

    def pause_writing(self) -> None:
        self.full = True
        if self.owner is not None:
            self.owner.on_upstream_full()

    def resume_writing(self) -> None:
        self.full = False
        if self.owner is not None:
            self.owner.on_upstream_room()
        if self.inflow is not None:
            self.inflow.on_room()

    # --- back pressure, and the way past the transport -----------------------------------------------------------

    def hold(self) -> None:
        """Read no more of the answer: whoever gets it has no room."""
        self.held = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def let_go(self) -> None:
        """There is room again."""
        self.held = False
        if self.outflow is None and not self.transport.is_closing():
            self.transport.resume_reading()

    @property
    def counted(self) -> int:
        """Bytes missing of an answer whose length is known."""
        return self.body.counted if self.body is not None else 0

    def on_bypass_start(self) -> None:
        self.transport.pause_reading()

    def on_bypassed(self, count: int) -> None:
        owner = cast("Owner", self.owner)
        if self.body is None:
            owner.on_tunnel_passed(count)
        else:
            self.body.skip(count)
            owner.on_answer_body(self, b"", False)

    def on_bypass_end(self, error: OSError | None) -> None:
        if error is not None:
            self._lost(UpstreamError(502, reason_of(error) or "connection reset"))
            self.transport.abort()
            return
        if not self.held and not self.transport.is_closing():
            self.transport.resume_reading()
        if self.body is not None and not self.body.left:
            self._read_body(b"")

    def on_bypass_lost(self) -> None:
        """The server takes no more of a request, and may have answered: that is still read."""
        if self._tunnel:
            self._lost(UpstreamError(502, "connection reset"))
            self.transport.abort()

    # --- reading answers ---------------------------------------------------------------------------------------

    def _lost(self, error: UpstreamError | None) -> None:
        if self.outflow is not None:
            self.spoiled = True
            self.outflow.hand_back()  # What was read still arrives, and may be all there was to come.
        if self.inflow is not None:
            self.inflow.hand_back(flush=False)
        owner, self.owner = self.owner, None
        if owner is not None:
            self.spoiled = True
            self.reused = self.reused and not self._inbox
            owner.on_upstream_lost(self, error)

    def _read_head(self, data: bytes) -> None:
        known = len(self._inbox)
        if known:
            data = self._inbox + data
            self._inbox = b""
        owner = cast("Owner", self.owner)
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end > MAX_HEAD or (end < 4 and len(data) > MAX_HEAD):
                self._fail("the head of the answer is too large")
                return
            if end < 4:
                self._await_head(data, known)
                return
            head = self._reading(data[:end])
            if head is None:
                return
            data, known = data[end:], 0
            if head.status >= 200:
                break
            if head.status == 101:
                self._switch(owner, head, data)
                return
            self.reused = False
            owner.on_interim(head)
            if not data or self.owner is not owner:
                return
        self._begin_body(owner, head, data)

    def _await_head(self, data: bytes, known: int) -> None:
        """Keep what there is of a head, unless it can never become one; `known` bytes were looked at before."""
        if data[:7] != b"HTTP/1."[: len(data)] or find_flaw(data, max(known - 2, 0)) is not None:
            self._fail("the answer is not valid HTTP")
        else:
            self._inbox = data

    def _reading(self, raw: bytes) -> ResponseHead | None:
        """The reading of a head; servers repeat themselves, so the last one is remembered."""
        if raw == self._raw_head:
            return self._head
        try:
            head = read_response(raw, self._method)
        except UpstreamError as error:
            self._fail(error.reason)
            return None
        self._raw_head, self._head = raw, head
        return head

    def _begin_body(self, owner: Owner, head: ResponseHead, data: bytes) -> None:
        framing = head.body_framing(self._method)
        if framing == len(data):  # The usual answer: complete in one piece.
            owner.on_answer(self, head, data, True)
            return
        body = self.body = Body(framing)
        taken = self._take(body, data)
        if taken is not None:
            owner.on_answer(self, head, taken, body.done)

    def _read_body(self, data: bytes) -> None:
        body = cast("Body", self.body)
        taken = self._take(body, data)
        if taken is not None and (taken or body.done):
            cast("Owner", self.owner).on_answer_body(self, taken, body.done)

    def _take(self, body: Body, data: bytes) -> bytes | None:
        """What of `data` to pass on; None when the body is broken and the owner was told."""
        payload: list[bytes] | None = [] if self._unchunk else None
        try:
            taken = body.feed(data, payload)
        except BodyError as error:
            self._fail(str(error))
            return None
        if taken < len(data):
            self.spoiled = True  # More than was announced: nobody knows what it belongs to.
            data = data[:taken]
        return data if payload is None else b"".join(payload)

    def _switch(self, owner: Owner, head: ResponseHead, data: bytes) -> None:
        self._tunnel = self.spoiled = True
        owner.on_answer(self, head, b"", True)
        if data and self.owner is owner:
            owner.on_tunnel_data(data)

    def _fail(self, reason: str) -> None:
        self.reused = False
        self._lost(UpstreamError(502, reason))
        self.close()
