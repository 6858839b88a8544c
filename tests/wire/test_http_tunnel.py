"""Upgrades: a 101 turns two connections into a relay, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from streamlb.proxy import forwarder
from tests.support.engine import beside, http_engine, mirrored, off_loop
from tests.support.http import After, parse_replies, raw_http, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import Callable

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nX-Key: 1\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
MIB = 1 << 20


class Server:
    """A server for one upgraded connection, in a thread: reads the head, then does what it is told."""

    def __init__(self, work: Callable[[socket.socket, bytes], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.head = b""
        self._work = work
        self.task = beside(self._serve)

    def _serve(self) -> None:
        with self.listener, self.listener.accept()[0] as sock:
            sock.settimeout(10)
            data = b""
            while b"\r\n\r\n" not in data:
                data += sock.recv(65536)
            self.head, _, early = data.partition(b"\r\n\r\n")
            self._work(sock, early)


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece
        data += piece
    return data


def opened(port: int, early: bytes = b"") -> socket.socket:
    """A client's connection after the switch."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.sendall(UPGRADE + early)
    assert exactly(sock, len(SWITCH)) == SWITCH
    return sock


@on_both_loops
async def test_a_conversation_in_both_directions() -> None:
    def serve(sock: socket.socket, early: bytes) -> None:
        sock.sendall(SWITCH + b"welcome")
        for _ in range(3):
            sock.sendall(b"<" + exactly(sock, 5) + b">")
        assert sock.recv(10) == b""

    def visit(port: int) -> None:
        with opened(port) as sock:
            assert exactly(sock, 7) == b"welcome"
            for word in (b"hello", b"GET /", b"HTTP/"):
                sock.sendall(word)
                assert exactly(sock, 7) == b"<" + word + b">"

    async with no_descriptor_leak():
        server = Server(serve)
        async with http_engine(server.port, answer_timeout=0.3) as engine:
            await off_loop(visit, engine.port)
            await server.task
            await until_async(lambda: not engine.live and engine.active == 0)
            assert engine.idle == 0
        assert b"\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n" in server.head
        assert b"\r\nX-Forwarded-Proto: ws\r\n" in server.head


@on_both_loops
async def test_a_quiet_tunnel_outlives_the_time_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def serve(sock: socket.socket, early: bytes) -> None:
        sock.sendall(SWITCH)
        assert go.wait(10)
        sock.sendall(b"later")

    server = Server(serve)
    async with http_engine(server.port, answer_timeout=0.1) as engine:
        sock = await off_loop(opened, engine.port)
        await asyncio.sleep(0.4)
        go.set()
        assert await off_loop(exactly, sock, 5) == b"later"
        sock.close()
        await server.task


