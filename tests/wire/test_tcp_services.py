"""What TCP services and routers may ask for: PROXY headers, bounds of silence, keep-alive, middlewares."""

from __future__ import annotations

import asyncio
import logging
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from streamlb.net.dial import dial
from streamlb.proxy.introducing import introduce
from streamlb.runtime.gates import AllowList, Gates, InFlight
from streamlb.runtime.limits import ANY_TIME
from streamlb.wire.proxy_protocol import Header, read_header
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tcp import HOST, Choice, origins, proxying, refusing_port
from tests.support.until import until_async

CLIENT = (ip_address("192.0.2.1"), 56324)
DESTINATION = (ip_address("192.0.2.2"), 443)


def header_of(data: bytes) -> Header:
    found = read_header(data)
    assert isinstance(found, Header)
    return found


# --- PROXY headers ---


@on_both_loops
@pytest.mark.parametrize("version", [1, 2])
async def test_a_server_is_told_who_the_client_is(version: int) -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(origin.server(), proxy_version=version) as proxy:
                client = await proxy.connect()
                upstream = await origin.accept()
                said = await upstream.recv()
                header = header_of(said)
                assert header.length == len(said)
                assert header.source == (ip_address(HOST), client.sock.getsockname()[1])
                assert header.destination == (ip_address(HOST), proxy.port)
                await client.send(b"hello")
                assert await upstream.recv() == b"hello"
                await upstream.send(b"answer")
                assert await client.recv() == b"answer"
                client.end()
                assert await upstream.recv() == b""


@on_both_loops
async def test_a_header_that_came_in_is_passed_on() -> None:
    with origins() as origin:
        async with proxying(origin.server(), proxy_version=2) as proxy:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            table = proxy.entry._world.runtime.entry_points["t"]
            proxy.entry.serve(ours, table.tcp.route(None), CLIENT, DESTINATION)
            upstream = await origin.accept()
            header = header_of(await upstream.recv())
            assert (header.source, header.destination) == (CLIENT, DESTINATION)
            theirs.close()


@on_both_loops
async def test_the_next_server_is_told_too() -> None:
    with origins() as origin:
        down = origin.server("down", refusing_port())
        async with proxying(Choice(down, origin.server()), proxy_version=1) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            assert (await upstream.recv()).startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
            await client.send(b"x")
            assert await upstream.recv() == b"x"


@on_both_loops
async def test_a_mirror_is_told_as_well() -> None:
    with origins(2) as (main, shadow):
        service = Choice(main.server(), mirrors={"shadow": shadow.server()})
        async with proxying(service, proxy_version=2) as proxy:
            client = await proxy.connect()
            upstream, copy = await main.accept(), await shadow.accept()
            assert header_of(await upstream.recv()) == header_of(await copy.recv())
            await client.send(b"hello")
            assert await upstream.read(5) == await copy.read(5) == b"hello"


@on_both_loops
async def test_a_header_that_cannot_be_sent_is_a_failed_dial() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        error = introduce(ours, 2, (CLIENT, DESTINATION))
    assert error is not None
    assert error.reason == "the PROXY header could not be sent"


@on_both_loops
async def test_a_client_that_leaves_while_its_server_is_dialled() -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(origin.server(), proxy_version=2) as proxy:
                client = await proxy.connect()
                client.reset()
                upstream = await origin.accept()
                assert await upstream.was_reset()
                await until_async(lambda: not proxy.live)


# --- silence ---


@on_both_loops
async def test_a_silent_conversation_is_cut() -> None:
    loop = asyncio.get_running_loop()
    async with no_descriptor_leak():
        with origins() as origin:
            server = origin.server()
            async with proxying(server, idle=0.6) as proxy:
                client = await proxy.connect()
                upstream = await origin.accept()
                # Signs of life from either side keep it.
                for _ in range(5):
                    await upstream.send(b"x")
                    assert await client.recv() == b"x"
                    await asyncio.sleep(0.3)
                    await client.send(b"y")
                    assert await upstream.recv() == b"y"
                    await asyncio.sleep(0.3)
                spoken_at = loop.time()
                assert len(proxy.live) == 1
                await until_async(lambda: not proxy.live)
                assert loop.time() - spoken_at >= 0.3  # 0.6 s after the last word, half of which we slept.
                assert await client.was_reset()
                assert await upstream.was_reset()
                assert server.state.active == 0


