"""TCP conversations for tests, spoken by hand: a proxy in the same loop, clients, and servers that do as they are told.

What lives here: `Peer` (one end of a connection), `Origin` (hands each accepted connection to the test),
`proxying` (a `TcpEntry` behind an `Acceptor`), and the tree-less world it serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from streamlb.balance.selection import MirrorOrder, Selection, Server
from streamlb.net.address import Address, bind, client_ip
from streamlb.net.listener import Acceptor
from streamlb.proxy.arrival import Arrival
from streamlb.proxy.live import Live
from streamlb.proxy.pump import workshop
from streamlb.proxy.tcp import TcpEntry
from streamlb.routing.router import Route, Router
from streamlb.runtime.reach import Reach

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamlb.runtime.gates import Gates

HOST = "127.0.0.1"


class Peer:
    """One end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.sock, data)

    async def recv(self, count: int = 65536) -> bytes:
        return await self.loop.sock_recv(self.sock, count)

    async def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        out = bytearray()
        while len(out) < count:
            piece = await self.recv(min(count - len(out), 1 << 20))
            assert piece, f"ended after {len(out)} of {count} bytes"
            out += piece
        return bytes(out)

    async def read_all(self) -> bytes:
        """Everything up to a regular end."""
        out = bytearray()
        while piece := await self.recv(1 << 20):
            out += piece
        return bytes(out)

    async def was_reset(self) -> bool:
        """Whether the connection ends by a reset, after whatever else arrives."""
        try:
            while await self.recv(1 << 20):
                pass
        except ConnectionResetError:
            return True
        return False

    def end(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Origin:
    """A server whose every connection is played by the test."""

    def __init__(self, backlog: int = 100) -> None:
        self.sock = socket.socket()
        self.sock.bind((HOST, 0))
        self.sock.listen(backlog)
        self.sock.setblocking(False)
        self.port: int = self.sock.getsockname()[1]
        self.peers: list[Peer] = []

    def server(self, name: str = "", port: int = 0) -> Server:
        return Server(name or f"{HOST}:{self.port}", HOST, port or self.port, service="app")

    async def accept(self) -> Peer:
        sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
        peer = Peer(sock)
        self.peers.append(peer)
        return peer

    def fill(self) -> list[socket.socket]:
        """Take every place in the queue of a server with a backlog of 0; later dials get no answer."""
        fillers = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((HOST, self.port))
            fillers.append(sock)
        return fillers

    def close(self) -> None:
        self.sock.close()
        for peer in self.peers:
            peer.close()


def refusing_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


class Choice:
    """The simplest node: the first server not avoided; `mirrors` are noted at the first pick."""

    def __init__(self, *servers: Server, mirrors: dict[str, Server] | None = None) -> None:
        self.name = "app"
        self.up = True
        self.servers = servers
        self.orders = [MirrorOrder(name, server, True, -1) for name, server in (mirrors or {}).items()]

    def pick(self, want: Selection) -> Server | None:
        if not want.avoid:
            want.mirrors.extend(self.orders)
        return next((server for server in self.servers if server not in want.avoid), None)


def world_of(service: Any, *, dial_timeout: float = 5.0, gates: Gates | None = None, **reach: Any) -> Any:
    """A world with one entry point, `t`, whose only TCP route leads to `service`; None for no route.

    reach: fields of `Reach`, for every server that has none of its own.
    """
    route = Route(Router("everybody", "HostSNI(`*`)", service, gates=gates))
    tcp = SimpleNamespace(route=lambda _client: route if service is not None else None)
    for server in _servers(service):
        server.limits = server.limits or Reach(dial=dial_timeout, **reach)
    return SimpleNamespace(runtime=SimpleNamespace(entry_points={"t": SimpleNamespace(tcp=tcp, http=None)}))


def _servers(service: Any) -> list[Server]:
    candidates = [service]
    if isinstance(service, Choice):
        candidates = [*service.servers, *(order.service for order in service.orders)]
    return [each for each in candidates if isinstance(each, Server)]


class Proxy:
    """A running entry point. `declined`: connections that no TCP router wanted."""

    def __init__(self, world: Any) -> None:
        loop = asyncio.get_running_loop()
        self.live = Live()
        self.entry = TcpEntry(world, "t", loop, self.live)
        self.pipes = workshop(loop).pipes
        self.declined: list[socket.socket] = []
        self.acceptor = Acceptor(loop, bind(Address(HOST, 0)), self._accept)
        self.port: int = self.acceptor.sock.getsockname()[1]
        self.clients: list[Peer] = []

    def _accept(self, sock: socket.socket, peer: Any) -> None:
        assert str(client_ip(peer)) == HOST
        if not self.entry.accept(sock, Arrival(peer)):
            self.declined.append(sock)

    async def connect(self) -> Peer:
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, self.port))
        peer = Peer(sock)
        self.clients.append(peer)
        return peer

    def close(self) -> None:
        self.acceptor.stop()
        self.live.abort()
        self.entry.mirrors.close()
        self.pipes.close()
        for peer in self.clients:
            peer.close()
        for sock in self.declined:
            sock.close()


@contextlib.asynccontextmanager
async def proxying(service: Any, **options: Any) -> AsyncIterator[Proxy]:
    proxy = Proxy(world_of(service, **options))
    try:
        yield proxy
    finally:
        proxy.close()


@contextlib.contextmanager
def origins(count: int = 1) -> Any:
    """Servers to be played; a single one is yielded as it is."""
    made = [Origin() for _ in range(count)]
    try:
        yield made[0] if count == 1 else made
    finally:
        for origin in made:
            origin.close()
