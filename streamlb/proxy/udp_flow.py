"""What one UDP client's flow holds, and the datagrams kept while a server's name is looked up.

What lives here: `UdpFlow`, `UdpCounters`, `HoldingRoom`. What must not: sockets' readiness, picks, timers (`udp.py`).
Used by `proxy/udp.py` and `proxy/udp_mirror.py`; specified in docs/architecture.md ("UDP datagram").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlb.balance.selection import Selection
from streamlb.net.address import client_ip
from streamlb.net.datagram import Destination
from streamlb.session.flows import Flow

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Hashable

    from streamlb.balance.selection import Server
    from streamlb.net.address import IPAddress
    from streamlb.net.datagram import Place
    from streamlb.proxy.udp_mirror import UdpMirror

MAX_HELD_PER_FLOW = 8
"""Datagrams one flow may have waiting for a name."""
MAX_HELD = 1024 * 1024
"""Bytes all flows of a listener may have waiting for names."""


class UdpFlow(Flow):
    """A client's flow and its way to the server.

    send: takes the client's next datagram. This is the flow's state: the socket's own `send` when it is connected;
    before that what holds datagrams back, after a refusal what picks anew.
    first: the flow's only datagram so far, kept in case the server turns out not to be there.
    resends: how often `first` went out again. held: datagrams waiting for the server's name, or None.
    """

    __slots__ = (
        "destination",
        "first",
        "held",
        "mirrors",
        "place",
        "receive",
        "resends",
        "send",
        "server",
        "sock",
        "want",
    )

    send: Callable[[bytes], object]
    receive: Callable[[int], bytes]

    def __init__(self, key: Hashable) -> None:
        super().__init__(key)
        # conversation
        self.want = Selection(b"", b"", UdpClient(key))
        self.mirrors: tuple[UdpMirror, ...] = ()
        self.first: bytes | None = None
        self.resends = 0
        # pick
        self.server: Server | None = None
        self.destination: Destination | None = None
        self.place: Place | None = None
        self.sock: socket.socket | None = None
        self.held: list[bytes] | None = None


class UdpClient:
    """Who a flow's datagrams come from, told to the walk if it asks. key: the flow's, as `net/datagram.py` gives it."""

    __slots__ = ("_key",)

    def __init__(self, key: Hashable) -> None:
        self._key = key

    @property
    def client(self) -> IPAddress:
        key: Any = self._key
        # At a wildcard address the key is the client's and the local address.
        return client_ip(key if isinstance(key[0], str) else key[0])

    def values(self, name: bytes) -> list[bytes]:
        """Datagrams have no fields."""
        return []


class UdpCounters:
    """What happened on one entry point since its worker started, in datagrams unless said otherwise.

    flows: flows opened. full: from new clients while `max_flows` were open. unserved: no server to send to.
    short: the machine had no socket left. busy: dropped because a socket's buffer was full.
    failed: could not be sent for another reason. refused: times a server was not there. draining: came too late.
    """

    __slots__ = ("busy", "draining", "failed", "flows", "full", "refused", "short", "unserved")

    def __init__(self) -> None:
        self.flows = self.full = self.unserved = self.short = 0
        self.busy = self.failed = self.refused = self.draining = 0


class HoldingRoom:
    """Bounds what all flows of a listener hold together while names are looked up."""

    __slots__ = ("_size",)

    def __init__(self) -> None:
        self._size = 0

    def hold(self, held: list[bytes], datagram: bytes) -> bool:
        """Keep `datagram` in `held`; False if there is no room."""
        if len(held) >= MAX_HELD_PER_FLOW or self._size + len(datagram) > MAX_HELD:
            return False
        self._size += len(datagram)
        held.append(datagram)
        return True

    def release(self, held: list[bytes]) -> None:
        """`held` is gone, sent or not."""
        self._size -= sum(map(len, held))


def destination_of(server: Server, loop: asyncio.AbstractEventLoop) -> Destination:
    """Where `server` is; kept with the server so that its name is looked up once for all flows."""
    destination: Destination | None = server.pool
    if destination is None:
        destination = server.pool = Destination(loop, server.host, server.port)
    return destination
