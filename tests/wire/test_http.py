"""HTTP through the engine: routing, keep-alive on both sides, order, heads and bodies as they pass."""

from __future__ import annotations

import re

import pytest

from tests.support.engine import http_engine, off_loop, servers, url
from tests.support.http import After, Client, Recorded, Step, http_get, ok, parse_replies, raw_http, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.until import until_async

CLOSE = b"Connection: close\r\n"


def get(target: bytes = b"/", *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: a", *lines, b"", b""])


@on_both_loops
async def test_connections_are_kept_on_both_sides() -> None:
    with recording(ok(b"v1")) as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:

            def visit() -> None:
                for _ in range(2):
                    with Client(engine.port) as client:
                        for number in range(10):
                            reply = client.request(f"/{number}")
                            assert (reply.status, reply.body) == (200, b"v1")
                            assert not reply.values("connection")

            await off_loop(visit)
            assert origin.connections == 1
            assert origin.targets() == [f"/{number}" for number in range(10)] * 2
            state = engine.states()[url(origin.port)]
            assert (state.total, state.failures) == (20, 0)


@on_both_loops
async def test_what_the_server_sees_and_what_the_client_sees() -> None:
    answer = ok(b"body", b"Server: x", b"X-Hop: 1", b"Connection: x-hop", b"Keep-Alive: timeout=9", b"Set-Cookie: a=b")
    with recording(answer) as origin:
        async with http_engine(origin.port) as engine:
            request = get(
                b"/p?q=%20", b"Accept: */*", b"Connection: close, X-Mine", b"X-Mine: 1", b"X-Real-Ip: 6.6.6.6"
            )
            raw = await off_loop(raw_http, engine.port, request)
            assert raw == (
                b"HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a=b\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
            )
            (seen,) = origin.requests
            assert seen.start_line == b"GET /p?q=%20 HTTP/1.1"
            assert seen.headers[:2] == [(b"Host", b"a"), (b"Accept", b"*/*")]
            assert dict(seen.headers[2:]) == {
                b"X-Forwarded-For": b"127.0.0.1",
                b"X-Forwarded-Host": b"a",
                b"X-Forwarded-Port": b"80",
                b"X-Forwarded-Proto": b"http",
                b"X-Forwarded-Server": engine.entry.server_name,
                b"X-Real-Ip": b"127.0.0.1",
            }


@on_both_loops
async def test_forwarding_fields_of_strangers_are_dropped_and_of_friends_kept() -> None:
    lines = [("X-Forwarded-For", "1.1.1.1"), ("X_Forwarded_For", "2.2.2.2"), ("X-Forwarded-Proto", "https")]
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            await off_loop(http_get, engine.port, headers=lines)
        async with http_engine(origin.port, trusted=["127.0.0.0/8"]) as engine:
            await off_loop(http_get, engine.port, headers=lines)
    stranger, friend = origin.requests
    assert stranger.value("x-forwarded-for") == b"127.0.0.1"
    assert stranger.value("x-forwarded-proto") == b"http"
    assert friend.value("x-forwarded-for") == b"1.1.1.1, 127.0.0.1"
    assert friend.value("x-forwarded-proto") == b"https"
    assert friend.value("x-forwarded-port") == b"443"
    assert not stranger.values("x_forwarded_for")
    assert not friend.values("x_forwarded_for")


@on_both_loops
async def test_an_ipv4_client_of_an_ipv6_socket_and_an_ipv6_client() -> None:
    with recording() as origin:
        async with http_engine(origin.port, host="::") as engine:
            await off_loop(http_get, engine.port)
            await off_loop(raw_http, engine.port, get(b"/", b"Connection: close"), host="::1")
    assert [request.value("x-real-ip") for request in origin.requests] == [b"127.0.0.1", b"::1"]


@on_both_loops
async def test_the_host_passes_or_is_the_servers() -> None:
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            await off_loop(http_get, engine.port, host="my.test:81")
            await off_loop(raw_http, engine.port, b"GET / HTTP/1.0\r\n\r\n")
        async with http_engine(origin.port, pass_host_header=False) as engine:
            await off_loop(http_get, engine.port, host="my.test:81")
    own = b"127.0.0.1:%d" % origin.port
    assert [request.value("host") for request in origin.requests] == [b"my.test:81", own, own]
    assert [request.values("x-forwarded-host") for request in origin.requests] == [[b"my.test:81"], [], [b"my.test:81"]]


@on_both_loops
async def test_pipelined_requests_are_answered_in_order() -> None:
    def answer(request: Recorded) -> list[Step]:
        return [0.002, ok(request.start_line)]

    with recording(answer) as origin:
        async with http_engine(origin.port) as engine:
            requests = b"".join(get(b"/%d" % number) for number in range(20))
            raw = await off_loop(raw_http, engine.port, b"\r\n\r\n" + requests + get(b"/last", b"Connection: close"))
            targets = [reply.body.split()[1] for reply in parse_replies(raw)]
            assert targets == [*(b"/%d" % number for number in range(20)), b"/last"]
            assert origin.connections == 1


@on_both_loops
async def test_bodies_and_requests_in_one_piece() -> None:
    chunked = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    counted = b"PUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz"
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            raw = await off_loop(raw_http, engine.port, chunked + counted + get(b"/3", b"Connection: close"))
    assert [reply.status for reply in parse_replies(raw)] == [200, 200, 200]
    assert [(request.target, request.body) for request in origin.requests] == [
        ("/1", b"abc"),
        ("/2", b"xyz"),
        ("/3", b""),
    ]
    assert origin.requests[0].raw.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert origin.requests[1].value("content-length") == b"3"


@on_both_loops
async def test_no_route_is_traefiks_404() -> None:
    async with http_engine(1, rule="Host(`other`)") as engine:
        raw = await off_loop(raw_http, engine.port, get() + get(b"/", b"Connection: close"))
    page = (
        rb"HTTP/1\.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
        rb"Content-Length: 19\r\nDate: [^\r]+ GMT\r\n%b\r\n404 page not found\n"
    )
    assert re.fullmatch(page % b"" + page % CLOSE, raw)


@on_both_loops
async def test_no_server_is_traefiks_503() -> None:
    async with http_engine() as engine:
        reply = await off_loop(http_get, engine.port)
        assert (reply.status, reply.body) == (503, b"no available server\n")


@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"304 Not Modified", b"500 Oops"])
@on_both_loops
async def test_answers_without_a_body_keep_the_connections(status: bytes) -> None:
    head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, 0 if status[:1] in b"25" else 5)
    with recording(head) as origin:
        async with http_engine(origin.port) as engine:

            def visit() -> None:
                with Client(engine.port) as client:
                    for _ in range(3):
                        assert client.request().status == int(status[:3])

            await off_loop(visit)
            assert origin.connections == 1