@pytest.mark.parametrize("size", [10, 500_000])
@on_both_loops
async def test_early_bytes_of_the_client_are_not_lost(size: int) -> None:
    go = threading.Event()

    def serve(sock: socket.socket, early: bytes) -> None:
        assert early == b""  # Nothing goes through before the switch.
        assert go.wait(10)
        sock.sendall(SWITCH)
        assert exactly(sock, size + 4) == b"e" * size + b"more"
        sock.sendall(b"got it")

    def visit(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sent = threading.Thread(target=sock.sendall, args=(UPGRADE + b"e" * size + b"more",))
            sent.start()
            go.set()
            assert exactly(sock, len(SWITCH) + 6) == SWITCH + b"got it"
            sent.join()

    server = Server(serve)
    async with http_engine(server.port) as engine:
        await off_loop(visit, engine.port)
        await server.task


@pytest.mark.parametrize("first", ["client", "server"])
@on_both_loops
async def test_a_half_close_passes_and_both_ends_end_it(first: str) -> None:
    def serve(sock: socket.socket, early: bytes) -> None:
        sock.sendall(SWITCH)
        if first == "server":
            sock.sendall(b"bye")
            sock.shutdown(socket.SHUT_WR)
            assert exactly(sock, 4) == b"last"
        assert sock.recv(10) == b""
        if first == "client":
            sock.sendall(b"answer")
            sock.shutdown(socket.SHUT_WR)

    def visit(port: int) -> None:
        with opened(port) as sock:
            if first == "server":
                assert exactly(sock, 3) == b"bye"
                assert sock.recv(10) == b""
                sock.sendall(b"last")
                sock.shutdown(socket.SHUT_WR)
            else:
                sock.shutdown(socket.SHUT_WR)
                assert exactly(sock, 6) == b"answer"
                assert sock.recv(10) == b""
            closed.wait(10)

    closed = threading.Event()
    async with no_descriptor_leak():
        server = Server(serve)
        async with http_engine(server.port) as engine:
            visitor = beside(visit, engine.port)
            await server.task
            await until_async(lambda: not engine.live)  # Though the client has not closed.
            closed.set()
            await visitor


@on_both_loops
async def test_a_half_closed_upgrade_request() -> None:
    def serve(sock: socket.socket, early: bytes) -> None:
        sock.sendall(SWITCH)
        assert sock.recv(10) == b""
        sock.sendall(b"end")

    def visit(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(UPGRADE)
            sock.shutdown(socket.SHUT_WR)
            assert exactly(sock, len(SWITCH) + 3) == SWITCH + b"end"
            assert sock.recv(10) == b""

    server = Server(serve)
    async with http_engine(server.port) as engine:
        await off_loop(visit, engine.port)
        await server.task


@on_both_loops
async def test_a_half_closed_tunnel_without_a_word_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "HALF_CLOSED_TIMEOUT", 0.2)

    def serve(sock: socket.socket, early: bytes) -> None:
        sock.sendall(SWITCH)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(10) == b""

    server = Server(serve)
    async with http_engine(server.port) as engine:
        with await off_loop(opened, engine.port):
            await until_async(lambda: not engine.live)
        await server.task


@pytest.mark.parametrize("which", ["client", "server"])
@on_both_loops
async def test_a_reset_passes(which: str) -> None:
    linger = (socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    def serve(sock: socket.socket, early: bytes) -> None:
        sock.sendall(SWITCH)
        assert exactly(sock, 1) == b"x"
        if which == "server":
            sock.setsockopt(*linger)
        else:
            sock.sendall(b"y")
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(10) == b""

    def visit(port: int) -> None:
        with opened(port) as sock:
            sock.sendall(b"x")
            if which == "server":
                with pytest.raises(ConnectionResetError):
                    sock.recv(10)
            else:
                assert exactly(sock, 1) == b"y"
                sock.setsockopt(*linger)

    async with no_descriptor_leak():
        server = Server(serve)
        async with http_engine(server.port) as engine:
            await off_loop(visit, engine.port)
            await server.task
            await until_async(lambda: not engine.live)


@on_both_loops
async def test_bulk_through_a_tunnel_under_backpressure() -> None:
    size = 16 * MIB

    def serve(sock: socket.socket, early: bytes) -> None:
        sock.sendall(SWITCH)
        count = 0
        while count < size:
            piece = sock.recv(MIB)
            count += len(piece)
            sock.sendall(piece)

    def visit(port: int) -> None:
        with opened(port) as sock:
            sender = threading.Thread(target=sock.sendall, args=(b"z" * size,))
            sender.start()
            count = 0
            while count < size:
                piece = sock.recv(MIB)
                assert piece
                count += len(piece)
            sender.join()

    server = Server(serve)
    async with http_engine(server.port) as engine:
        await off_loop(visit, engine.port)
        await server.task


@on_both_loops
async def test_another_answer_to_an_upgrade_is_an_answer() -> None:
    with recording(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno") as origin:
        async with http_engine(origin.port) as engine:
            data = UPGRADE + b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            raw = await off_loop(raw_http, engine.port, data)
            assert [reply.status for reply in parse_replies(raw)] == [401, 401]
            assert origin.connections == 1


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
        b"Connection: Upgrade\r\nUpgrade: foo, H2C\r\n",
        b"Upgrade: websocket\r\n",
    ],
)
@on_both_loops
async def test_h2c_is_never_offered(lines: bytes) -> None:
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            await off_loop(
                raw_http, engine.port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + lines + b"\r\n"
            )
        (request,) = origin.requests
        assert b"h2c" not in request.raw.lower()
        assert not request.values("http2-settings")
        assert request.values("upgrade") in ([], [b"foo"])


@pytest.mark.parametrize("line", [b"Upgrade: h2c\r\n", b"Upgrade: websocket, h2c\r\n", b"Upgrade:\r\n", b""])
@on_both_loops
async def test_a_switch_to_something_else_is_refused(line: bytes) -> None:
    with recording(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n" + line + b"\r\n") as origin:
        async with http_engine(origin.port) as engine:
            last = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            replies = parse_replies(await off_loop(raw_http, engine.port, UPGRADE + last))
            assert replies[0].status == 502
            assert len(replies) == 2  # What came behind the upgrade is a request, not a tunnel's bytes.


@on_both_loops
async def test_a_switch_before_the_end_of_the_request_is_refused() -> None:
    with recording() as _unused:

        def serve(sock: socket.socket, early: bytes) -> None:
            sock.sendall(SWITCH)
            with contextlib.suppress(ConnectionResetError):
                assert b"GET /smuggled" not in sock.recv(65536)

        def visit(port: int) -> bytes:
            head = UPGRADE[:-2].replace(b"GET", b"POST") + b"Content-Length: 100\r\n\r\nbody"
            received = b""
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(head)
                while piece := sock.recv(65536):
                    received += piece
            return received

        server = Server(serve)
        async with http_engine(server.port) as engine:
            (reply,) = parse_replies(await off_loop(visit, engine.port))
            assert reply.status == 502
            await server.task


@on_both_loops
async def test_a_mirror_of_an_upgrade_stays_outside() -> None:
    def serve(sock: socket.socket, early: bytes) -> None:
        sock.sendall(SWITCH)
        assert exactly(sock, 4) == b"ping"
        sock.sendall(b"pong")

    server = Server(serve)
    with recording([SWITCH, After.HANG]) as mirror:
        async with http_engine(services=mirrored(server.port, mirror.port)) as engine:
            with await off_loop(opened, engine.port) as sock:
                sock.sendall(b"ping")
                assert await off_loop(exactly, sock, 4) == b"pong"
            await server.task
            await until_async(lambda: not engine.entry.mirrors.copies_under_way and mirror.open_connections == 0)