@on_both_loops
async def test_who_reads_slowly_is_not_silent() -> None:
    """The end has come, and what is left trickles out for longer than the silence allowed."""
    size = 4 << 20
    with origins() as origin:
        async with proxying(origin.server(), idle=0.5, half_closed=0.5) as proxy:
            client = await proxy.connect()
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
            upstream = await origin.accept()

            async def answer() -> None:
                await upstream.send(bytes(size))
                upstream.end()

            async def read_slowly() -> int:
                total = 0
                while total < size:
                    total += len(await client.read(min(size - total, 256 * 1024)))
                    await asyncio.sleep(0.1)
                return total

            _, total = await asyncio.gather(answer(), read_slowly())
            assert total == size


@on_both_loops
async def test_a_client_that_has_ended_does_not_wait_longer_than_it_may() -> None:
    with origins() as origin:
        async with proxying(origin.server(), half_closed=0.0) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            await client.send(b"last words")
            client.end()
            assert await upstream.read(10) == b"last words"
            await until_async(lambda: not proxy.live)
            assert await client.was_reset()


@on_both_loops
async def test_without_bounds_nothing_is_watched() -> None:
    with origins() as origin:
        async with proxying(origin.server(), half_closed=ANY_TIME) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            await client.send(b"x")
            assert await upstream.recv() == b"x"
            assert not proxy.entry.clock._watched
            client.end()
            assert await upstream.recv() == b""
            (conversation,) = proxy.live._conversations
            assert conversation.due_at == float("inf")  # type: ignore[attr-defined]


# --- keep-alive ---


@on_both_loops
@pytest.mark.parametrize(
    ("seconds", "expected"), [(7.0, (1, 7, 7)), (120.0, (1, 120, 15)), (0.2, (1, 1, 1)), (-1.0, (0,))]
)
async def test_servers_are_asked_whether_they_are_there(
    seconds: float, expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlb.net.dial.LOOPBACK", ("no such",))
    loop = asyncio.get_running_loop()
    with origins() as origin:
        done: asyncio.Future[Any] = loop.create_future()
        dial(loop, HOST, origin.port, 5.0, lambda sock, _: done.set_result(sock), seconds)
        with await done as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == expected[0]
            if expected[0]:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == expected[1]
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == expected[2]


# --- middlewares ---


@on_both_loops
async def test_who_is_refused_finds_the_connection_closed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    gates = Gates([AllowList("office", ["192.0.2.0/24"])])
    async with no_descriptor_leak():
        with origins() as origin:
            server = origin.server()
            async with proxying(server, gates=gates) as proxy:
                for _ in range(3):
                    client = await proxy.connect()
                    assert await client.recv() == b""
                assert proxy.entry.refused == {("everybody", "office"): 3}
                assert not proxy.live
            assert server.state.total == 0
    (line,) = caplog.messages
    assert line == "router everybody: middleware office refused 127.0.0.1: its address is not allowed"


@on_both_loops
async def test_a_place_is_free_again_however_a_conversation_ends() -> None:
    counts: dict[Any, int] = {}
    gates = Gates([InFlight("one", 1, counts)])
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(origin.server(), gates=gates) as proxy:
                for ending in ("end", "reset", "abort"):
                    client = await proxy.connect()
                    upstream = await origin.accept()
                    second = await proxy.connect()
                    assert await second.recv() == b""
                    if ending == "end":
                        client.end()
                        assert await upstream.recv() == b""
                        upstream.end()
                    elif ending == "reset":
                        upstream.reset()
                    else:
                        proxy.live.abort()
                    await until_async(lambda: not proxy.live)
                    assert counts == {}


@on_both_loops
@pytest.mark.parametrize("nobody", [Choice(), None])
async def test_a_place_is_free_again_when_nobody_can_serve(nobody: Choice | None) -> None:
    counts: dict[Any, int] = {}
    with origins() as origin:
        service = nobody or origin.server("down", refusing_port())
        async with proxying(service, gates=Gates([InFlight("one", 1, counts)])) as proxy:
            for _ in range(2):
                client = await proxy.connect()
                assert await client.recv() == b""
            await until_async(lambda: not counts)
