"""Copies of UDP flows for mirrors: sent and forgotten.

What lives here: `UdpMirror`, the copy of one flow for one mirror; `UdpMirrors`, all of a listener's, bounded.
What must not: anything the client could notice; no error, delay or answer of a mirror leaves this module.
Called by `proxy/udp.py`; specified in docs/architecture.md ("UDP datagram").
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Final

from streamlb.balance.selection import Selection
from streamlb.net.datagram import ABSENT, connect_deaf
from streamlb.observe.throttle import Throttle
from streamlb.proxy.udp_flow import destination_of

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from streamlb.balance.selection import MirrorOrder, Request, Server
    from streamlb.net.datagram import Destination
    from streamlb.proxy.udp_flow import HoldingRoom


log = logging.getLogger(__name__)

UNRESOLVED: Final = "the name does not resolve"
LOG_INTERVAL: Final = 10.0
"""Seconds between two lines about the same mirror's trouble."""


class UdpMirror:
    """The copy of one flow for one mirror, over a socket of its own that nobody reads.

    send: the socket's own `send` once connected; until then what holds datagrams back. May raise OSError.
    """

    __slots__ = ("destination", "held", "name", "send", "server", "sock")

    send: Callable[[bytes], object]

    def __init__(self, name: str, server: Server, destination: Destination) -> None:
        # conversation
        self.name = name
        self.server = server
        self.destination = destination
        self.sock: socket.SocketType | None = None
        self.held: list[bytes] | None = None


class UdpMirrors:
    """The mirror copies of one listener.

    max_mirrors: copies at once, each with a socket; beyond it flows go unmirrored.
    dropped: datagrams, or whole flows' copies, that did not reach a mirror.
    """

    __slots__ = ("_loop", "_open", "_room", "_tell", "_throttle", "dropped", "max_mirrors")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        room: HoldingRoom,
        max_mirrors: int,
        tell: Callable[[str, str], object] = lambda _mirror, _outcome: None,
    ) -> None:
        """tell: the mirror's name and `opened` (a flow) or `failed` (a datagram, or a flow)."""
        # process
        self._loop = loop
        self._room = room
        self._open: set[UdpMirror] = set()
        self._tell = tell
        self._throttle = Throttle(LOG_INTERVAL)
        self.dropped = 0
        # snapshot
        self.max_mirrors = max_mirrors

    def __len__(self) -> int:
        return len(self._open)

    def open(self, orders: list[MirrorOrder], now: float, client: Request | None = None) -> tuple[UdpMirror, ...]:
        """One mirror for each order that can be followed."""
        opened = (self._open_one(order, now, client) for order in orders)
        return tuple(mirror for mirror in opened if mirror is not None)

    def feed(self, mirrors: tuple[UdpMirror, ...], datagram: bytes) -> None:
        for mirror in mirrors:
            try:
                mirror.send(datagram)
            except OSError as error:
                # Refused, unreachable, no buffer: the copy is lost and the client must not care.
                self._drop(mirror.name, error.strerror or "error")
                if error.errno in ABSENT and mirror.destination.place is not None:
                    mirror.destination.refused(mirror.destination.place)

    def close(self, mirrors: tuple[UdpMirror, ...]) -> None:
        for mirror in mirrors:
            if mirror in self._open:
                self._close_one(mirror)

    def shed(self) -> bool:
        """Close every mirror because the machine is short of sockets; whether that freed any."""
        shed = bool(self._open)
        for mirror in list(self._open):
            self._close_one(mirror)
        return shed

    def _open_one(self, order: MirrorOrder, now: float, client: Request | None) -> UdpMirror | None:
        server = order.service.pick(Selection(b"", b"", client))
        if server is None:
            self._drop(order.name, "no server is available")
            return None
        if len(self._open) >= self.max_mirrors:
            self._drop(order.name, "too many flows are mirrored")
            return None
        mirror = UdpMirror(order.name, server, destination_of(server, self._loop))
        mirror.destination.refresh(now)
        if not self._lead(mirror):
            return None
        self._open.add(mirror)
        self._tell(order.name, "opened")
        server.state.active += 1
        server.state.total += 1
        return mirror

    def _lead(self, mirror: UdpMirror) -> bool:
        """Connect the mirror or have it wait for its name; whether that is possible."""
        destination = mirror.destination
        if destination.place is not None:
            try:
                mirror.sock = connect_deaf(destination.place)
            except OSError as error:
                self._drop(mirror.name, error.strerror or "error")
                return False
            mirror.send = mirror.sock.send
        elif destination.is_asking:
            mirror.held = []
            mirror.send = functools.partial(self._hold, mirror)
            destination.wait(mirror, functools.partial(self._on_found, mirror))
        else:
            self._drop(mirror.name, UNRESOLVED)
            return False
        return True

    def _hold(self, mirror: UdpMirror, datagram: bytes) -> None:
        """Keep a datagram while the mirror's name is looked up."""
        if mirror.held is None or not self._room.hold(mirror.held, datagram):
            self._drop(mirror.name, "its name is being looked up")

    def _on_found(self, mirror: UdpMirror) -> None:
        held, mirror.held = mirror.held or [], None
        self._room.release(held)
        if mirror.destination.place is None:
            self._close_one(mirror)
            self._drop(mirror.name, UNRESOLVED)
        elif not self._lead(mirror):
            self._close_one(mirror)
        else:
            for datagram in held:
                self.feed((mirror,), datagram)

    def _drop(self, name: str, reason: str) -> None:
        """Count what did not reach a mirror; a line in the log every now and then says so."""
        self.dropped += 1
        self._tell(name, "failed")
        count = self._throttle.admit((name, reason), self._loop.time())
        if count:
            log.warning("mirror %s: %d datagram(s) not copied: %s", name, count, reason)

    def _close_one(self, mirror: UdpMirror) -> None:
        self._open.discard(mirror)
        mirror.server.leave()
        mirror.destination.forget(mirror)
        # The flow may outlive its mirror.
        mirror.send = functools.partial(self._drop_late, mirror.name)
        if mirror.held is not None:
            self.dropped += len(mirror.held)
            self._room.release(mirror.held)
            mirror.held = None
        if mirror.sock is not None:
            mirror.sock.close()
            mirror.sock = None

    def _drop_late(self, name: str, _: bytes) -> None:
        self._drop(name, "its socket was closed")
