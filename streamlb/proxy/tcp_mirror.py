"""Copies of TCP conversations for mirrors: what the client says goes out, what the mirror answers is thrown away.

What lives here: `TcpMirror`, the copy of one conversation for one mirror; `TcpMirrors`, all of an entry point's.
What must not: anything the client could notice; no error, delay or answer of a mirror leaves this module.
Called by `tcp.py` and, as a tap, by `pump.py`. Which conversations are copied was decided by the walk.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Final

from streamlb.balance.selection import Selection
from streamlb.net.poller import READABLE, WRITABLE, poller_of
from streamlb.net.secure import SecureSocket
from streamlb.observe.throttle import Throttle
from streamlb.proxy.clock import NEVER
from streamlb.proxy.pump import reset_on_close, workshop
from streamlb.proxy.tcp_dialling import reach

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from streamlb.balance.selection import MirrorOrder, Server
    from streamlb.errors import UpstreamError
    from streamlb.net.dial import Dial
    from streamlb.proxy.clock import Clock
    from streamlb.proxy.introducing import Introduction
    from streamlb.proxy.pump import Stream
    from streamlb.proxy.tcp_dialling import Reaching

log = logging.getLogger(__name__)

MAX_MIRRORS: Final = 256
"""Copies at once, per entry point and worker: a socket each."""
MAX_COPY_PENDING: Final = 1024 * 1024
"""Bytes of one copy that its server has not taken yet."""
MAX_PENDING: Final = 64 * 1024 * 1024
"""The same, of all copies together."""
LINGER: Final = 10.0
"""Seconds a copy may go on after its client has finished, to deliver the rest."""
LOG_INTERVAL: Final = 10.0


class TcpMirrors:
    """The copies of one entry point in one worker. sent, dropped: conversations copied to their end, or not."""

    __slots__ = ("_tell", "_throttle", "chunk", "clock", "copies", "dropped", "loop", "pending", "poller", "sent")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, tell: Callable[[str, str], object] = lambda _m, _o: None
    ) -> None:
        """tell: the mirror's name and `sent`, `failed` or `skipped`."""
        # process
        self.loop = loop
        self.clock = clock
        self.poller = poller_of(loop)
        self.chunk = workshop(loop).chunk
        self.copies: set[TcpMirror] = set()
        self.pending = 0
        self.sent = 0
        self._tell = tell
        self.dropped = 0
        self._throttle = Throttle(LOG_INTERVAL)

    def open(self, orders: list[MirrorOrder], client: bytes, introduction: Introduction) -> tuple[TcpMirror, ...]:
        """One copy for each order that can be followed."""
        opened = []
        for order in orders:
            server = order.service.pick(Selection(b"", client))
            if server is None:
                self.drop(order.name, "no server is available", skipped=True)
            elif len(self.copies) >= MAX_MIRRORS:
                self.drop(order.name, "too many copies are under way", skipped=True)
            else:
                opened.append(TcpMirror(self, order.name, server, introduction))
        return tuple(opened)

    def succeeded(self, name: str) -> None:
        self.sent += 1
        self._tell(name, "sent")

    def drop(self, name: str, reason: str, *, skipped: bool = False) -> None:
        """Count a copy that did not arrive whole; a line in the log every now and then says so."""
        self.dropped += 1
        self._tell(name, "skipped" if skipped else "failed")
        count = self._throttle.admit((name, reason), self.loop.time())
        if count:
            log.warning("mirror %s: %d connection(s) not copied: %s", name, count, reason)

    def close(self) -> None:
        """Give up every copy, uncounted."""
        for copy in list(self.copies):
            copy.abort()


