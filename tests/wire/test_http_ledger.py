"""Every way an exchange can end is counted once, with its status and the bytes of its bodies; on both loops."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from streamlb.net.tasks import spawn
from streamlb.proxy.pump import reset_on_close
from tests.support.engine import Engine, http_engine, patience
from tests.support.http import Client, Recorder, http_get, ok, raw_http
from tests.support.loops import on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    from streamlb.observe.cells import Meaning


def counted(engine: Engine) -> dict[tuple[str, str], list[float]]:
    """By method and status: how many, bytes from the client, bytes to it."""
    cells = engine.entry.ledger.cells
    found: dict[tuple[str, str], list[float]] = {}
    meaning: Meaning
    for meaning, block in cells._blocks.items():
        if meaning.kind == "http":
            numbers = cells.values[block.at : block.at + block.size].tolist()
            row = [sum(numbers[:5]), *numbers[6:]]
            key = (meaning.labels[5], meaning.labels[6])
            found[key] = [a + b for a, b in zip(found.get(key, [0.0] * 3), row, strict=True)]
    return found


@on_both_loops
async def test_answers_and_the_bytes_of_bodies() -> None:
    with Recorder(ok(b"four")) as server:
        async with http_engine(server.port) as engine:
            assert (await asyncio.to_thread(http_get, engine.port)).text == "four"
            chunked = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            await asyncio.to_thread(raw_http, engine.port, chunked + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
            await asyncio.to_thread(raw_http, engine.port, b"BREW / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await until_async(lambda: len(counted(engine)) == 3)
            assert counted(engine) == {
                ("GET", "200"): [1.0, 0.0, 4.0],
                ("POST", "200"): [1.0, 5.0, 4.0],
                ("EXTENSION_METHOD", "200"): [1.0, 0.0, 4.0],
            }


@on_both_loops
async def test_what_the_proxy_answers_itself() -> None:
    async with http_engine(1, rule="Path(`/there`)") as engine:
        reply = await asyncio.to_thread(http_get, engine.port, "/elsewhere")
        assert reply.status == 404
        assert (await asyncio.to_thread(http_get, engine.port, "/there")).status == 502
        await until_async(lambda: len(counted(engine)) == 2)
        assert counted(engine) == {("GET", "404"): [1.0, 0.0, 19.0], ("GET", "502"): [1.0, 0.0, 11.0]}


@on_both_loops
async def test_a_client_that_leaves_before_the_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with http_engine(silent.getsockname()[1]) as engine:
            client = Client(engine.port)
            with client:
                client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await until_async(lambda: engine.active == 1)
                reset_on_close(client.sock)
            await until_async(lambda: counted(engine) == {("GET", "499"): [1.0, 0.0, 0.0]})


@on_both_loops
async def test_an_answer_that_is_cut_counts_what_came() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)

        def serve() -> None:
            sock, _ = server.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(cut)

        async with http_engine(server.getsockname()[1]) as engine:
            serving = spawn(asyncio.to_thread(serve), "the server")
            with Client(engine.port) as client:
                client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await serving
                await until_async(lambda: counted(engine) == {("GET", "200"): [1.0, 0.0, 9.0]})


@on_both_loops
async def test_a_request_that_stops_in_the_middle_is_a_408() -> None:
    with Recorder(ok()) as server:
        async with http_engine(server.port, entry=patience(read_timeout=0.1)) as engine:
            with Client(engine.port) as client:
                client.sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
                await until_async(lambda: counted(engine) == {("POST", "408"): [1.0, 3.0, 0.0]})


@on_both_loops
async def test_what_cannot_be_read_is_a_count_of_its_own() -> None:
    async with http_engine(1) as engine:
        await asyncio.to_thread(raw_http, engine.port, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        cells = engine.entry.ledger.cells
        assert cells.values[cells.block("count", ("http_refused", "web", "400"), 1).at] == 1.0
        assert counted(engine) == {}


@on_both_loops
async def test_connections_are_open_until_they_are_not() -> None:
    async with http_engine(1) as engine:
        cells = engine.entry.ledger.cells
        block = cells.block("connections", ("web", "TCP"), 2)

        def now() -> tuple[float, float]:
            return cells.values[block.at], cells.values[block.at + 1]

        with Client(engine.port):
            await until_async(lambda: now() == (1.0, 0.0))
        await until_async(lambda: now() == (1.0, 1.0))
