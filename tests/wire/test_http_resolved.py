"""A name whose addresses change while requests are under way: nothing breaks, nothing is kept that is gone."""

from __future__ import annotations

import socket
import struct

from streamlb.config.model import LoadBalancer, Server, Service
from streamlb.config.resolution import resolved
from streamlb.proxy.pool import retire
from streamlb.runtime.build import build
from tests.support.engine import Engine, beside, http_engine, off_loop
from tests.support.http import http_get, ok, parse_replies, raw_http, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.until import until_async

LAST_GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def named(port: int, other: int) -> dict[str, Service]:
    """A name with `resolve: all`, and a server beside it."""
    servers = [Server(url=f"http://localhost:{port}", resolve="all"), Server(url=f"http://127.0.0.1:{other}")]
    return {"app": Service(load_balancer=LoadBalancer(servers=servers))}


def swap(engine: Engine, *addresses: str) -> None:
    """What a worker does when it is told of new addresses."""
    config = resolved(engine.world.runtime.config, {"localhost": addresses})
    engine.world.runtime = build(config, engine.registry, version=engine.world.runtime.version + 1)
    retire(engine.registry.retired)


@on_both_loops
async def test_addresses_come_and_go() -> None:
    with recording(ok(b"named")) as origin, recording(ok(b"other")) as other:
        async with no_descriptor_leak(), http_engine(services=named(origin.port, other.port)) as engine:
            before = engine.world.runtime.config
            assert {(await off_loop(http_get, engine.port)).body for _ in range(2)} == {b"named", b"other"}
            assert engine.idle == 2
            swap(engine, "127.0.0.1")
            # The name's connection is closed, the other server's is still there.
            assert engine.idle == 1
            await until_async(lambda: origin.open_connections == 0)
            engine.world.runtime.config = before
            swap(engine, "127.0.0.1", "127.0.0.2")
            bodies = [(await off_loop(http_get, engine.port)).body for _ in range(6)]
            assert bodies.count(b"other") >= 2
            assert bodies.count(b"named") >= 2
            assert other.connections == 1
            named_servers = [name for name in engine.states() if "localhost" in name]
            assert named_servers == [f"http://localhost:{origin.port} ({address})" for address in ADDRESSES]


ADDRESSES = ("127.0.0.1", "127.0.0.2")


@on_both_loops
async def test_what_is_under_way_is_finished_and_not_kept() -> None:
    with recording([0.3, ok(b"named")]) as origin, recording() as other:
        async with no_descriptor_leak(), http_engine(services=named(origin.port, other.port)) as engine:
            config = engine.world.runtime.config
            swap(engine, "127.0.0.1")
            asking = beside(raw_http, engine.port, LAST_GET)
            await until_async(lambda: origin.requests)
            engine.world.runtime.config = config
            swap(engine, "127.0.0.9")
            [reply] = parse_replies(await asking)
            assert reply.body == b"named"
            await until_async(lambda: origin.open_connections == 0)
            assert engine.idle == 0


@on_both_loops
async def test_a_client_that_leaves_is_counted() -> None:
    with recording([0.3, ok()]) as origin:
        async with http_engine(origin.port) as engine:
            assert (await off_loop(http_get, engine.port)).status == 200
            assert engine.entry.gone == 0
            client = socket.create_connection(("127.0.0.1", engine.port), 5)
            client.sendall(LAST_GET)
            await until_async(lambda: len(origin.requests) == 2)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            await until_async(lambda: engine.entry.gone == 1)
