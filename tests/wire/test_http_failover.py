"""Failing over inside one process: nothing is left behind, whoever goes away and whenever."""

from __future__ import annotations

import socket
import struct

from streamlb.balance.selection import Server
from streamlb.balance.tree import Balancer
from streamlb.config.model import Failover, FailoverErrors, Service
from streamlb.runtime.build import build
from tests.support.engine import Engine, http_engine, off_loop, servers
from tests.support.http import After, Client, http_get, ok, raw_http, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.until import until_async

BROKEN = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


def failover(main: int, fallback: int, *statuses: str, size: int = -1) -> dict[str, Service]:
    """The services of a test; `app` is the one to route to."""
    errors = FailoverErrors(status=list(statuses), max_request_body_bytes=size) if statuses else None
    return {
        "app": Service(failover=Failover(service="main", fallback="spare", errors=errors)),
        "main": servers(main),
        "spare": servers(fallback),
    }


@on_both_loops
async def test_both_connections_are_kept_and_counted() -> None:
    with recording(BROKEN) as main, recording(ok(b"spare")) as spare:
        async with no_descriptor_leak(), http_engine(services=failover(main.port, spare.port, "503")) as engine:
            for _ in range(5):
                assert (await off_loop(http_get, engine.port)).text == "spare"
            assert engine.idle == 2
            assert {state.total for state in engine.states().values()} == {5}
            assert {state.failures for state in engine.states().values()} == {0}
        assert (main.connections, spare.connections) == (1, 1)


@on_both_loops
async def test_a_client_that_leaves_while_its_body_is_kept() -> None:
    with recording([After.HANG]) as main, recording() as spare:
        async with no_descriptor_leak(), http_engine(services=failover(main.port, spare.port, "503")) as engine:
            with socket.create_connection(("127.0.0.1", engine.port)) as sock:
                sock.sendall(POST + b"x" * 50_000)
                await until_async(lambda: engine.entry.replays.held == 50_000)
            await until_async(lambda: engine.entry.replays.held == 0)
            await until_async(lambda: engine.active == 0)
        assert not spare.requests


@on_both_loops
async def test_a_client_that_leaves_while_the_fallback_works() -> None:
    with recording(BROKEN) as main, recording([After.HANG]) as spare:
        async with no_descriptor_leak(), http_engine(services=failover(main.port, spare.port, "503")) as engine:
            with Client(engine.port) as client:
                client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await until_async(lambda: len(spare.requests) == 1)
                assert engine.active == 1
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await until_async(lambda: engine.active == 0)


@on_both_loops
async def test_a_body_that_outgrows_the_limit_is_forgotten_at_once() -> None:
    with recording(BROKEN) as main, recording() as spare:
        services = failover(main.port, spare.port, "503", size=1000)
        async with http_engine(services=services) as engine:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            with socket.create_connection(("127.0.0.1", engine.port)) as sock:
                sock.sendall(head + b"320\r\n" + b"x" * 800 + b"\r\n")
                await until_async(lambda: engine.entry.replays.held > 0)
                sock.sendall(b"320\r\n" + b"x" * 800 + b"\r\n")
                await until_async(lambda: engine.entry.replays.held == 0)
                sock.sendall(b"0\r\n\r\n")
                answer = await off_loop(sock.recv, 1000)
                assert answer.startswith(b"HTTP/1.1 503")
        assert not spare.requests


@on_both_loops
async def test_a_broken_body_reaches_no_fallback() -> None:
    with recording([After.HANG]) as main, recording() as spare:
        async with http_engine(services=failover(main.port, spare.port, "400", "500-504")) as engine:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            answer = await off_loop(raw_http, engine.port, head + b"4\r\nbody\r\nzz\r\n")
            assert answer.startswith(b"HTTP/1.1 400")
        assert not spare.requests


@on_both_loops
async def test_a_slow_client_of_a_large_fallback_answer() -> None:
    body = b"y" * 3_000_000
    with recording(BROKEN) as main, recording(ok(body)) as spare:
        async with http_engine(services=failover(main.port, spare.port, "503")) as engine:
            assert (await off_loop(http_get, engine.port)).body == body


@on_both_loops
async def test_an_upgrade_fails_over_like_any_request() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello"
    ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    with recording(BROKEN) as main, recording([switch, After.CLOSE]) as spare:
        async with http_engine(services=failover(main.port, spare.port, "503")) as engine:
            answer = await off_loop(raw_http, engine.port, ask)
            assert answer.startswith(b"HTTP/1.1 101")
            assert answer.endswith(b"hello")


@on_both_loops
async def test_a_client_that_waits_for_leave_to_send_its_body() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as early, recording(ok(b"spare")) as spare:
        async with http_engine(services=failover(early.getsockname()[1], spare.port, "503")) as engine:
            with socket.create_connection(("127.0.0.1", engine.port)) as sock:
                sock.sendall(head)
                main, _ = await off_loop(early.accept)
                with main:
                    assert b"Expect: 100-continue" in await off_loop(main.recv, 1000)
                    main.sendall(BROKEN)
                    await until_async(lambda: spare.connections == 1)
                sock.sendall(b"body")
                answer = await off_loop(sock.recv, 1000)
                assert answer.endswith(b"spare")
        assert spare.requests[0].body == b"body"
        assert spare.requests[0].value("Expect") == b"100-continue"


# --- health ---


def set_up(engine: Engine, service: str, up: bool) -> None:
    """What health would say of all servers of a service."""
    node = engine.world.runtime.services["http", service]
    assert isinstance(node, Balancer)
    for child in node.children:
        assert isinstance(child.node, Server)
        child.node.set_up(up)


@on_both_loops
async def test_health_decides_before_anything_is_sent() -> None:
    with recording(ok(b"main")) as main, recording(ok(b"spare")) as spare:
        async with http_engine(services=failover(main.port, spare.port)) as engine:
            for main_up, spare_up, expected in (
                (True, True, "main"),
                (False, True, "spare"),
                (True, False, "main"),
                (False, False, "no available server\n"),
                (True, True, "main"),
            ):
                set_up(engine, "main", main_up)
                set_up(engine, "spare", spare_up)
                reply = await off_loop(http_get, engine.port)
                assert reply.text == expected
                assert reply.status == (200 if main_up or spare_up else 503)


@on_both_loops
async def test_with_nobody_up_a_service_may_fail_open() -> None:
    with recording(ok(b"one")) as one, recording(ok(b"two")) as two:
        services = {"app": servers(one.port, two.port)}
        assert services["app"].load_balancer is not None
        services["app"].load_balancer.on_all_down = "failOpen"
        async with http_engine(services=services) as engine:
            set_up(engine, "app", False)
            answers = [(await off_loop(http_get, engine.port)).text for _ in range(4)]
            assert answers == ["one", "two", "one", "two"]
            services["app"].load_balancer.on_all_down = 503
            engine.world.runtime = build(engine.world.runtime.config, engine.registry)
            assert (await off_loop(http_get, engine.port)).status == 503
            set_up(engine, "app", True)
            assert (await off_loop(http_get, engine.port)).status == 200
