"""Clients as they come: slow, silent, half-closed, gone; and the end of the worker."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest

from streamlb.proxy import downstream, forwarder
from streamlb.proxy.live import LAST_CALL
from tests.support.engine import beside, full_backlog, http_engine, off_loop, patience
from tests.support.http import After, Client, Recorded, Step, ok, parse_replies, raw_http, recording
from tests.support.loops import no_descriptor_leak, no_garbage, on_both_loops
from tests.support.until import until_async

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
RESET = struct.pack("ii", 1, 0)


def sent_and_shut(port: int, data: bytes) -> bytes:
    """Send, shut the writing side, read to the end."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65536):
            received += piece
    return received


def until_closed(sock: socket.socket) -> tuple[bytes, float]:
    """(what came, seconds it took) until the proxy ended the connection."""
    started_at, received = time.monotonic(), b""
    sock.settimeout(10)
    try:
        while piece := sock.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received, time.monotonic() - started_at


# --- ends ----------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_half_closed_client_gets_its_answers() -> None:
    def answer(request: Recorded) -> list[Step]:
        return [0.05, ok(request.target.encode())]

    with recording(answer) as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:
            pipelined = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(3))
            raw = await off_loop(sent_and_shut, engine.port, pipelined)
            assert [reply.body for reply in parse_replies(raw)] == [b"/0", b"/1", b"/2"]
            await until_async(lambda: not engine.live)
            post = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
            assert (await off_loop(sent_and_shut, engine.port, post)).endswith(b"/p")
            assert (await off_loop(sent_and_shut, engine.port, GET + b"GET / HT")).count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"],
    ids=["none", "head", "body"],
)
@on_both_loops
async def test_a_request_that_ends_too_early_is_no_request(data: bytes) -> None:
    with recording() as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:
            assert await off_loop(sent_and_shut, engine.port, data) == b""
            await until_async(lambda: not engine.live)
            # A connection that was still being made may be kept for the next one.
            await until_async(lambda: origin.open_connections == engine.idle)
        assert not origin.requests


@pytest.mark.parametrize("begun", [True, False], ids=["in the answer", "before the answer"])
@on_both_loops
async def test_a_client_that_is_gone_releases_its_server_quickly(begun: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"
    with recording([head, After.HANG] if begun else [After.HANG]) as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:
            sock = socket.create_connection(("127.0.0.1", engine.port))
            sock.sendall(GET)
            await until_async(lambda: origin.requests)
            if begun:
                await off_loop(sock.recv, 1)
            assert engine.active == 1
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.close()
            await until_async(lambda: origin.open_connections == 0 and engine.active == 0, 2)


@on_both_loops
async def test_a_client_that_is_gone_while_its_server_is_dialled() -> None:
    with recording() as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:
            for _ in range(20):
                sock = socket.create_connection(("127.0.0.1", engine.port))
                sock.sendall(GET)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                sock.close()
                await asyncio.sleep(0)
            await until_async(lambda: not engine.live and engine.active == 0)


@pytest.mark.parametrize(
    "data",
    [
        GET,
        GET * 3,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ],
    ids=["kept", "pipelined", "closed", "refused", "cut short", "tunnel"],
)
@on_both_loops
async def test_a_connection_that_has_ended_leaves_nothing_to_collect(data: bytes) -> None:
    def answer(request: Recorded) -> list[Step]:
        if not request.value("upgrade"):
            return [ok(b"b")]
        return [b"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", After.CLOSE]

    with recording(answer) as origin:
        async with http_engine(origin.port) as engine, no_garbage(downstream.Downstream, forwarder.Forwarder):
            await off_loop(sent_and_shut, engine.port, data)


@on_both_loops
async def test_a_silent_stream_to_a_half_closed_client_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "HALF_CLOSED_TIMEOUT", 0.2)
    with recording([b"HTTP/1.1 200 OK\r\n\r\nevent", After.HANG]) as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:

            def visit() -> None:
                with socket.create_connection(("127.0.0.1", engine.port), 10) as sock:
                    sock.sendall(GET)
                    sock.shutdown(socket.SHUT_WR)
                    with pytest.raises(ConnectionResetError):
                        b"".join(iter(lambda: sock.recv(65536), b""))

            await off_loop(visit)
            await until_async(lambda: origin.open_connections == 0)


