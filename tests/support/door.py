"""An entry point in the test's own loop, opened as a worker opens it.

What lives here: `opened`, which serves the entry point `web` of a configuration and then checks that nothing was left
behind. What must not: the rules of the door; tests speak to it by sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

from streamlb.config.model import Config, HttpSection, LoadBalancer, Router, Server, Service, TcpSection
from streamlb.config.static import EntryPoint, EntryPointTransport, RespondingTimeouts
from streamlb.net.address import Address, bind
from streamlb.process.serving import serve
from streamlb.proxy import clock, newcomer
from streamlb.runtime.build import build
from streamlb.runtime.registry import Registry
from streamlb.runtime.snapshot import World
from tests.support.tcp import Peer
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamlb.config.tls import RouterTls, Tls
    from streamlb.process.serving import Serving

HOST = "127.0.0.1"
TICK = 0.02
SILENCE = 0.15

Rules = dict[str, "tuple[str, int] | tuple[str, int, RouterTls | None]"]
"""Routers by name: the rule, the port of the server, and TLS."""


@dataclass(slots=True)
class Opened:
    """A running entry point."""

    port: int
    serving: Serving
    world: World
    clients: list[Peer] = field(default_factory=list)

    @property
    def live(self) -> int:
        return len(self.serving.live)

    async def connect(self, said: bytes = b"") -> Peer:
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, self.port))
        peer = Peer(sock)
        self.clients.append(peer)
        if said:
            await peer.send(said)
        return peer


def config(web: Rules | None = None, raw: Rules | None = None, /, *, tls: Tls | None = None, **options: Any) -> Config:
    """An entry point `web` with these HTTP and TCP routers. patience: its `readHeaderTimeout`."""
    patience = options.pop("patience", 5.0)
    transport = EntryPointTransport(
        responding_timeouts=RespondingTimeouts(read_header_timeout=patience),
        max_connections=options.pop("max_connections", 0),
    )
    made = Config(
        entry_points={"web": EntryPoint(address=f"{HOST}:1", transport=transport, **options)},
        http=HttpSection(routers=_routers(web), services=_services(web, "http://")),
        tcp=TcpSection(routers=_routers(raw), services=_services(raw, "")),
    )
    if tls is not None:
        made.tls = tls
    return made


def _routers(rules: Rules | None) -> dict[str, Router]:
    return {
        name: Router(rule=rule, service=name, tls=said[0] if said else None)
        for name, (rule, _, *said) in (rules or {}).items()
    }


def _services(rules: Rules | None, scheme: str) -> dict[str, Service]:
    def server(port: int) -> Server:
        return Server(url=f"{scheme}{HOST}:{port}") if scheme else Server(address=f"{HOST}:{port}")

    return {
        name: Service(load_balancer=LoadBalancer(servers=[server(port)]))
        for name, (_, port, *_) in (rules or {}).items()
    }


@contextlib.asynccontextmanager
async def opened(made: Config) -> AsyncIterator[Opened]:
    registry = Registry()
    world = World(build(made, registry))
    sock = bind(Address(HOST, 0))
    with mock.patch.object(clock, "TICK", TICK), mock.patch.object(newcomer, "SILENCE", SILENCE):
        port: int = sock.getsockname()[1]
        running = Opened(port, await serve(world, "web", sock), world)
        try:
            yield running
        finally:
            running.serving.stop()
            running.serving.live.abort()
            for peer in running.clients:
                peer.close()
            for state in registry._states.values():
                if state.pool is not None:
                    state.pool.close()
        await until_async(lambda: not running.live, 5, "the door lets go of everything")
