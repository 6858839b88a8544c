"""Large bodies past the transports: byte-exact and bounded, and every fault means what it means when copied."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from streamlb.config.static import ForwardingTimeouts, ServersTransport
from streamlb.proxy.bypass import MIN_BODY
from streamlb.proxy.upstream import Upstream
from tests.support.engine import patience
from tests.support.loops import on_both_loops
from tests.support.splicing import (
    BODY,
    GET,
    KIB,
    LARGE,
    MIB,
    OK,
    answer,
    answered,
    given_up,
    head_of,
    noise,
    post,
    stage,
)
from tests.support.until import until_async

# --- whole ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MIN_BODY - 1, MIN_BODY + 300_000, MIB + 1, LARGE], ids=str)
@on_both_loops
async def test_downloads_on_one_connection(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    body = noise(size)
    async with stage(monkeypatch) as here:
        client, server = await here.asked()
        for _ in range(2):
            sent = asyncio.gather(server.send(answer(size) + body), answered(client, size))
            assert (await sent)[1] == body
            assert (here.spliced > 0) is (size >= MIN_BODY + 300_000)
            await client.send(GET)  # On the same connections, both of them.
            await head_of(server)
        await server.send(OK)
        assert (await client.read(len(OK))) == OK
        assert here.engine.idle == 1
    assert here.spliced <= size * 2


@pytest.mark.parametrize("size", [MIN_BODY - 1, MIN_BODY + 300_000, MIB + 1, LARGE], ids=str)
@on_both_loops
async def test_uploads_with_the_next_request_behind(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    body = noise(size)
    async with stage(monkeypatch) as here:
        client, server = await here.asked(post(size))
        sent = asyncio.gather(client.send(body + GET), server.read(size))
        assert (await sent)[1] == body
        await server.send(OK)
        assert b"GET /x" in await head_of(server)  # Not a byte of it went with the body.
        await server.send(OK)
        assert await client.read(2 * len(OK)) == OK * 2
        assert (here.spliced > 0) is (size >= MIN_BODY + 300_000)


@on_both_loops
async def test_both_directions_of_one_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 32 * MIB
    body = noise(size)
    async with stage(monkeypatch) as here:
        client, server = await here.asked(post(size))

        async def echo() -> None:
            await server.send(answer(size))
            left = size
            while left:
                piece = await server.recv(256 * KIB)
                left -= len(piece)
                await server.send(piece)

        _, _, back = await asyncio.gather(echo(), client.send(body), answered(client, size))
        assert back == body
        assert here.spliced > size
        await here.over()  # An answer that began before the end of its request ends with the connection.


@on_both_loops
async def test_both_directions_on_two_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 32 * MIB
    body = noise(size)
    async with stage(monkeypatch) as here:
        one, first = await here.asked(post(size))
        two, second = await here.asked()
        _, up, _, down = await asyncio.gather(
            one.send(body), first.read(size), second.send(answer(size) + body), answered(two, size)
        )
        assert up == body
        assert down == body
        assert here.spliced > size


@on_both_loops
async def test_an_old_client_and_an_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 4 * MIB
    request = b"PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % size
    async with stage(monkeypatch) as here:
        client, server = await here.asked(request)
        await server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await head_of(client)
        _, received = await asyncio.gather(client.send(noise(size)), server.read(size))
        assert received == noise(size)
        await server.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
        head = await head_of(client)
        assert b"Continue" not in head
        _, received = await asyncio.gather(server.send(noise(size)), client.read(size))
        assert received == noise(size)
        assert here.spliced > 7 * MIB


# --- cut short -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("sent", [0, 1, 300 * KIB, 5 * MIB, 8 * MIB - 1], ids=str)
@on_both_loops
async def test_a_server_that_vanishes(monkeypatch: pytest.MonkeyPatch, how: str, sent: int) -> None:
    async with stage(monkeypatch) as here:
        client, server = await here.asked()
        await server.send(answer(8 * MIB))
        await head_of(client)
        await asyncio.gather(server.send(noise(sent)), client.read(sent))
        if how == "end":
            server.close()
        else:
            server.reset()
        assert await client.was_reset()  # Never a silent short body.
        await here.over()
        assert here.engine.idle == 0


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("taken", [0, 1, 300 * KIB, 5 * MIB], ids=str)
@on_both_loops
async def test_a_downloading_client_that_vanishes(monkeypatch: pytest.MonkeyPatch, how: str, taken: int) -> None:
    async with stage(monkeypatch) as here:
        client, server = await here.asked()
        sending = asyncio.gather(server.send(answer(LARGE) + BODY))
        await head_of(client)
        await client.read(taken)
        if how == "end":
            client.close()
        else:
            client.reset()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await sending
        await here.over()


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("sent", [0, 1, 300 * KIB, 5 * MIB, 8 * MIB - 1], ids=str)
@on_both_loops
async def test_an_uploading_client_that_vanishes(monkeypatch: pytest.MonkeyPatch, how: str, sent: int) -> None:
    async with stage(monkeypatch) as here:
        client, server = await here.asked(post(8 * MIB))
        await asyncio.gather(client.send(noise(sent)), server.read(sent))
        if how == "end":
            client.close()
        else:
            client.reset()
        with contextlib.suppress(ConnectionResetError):
            assert await server.recv() == b""
        await here.over()


@pytest.mark.parametrize("how", ["end", "reset", "stay"])
@pytest.mark.parametrize("taken", [0, 300 * KIB, 5 * MIB], ids=str)
@on_both_loops
async def test_an_early_refusal_of_an_upload_gets_through(
    monkeypatch: pytest.MonkeyPatch, how: str, taken: int
) -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n"
    async with stage(monkeypatch) as here:
        client, server = await here.asked(post(LARGE))
        sending = asyncio.gather(client.send(BODY))
        await server.read(taken)
        await server.send(refusal)
        if how == "end":
            server.close()  # With bytes unread: a reset.
        elif how == "reset":
            await asyncio.sleep(0.05)
            server.reset()
        head = await head_of(client)
        assert head.startswith(b"HTTP/1.1 413 ")
        assert await client.read(3) == b"no\n"
        await given_up(sending)
        client.close()
        await here.over()


@pytest.mark.parametrize("how", ["end", "reset"])
@on_both_loops
async def test_a_server_that_vanishes_under_an_upload(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    async with stage(monkeypatch) as here:
        client, server = await here.asked(post(LARGE))
        sending = asyncio.gather(client.send(BODY))
        await server.read(3 * MIB)
        server.close() if how == "end" else server.reset()
        assert (await head_of(client)).startswith(b"HTTP/1.1 502 ")
        await given_up(sending)
        client.close()
        await here.over()


# --- slow ----------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_reader_that_stops_holds_at_most_a_pipe_and_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(monkeypatch, entry=patience(write_timeout=0.4)) as here:
        client, server = await here.asked()
        sending = asyncio.gather(server.send(answer(LARGE) + BODY))
        await until_async(lambda: any(isinstance(each, Upstream) and each.outflow for each in here.engine.watched))
        (upstream,) = [each for each in here.engine.watched if isinstance(each, Upstream)]
        await until_async(lambda: upstream.outflow and upstream.outflow.held)
        assert upstream.outflow.held <= MIB
        assert upstream.transport.get_write_buffer_size() == 0
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await sending
        assert await client.was_reset()
        await here.over()


@on_both_loops
async def test_a_slow_reader_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 8 * MIB
    async with stage(monkeypatch, entry=patience(write_timeout=2.0)) as here:
        client = await here.connect(receive_buffer=64 * KIB)
        await client.send(GET)
        server = await here.origin.accept()
        await head_of(server)
        sending = asyncio.gather(server.send(answer(size) + noise(size)))
        await head_of(client)
        body = b""
        for _ in range(25):
            body += await client.recv(100 * KIB)
            await asyncio.sleep(0.1)
        body += await client.read(size - len(body))
        assert body == noise(size)
        await sending


@on_both_loops
async def test_a_client_that_stops_uploading(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(monkeypatch, entry=patience(read_timeout=0.3)) as here:
        client, server = await here.asked(post(LARGE))
        await asyncio.gather(client.send(noise(3 * MIB)), server.read(3 * MIB))
        assert (await head_of(client)).startswith(b"HTTP/1.1 408 ")
        with contextlib.suppress(ConnectionResetError):
            assert await server.recv() == b""
        client.close()
        await here.over()


@on_both_loops
async def test_a_client_that_uploads_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(monkeypatch, entry=patience(read_timeout=1.2)) as here:
        client, server = await here.asked(post(3 * MIB))
        for _ in range(12):
            await client.send(noise(256 * KIB))
            assert await server.read(256 * KIB) == noise(256 * KIB)
            await asyncio.sleep(0.15)
        await server.send(OK)
        assert await client.read(len(OK)) == OK


@on_both_loops
async def test_a_server_that_stops_in_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts = ForwardingTimeouts(read_timeout=0.3)
    async with stage(monkeypatch, transport=ServersTransport(forwarding_timeouts=timeouts)) as here:
        client, server = await here.asked()
        await asyncio.gather(server.send(answer(LARGE) + noise(3 * MIB)), answered(client, 3 * MIB))
        assert await client.was_reset()
        await here.over()


@on_both_loops
async def test_a_server_that_takes_no_more_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(monkeypatch, answer_timeout=0.3, entry=patience(read_timeout=0.3)) as here:
        client, server = await here.asked(post(LARGE))
        sending = asyncio.gather(client.send(BODY))
        await server.read(3 * MIB)
        assert (await head_of(client)).startswith(b"HTTP/1.1 504 ")
        await given_up(sending)
        client.close()
        await here.over()


@on_both_loops
async def test_a_drain_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(monkeypatch) as here:
        client, server = await here.asked()
        await asyncio.gather(server.send(answer(6 * MIB) + noise(3 * MIB)), answered(client, 3 * MIB))
        here.engine.live.drain()
        await asyncio.gather(server.send(noise(3 * MIB)), client.read(3 * MIB))
        assert await client.recv() == b""


@on_both_loops
async def test_an_abort_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(monkeypatch) as here:
        client, server = await here.asked()
        await asyncio.gather(server.send(answer(6 * MIB) + noise(3 * MIB)), head_of(client))
        here.engine.live.abort()
        await here.over()
