"""A UDP entry point in process and what to talk to it with: `bench_of`, servers in turn, a resolver that waits.

What lives here: what the wire tests of UDP share. Sockets are real, on loopback; all is closed at the end of its block.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

from streamlb.balance.selection import MirrorOrder, Selection, Server
from streamlb.config.model import Config
from streamlb.config.static import EntryPoint, UdpOptions
from streamlb.net.poller import poller_of
from streamlb.net.resolve import Resolver
from streamlb.proxy.live import Live
from streamlb.proxy.udp import UdpEntry
from streamlb.routing.router import Route, Router
from streamlb.runtime.snapshot import EntryPointTable, Runtime, World
from tests.support.datagrams import Client, Origin
from tests.support.loops import no_descriptor_leak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest

    from streamlb.balance.selection import Node
    from streamlb.net.resolve import Found

LONG = 60.0
DEAD_PORT = 9
"""Nothing listens there (discard)."""


class Turns:
    """A node that picks its servers in turn, skips what is to be avoided, and notes its mirrors."""

    name = "turns"
    up = True

    def __init__(self, *servers: Server, mirrors: tuple[MirrorOrder, ...] = ()) -> None:
        self.servers = list(servers)
        self.mirrors = mirrors
        self.picks = 0

    def pick(self, want: Selection) -> Server | None:
        for _ in self.servers:
            server = self.servers[self.picks % len(self.servers)]
            self.picks += 1
            if server not in want.avoid:
                if not want.avoid:
                    want.mirrors.extend(self.mirrors)
                return server
        return None


def server_at(port: int, host: str = "127.0.0.1") -> Server:
    return Server(f"{host}:{port}", host, port)


def runtime_of(
    service: Node | None, *, timeout: float = LONG, max_flows: int = 100, version: int = 1, **options: Any
) -> Runtime:
    """options: further ones of `udp`."""
    udp = UdpOptions(timeout=timeout, max_flows=max_flows, **options)
    entry_point = EntryPoint(address=":0/udp", udp=udp)
    route = Route(Router("dns", "", service)) if service is not None else None
    return Runtime(version, Config(), {"dns": EntryPointTable("dns", entry_point, udp_route=route)}, {})


class Bench:
    """One entry point in front of `service`, and what to talk to it with; all closed at the end."""

    def __init__(self, service: Node | None, host: str = "127.0.0.1", **options: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.world = World(runtime_of(service, **options))
        self.live = Live()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.sock.bind((host, 0))
        self.port: int = self.sock.getsockname()[1]
        self.entry = UdpEntry(self.world, "dns", self.loop, self.live, self.sock)
        self.closing = contextlib.ExitStack()

    @property
    def watched(self) -> int:
        """Sockets towards servers; the clients' own is watched, too."""
        return len(poller_of(self.loop)) - 1

    def client(self, host: str = "127.0.0.1", **options: Any) -> Client:
        client = Client((host, self.port), **options)
        self.closing.callback(client.close)
        return client

    def origin(self, *args: Any, **options: Any) -> Origin:
        origin = Origin(*args, **options)
        self.closing.callback(origin.close)
        return origin

    def close(self) -> None:
        self.entry.abort()
        self.sock.close()
        self.closing.close()
        assert len(self.live) == 0


@contextlib.asynccontextmanager
async def bench_of(
    *servers: Server | Origin, mirrors: tuple[MirrorOrder, ...] = (), **options: Any
) -> AsyncIterator[Bench]:
    """A bench in front of the servers in turn; origins are closed with it."""
    async with no_descriptor_leak():
        nodes = [server_at(s.port, s.host) if isinstance(s, Origin) else s for s in servers]
        bench = Bench(Turns(*nodes, mirrors=mirrors) if nodes else None, **options)
        for server in servers:
            if isinstance(server, Origin):
                bench.closing.callback(server.close)
        try:
            yield bench
        finally:
            bench.close()
        assert all(node.state.active == 0 for node in nodes)


def tagged(tag: bytes) -> Callable[[bytes], bytes]:
    return lambda data: tag + data


class Names:
    """Stands in for the resolver: answers when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Callable[[Found], object]]] = []
        monkeypatch.setattr(Resolver, "resolve", lambda _, host, on_done: self.asked.append((host, on_done)))

    def answer(self, *hosts: str) -> None:
        _, on_done = self.asked.pop(0)
        families = [(socket.AF_INET6 if ":" in host else socket.AF_INET, host) for host in hosts]
        asyncio.get_running_loop().call_soon(on_done, families)


def mirror_to(*servers: Server) -> MirrorOrder:
    return MirrorOrder("shadow", Turns(*servers), True, -1)