@on_both_loops
async def test_head_has_the_head_only() -> None:
    with recording(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n") as origin:
        async with http_engine(origin.port) as engine:

            def visit() -> None:
                with Client(engine.port) as client:
                    replies = [client.request(method="HEAD") for _ in range(3)]
                    assert [reply.values("content-length") for reply in replies] == [[], [b"500"], [b"500"]]

            await off_loop(visit)
            assert origin.connections == 1


@on_both_loops
async def test_the_pool_keeps_no_more_than_it_may() -> None:
    with recording([0.05, ok()]) as origin:
        async with http_engine(origin.port, max_idle=2) as engine:

            def crowd() -> None:
                clients = [Client(engine.port) for _ in range(6)]
                for client in clients:
                    client.sock.sendall(get())
                assert [client.reply().status for client in clients] == [200] * 6
                for client in clients:
                    client.sock.close()

            await off_loop(crowd)
            await until_async(lambda: engine.idle == 2 and origin.open_connections == 2)


@on_both_loops
async def test_a_retired_servers_pool_keeps_nothing() -> None:
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            await off_loop(http_get, engine.port)
            assert engine.idle == 1
            engine.states()[url(origin.port)].pool.close()
            await until_async(lambda: origin.open_connections == 0)
            await off_loop(http_get, engine.port)
            await until_async(lambda: origin.open_connections == 0)
            assert engine.idle == 0


@on_both_loops
async def test_http_1_0_clients() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    plain = ok(b"xyz")
    unlimited: list[Step] = [b"HTTP/1.1 200 OK\r\n\r\nto the end", 0.01, b"!", After.CLOSE]
    with recording(chunked, plain, plain, unlimited, chunked, chunked) as origin:
        async with http_engine(origin.port) as engine:

            def visit(*lines: bytes, method: bytes = b"GET") -> bytes:
                request = b"\r\n".join([method + b" / HTTP/1.0", b"Host: a", *lines, b"", b""])
                return raw_http(engine.port, request)

            keep = b"Connection: keep-alive"
            assert await off_loop(visit) == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nxyz"
            with Client(engine.port) as client:
                client.sock.sendall(b"GET / HTTP/1.0\r\nHost: a\r\n%b\r\n\r\n" % keep)
                reply = await off_loop(client.reply)
                assert (reply.values("connection"), reply.body) == ([b"keep-alive"], b"xyz")
            ended = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
            assert await off_loop(visit) == ended + b"to the end!"
            assert await off_loop(visit, keep) == ended + b"abcde"
            assert (await off_loop(visit, method=b"HEAD")) == ended
            assert all(request.start_line.endswith(b" HTTP/1.1") for request in origin.requests)


@on_both_loops
async def test_servers_are_taken_in_turn() -> None:
    with recording(ok(b"1")) as one, recording(ok(b"2")) as two:
        async with http_engine(services={"app": servers(one.port, two.port)}) as engine:

            def visit() -> bytes:
                with Client(engine.port) as client:
                    return b"".join(client.request().body for _ in range(6))

            assert await off_loop(visit) == b"121212"
