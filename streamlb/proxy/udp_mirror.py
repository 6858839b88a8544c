"""Copies of UDP flows for mirrors: sent and forgotten.

What lives here: `UdpMirror`, the copy of one flow for one mirror; `UdpMirrors`, all of a listener's, bounded.
What must not: anything the client could notice; no error, delay or answer of a mirror leaves this module.
Called by `proxy/udp.py`; specified in docs/architecture.md ("UDP datagram").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.balance.selection import Selection
from streamlb.net.datagram import ABSENT, connect_deaf
from streamlb.proxy.udp_flow import destination_of

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from streamlb.balance.selection import MirrorOrder, Server
    from streamlb.net.datagram import Destination
    from streamlb.proxy.udp_flow import HoldingRoom


class UdpMirror:
    """The copy of one flow for one mirror, over a socket of its own that nobody reads.

    send: the socket's own `send` once connected; until then what holds datagrams back. May raise OSError.
    """

    __slots__ = ("destination", "held", "send", "server", "sock")

    send: Callable[[bytes], object]

    def __init__(self, server: Server, destination: Destination) -> None:
        # conversation
        self.server = server
        self.destination = destination
        self.sock: socket.socket | None = None
        self.held: list[bytes] | None = None


class UdpMirrors:
    """The mirror copies of one listener.

    max_mirrors: copies at once, each with a socket; beyond it flows go unmirrored.
    dropped: datagrams, or whole flows' copies, that did not reach a mirror.
    """

    __slots__ = ("_loop", "_open", "_room", "dropped", "max_mirrors")

    def __init__(self, loop: asyncio.AbstractEventLoop, room: HoldingRoom, max_mirrors: int) -> None:
        # process
        self._loop = loop
        self._room = room
        self._open: set[UdpMirror] = set()
        self.dropped = 0
        # snapshot
        self.max_mirrors = max_mirrors

    def __len__(self) -> int:
        return len(self._open)

    def open(self, orders: list[MirrorOrder], now: float) -> tuple[UdpMirror, ...]:
        """One mirror for each order that can be followed."""
        opened = (self._open_one(order, now) for order in orders)
        return tuple(mirror for mirror in opened if mirror is not None)

    def feed(self, mirrors: tuple[UdpMirror, ...], datagram: bytes) -> None:
        for mirror in mirrors:
            try:
                mirror.send(datagram)
            except OSError as error:
                # Refused, unreachable, no buffer: the copy is lost and the client must not care.
                self.dropped += 1
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

    def _open_one(self, order: MirrorOrder, now: float) -> UdpMirror | None:
        server = order.service.pick(Selection())
        if server is None or len(self._open) >= self.max_mirrors:
            self.dropped += 1
            return None
        mirror = UdpMirror(server, destination_of(server, self._loop))
        mirror.destination.refresh(now)
        if not self._lead(mirror):
            return None
        self._open.add(mirror)
        server.state.active += 1
        server.state.total += 1
        return mirror

    def _lead(self, mirror: UdpMirror) -> bool:
        """Connect the mirror or have it wait for its name; whether that is possible."""
        destination = mirror.destination
        if destination.place is not None:
            try:
                mirror.sock = connect_deaf(destination.place)
            except OSError:
                self.dropped += 1
                return False
            mirror.send = mirror.sock.send
        elif destination.is_asking:
            held = mirror.held = []
            mirror.send = lambda datagram: self._hold(held, datagram)
            destination.wait(mirror, lambda: self._on_found(mirror))
        else:
            self.dropped += 1
            return False
        return True

    def _hold(self, held: list[bytes], datagram: bytes) -> None:
        if not self._room.hold(held, datagram):
            self.dropped += 1

    def _on_found(self, mirror: UdpMirror) -> None:
        held, mirror.held = mirror.held or [], None
        self._room.release(held)
        if mirror.destination.place is None or not self._lead(mirror):
            self.dropped += len(held)
            self._close_one(mirror)
            return
        for datagram in held:
            self.feed((mirror,), datagram)

    def _drop(self, _: bytes) -> None:
        self.dropped += 1

    def _close_one(self, mirror: UdpMirror) -> None:
        self._open.discard(mirror)
        mirror.server.state.active -= 1
        mirror.destination.forget(mirror)
        # The flow may outlive its mirror.
        mirror.send = self._drop
        if mirror.held is not None:
            self._room.release(mirror.held)
            mirror.held = None
        if mirror.sock is not None:
            mirror.sock.close()
            mirror.sock = None
