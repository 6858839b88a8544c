"""The HTTP engine in the test's own process, on the running loop, at a port of the kernel's choice.

What lives here: `http_engine`, which serves a configuration until the end of its block and then checks that nothing
was left behind: no connection, no copy, no deadline. What must not: the engine's rules; tests speak to it by sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import mock

from streamlb.config.model import (
    Config,
    HttpSection,
    LoadBalancer,
    MirrorChild,
    Mirroring,
    Router,
    Server,
    Service,
    Timeouts,
)
from streamlb.config.static import (
    EntryPoint,
    EntryPointHttp,
    EntryPointTransport,
    ForwardedHeaders,
    ForwardingTimeouts,
    RespondingTimeouts,
    ServersTransport,
)
from streamlb.net.tasks import spawn
from streamlb.proxy import clock
from streamlb.proxy.http import HttpEntry
from streamlb.proxy.live import Live
from streamlb.runtime.build import build
from streamlb.runtime.registry import Registry
from streamlb.runtime.snapshot import World
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from streamlb.balance.selection import ServerState
    from streamlb.config.observation import Tracing
    from streamlb.proxy.pool import Pool

T = TypeVar("T")
TICK = 0.03
"""Seconds between two looks at the deadlines: tests of deadlines are in a hurry."""


@dataclass(slots=True)
class Engine:
    """A running engine. `port`: where it listens."""

    port: int
    entry: HttpEntry
    live: Live
    world: World
    registry: Registry

    def states(self) -> dict[str, ServerState]:
        """What is known of each server, by its URL."""
        return {key[2]: state for key, state in self.registry._states.items()}

    @property
    def active(self) -> int:
        """Exchanges under way."""
        return sum(state.active for state in self.states().values())

    @property
    def idle(self) -> int:
        """Idle connections kept to servers."""
        return sum(len(state.pool._idle) for state in self.states().values() if state.pool)

    @property
    def watched(self) -> list[Any]:
        """Every connection and copy there is."""
        return list(self.entry.clock._watched)


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def secure(*ports: int, host: str = "localhost", **options: Any) -> Service:
    """Servers that speak TLS."""
    urls = [Server(url=f"https://{host}:{port}") for port in ports]
    return Service(load_balancer=LoadBalancer(servers=urls, **options))


def servers(*ports: int, pass_host_header: bool = True) -> Service:
    return Service(
        load_balancer=LoadBalancer(servers=[Server(url=url(port)) for port in ports], pass_host_header=pass_host_header)
    )


def mirrored(main: int, mirror: int, percent: int = 100, **options: Any) -> dict[str, Service]:
    """The services of a test of mirroring; `app` is the one to route to."""
    return {
        "app": Service(
            mirroring=Mirroring(service="main", mirrors=[MirrorChild(name="copy", percent=percent)], **options)
        ),
        "main": servers(main),
        "copy": servers(mirror),
    }


def patience(**timeouts: float) -> EntryPointTransport:
    """An entry point's patience with clients."""
    return EntryPointTransport(responding_timeouts=RespondingTimeouts(**timeouts))


@contextlib.asynccontextmanager
async def http_engine(
    *ports: int,
    services: dict[str, Service] | None = None,
    rule: str = "PathPrefix(`/`) || Method(`OPTIONS`)",
    trusted: list[str] | None = None,
    forwarded: ForwardedHeaders | None = None,
    http: EntryPointHttp | None = None,
    max_idle: int = 200,
    dial_timeout: float = 5.0,
    answer_timeout: float = 5.0,
    host: str = "127.0.0.1",
    pass_host_header: bool = True,
    transport: ServersTransport | None = None,
    transports: dict[str, ServersTransport] | None = None,
    entry: EntryPointTransport | None = None,
    router_timeouts: Timeouts | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[Engine]:
    """Serve `services["app"]` (by default the origins at `ports`) to every request that `rule` takes."""
    timeouts = ForwardingTimeouts(dial_timeout=dial_timeout, response_header_timeout=answer_timeout)
    config = Config(
        tracing=tracing,
        entry_points={
            "web": EntryPoint(
                address=f"{host}:1",
                forwarded_headers=forwarded or ForwardedHeaders(trusted_ips=trusted or []),
                http=http or EntryPointHttp(),
                transport=entry or EntryPointTransport(),
            )
        },
        servers_transport=transport or ServersTransport(max_idle_conns_per_host=max_idle, forwarding_timeouts=timeouts),
        http=HttpSection(
            routers={"all": Router(rule=rule, service="app", timeouts=router_timeouts)},
            services=services or {"app": servers(*ports, pass_host_header=pass_host_header)},
            servers_transports=transports or {},
        ),
    )
    with mock.patch.object(clock, "TICK", TICK):
        async with _serving(config, host) as engine:
            yield engine


@contextlib.asynccontextmanager
async def _serving(config: Config, host: str) -> AsyncIterator[Engine]:
    loop, live, registry = asyncio.get_running_loop(), Live(), Registry()
    world = World(build(config, registry))
    entry = HttpEntry(world, "web", loop, live)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, 0), family=family, backlog=1024, dualstack_ipv6=host == "::")
    listener = await loop.create_server(entry, sock=sock, backlog=1024)
    engine = Engine(sock.getsockname()[1], entry, live, world, registry)
    try:
        yield engine
    finally:
        listener.close()
        live.abort()
        for state in engine.states().values():
            if state.pool is not None:
                state.pool.close()
    for copy in list(entry.mirrors.copies_under_way):
        copy.drop()
    await until_async(lambda: not live and not engine.watched, 5, "the engine lets go of everything")
    assert engine.active == 0
    assert entry.mirrors.backlog == 0
    assert entry.replays.held == 0


async def off_loop(work: Callable[..., T], *args: Any, **options: Any) -> T:
    """Run a blocking client beside the loop."""
    return await asyncio.to_thread(work, *args, **options)


def beside(work: Callable[..., T], *args: Any) -> asyncio.Task[T]:
    """Start a blocking client or server beside the loop; await what it returns."""
    return spawn(off_loop(work, *args), "test: a thread")


def pool_of(engine: Engine, port: int) -> Pool:
    pool: Pool = engine.states()[url(port)].pool
    return pool


@contextlib.contextmanager
def full_backlog() -> Any:
    """The port of a listener that accepts nobody and has no room for one more."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        clients = []
        try:
            for _ in range(4):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
                clients.append(client)
            yield listener.getsockname()[1]
        finally:
            for client in clients:
                client.close()
