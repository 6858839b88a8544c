"""TCP through a real proxy on real sockets: conversations as they come and go, on both loops."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import streamlb.proxy.tcp_conversation as conversation_module
from streamlb.session.relay import MAX_PENDING
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tcp import Choice, Origin, Peer, origins, proxying, refusing_port
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.balance.selection import Selection, Server

MIB = 1 << 20


def noise(size: int, seed: bytes) -> bytes:
    """`size` bytes in which a lost, doubled or shifted piece shows."""
    return hashlib.shake_256(seed).digest(MIB + 17) * (size // MIB + 1)


def unreachable() -> Server:
    return Origin.server(None, "down", refusing_port())  # type: ignore[arg-type]


@on_both_loops
async def test_bytes_go_both_ways_until_both_have_finished() -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            server = origin.server()
            async with proxying(server) as proxy:
                client = await proxy.connect()
                upstream = await origin.accept()
                for number in range(20):
                    await client.send(b"question %d" % number)
                    assert await upstream.recv() == b"question %d" % number
                    await upstream.send(b"answer %d" % number)
                    assert await client.recv() == b"answer %d" % number
                assert server.state.active == 1
                client.end()
                assert await upstream.recv() == b""
                upstream.end()
                assert await client.recv() == b""
                await until_async(lambda: not proxy.live)
                assert (server.state.active, server.state.total, server.state.failures) == (0, 1, 0)


@on_both_loops
async def test_the_server_may_speak_first() -> None:
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            await upstream.send(b"SSH-2.0-example\r\n")
            assert await client.recv() == b"SSH-2.0-example\r\n"


@on_both_loops
async def test_a_half_closed_client_gets_the_whole_late_answer() -> None:
    answer = noise(3 * MIB, b"late")[: 3 * MIB]
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            await client.send(b"request")
            client.end()
            assert await upstream.read_all() == b"request"
            # Another conversation passes in the meantime: the late one is not cut by the loop going round.
            await (await proxy.connect()).send(b"x")
            assert await (await origin.accept()).read(1) == b"x"
            sending = asyncio.gather(upstream.send(answer), client.read(len(answer)))
            assert (await sending)[1] == answer
            upstream.end()
            assert await client.recv() == b""


@on_both_loops
async def test_a_half_closed_server_gets_the_whole_late_request() -> None:
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            await upstream.send(b"go ahead")
            upstream.end()
            assert await client.read_all() == b"go ahead"
            await client.send(b"here it is")
            client.end()
            assert await upstream.read_all() == b"here it is"
            await until_async(lambda: not proxy.live)


@on_both_loops
async def test_one_pick_per_connection_and_the_next_server_if_one_refuses(caplog: pytest.LogCaptureFixture) -> None:
    with origins() as origin:
        down, up = unreachable(), origin.server()
        async with proxying(Choice(down, up)) as proxy:
            client = await proxy.connect()
            await client.send(b"hello")
            assert await (await origin.accept()).read(5) == b"hello"
            assert (down.state.failures, down.state.active) == (1, 0)
            assert (up.state.failures, up.state.active) == (0, 1)
    assert [record.getMessage() for record in caplog.records] == ["service app: server down: connection refused"]


@on_both_loops
async def test_nobody_left_closes_the_client_and_logs_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    async with no_descriptor_leak(), proxying(Choice(unreachable(), unreachable())) as proxy:
        for _ in range(20):
            client = await proxy.connect()
            assert await client.recv() == b""
        await until_async(lambda: not proxy.live)
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert messages.count("router everybody: no server of service app can be reached") == 1
    assert len(messages) == 3, messages


@on_both_loops
async def test_a_service_without_a_usable_server_closes_the_client() -> None:
    async with proxying(Choice()) as proxy:
        client = await proxy.connect()
        assert await client.recv() == b""
        assert not proxy.live


@on_both_loops
async def test_a_connection_no_router_wants_stays_the_callers() -> None:
    async with proxying(None) as proxy:
        client = await proxy.connect()
        await until_async(lambda: proxy.declined)
        proxy.declined[0].send(b"somebody else took over")
        assert await client.recv() == b"somebody else took over"


@on_both_loops
async def test_a_bug_in_a_later_pick_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    class Buggy(Choice):
        def pick(self, want: Selection) -> Server | None:
            if want.avoid:
                raise RuntimeError("a bug")
            return super().pick(want)

    async with no_descriptor_leak(), proxying(Buggy(unreachable())) as proxy:
        client = await proxy.connect()
        assert await client.was_reset()
        assert not proxy.live
    assert "a bug" in caplog.text


@on_both_loops
async def test_short_of_descriptors_the_client_is_sent_away_and_no_server_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with origins(2) as (first, second):
        servers = first.server(), second.server()
        async with proxying(Choice(*servers)) as proxy:
            short = SimpleNamespace(**vars(socket))
            short.socket = failing(errno.EMFILE)
            monkeypatch.setattr("streamlb.net.dial.socket", short)
            client = await proxy.connect()
            assert await client.recv() == b""
            assert [(s.state.total, s.state.failures, s.state.active) for s in servers] == [(1, 0, 0), (0, 0, 0)]


def failing(number: int) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


@on_both_loops
async def test_a_server_that_does_not_answer_the_dial_is_left_for_the_next() -> None:
    full = Origin(backlog=0)
    with origins() as origin:
        fillers = full.fill()
        async with proxying(Choice(full.server(), origin.server()), dial_timeout=0.2) as proxy:
            client = await proxy.connect()
            await client.send(b"hello")
            assert await (await origin.accept()).read(5) == b"hello"
        for filler in fillers:
            filler.close()
        full.close()


@on_both_loops
async def test_a_client_that_vanishes_while_its_server_is_dialled_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_module, "PATIENCE", 0.0)
    full = Origin(backlog=0)
    async with no_descriptor_leak():
        fillers = full.fill()
        server = full.server()
        async with proxying(server, dial_timeout=60.0) as proxy:
            client = await proxy.connect()
            await until_async(lambda: len(proxy.live) == 1)
            client.reset()
            await until_async(lambda: not proxy.live)
            assert server.state.active == 0
        for filler in fillers:
            filler.close()
        full.close()


@on_both_loops
async def test_a_reset_by_the_client_resets_the_server() -> None:
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            await client.send(b"x")
            await upstream.read(1)
            client.reset()
            assert await upstream.was_reset()
            assert not proxy.live


@on_both_loops
async def test_a_reset_by_the_server_resets_the_client() -> None:
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            await upstream.send(b"the beginning of")
            assert await client.recv() == b"the beginning of"
            upstream.reset()
            assert await client.was_reset()
            assert not proxy.live


@on_both_loops
async def test_an_answer_given_before_the_server_refused_the_rest_arrives() -> None:
    """As over a direct connection: the answer, then a reset."""
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            upload = asyncio.gather(client.send(bytes(64 * MIB)), return_exceptions=True)
            await upstream.read(10)
            await upstream.send(b"413 too much")
            assert await client.read(12) == b"413 too much"
            upstream.close()
            assert isinstance((await upload)[0], OSError)
            await until_async(lambda: not proxy.live)


@on_both_loops
async def test_large_streams_both_ways_at_once_arrive_whole_through_pipes() -> None:
    size = 48 * MIB
    up, down = noise(size, b"up")[:size], noise(size, b"down")[:size]
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(origin.server()) as proxy:
                client = await proxy.connect()
                upstream = await origin.accept()
                seen: list[int] = []

                async def read(peer: Peer) -> bytes:
                    out = await peer.read(size // 2)
                    seen.append(proxy.pipes.lent)
                    return out + await peer.read(size - size // 2)

                _, _, got_up, got_down = await asyncio.gather(
                    client.send(up), upstream.send(down), read(upstream), read(client)
                )
                assert got_up == up
                assert got_down == down
                assert max(seen) >= 1, "nothing was spliced"
                client.end()
                upstream.end()
                assert await client.recv() == b""
                await until_async(lambda: not proxy.live)
                assert proxy.pipes.lent == 0


@on_both_loops
async def test_a_conversation_that_is_bulky_no_more_gives_its_pipe_back() -> None:
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            await asyncio.gather(client.send(bytes(16 * MIB)), upstream.read(16 * MIB))
            assert proxy.pipes.lent == 1
            for number in range(100):
                await client.send(b"ping %d" % number)
                assert await upstream.recv() == b"ping %d" % number
            assert proxy.pipes.lent == 0
            await asyncio.gather(client.send(bytes(16 * MIB)), upstream.read(16 * MIB))
            assert proxy.pipes.lent == 1


@pytest.mark.parametrize("pipes", [0, 256])
@on_both_loops
async def test_a_slow_reader_stops_the_sender_and_then_gets_everything(pipes: int) -> None:
    size = 32 * MIB
    data = noise(size, b"slow")[:size]
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            proxy.pipes.max_pipes = pipes
            client = await proxy.connect()
            upstream = await origin.accept()
            sending = asyncio.gather(upstream.send(data))
            conversation = next(iter(proxy.live._conversations))
            pumps = await until_async(lambda: conversation._pumps)  # type: ignore[attr-defined]
            pump = pumps._down
            await until_async(lambda: pump._direction.pending and not pump._direction.wants_read)
            assert pump._direction.pending <= (MIB if pipes else MAX_PENDING + 65536)
            assert len(pump._rest) <= MAX_PENDING + 65536
            assert pump.moved < size
            assert not sending.done()
            assert await client.read(size) == data
            await sending


@on_both_loops
async def test_a_slow_reader_does_not_slow_others() -> None:
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            await proxy.connect()
            stuck = await origin.accept()
            sending = asyncio.gather(stuck.send(bytes(64 * MIB)), return_exceptions=True)
            client = await proxy.connect()
            upstream = await origin.accept()
            for _ in range(50):
                await client.send(b"ping")
                assert await upstream.recv() == b"ping"
            assert not sending.done()
            proxy.live.abort()
            await sending


@on_both_loops
async def test_the_end_waits_for_what_a_slow_reader_has_not_taken() -> None:
    size = 12 * MIB
    data = noise(size, b"tail")[:size]
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            sending = asyncio.gather(upstream.send(data))
            await until_async(lambda: proxy.pipes.lent)
            client.end()
            assert await upstream.recv() == b""
            reading = asyncio.gather(client.read_all())
            await sending
            upstream.close()
            assert (await reading)[0] == data
            await until_async(lambda: not proxy.live)


@on_both_loops
async def test_draining_lets_a_conversation_run_and_aborting_resets_both() -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(origin.server()) as proxy:
                client = await proxy.connect()
                upstream = await origin.accept()
                proxy.acceptor.stop()
                proxy.live.drain()
                await client.send(b"still here")
                assert await upstream.recv() == b"still here"
                assert not await proxy.live.wait_empty(0.05)
                proxy.live.abort()
                assert await proxy.live.wait_empty(1.0)
                assert await client.was_reset()
                assert await upstream.was_reset()


@on_both_loops
async def test_a_silent_half_closed_conversation_ends_some_day() -> None:
    with origins() as origin:
        async with proxying(origin.server(), half_closed=0.3) as proxy:
            client = await proxy.connect()
            upstream = await origin.accept()
            client.end()
            assert await upstream.recv() == b""
            # Signs of life keep it.
            for _ in range(8):
                await upstream.send(b"x")
                assert await client.recv() == b"x"
                await asyncio.sleep(0.1)
            await until_async(lambda: not proxy.live)
            assert await client.was_reset()
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                await upstream.send(b"x")


@on_both_loops
async def test_hundreds_of_conversations_leave_nothing_behind() -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            server = origin.server()
            async with proxying(server) as proxy:
                for round_number in range(10):
                    clients = [await proxy.connect() for _ in range(30)]
                    upstreams = [await origin.accept() for _ in clients]
                    for client in clients:
                        await client.send(b"x")
                    for upstream in upstreams:
                        assert await upstream.recv() == b"x"
                    for number, (client, upstream) in enumerate(zip(clients, upstreams, strict=True)):
                        [client.close, client.reset, upstream.close, upstream.reset][(number + round_number) % 4]()
                    for client, upstream in zip(clients, upstreams, strict=True):
                        client.close()
                        upstream.close()
                    await until_async(lambda: not proxy.live)
                assert server.state.active == 0
                assert server.state.total == 300
