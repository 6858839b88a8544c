"""Requests that are refused, over real sockets: the answer comes, the connection ends, no server hears of it."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from tests.support.engine import http_engine, off_loop
from tests.support.http import parse_replies, raw_http, recording
from tests.support.loops import on_both_loops

GET = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

REFUSED = {
    "garbage": (b"\x00\x01\x02garbage", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "bare LF before the end": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare CR": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb", 400),
    "an empty line of LF": (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a lone CR first": (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
    "CONNECT to a path": (b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "a long target": (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "an endless target": (b"GET /" + b"a" * 40_000, 414),
    "a large head": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1234567890\r\n" * 2500 + b"\r\n", 431),
    "an endless head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40_000, 431),
    "many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X:\r\n" * 101 + b"\r\n", 431),
    "an expectation": (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417),
    "a fragment": (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a broken chunk at once": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n", 400),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
@on_both_loops
async def test_refusals(data: bytes, status: int) -> None:
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            (reply,) = parse_replies(await off_loop(raw_http, engine.port, data + GET))
            assert reply.status == status
            assert reply.values("connection") == [b"close"]
        assert not origin.requests


@on_both_loops
async def test_a_refusal_after_a_good_request_comes_in_order() -> None:
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            good = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
            raw = await off_loop(raw_http, engine.port, good + good + b"BAD\r\n\r\n" + good)
            assert [reply.status for reply in parse_replies(raw)] == [200, 200, 400]
        assert origin.targets() == ["/good", "/good"]


@on_both_loops
async def test_a_flaw_behind_a_good_request_is_seen_at_once() -> None:
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            good = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
            for flaw in (b"GET / HTTP/1.1\n", b"GET\x00 / HTTP/1.1 and what else may come"):
                raw = await off_loop(raw_http, engine.port, good + flaw)
                assert [reply.status for reply in parse_replies(raw)] == [200, 400]


@on_both_loops
async def test_a_flaw_behind_a_request_that_is_answered_at_once_is_seen_too() -> None:
    async with http_engine(1, rule="Host(`other`)") as engine:
        data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET\x00 / HTTP/1.1 and what else may come"
        raw = await off_loop(raw_http, engine.port, data)
        assert [reply.status for reply in parse_replies(raw)] == [404, 400]


@on_both_loops
async def test_a_body_that_breaks_later_reaches_no_end() -> None:
    """The server's connection is cut before it could take the request for complete."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> bytes:
        received = b""
        with listener, listener.accept()[0] as sock:
            try:
                while piece := sock.recv(65536):
                    received += piece
                    if b"abc" in received:
                        begun.set()
            except ConnectionResetError:
                pass
        return received

    def visit(port: int) -> bytes:
        received = b""
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            assert begun.wait(10)
            sock.sendall(b"3\r\nabcX\r\n0\r\n\r\n" + GET)
            while piece := sock.recv(65536):
                received += piece
        return received

    begun = threading.Event()
    async with http_engine(listener.getsockname()[1]) as engine:
        received, raw = await asyncio.gather(off_loop(serve), off_loop(visit, engine.port))
    (reply,) = parse_replies(raw)
    assert reply.status == 400
    assert received.endswith(b"\r\n\r\n3\r\nabc\r\n")
