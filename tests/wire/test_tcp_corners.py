"""The corners of TCP through the pumps: urgent bytes, shut windows, single bytes, ends and resets that meet."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from streamlb.net.splice import Pipe
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tcp import Choice, origins, proxying
from tests.support.until import until_async
from tests.wire.test_tcp import MIB, noise


def pumps_of(proxy: Any) -> Any:
    conversation: Any = next(iter(proxy.live._conversations))
    return conversation._pumps


@on_both_loops
async def test_what_is_behind_urgent_bytes_does_not_wait() -> None:
    """A read stops short of the urgent byte: what follows is there, and no event will tell of it again."""
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            await client.send(b"hello")
            assert await upstream.recv() == b"hello"
            for number in range(10):
                client.sock.send(b"before")
                client.sock.send(b"!", socket.MSG_OOB)
                client.sock.send(b"behind%d" % number)
                assert await upstream.read(13) == b"beforebehind%d" % number
            client.end()
            assert await upstream.recv() == b""


@on_both_loops
async def test_single_bytes_arrive_in_order() -> None:
    data = noise(1000, b"bytes")[:1000]
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upstream = await origin.accept()
            for byte in data:
                await client.send(bytes([byte]))
            client.end()
            assert await upstream.read_all() == data


@on_both_loops
async def test_words_and_their_end_in_one_packet() -> None:
    """The end comes in while what is before it is still to be read."""
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(origin.server()) as proxy:
                for _ in range(20):
                    client = await proxy.connect()
                    await client.send(b"question")
                    client.end()
                    upstream = await origin.accept()
                    assert await upstream.read_all() == b"question"
                    await upstream.send(b"answer")
                    upstream.close()
                    assert await client.read_all() == b"answer"
                await until_async(lambda: not proxy.live)


@on_both_loops
async def test_both_sides_may_end_at_the_same_time() -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(origin.server()) as proxy:
                for _ in range(20):
                    client = await proxy.connect()
                    upstream = await origin.accept()
                    client.sock.send(b"bye")
                    upstream.sock.send(b"bye")
                    client.end()
                    upstream.end()
                    assert await client.read_all() == b"bye"
                    assert await upstream.read_all() == b"bye"
                await until_async(lambda: not proxy.live)


@on_both_loops
async def test_both_sides_may_be_reset_at_the_same_time() -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(origin.server()) as proxy:
                for _ in range(20):
                    client = await proxy.connect()
                    upstream = await origin.accept()
                    client.reset()
                    upstream.reset()
                await until_async(lambda: not proxy.live)


@pytest.mark.parametrize("size", [MIB // 4, 24 * MIB])
@pytest.mark.parametrize("pipes", [0, 8])
@on_both_loops
async def test_a_reset_is_passed_on_though_the_other_side_reads_nothing(size: int, pipes: int) -> None:
    """Its window is shut and bytes wait for it, here or in a pipe: nothing is read, and yet the reset is seen."""
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            proxy.pipes.max_pipes = pipes
            client = await proxy.connect()
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            upstream = await origin.accept()
            sending = asyncio.gather(upstream.send(noise(size, b"much")[:size]), return_exceptions=True)
            if size > MIB:
                await until_async(lambda: not pumps_of(proxy)._down._direction.wants_read)
                sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            upstream.reset()
            await until_async(lambda: not proxy.live)
            assert await client.was_reset()


@on_both_loops
async def test_a_reset_after_an_end_is_a_reset() -> None:
    """The client has finished and then goes: the server, still at its answer, shall know."""
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            client.end()
            assert await upstream.recv() == b""
            client.reset()
            await until_async(lambda: not proxy.live)
            # Reading still tells of the end that came first; writing would fail.
            await until_async(lambda: upstream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


@on_both_loops
async def test_a_server_that_never_accepts_holds_its_client_until_it_goes() -> None:
    """Its kernel connects and takes bytes; nobody ever answers."""
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(Choice(origin.server())) as proxy:
                client = await proxy.connect()
                await client.send(b"anybody?")
                await until_async(lambda: len(proxy.live) == 1 and pumps_of(proxy) is not None)
                client.reset()
                await until_async(lambda: not proxy.live)


@on_both_loops
async def test_a_pipe_that_fills_in_small_pieces_is_emptied_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may pour less than is held although there is room."""
    real = Pipe.pour

    def stingy(self: Pipe, target: int) -> int:
        held, self.held = self.held, min(self.held, 70_001)
        asked = self.held
        try:
            return real(self, target)
        finally:
            self.held += held - asked

    monkeypatch.setattr(Pipe, "pour", stingy)
    up, down = noise(6 * MIB, b"up")[: 6 * MIB], noise(6 * MIB, b"down")[: 6 * MIB]
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            _, _, got_up, got_down = await asyncio.gather(
                client.send(up), upstream.send(down), upstream.read(len(up)), client.read(len(down))
            )
            assert got_up == up
            assert got_down == down


@on_both_loops
async def test_a_bug_in_a_pump_cuts_its_conversation_on_both_sides(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(origin.server()) as proxy:
                client = await proxy.connect()
                server = await origin.accept()
                monkeypatch.setattr(type(pumps_of(proxy)._up), "_end", lambda self: 1 // 0)
                client.end()
                assert await server.was_reset()
                assert await client.was_reset()
                assert not proxy.live
    assert "ZeroDivisionError" in caplog.text
