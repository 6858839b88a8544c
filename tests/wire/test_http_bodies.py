"""Bodies through the engine: every framing both ways, in any pieces, under backpressure, cut where they are cut."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from streamlb.proxy.downstream import Downstream
from tests.support.engine import Engine, beside, http_engine, off_loop
from tests.support.http import After, Client, Recorded, ok, parse_replies, raw_http, recording
from tests.support.loops import on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http import Script

MIB = 1 << 20
BLOCK = hashlib.shake_256(b"streamlb").digest(MIB)
MAX_BUFFER = 2 * MIB
"""What may wait in one direction: the transport's high-water mark and one read beyond it, generously."""

POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
CHUNKED_POST = POST + b"Transfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n2\r\nef\r\n0\r\nX-T: 1\r\n\r\n"
COUNTED_POST = POST + b"Content-Length: 6\r\n\r\nabcdef"
CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\nX-T: 1\r\n\r\n"
COUNTED_ANSWER = ok(b"abcdef")
ENDLESS_ANSWER = b"HTTP/1.1 200 OK\r\n\r\nabcdef"


def in_pieces(port: int, pieces: list[bytes]) -> bytes:
    """Send pieces one by one as the kernel would deliver them, and return all of the answer."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            sock.sendall(piece)
        while piece := sock.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize("request_bytes", [COUNTED_POST, CHUNKED_POST], ids=["counted", "chunked"])
@on_both_loops
async def test_a_request_in_any_pieces(request_bytes: bytes) -> None:
    whole = request_bytes.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n")
    with recording(lambda request: ok(request.body)) as origin:
        async with http_engine(origin.port) as engine:
            cuts = [[whole[:cut], whole[cut:]] for cut in range(1, len(whole), 5)]
            for pieces in [[whole[at : at + 1] for at in range(len(whole))], *cuts]:
                raw = await off_loop(in_pieces, engine.port, pieces)
                assert raw.endswith(b"\r\n\r\nabcdef")
        assert {request.body for request in origin.requests} == {b"abcdef"}
        assert len(origin.requests) == len(cuts) + 1


@pytest.mark.parametrize("answer", [COUNTED_ANSWER, CHUNKED_ANSWER], ids=["counted", "chunked"])
@on_both_loops
async def test_an_answer_in_any_pieces(answer: bytes) -> None:
    cuts: Iterator[int] = iter(range(1, len(answer), 5))

    def script(_request: Recorded) -> Script:
        cut = next(cuts, 0)
        return [answer[:cut], 0.001, answer[cut:]] if cut else [answer[at : at + 1] for at in range(len(answer))]

    with recording(script) as origin:
        async with http_engine(origin.port) as engine:

            def visit() -> None:
                with Client(engine.port) as client:
                    for _ in range(1, len(answer) + 5, 5):
                        assert client.request().raw == answer

            await off_loop(visit)
        assert origin.connections == 1


@on_both_loops
async def test_an_answer_without_length_becomes_chunked() -> None:
    with recording([ENDLESS_ANSWER, 0.01, b"ghi", After.CLOSE], [b"HTTP/1.1 200 OK\r\n\r\n", After.CLOSE]) as origin:
        async with http_engine(origin.port) as engine:

            def visit() -> None:
                with Client(engine.port) as client:
                    for body in (b"", b"abcdefghi", b"abcdefghi"):
                        reply = client.request()
                        assert reply.body == body
                        assert reply.values("transfer-encoding") == [b"chunked"]
                        assert not reply.values("connection")

            await off_loop(visit)
        assert origin.connections == 3


@on_both_loops
async def test_http_1_0_servers() -> None:
    answer = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc"
    with recording([b"HTTP/1.0 200 OK\r\n\r\nxyz", After.CLOSE], answer, answer) as origin:
        async with http_engine(origin.port) as engine:

            def visit() -> None:
                with Client(engine.port) as client:
                    assert [client.request().body for _ in range(3)] == [b"abc", b"abc", b"xyz"]

            await off_loop(visit)
        assert origin.connections == 1


@on_both_loops
async def test_interim_answers_pass() -> None:
    script: Script = [
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        0.01,
        b"HTTP/1.1 102 Processing\r\n\r\n" + ok(b"x", b"Connection: close"),
        After.CLOSE,
    ]
    with recording(script) as origin:
        async with http_engine(origin.port) as engine:
            request = b"GET / HTTP/1.%d\r\nHost: a\r\nConnection: close\r\n\r\n"
            raw = await off_loop(raw_http, engine.port, request % 1)
            assert raw.startswith(
                b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200"
            )
            raw = await off_loop(raw_http, engine.port, request % 0)
            assert raw.startswith(b"HTTP/1.1 200")


@on_both_loops
async def test_a_flood_of_interim_answers_is_relayed_under_backpressure() -> None:
    with recording([b"HTTP/1.1 102 Processing\r\n\r\n" * 20_000, ok(b"at last")]) as origin:
        async with http_engine(origin.port) as engine:
            with Client(engine.port) as client:
                client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                received, largest = await largest_buffer(engine, beside(lambda: len(client.reply().body)))
            assert received == 7
            assert largest < MAX_BUFFER


@on_both_loops
async def test_expect_continue() -> None:
    """The server's 100 reaches the client, and only then comes the body."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> bytes:
        with listener, listener.accept()[0] as sock:
            head = sock.recv(65536)
            assert head.endswith(b"\r\n\r\n")
            assert b"\r\nExpect: 100-continue\r\n" in head
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = sock.recv(65536)
            sock.sendall(ok(b"thanks"))
            return body

    def visit(port: int) -> bytes:
        with Client(port) as client:
            client.sock.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            assert client.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sock.sendall(b"body")
            return client.reply().body

    async with http_engine(listener.getsockname()[1]) as engine:
        body, answer = await asyncio.gather(off_loop(serve), off_loop(visit, engine.port))
        assert (body, answer) == (b"body", b"thanks")


