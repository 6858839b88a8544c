"""Deadlines and queues inside the engine: what is put off, what is not, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from streamlb.config.model import LoadBalancer, Queue, Server, Service, Timeouts
from streamlb.config.static import RespondingTimeouts
from tests.support.engine import beside, http_engine, mirrored, off_loop, patience, url
from tests.support.http import After, Client, elapsed, http_get, ok, parse_replies, raw_http, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.ports import free_port
from tests.support.until import until_async

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST_GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def limited(*ports: int, places: int = 1, size: int = 100, timeout: float = 5.0) -> dict[str, Service]:
    servers = [Server(url=url(port), max_connections=places) for port in ports]
    return {"app": Service(load_balancer=LoadBalancer(servers=servers, queue=Queue(max_size=size, timeout=timeout)))}


@on_both_loops
async def test_every_place_is_used_and_given_back() -> None:
    with recording([0.01, ok()]) as one, recording([0.01, ok()]) as other:
        async with no_descriptor_leak(), http_engine(services=limited(one.port, other.port, places=2)) as engine:
            visits = [beside(http_get, engine.port) for _ in range(40)]
            most = 0
            while not all(each.done() for each in visits):
                active = [state.active for state in engine.states().values()]
                most = max(most, *active)
                await asyncio.sleep(0)
            assert [(await each).status for each in visits] == [200] * 40
            assert most == 2
        assert len(one.requests) + len(other.requests) == 40
        assert min(len(one.requests), len(other.requests)) > 5


@on_both_loops
async def test_a_place_behind_a_dead_server_is_given_on() -> None:
    with recording([0.2, ok()]) as origin:
        async with http_engine(services=limited(free_port(), origin.port)) as engine:
            visits = [beside(http_get, engine.port) for _ in range(6)]
            assert [(await each).status for each in visits] == [200] * 6


@pytest.mark.parametrize("how", ["reset", "deadline", "stop"])
@on_both_loops
async def test_ends_in_the_queue(how: str) -> None:
    timeouts = Timeouts(request=0.2) if how == "deadline" else None
    with recording([After.HANG]) as origin:
        services = limited(origin.port)
        async with no_descriptor_leak(), http_engine(services=services, router_timeouts=timeouts) as engine:
            with socket.create_connection(("127.0.0.1", engine.port)) as first:
                first.sendall(GET)
                await until_async(lambda: engine.active == 1)
                waiting = beside(raw_http, engine.port, LAST_GET)
                (server,) = engine.world.runtime.services["http", "app"].children  # type: ignore[attr-defined]
                queue = server.node.queue
                await until_async(lambda: len(queue) == 1)
                if how == "deadline":
                    (reply,) = parse_replies(await waiting)
                    assert reply.status == 504
                elif how == "stop":
                    engine.live.abort()
                    assert await waiting == b""
                else:
                    first.close()
                    origin.drop_all()
                    engine.live.abort()
                    await waiting
                await until_async(lambda: len(queue) == 0)


@on_both_loops
async def test_a_request_that_waited_is_mirrored_once_with_its_body() -> None:
    with recording([0.3, ok()]) as main, recording() as copy:
        services = {**mirrored(main.port, copy.port), "main": limited(main.port)["app"]}
        async with http_engine(services=services) as engine:

            def post(body: bytes) -> int:
                with Client(engine.port) as client:
                    return client.request(method="POST", body=body).status

            visits = [beside(post, body) for body in (b"one", b"two", b"three")]
            assert [await each for each in visits] == [200] * 3
            await until_async(lambda: len(copy.requests) == 3)
        assert {each.body for each in copy.requests} == {b"one", b"two", b"three"}


@on_both_loops
async def test_a_body_that_waits_is_held_back_without_a_deadline_of_its_own() -> None:
    body = b"x" * 3_000_000
    with recording([0.8, ok()], ok()) as origin:
        origin.answers = [[0.8, ok()], ok()]
        async with http_engine(services=limited(origin.port), entry=patience(read_timeout=0.3)) as engine:
            first = beside(http_get, engine.port)
            await until_async(lambda: origin.requests)

            def post() -> int:
                with Client(engine.port) as client:
                    return client.request(method="POST", body=body).status

            assert await off_loop(post) == 200
            assert (await first).status == 200
        assert [len(each.body) for each in origin.requests] == [0, len(body)]


# --- deadlines -----------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_head_that_begins_late_has_all_its_time() -> None:
    with recording() as origin:
        options = patience(idle_timeout=0.5, read_header_timeout=5.0)
        async with http_engine(origin.port, entry=options) as engine:
            with socket.create_connection(("127.0.0.1", engine.port), 10) as sock:
                for piece in (b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"Connection: close\r\n\r\n"):
                    await asyncio.sleep(0.4)
                    sock.sendall(piece)
                    await asyncio.sleep(0.1)
                received = await off_loop(lambda: b"".join(iter(lambda: sock.recv(65536), b"")))
            assert parse_replies(received)[0].status == 200


@on_both_loops
async def test_a_deadline_holds_over_several_servers() -> None:
    """Dialling, retries and waiting for the head all count."""
    with recording([After.HANG]) as origin:
        async with http_engine(free_port(), origin.port, router_timeouts=Timeouts(request=0.3)) as engine:
            for _ in range(2):
                started_at = time.monotonic()
                assert (await off_loop(http_get, engine.port)).status == 504
                assert 0.3 <= time.monotonic() - started_at < 1.2


@on_both_loops
async def test_a_deadline_is_forgotten_with_its_exchange() -> None:
    with recording() as origin:
        async with http_engine(origin.port, router_timeouts=Timeouts(request=0.3)) as engine:
            with Client(engine.port) as client:
                assert (await off_loop(client.request)).status == 200
                await asyncio.sleep(1.0)
                assert (await off_loop(client.request)).status == 200


@on_both_loops
async def test_an_answer_without_length_to_an_old_client_is_cut_by_a_reset() -> None:
    with recording([b"HTTP/1.1 200 OK\r\n\r\nbegun", After.HANG]) as origin:
        async with http_engine(origin.port, router_timeouts=Timeouts(request=0.3)) as engine:

            def visit() -> None:
                with socket.create_connection(("127.0.0.1", engine.port), 10) as sock:
                    sock.sendall(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
                    with pytest.raises(ConnectionResetError):
                        b"".join(iter(lambda: sock.recv(65536), b""))

            await off_loop(visit)


@on_both_loops
async def test_a_tunnel_is_held_to_idle_and_not_to_request() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    steps = [piece for _ in range(5) for piece in (0.2, b"tick")]
    with recording([switch, *steps, After.HANG]) as origin:
        async with http_engine(origin.port, router_timeouts=Timeouts(request=0.3, idle=0.5)) as engine:

            def visit() -> bytes:
                received = b""
                with socket.create_connection(("127.0.0.1", engine.port), 10) as sock:
                    sock.sendall(upgrade)
                    try:
                        while piece := sock.recv(65536):
                            received += piece
                    except ConnectionResetError:
                        pass
                return received

            started_at = time.monotonic()
            assert await off_loop(visit) == switch + b"tick" * 5
            assert 1.5 <= time.monotonic() - started_at < 2.6


@on_both_loops
async def test_no_limits_at_all() -> None:
    options = patience()
    options.responding_timeouts = RespondingTimeouts(
        read_header_timeout=0.0, read_timeout=0.0, write_timeout=0.0, idle_timeout=0.0
    )
    with recording([0.6, ok()]) as origin:
        async with http_engine(
            origin.port, entry=options, router_timeouts=Timeouts(request=0.0, first_byte=0.0, idle=0.0)
        ) as engine:
            assert 0.6 <= await off_loop(elapsed, lambda: http_get(engine.port)) < 1.5
            with Client(engine.port) as client:
                await asyncio.sleep(0.6)
                assert (await off_loop(client.request)).status == 200