# --- slow ones -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "data", "status"),
    [
        ("idle_timeout", b"", None),
        ("idle_timeout", b"\r\n", None),
        ("read_header_timeout", b"G", 408),
        ("read_header_timeout", b"GET / HTTP/1.1\r\nHost: a\r\n", 408),
        ("read_timeout", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", 408),
        ("read_timeout", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9", 408),
    ],
)
@on_both_loops
async def test_slow_clients_are_ended(
    option: str, data: bytes, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream, "LINGER", 0.0)
    with recording() as origin:
        async with no_descriptor_leak(), http_engine(origin.port, entry=patience(**{option: 0.2})) as engine:
            with socket.create_connection(("127.0.0.1", engine.port), 10) as sock:
                sock.sendall(data)
                received, seconds = await off_loop(until_closed, sock)
            assert 0.2 <= seconds < 2.0
            assert [reply.status for reply in parse_replies(received)] == ([status] if status else [])
            await until_async(lambda: engine.active == 0 and origin.open_connections == 0)
        assert not origin.requests


@on_both_loops
async def test_a_head_has_a_deadline_that_drops_do_not_move() -> None:
    async with http_engine(1, entry=patience(read_header_timeout=0.3)) as engine:
        with socket.create_connection(("127.0.0.1", engine.port), 10) as sock:
            gone = beside(until_closed, sock)

            def drip() -> bool:
                if not gone.done():
                    sock.send(b"G")
                return gone.done()

            await until_async(drip, 3)
            assert (await gone)[0].startswith(b"HTTP/1.1 408")


@on_both_loops
async def test_an_unread_answer_is_given_up() -> None:
    with recording(ok(b"x" * 30_000_000)) as origin:
        async with http_engine(origin.port, entry=patience(write_timeout=0.3)) as engine:
            with socket.create_connection(("127.0.0.1", engine.port)) as sock:
                sock.sendall(GET)
                await until_async(lambda: engine.active == 1)
                await until_async(lambda: not engine.live and engine.active == 0)


@on_both_loops
async def test_the_last_answer_does_not_wait_forever_to_be_read() -> None:
    """Too little to fill the transport's buffer, and nobody reads it: the connection ends all the same."""
    with recording([b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 20_000_000, After.CLOSE]) as origin:
        async with http_engine(origin.port, entry=patience(write_timeout=0.3)) as engine:
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.connect(("127.0.0.1", engine.port))
                await until_async(lambda: engine.watched)
                (client,) = engine.watched
                client.transport.set_write_buffer_limits(high=64_000_000)
                sock.sendall(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
                await until_async(lambda: client.ending and not client.write_blocked)
                assert client.transport.get_write_buffer_size()
                await until_async(lambda: not engine.live)


@on_both_loops
async def test_a_client_may_go_on_talking_while_its_last_answer_travels() -> None:
    """A reset at once could take the answer with it; so for a while everything is read and dropped."""

    def visit(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\nsome")
            received = b"".join(iter(lambda: sock.recv(65536), b""))
            for _ in range(20):
                sock.sendall(b"x" * 10_000)
                time.sleep(0.005)
            return received

    async with no_descriptor_leak(), http_engine(1, rule="Host(`other`)") as engine:
        (reply,) = parse_replies(await off_loop(visit, engine.port))
        assert (reply.status, reply.values("connection")) == (404, [b"close"])
        await until_async(lambda: not engine.live)


@on_both_loops
async def test_a_flood_of_empty_lines_costs_little() -> None:
    async with http_engine(1, rule="Host(`other`)") as engine:
        started_at = time.monotonic()
        raw = await off_loop(raw_http, engine.port, b"\r\n" * 1_000_000 + b"GET / HTTP/1.0\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 404")
        assert time.monotonic() - started_at < 3.0


# --- the end of the worker -----------------------------------------------------------------------------------------


@on_both_loops
async def test_draining() -> None:
    with recording([0.3, ok(b"last")]) as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:
            idle, busy, half, late = (socket.create_connection(("127.0.0.1", engine.port), 10) for _ in range(4))
            half.sendall(GET[:9])
            busy.sendall(GET)
            await until_async(lambda: origin.requests and len(engine.live) == 4)
            engine.live.drain()
            late.sendall(GET)
            half.sendall(GET[9:])
            for sock in (busy, late, half):
                (reply,) = parse_replies((await off_loop(until_closed, sock))[0])
                assert (reply.body, reply.values("connection")) == (b"last", [b"close"])
            received, seconds = await off_loop(until_closed, idle)
            assert received == b""
            assert seconds < LAST_CALL + 1
            for sock in (idle, busy, half, late):
                sock.close()
            assert await engine.live.wait_empty(3)


@on_both_loops
async def test_who_was_not_told_of_the_end_may_ask_once_more() -> None:
    slow = [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi", 0.3, b"ne"]
    with recording(ok(b"last"), slow) as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:
            with Client(engine.port) as client:
                client.sock.sendall(GET)
                await until_async(lambda: origin.requests)
                await off_loop(client.sock.recv, 1, socket.MSG_PEEK)
                engine.live.drain()
                assert (await off_loop(client.reply)).values("connection") == []
                assert (await off_loop(client.request)).values("connection") == [b"close"]
            assert await engine.live.wait_empty(3)


@on_both_loops
async def test_draining_says_close_on_every_kind_of_answer() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with recording([0.2, chunked]) as origin, full_backlog() as stuck:
        for port in (origin.port, stuck):
            async with http_engine(port, dial_timeout=0.2) as engine:
                with Client(engine.port) as client:
                    client.sock.sendall(GET)
                    await until_async(lambda live=engine.live: len(live) == 1)  # type: ignore[misc]
                    engine.live.draining = True
                    assert (await off_loop(client.reply)).values("connection") == [b"close"]
                    await until_async(lambda live=engine.live: not live)  # type: ignore[misc]


@on_both_loops
async def test_aborting_ends_everything() -> None:
    with recording([After.HANG]) as origin:
        async with no_descriptor_leak(), http_engine(origin.port) as engine:
            socks = [socket.create_connection(("127.0.0.1", engine.port)) for _ in range(5)]
            for sock in socks[1:]:
                sock.sendall(GET)
            await until_async(lambda: len(origin.requests) == 4)
            engine.live.abort()
            await until_async(lambda: not engine.live and origin.open_connections == 0)
            for sock in socks:
                sock.close()
