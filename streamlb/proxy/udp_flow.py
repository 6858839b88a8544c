"""What one UDP client's flow holds, and the datagrams kept while a server's name is looked up.

What lives here: what a flow is, what is counted, what is held. What must not: readiness, picks, timers (`udp.py`).
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
    from streamlb.observe.cells import Block, Cells
    from streamlb.proxy.udp_mirror import UdpMirror
    from streamlb.routing.router import Route

MAX_HELD_PER_FLOW = 8
"""Datagrams one flow may have waiting for a name."""
MAX_HELD = 1024 * 1024
"""Bytes all flows of a listener may have waiting for names."""


class UdpFlow(Flow):
    """A client's flow and its way to the server.

    peer: the client, as `net/datagram.py` names it. is_once: it ends with its first answer.
    send: takes the client's next datagram. This is the flow's state: the socket's own `send` when it is connected;
    before that what holds datagrams back, after a refusal what picks anew.
    receive: takes the server's next one; the socket's own `recv`, but for the first answer.
    first: the flow's only datagram so far, kept in case the server turns out not to be there.
    resends: how often `first` went out again. held: datagrams waiting for the server's name, or None.
    bytes_up, datagrams_up: from the client; bytes_down, datagrams_down: from the server. block: where they are counted,
    seen: those four as they were when they were counted last. route: whose service the server is of.
    """

    __slots__ = (
        "block",
        "bytes_down",
        "bytes_up",
        "datagrams_down",
        "datagrams_up",
        "destination",
        "first",
        "held",
        "is_once",
        "mirrors",
        "peer",
        "place",
        "receive",
        "resends",
        "route",
        "seen",
        "send",
        "server",
        "sock",
        "want",
    )

    send: Callable[[bytes], object]
    receive: Callable[[int], bytes]

    def __init__(self, key: Hashable, peer: Any, client: Hashable, *, is_once: bool = False) -> None:
        super().__init__(key, client)
        # conversation
        self.peer = peer
        self.is_once = is_once
        self.want = Selection(b"", b"", UdpClient(peer))
        self.mirrors: tuple[UdpMirror, ...] = ()
        self.first: bytes | None = None
        self.resends = 0
        self.bytes_up = self.datagrams_up = self.bytes_down = self.datagrams_down = 0
        self.seen = (0, 0, 0, 0)
        # pick
        self.route: Route | None = None
        self.block: Block | None = None
        self.server: Server | None = None
        self.destination: Destination | None = None
        self.place: Place | None = None
        self.sock: socket.SocketType | None = None
        self.held: list[bytes] | None = None

    @property
    def source(self) -> tuple[str, int]:
        """The client's address as text, and its port."""
        address = socket_address(self.peer)
        return str(client_ip(address)), address[1]


class UdpClient:
    """Who a flow's datagrams come from, told to the walk if it asks."""

    __slots__ = ("_peer",)

    def __init__(self, peer: Any) -> None:
        self._peer = peer

    @property
    def client(self) -> IPAddress:
        return client_ip(socket_address(self._peer))

    def values(self, name: bytes) -> list[bytes]:
        """Datagrams have no fields."""
        return []


def socket_address(peer: Any) -> Any:
    """A client's own half of what a door names it by: at a wildcard address the local one comes behind."""
    return peer if isinstance(peer[0], str) else peer[0]


class _Counted:
    """A number of `UdpCounters`, kept among the cells: as a reason for a drop, or as a family of its own."""

    __slots__ = ("family", "reason")

    def __init__(self, reason: str, family: str = "udp_dropped") -> None:
        self.reason = reason
        self.family = family

    def __get__(self, counters: UdpCounters, _kind: type[UdpCounters]) -> int:
        return int(counters.values[counters.blocks[self].at])

    def __set__(self, counters: UdpCounters, value: int) -> None:
        counters.values[counters.blocks[self].at] = float(value)


class UdpCounters:
    """What happened on one entry point, in datagrams unless said otherwise.

    flows: flows opened. evicted: flows that gave way to newer ones. refused: times a server was not there.

    Dropped, by reason. full: from new clients while there were `max_flows`. crowded: from a client with as many flows
    as one may have. pressed: from new clients while more than half of the receive buffer was taken. draining: came too
    late. unserved: no server to send to. occupied: all servers had their `max_connections`. short: the machine had no
    socket left. busy: a socket's send buffer was full. waiting: too many for a name that is looked up. failed: could
    not be sent for another reason. overrun: the kernel's doing, as nobody read them in time. (None is ever cut short:
    every datagram that UDP can carry fits.)
    """

    busy = _Counted("busy")
    crowded = _Counted("crowded")
    draining = _Counted("draining")
    evicted = _Counted("", "udp_evicted")
    failed = _Counted("failed")
    full = _Counted("full")
    occupied = _Counted("occupied")
    overrun = _Counted("overrun")
    pressed = _Counted("pressed")
    refused = _Counted("", "udp_refused")
    short = _Counted("short")
    unserved = _Counted("unserved")
    waiting = _Counted("waiting")

    __slots__ = ("blocks", "flows", "values")

    def __init__(self, cells: Cells, entry_point: str) -> None:
        self.values = cells.values
        self.blocks: dict[_Counted, Block] = {}
        for counted in vars(UdpCounters).values():
            if isinstance(counted, _Counted):
                labels = (counted.family, entry_point, *(("", counted.reason) if counted.reason else ()))
                self.blocks[counted] = cells.block("count", labels, 1)
        self.flows = 0


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
    state = server.state
    destination: Destination | None = state.pool
    if destination is None:
        destination = state.pool = Destination(loop, server.host, server.port)
    return destination