# --- backpressure --------------------------------------------------------------------------------------------------


async def largest_buffer(engine: Engine, work: asyncio.Task[int]) -> tuple[int, int]:
    """(what `work` returned, the most bytes that any connection held meanwhile)."""
    largest = 0
    while not work.done():
        for each in engine.watched:
            held = len(getattr(each, "_inbox", b"")) + len(getattr(getattr(each, "_forwarder", None), "_early", b""))
            largest = max(largest, held, each.transport.get_write_buffer_size() if each.transport else 0)
        await asyncio.sleep(0.002)
    return await work, largest


@pytest.mark.parametrize("framing", ["counted", "chunked"])
@on_both_loops
async def test_a_large_answer_to_a_slow_reader(framing: str) -> None:
    size = 32
    if framing == "counted":
        script: Script = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size * MIB), *([BLOCK] * size)]
    else:
        chunk = b"%x\r\n%b\r\n" % (MIB, BLOCK)
        script = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *([chunk] * size), b"0\r\n\r\n"]

    def visit(port: int, slow: threading.Event) -> int:
        with Client(port) as client:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            client.sock.recv(1, socket.MSG_PEEK)
            assert slow.wait(10)
            body = client.reply().body
            assert body == BLOCK * size
            return len(body)

    with recording(script) as origin:
        async with http_engine(origin.port) as engine:
            slow = threading.Event()
            work = beside(visit, engine.port, slow)
            await until_async(
                lambda: any(isinstance(each, Downstream) and each.write_blocked for each in engine.watched)
            )
            asyncio.get_running_loop().call_later(0.1, slow.set)
            received, largest = await largest_buffer(engine, work)
            assert received == size * MIB
            assert largest < MAX_BUFFER  # 0: what waits is in the kernel.
            await until_async(lambda: engine.idle == 1)  # The connection is fit for another exchange.
            assert (await off_loop(raw_http, engine.port, b"HEAD / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("framing", ["counted", "chunked"])
@on_both_loops
async def test_a_large_request_to_a_slow_server(framing: str) -> None:
    size = 32
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    expected = size * MIB if framing == "counted" else size * (MIB + 10) + 5
    go = threading.Event()

    def serve() -> int:
        with listener, listener.accept()[0] as sock:
            assert go.wait(10)
            data = b""
            while b"\r\n\r\n" not in data:
                data += sock.recv(65536)
            count = len(data.partition(b"\r\n\r\n")[2])
            while count < expected:
                count += len(sock.recv(MIB))
            sock.sendall(ok(b"thanks", b"Connection: close"))
            return count

    def visit(port: int) -> int:
        with Client(port, timeout=30) as client:
            if framing == "counted":
                client.sock.sendall(POST + b"Content-Length: %d\r\n\r\n" % (size * MIB))
            else:
                client.sock.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(size):
                client.sock.sendall(BLOCK if framing == "counted" else b"%x\r\n%b\r\n" % (MIB, BLOCK))
            if framing == "chunked":
                client.sock.sendall(b"0\r\n\r\n")
            return client.reply().status

    async with http_engine(listener.getsockname()[1], answer_timeout=30) as engine:
        served = beside(serve)
        work = beside(visit, engine.port)
        await until_async(lambda: any(isinstance(each, Downstream) and each.upstream_full for each in engine.watched))
        asyncio.get_running_loop().call_later(0.1, go.set)
        status, largest = await largest_buffer(engine, work)
        assert (status, await served) == (200, expected)
        assert largest < MAX_BUFFER  # 0: what waits is in the kernel.


@on_both_loops
async def test_pipelining_without_reading_is_bounded() -> None:
    with recording(ok(b"x" * 100_000)) as origin:
        async with http_engine(origin.port) as engine:
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                sock.connect(("127.0.0.1", engine.port))
                sock.setblocking(False)
                waiting = bytearray()

                def push() -> bool:
                    if not waiting:
                        waiting.extend(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5000)
                    try:
                        del waiting[: sock.send(waiting)]
                    except BlockingIOError:
                        return any(map(held, engine.watched))
                    return False

                await until_async(push, 20)
                (client,) = [each for each in engine.watched if isinstance(each, Downstream)]
                assert client.transport.get_write_buffer_size() + len(client._inbox) < MAX_BUFFER


def held(client: object) -> bool:
    """Whether a client that does not read is not read from either."""
    return isinstance(client, Downstream) and client.write_blocked and client._reading_paused


@on_both_loops
async def test_two_framings_side_by_side_keep_their_places() -> None:
    """Many exchanges of all kinds over one connection, none disturbed by its neighbour."""

    def script(request: Recorded) -> Script:
        return CHUNKED_ANSWER if request.target.endswith("3") else ok(request.body or b"none")

    requests = [CHUNKED_POST, COUNTED_POST, b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD / HTTP/1.0\r\n\r\n"]
    with recording(script) as origin:
        async with http_engine(origin.port) as engine:
            raw = await off_loop(raw_http, engine.port, b"".join(requests[:3] * 5 + requests[3:]))
            bodies = [reply.body for reply in parse_replies(raw.rpartition(b"HTTP/1.1")[0])]
            assert bodies == [b"abcdef", b"abcdef", b"abcdef"] * 5
