"""Servers that fail: what the client is told, what is tried again, what is never repeated."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import struct
import threading

import pytest

from tests.support.engine import beside, full_backlog, http_engine, off_loop, servers, url
from tests.support.http import After, Client, elapsed, http_get, ok, parse_replies, raw_http, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.peers import everything
from tests.support.ports import free_port
from tests.support.until import until, until_async

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST_GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"


@pytest.mark.parametrize("request_bytes", [LAST_GET, POST], ids=["GET", "POST"])
@on_both_loops
async def test_a_server_that_refuses_is_passed_over(request_bytes: bytes) -> None:
    with recording() as origin:
        down = [free_port() for _ in range(3)]
        async with no_descriptor_leak(), http_engine(*down, origin.port) as engine:
            for _ in range(8):
                (reply,) = parse_replies(await off_loop(raw_http, engine.port, request_bytes))
                assert reply.status == 200
            assert engine.states()[url(down[0])].failures > 0
        assert len(origin.requests) == 8
        assert {request.body for request in origin.requests} == {request_bytes.partition(b"\r\n\r\n")[2]}


@on_both_loops
async def test_all_servers_refuse(caplog: pytest.LogCaptureFixture) -> None:
    ports = [free_port(), free_port()]
    async with http_engine(*ports) as engine:
        for _ in range(3):
            reply = await off_loop(http_get, engine.port)
            assert (reply.status, reply.body) == (502, b"Bad Gateway")
        assert [engine.states()[url(port)].failures for port in ports] == [3, 3]
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == [f"service app: server {url(port)}: connection refused" for port in ports]


@on_both_loops
async def test_no_more_than_five_servers_are_tried() -> None:
    ports = [free_port() for _ in range(8)]
    async with http_engine(*ports) as engine:
        assert (await off_loop(http_get, engine.port)).status == 502
        assert sum(state.failures for state in engine.states().values()) == 5


@on_both_loops
async def test_a_server_that_does_not_accept_is_passed_over_and_costs_504_alone() -> None:
    with full_backlog() as stuck, recording() as origin:
        async with http_engine(stuck, dial_timeout=0.2) as engine:
            reply = await off_loop(http_get, engine.port)
            assert (reply.status, reply.body) == (504, b"Gateway Timeout")
        async with http_engine(stuck, origin.port, dial_timeout=0.2) as engine:
            assert (await off_loop(http_get, engine.port)).status == 200


@on_both_loops
async def test_a_server_that_does_not_answer() -> None:
    with recording([After.HANG]) as slow, recording() as quick:
        services = {"app": servers(slow.port, quick.port)}
        async with http_engine(services=services, answer_timeout=0.3) as engine:
            waiting = beside(raw_http, engine.port, POST)
            await until_async(lambda: slow.requests)
            assert await off_loop(elapsed, lambda: http_get(engine.port)) < 0.25
            (reply,) = parse_replies(await waiting)
            assert (reply.status, reply.body) == (504, b"Gateway Timeout")
            await until_async(lambda: slow.open_connections == 0)


@on_both_loops
async def test_the_time_for_an_answer_begins_with_the_end_of_the_request() -> None:
    with recording([After.HANG]) as slow:
        async with http_engine(slow.port, answer_timeout=0.2) as engine:
            with Client(engine.port) as client:
                client.sock.sendall(POST[:-2])
                await until_async(lambda: slow.open_connections == 1)
                await asyncio.sleep(0.4)  # Longer than an answer may take.
                client.sock.sendall(POST[-2:])
                assert (await off_loop(client.reply)).status == 504


GARBAGE = {
    "SSH": [b"SSH-2.0-OpenSSH_9.0\r\n", After.HANG],
    "a complete head of another language": [b"220 mail ESMTP\r\n\r\n", After.HANG],
    "TLS": [b"\x16\x03\x01\x00\x05hello", After.HANG],
    "bare LF": [b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", After.HANG],
    "an odd status": [b"HTTP/1.1 20 OK\r\n\r\n", After.HANG],
    "two lengths": [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", After.HANG],
    "two framings": [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", After.HANG],
    "a folded field": [b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", After.HANG],
    "NUL": [b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", After.HANG],
    "an endless head": [b"HTTP/1.1 200 OK\r\n", b"X: 1234567890\r\n" * 3000, After.HANG],
    "a large head": [b"HTTP/1.1 200 OK\r\n" + b"X: 1234567890\r\n" * 3000 + b"\r\n", After.HANG],
    "an end in the head": [b"HTTP/1.1 200 OK\r\nConte", After.CLOSE],
    "a reset in the head": [b"HTTP/1.1 200 OK\r\nConte", 0.02, After.RESET],
    "an end without a word": [After.CLOSE],
    "a reset without a word": [After.RESET],
    "an interim answer only": [b"HTTP/1.1 103 Early Hints\r\n\r\n", After.CLOSE],
    "an unasked switch": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", After.HANG],
    "a broken chunk at once": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n", After.HANG],
}


@pytest.mark.parametrize("script", GARBAGE.values(), ids=GARBAGE)
@on_both_loops
async def test_what_is_no_answer_is_502(script: list[bytes | After]) -> None:
    with recording(script) as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:
            for request in (LAST_GET, POST):
                reply = parse_replies(await off_loop(raw_http, engine.port, request))[-1]
                assert (reply.status, reply.body) == (502, b"Bad Gateway")
            assert len(origin.requests) == 2
            assert engine.idle == 0


LENGTH, CHUNKED, ENDLESS = b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n", b""
CUT = {
    "closed within a length": [LENGTH, b"12345", 0.02, After.CLOSE],
    "reset within a length": [LENGTH, b"12345", 0.02, After.RESET],
    "closed within a chunk": [CHUNKED, b"9\r\n12345", 0.02, After.CLOSE],
    "closed between chunks": [CHUNKED, b"5\r\n12345\r\n", 0.02, After.CLOSE],
    "closed before the last line": [CHUNKED, b"5\r\n12345\r\n0\r\n", 0.02, After.CLOSE],
    "a broken chunk": [CHUNKED, b"5\r\n12345\r\n", 0.02, b"junk\r\n", After.HANG],
    "reset in an endless body": [ENDLESS, b"12345", 0.02, After.RESET],
}


@pytest.mark.parametrize("script", CUT.values(), ids=CUT)
@pytest.mark.parametrize("minor", [0, 1])
@on_both_loops
async def test_a_truncated_body_is_cut_visibly(script: list[bytes | float | After], minor: int) -> None:
    """The client never sees a clean end."""
    field, *steps = script
    assert isinstance(field, bytes)
    with recording([b"HTTP/1.1 200 OK\r\n" + field + b"\r\n", *steps]) as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:

            def visit() -> None:
                with socket.create_connection(("127.0.0.1", engine.port), 10) as sock:
                    sock.sendall(b"GET / HTTP/1.%d\r\nHost: a\r\n\r\n" % minor)
                    pieces: list[bytes] = []
                    with pytest.raises(ConnectionResetError):
                        pieces.extend(iter(lambda: sock.recv(65536), b""))
                    received = b"".join(pieces)
                    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
                    assert not received.endswith(b"0\r\n\r\n")

            await off_loop(visit)
            assert engine.idle == 0


@on_both_loops
async def test_more_than_was_announced_ends_the_servers_connection() -> None:
    extra = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    after_head = b"HTTP/1.1 204 No Content\r\n\r\nevil"
    with recording(extra, extra, after_head) as origin:
        async with http_engine(origin.port) as engine:

            def visit() -> None:
                with Client(engine.port) as client:
                    assert client.request().body == b"hello"
                    assert client.request().status == 204
                    assert client.request().body == b"hello"

            await off_loop(visit)
        assert origin.connections == 3


@on_both_loops
async def test_an_answer_nobody_asked_for_ends_an_idle_connection() -> None:
    late = threading.Event()

    def script(request: object) -> list[bytes | float]:
        return (
            [ok(b"fine"), 0.05, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"]
            if not late.is_set()
            else [ok(b"fine")]
        )

    with recording(script) as origin:
        async with http_engine(origin.port) as engine:
            with Client(engine.port) as client:
                assert (await off_loop(client.request)).body == b"fine"
                await until_async(lambda: origin.open_connections == 0)
                late.set()
                assert (await off_loop(client.request)).body == b"fine"
        assert origin.connections == 2


@pytest.mark.parametrize("idle_bytes", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
@on_both_loops
async def test_a_server_that_closes_when_idle_is_noticed(idle_bytes: bytes) -> None:
    with recording([ok(), 0.01, idle_bytes, After.CLOSE]) as origin:
        async with http_engine(origin.port) as engine:
            with Client(engine.port) as client:
                for _ in range(3):
                    reply = await off_loop(client.request, method="POST", body=b"x")
                    assert reply.status == 200
                    await until_async(lambda: engine.idle == 0)
        assert len(origin.requests) == 3


@pytest.mark.parametrize("after", [After.CLOSE, After.RESET])
@on_both_loops
async def test_a_stale_connection_is_replaced_for_a_get_and_not_for_a_post(after: After) -> None:
    """The server reads the second request of a connection and ends without an answer."""

    def script(request: object) -> list[bytes | After]:
        seen.append(request)
        return [ok(b"%d" % len(seen))] if len(seen) in (1, 3, 5) else [after]

    seen: list[object] = []
    with recording(script) as origin:
        async with http_engine(origin.port) as engine:
            with Client(engine.port) as client:
                assert (await off_loop(client.request)).body == b"1"
                assert (await off_loop(client.request)).body == b"3"
                assert (await off_loop(client.request, method="POST", body=b"x")).status == 502
                assert len(seen) == 4
                assert (await off_loop(client.request)).body == b"5"
                await off_loop(client.request, method="POST", body=b"")
        assert [request.method for request in origin.requests] == ["GET", "GET", "GET", "POST", "GET", "POST"]


@on_both_loops
async def test_a_request_is_repeated_once_only() -> None:
    with recording([After.CLOSE], ok()) as origin:
        async with http_engine(origin.port) as engine:
            with Client(engine.port) as client:
                assert (await off_loop(client.request)).status == 200
                assert (await off_loop(client.request)).status == 502
        assert len(origin.requests) == 3


@on_both_loops
async def test_an_early_answer_is_delivered_and_the_rest_is_not_read_as_a_request() -> None:
    early = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> bytes:
        with listener, listener.accept()[0] as sock:
            received = sock.recv(65536)
            sock.sendall(early)
            while piece := sock.recv(65536):
                received += piece
            return received

    def visit(port: int) -> bytes:
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        return raw_http(port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + smuggled * 500)

    async with http_engine(listener.getsockname()[1]) as engine:
        received, raw = await asyncio.gather(off_loop(serve), off_loop(visit, engine.port))
    (reply,) = parse_replies(raw)
    assert (reply.status, reply.body, reply.values("connection")) == (413, b"big", [b"close"])
    assert received.count(b"POST / ") == 1
    assert b"X-Forwarded-For" not in received.partition(b"\r\n\r\n")[2]


@on_both_loops
async def test_an_early_answer_is_read_before_what_is_written_meets_the_reset_behind_it() -> None:
    """In one wake there are more of the request, the answer, and the server's reset: writing comes first."""
    early = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
    listener = socket.create_server(("127.0.0.1", 0))
    async with http_engine(listener.getsockname()[1]) as engine:
        with listener, socket.create_connection(("127.0.0.1", engine.port)) as client:
            client.settimeout(5)
            listener.settimeout(5)
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\nbegin")
            server, _ = await off_loop(listener.accept)
            await off_loop(until, lambda: server.recv(65536, socket.MSG_PEEK).endswith(b"begin"))
            server.recv(65536)
            # Nothing of this is seen before all of it is there.
            client.sendall(bytes(1000))
            server.sendall(early)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.close()
            (reply,) = parse_replies(await off_loop(everything, client))
    assert (reply.status, reply.body) == (413, b"big")


@on_both_loops
async def test_a_server_that_speaks_first_or_leaves_at_once() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve(words: bytes) -> None:
        listener.settimeout(0.05)
        while not over.is_set():
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            with sock:
                sock.sendall(words)

    for words in (b"SSH-2.0-x\r\n", b"", ok(b"evil")):
        over.clear()
        async with no_descriptor_leak(), http_engine(listener.getsockname()[1]) as engine:
            served = beside(serve, words)
            for _ in range(5):
                reply = await off_loop(http_get, engine.port)
                # An answer that was under way before the request is taken for the request's: nobody can tell.
                assert reply.status == 502 or reply.body == b"evil"
            over.set()
            await served
    listener.close()


@on_both_loops
async def test_failures_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    with recording([b"HTTP/1.1 \x01evil\r\n\r\n", After.HANG]) as origin:
        async with http_engine(origin.port) as engine:
            for _ in range(5):
                await off_loop(http_get, engine.port)
            assert engine.states()[url(origin.port)].failures == 5
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert re.fullmatch(r"service app: server http://127.0.0.1:\d+: [ -~]+", line)
    assert "evil" not in line