class TcpMirror:
    """The copy of one conversation. `pending`: bytes its server has not taken, or cannot yet.

    ending: the client has finished; what is pending is still delivered, until `due_at`.
    mute: the mirror has closed its side; it may still listen.
    """

    __slots__ = (
        "_dial",
        "_ending",
        "_mirrors",
        "_mute",
        "_over",
        "_pending",
        "_server",
        "_sock",
        "_writing",
        "due_at",
        "name",
    )

    def __init__(self, mirrors: TcpMirrors, name: str, server: Server, introduction: Introduction) -> None:
        # snapshot
        self._mirrors = mirrors
        self.name = name
        self._server = server
        # conversation
        self._sock: Stream | None = None
        self._pending = bytearray()
        self._writing = False
        self._ending = False
        self._mute = False
        self._over = False
        self.due_at = NEVER
        server.state.active += 1
        server.state.total += 1
        mirrors.copies.add(self)
        self._dial: Dial | Reaching | None = reach(mirrors.loop, server, introduction, self._on_dialled)

    # --- what the client says: a tap --------------------------------------------------------------------------

    def feed(self, chunk: memoryview) -> None:
        if self._over:
            return
        if self._sock is None or self._writing:
            self._hold(chunk)
            return
        sent = self._send(self._sock, chunk)
        if (sent < len(chunk) or unsent(self._sock)) and not self._over:
            if sent < len(chunk):
                self._hold(chunk[sent:])
            if self._sock is not None:
                self._settle(self._sock)

    def finish(self) -> None:
        """The client has finished: deliver the rest, then the end."""
        if self._over:
            return
        self._ending = True
        self._mirrors.clock.watch(self)
        self.due_at = self._mirrors.clock.after(LINGER)
        if self._sock is not None:
            self._settle(self._sock)

    def abort(self) -> None:
        """The conversation was cut; so is its copy, uncounted."""
        if not self._over and self._sock is not None:
            reset_on_close(self._sock)
        self._close()

    # --- towards the mirror -----------------------------------------------------------------------------------

    def _on_dialled(self, sock: Stream | None, error: UpstreamError | None) -> None:
        self._dial = None
        if sock is None:
            self._server.state.failures += 1
            self._fail(error.reason if error is not None else "not connected")
            return
        self._sock = sock
        self._mirrors.poller.add(sock.fileno(), READABLE, self._on_ready)
        self._settle(sock)

    def _hold(self, chunk: memoryview) -> None:
        mirrors = self._mirrors
        if len(self._pending) + len(chunk) > MAX_COPY_PENDING or mirrors.pending + len(chunk) > MAX_PENDING:
            self._fail("the mirror is too slow")
            return
        self._pending += chunk
        mirrors.pending += len(chunk)

    def _settle(self, sock: Stream) -> None:
        """Watch for room while something is pending; pass the end on when nothing is."""
        self._watch_for_room(sock)
        if not self._ending or self._writing:
            return
        if self._mute:
            self._succeed()
            return
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._fail(reason_of(error))
        else:
            self._watch_for_room(sock)

    def _watch_for_room(self, sock: Stream) -> None:
        writing = bool(self._pending) or unsent(sock)
        if writing is not self._writing:
            self._writing = writing
            self._watch(sock)

    def _watch(self, sock: Stream) -> None:
        events = (0 if self._mute else READABLE) | (WRITABLE if self._writing else 0)
        self._mirrors.poller.modify(sock.fileno(), events)

    def _on_ready(self, events: int) -> None:
        sock = self._sock
        if self._mute and not events & WRITABLE:
            self._fail("connection reset")
            return
        if events & WRITABLE and self._writing and sock is not None:
            self._on_writable(sock)
        if events & ~WRITABLE and not self._mute and self._sock is not None:
            self._on_readable(self._sock)

    def _on_writable(self, sock: Stream) -> None:
        if unsent(sock) and not self._pending:
            self._flush(sock)
            return
        sent = self._send(sock, self._pending)
        if not self._over:
            del self._pending[:sent]
            self._mirrors.pending -= sent
            self._settle(sock)

    def _flush(self, sock: Stream) -> None:
        """TLS has enciphered all there is, its goodbye perhaps among it."""
        assert isinstance(sock, SecureSocket)
        try:
            if sock.flush():
                self._settle(sock)
        except OSError as error:
            self._fail(reason_of(error))

    def _send(self, sock: Stream, chunk: memoryview | bytearray) -> int:
        try:
            return sock.send(chunk)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._fail(reason_of(error))
            return 0

    def _on_readable(self, sock: Stream) -> None:
        """Throw the answer away."""
        try:
            count = sock.recv_into(self._mirrors.chunk)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(reason_of(error))
            return
        if count:
            return
        if self._ending and not self._pending:
            self._succeed()
        else:
            self._mute = True
            self._watch(sock)

    # --- the end ----------------------------------------------------------------------------------------------

    def on_due(self) -> None:
        """The time after the client's end is over: what the kernel has taken it may deliver, the rest is lost."""
        if self._sock is not None and not self._pending:
            self._succeed()
        else:
            self._fail("the mirror is too slow")

    def _succeed(self) -> None:
        self._mirrors.succeeded(self.name)
        self._close()

    def _fail(self, reason: str) -> None:
        if not self._over:
            self._close()
            self._mirrors.drop(self.name, reason)

    def _close(self) -> None:
        if self._over:
            return
        self._over = True
        mirrors = self._mirrors
        mirrors.copies.discard(self)
        mirrors.clock.forget(self)
        self.due_at = NEVER
        mirrors.pending -= len(self._pending)
        self._pending = bytearray()
        self._server.leave()
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        sock, self._sock = self._sock, None
        if sock is not None:
            mirrors.poller.forget(sock.fileno())
            sock.close()


def unsent(sock: Stream | None) -> bool:
    """Whether TLS holds bytes that the kernel has not taken."""
    return isinstance(sock, SecureSocket) and sock.unsent > 0


def reason_of(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
