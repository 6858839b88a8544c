"""Copies of HTTP requests for mirrors: sent beside the main exchange, their answers thrown away.

What lives here: `MirrorCopy`, the owner of one copy's upstream connection, and `Mirrors`, their number and limits.
What must not: anything the client could notice; a copy that is slow, refused or answered with garbage is dropped and
counted. Which requests are copied was decided by the walk (`balance/quota.py`). Traefik's mirroring service.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from streamlb.balance.selection import Selection
from streamlb.observe.throttle import Throttle
from streamlb.proxy.clock import NEVER
from streamlb.wire.body import Body
from streamlb.wire.message import CHUNKED

if TYPE_CHECKING:
    from streamlb.balance.selection import MirrorOrder, Server
    from streamlb.errors import UpstreamError
    from streamlb.proxy.http import HttpEntry
    from streamlb.proxy.introducing import Ends
    from streamlb.proxy.pool import Dialling
    from streamlb.proxy.upstream import Upstream
    from streamlb.wire.message import RequestHead, ResponseHead

MAX_COPIES: Final = 256
"""Copies under way at once, per entry point and worker."""
MAX_COPY_BACKLOG: Final = 4 * 1024 * 1024
"""Bytes of one copy that its server has not taken yet."""
MAX_BACKLOG: Final = 64 * 1024 * 1024
"""The same, of all copies together."""
COPY_TIMEOUT: Final = 30.0
"""Seconds a copy may take from the last piece of its request to the end of its answer."""

log = logging.getLogger(__name__)


class Mirrors:
    """The copies under way at one entry point of one worker."""

    __slots__ = ("_throttle", "backlog", "copies_under_way", "dropped", "entry", "sent")

    def __init__(self, entry: HttpEntry) -> None:
        self.entry = entry
        self.copies_under_way: set[MirrorCopy] = set()
        self.backlog = 0
        self.sent = 0
        self.dropped = 0
        self._throttle = Throttle(10.0)

    def copies(self, orders: list[MirrorOrder], head: RequestHead, data: bytes, done: bool) -> list[MirrorCopy]:
        """Start the copies the walk ordered; those that go on need `feed` until the request is done."""
        started = [copy for order in orders if (copy := self._copy(order, head, data, done)) is not None]
        return [] if done else started

    def _copy(self, order: MirrorOrder, head: RequestHead, data: bytes, done: bool) -> MirrorCopy | None:
        framing = head.fields.framing
        limit = order.max_body_size
        if order.mirror_body and 0 <= limit < framing:
            self.drop(order.name, "its body is over maxBodySize", skipped=True)
            return None
        if len(self.copies_under_way) >= MAX_COPIES or self.backlog > MAX_BACKLOG:
            self.drop(order.name, "too many copies are under way", skipped=True)
            return None
        want = Selection(head.fields.cookie, b"", head)
        server = order.service.pick(want)
        if server is None:
            self.drop(order.name, "no server is available", skipped=True)
            return None
        copy = MirrorCopy(self, order, server, head)
        self.copies_under_way.add(copy)
        copy.begin(data, done)
        return copy

    def drop(self, name: str, reason: str, *, skipped: bool = False) -> None:
        """Count a copy that did not arrive; a line in the log every now and then says so."""
        self.dropped += 1
        self.entry.ledger.cells.count("http_mirrored", self.entry.name, name, "skipped" if skipped else "failed")
        count = self._throttle.admit((name, reason), self.entry.loop.time())
        if count:
            log.warning("mirror %s: %d request(s) not copied: %s", name, count, reason)


class MirrorCopy:
    """One request on its way to a mirror.

    pending: what waits for the connection, or for the end of a body whose size must be known first.
    hold: walks such a body; None when there is nothing to wait for. stripped: the copy goes without its body.
    done: all of the request was fed. keeps: the answer was read, and its server keeps the connection.
    """

    __slots__ = (
        "_body_size",
        "_counted",
        "_dialling",
        "_done",
        "_head",
        "_hold",
        "_keeps",
        "_mirrors",
        "_order",
        "_over",
        "_pending",
        "_repeated",
        "_server",
        "_stripped",
        "_upstream",
        "due_at",
    )

    def __init__(self, mirrors: Mirrors, order: MirrorOrder, server: Server, head: RequestHead) -> None:
        self._mirrors = mirrors
        self._order = order
        self._server = server
        self._head = head
        self._dialling: Dialling | None = None
        self._upstream: Upstream | None = None
        self._pending = bytearray()
        self._counted = 0
        self._body_size = 0
        self._stripped = not order.mirror_body and head.fields.framing != 0
        weighed = order.mirror_body and order.max_body_size >= 0 and head.fields.framing == CHUNKED
        self._hold = Body(CHUNKED) if weighed else None
        self._done = False
        self._over = False
        self._repeated = False
        self._keeps: bool | None = None
        self.due_at = NEVER

    # --- the request -------------------------------------------------------------------------------------------

    def begin(self, data: bytes, done: bool) -> None:
        clock = self._mirrors.entry.clock
        clock.watch(self)
        weighed = self._hold is not None
        self.feed(data, done)
        if not weighed and not self._over:
            self._reach()

    def _reach(self, *, fresh: bool = False) -> None:
        pool = self._mirrors.entry.pool_of(self._server)
        upstream = None if fresh else pool.take(self)
        if upstream is not None:
            self.on_connected(upstream)
        else:
            self._dialling = pool.dial(self)

    def feed(self, data: bytes, done: bool) -> None:
        """More of the request's body; `done` when it was the last of it."""
        if self._over:
            return
        self._done = done
        self.due_at = self._mirrors.entry.clock.after(COPY_TIMEOUT)
        if data and not self._stripped:
            self._pending += data
        if self._hold is not None:
            self._weigh(self._hold, data)
        else:
            self._flush()
        if not self._over:
            self._bound()

    def _weigh(self, walker: Body, data: bytes) -> None:
        """Nothing of a body without a length is sent before it is known to be within maxBodySize."""
        payload: list[bytes] = []
        walker.feed(data, payload)
        self._body_size += sum(map(len, payload))
        if self._body_size > self._order.max_body_size:
            self._fail("its body is over maxBodySize")
        elif self._done:
            self._hold = None
            self._reach()

    def _flush(self) -> None:
        upstream = self._upstream
        if upstream is not None and self._pending:
            upstream.transport.write(bytes(self._pending))
            self._pending.clear()

    def _bound(self) -> None:
        """Keep the count of what waits, and cut the copy loose when its mirror does not follow."""
        backlog = len(self._pending)
        if self._upstream is not None:
            backlog += self._upstream.transport.get_write_buffer_size()
        self._mirrors.backlog += backlog - self._counted
        self._counted = backlog
        if backlog > MAX_COPY_BACKLOG or self._mirrors.backlog > MAX_BACKLOG:
            held = self._hold is not None
            self._fail("its body is too large to be held" if held else "the mirror is too slow")

    @property
    def ends(self) -> Ends:
        """A copy is our own request: no client connected for it."""
        return None, None

    def on_connected(self, upstream: Upstream) -> None:
        self._dialling = None
        self._upstream = upstream
        upstream.start(self, self._head.method, self._message())
        self._mirrors.sent += 1
        entry = self._mirrors.entry
        entry.ledger.cells.count("http_mirrored", entry.name, self._order.name, "sent")
        self._flush()
        self._bound()

    def _message(self) -> bytes:
        fields, server = self._head.fields, self._server
        framing_line = b"Content-Length: 0\r\n" if self._stripped else fields.framing_line
        host = server.host_field or fields.host or server.pool.authority
        line = self._head.line_below(server.prefix) if server.prefix else self._head.line
        # Without the expectation: the body follows whatever the mirror says.
        return b"".join((line, b"Host: ", host, b"\r\n", framing_line, fields.upstream_rest))

    # --- the answer, which nobody reads ------------------------------------------------------------------------

    def on_dial_failed(self, error: UpstreamError) -> None:
        self._dialling = None
        self._fail(error.reason)

    def on_interim(self, head: ResponseHead) -> None:
        pass

    def on_answer(self, upstream: Upstream, head: ResponseHead, data: bytes, done: bool) -> None:
        self._keeps = head.keep_alive and head.status != 101
        if done:
            self._finish(reuse=self._keeps and self._sent)

    def on_answer_body(self, upstream: Upstream, data: bytes, done: bool) -> None:
        if done:
            self._finish(reuse=self._keeps is True and self._sent)

    @property
    def _sent(self) -> bool:
        """Whether the mirror has all it was promised."""
        return self._done or self._stripped

    def on_tunnel_data(self, data: bytes) -> None:
        pass

    def on_tunnel_passed(self, count: int) -> None:
        pass

    def on_tunnel_end(self) -> None:
        self.drop()

    def on_upstream_lost(self, upstream: Upstream, error: UpstreamError | None) -> None:
        self._upstream = None
        head = self._head
        if error is None and self._keeps is not None:
            self._finish(reuse=False)  # An answer that ends with its connection.
        elif upstream.reused and not self._repeated and head.idempotent and not head.fields.framing:
            self._repeated = True  # The kept connection had died meanwhile.
            self._reach(fresh=True)
        else:
            self._fail(error.reason if error is not None else "connection closed before the answer was complete")

    def on_upstream_full(self) -> None:
        self._bound()

    def on_upstream_room(self) -> None:
        self._bound()

    def on_due(self) -> None:
        self._fail("the mirror takes too long")

    # --- the end -----------------------------------------------------------------------------------------------

    def drop(self) -> None:
        """The main exchange was given up; so is its copy, uncounted."""
        self._finish(reuse=False)

    def _fail(self, reason: str) -> None:
        if not self._over:
            self._finish(reuse=False)
            self._mirrors.drop(self._order.name, reason)

    def _finish(self, *, reuse: bool) -> None:
        if self._over:
            return
        self._over = True
        self.due_at = NEVER
        mirrors = self._mirrors
        mirrors.backlog -= self._counted
        mirrors.copies_under_way.discard(self)
        mirrors.entry.clock.forget(self)
        self._pending.clear()
        if self._dialling is not None:
            self._dialling.cancel()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if reuse:
                upstream.release()
            else:
                upstream.close()
