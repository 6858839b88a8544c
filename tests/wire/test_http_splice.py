"""Large bodies past the transports: byte-exact and bounded, and every fault means what it means when copied."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import streamlb.net.splice as splice_module
from streamlb.config.static import ForwardingTimeouts, ServersTransport
from streamlb.net.poller import Poller, poller_of
from streamlb.net.splice import Pipe
from streamlb.proxy.bypass import MIN_BODY
from streamlb.proxy.downstream import Downstream
from streamlb.proxy.pump import workshop
from streamlb.proxy.upstream import Upstream
from tests.support.certificates import authority, secure_recording
from tests.support.engine import Engine, http_engine, mirrored, off_loop, patience, secure
from tests.support.http import Client, ok, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tcp import HOST, Origin, Peer
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KIB, MIB = 1 << 10, 1 << 20
BLOCK = hashlib.shake_256(b"bypass").digest(MIB + 13)
"""Not a power of two: what is shifted by a pipe or a page does not repeat."""
LARGE = 32 * MIB
"""Bytes; more than all buffers between the ends of two connections, and a pipe, can hold."""
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"


def noise(size: int) -> bytes:
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


BODY = noise(LARGE)


def answer(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size


def post(size: int) -> bytes:
    return b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size


@dataclass(slots=True)
class Stage:
    """An engine between clients and an origin that the test plays. moved: bytes that were spliced."""

    engine: Engine
    origin: Origin
    moved: list[int]
    clients: list[Peer]

    @property
    def spliced(self) -> int:
        return sum(self.moved)

    @property
    def bypasses(self) -> int:
        """Directions that are spliced at this moment."""
        downs = [each.outflow for each in self.engine.watched if isinstance(each, Upstream)]
        ups = [each.outflow for each in self.engine.watched if isinstance(each, Downstream)]
        return len([each for each in (*downs, *ups) if each is not None])

    async def connect(self, receive_buffer: int = 0) -> Peer:
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, self.engine.port))
        self.clients.append(Peer(sock))
        return self.clients[-1]

    async def asked(self, request: bytes = GET) -> tuple[Peer, Peer]:
        """A client that has sent `request`, and its server that has read the head."""
        client = await self.connect()
        await client.send(request)
        server = await self.origin.accept()
        await head_of(server)
        return client, server

    async def over(self) -> None:
        """Wait until nothing is left of any exchange, and no pipe is lent."""
        await until_async(lambda: not self.engine.live and self.engine.active == 0 and not self.bypasses)
        assert workshop(asyncio.get_running_loop()).pipes.lent == 0


async def head_of(peer: Peer) -> bytes:
    """The next head, byte by byte: nothing behind it is taken."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = await peer.recv(1)
        assert piece, data
        data += piece
    return data


async def given_up(sending: asyncio.Future[Any]) -> None:
    """The end of somebody's sending, whether or not it has failed."""
    sending.cancel()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await sending


async def answered(peer: Peer, size: int) -> bytes:
    """The next body."""
    await head_of(peer)
    return await peer.read(size)


@contextlib.asynccontextmanager
async def stage(monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[Stage]:
    loop = asyncio.get_running_loop()
    moved: list[int] = []
    fill = Pipe.fill

    def counting(pipe: Pipe, *args: Any) -> int:
        moved.append(fill(pipe, *args))
        return moved[-1]

    monkeypatch.setattr(Pipe, "fill", counting)
    poller_of(loop)
    async with no_descriptor_leak():
        origin = Origin()
        async with http_engine(origin.port, **options) as engine:
            here = Stage(engine, origin, moved, [])
            try:
                yield here
            finally:
                for client in here.clients:
                    client.close()
        origin.close()
        assert workshop(loop).pipes.lent == 0
        workshop(loop).pipes.close()


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
    async with stage(monkeypatch, entry=patience(write_timeout=1.2)) as here:
        client = await here.connect(receive_buffer=64 * KIB)
        await client.send(GET)
        server = await here.origin.accept()
        await head_of(server)
        sending = asyncio.gather(server.send(answer(size) + noise(size)))
        await head_of(client)
        body = b""
        for _ in range(16):
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


# --- refused -------------------------------------------------------------------------------------------------------


async def deliver(here: Stage) -> None:
    size = 6 * MIB
    client, server = await here.asked(post(size))
    _, received = await asyncio.gather(client.send(noise(size)), server.read(size))
    assert received == noise(size)
    _, received = await asyncio.gather(server.send(answer(size) + noise(size)), answered(client, size))
    assert received == noise(size)
    assert here.engine.idle == 1


@on_both_loops
async def test_no_pipes_no_splicing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice_module, "make_pipe", lambda: None)
    async with stage(monkeypatch) as here:
        await deliver(here)
        assert not here.moved


@pytest.mark.parametrize("limit", [0, 1])
@on_both_loops
async def test_as_many_pipes_as_we_allow(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(splice_module, "MAX_PIPES", limit)
    async with stage(monkeypatch) as here:
        workshop(asyncio.get_running_loop()).pipes.max_pipes = limit
        await asyncio.gather(deliver(here), return_exceptions=False)
        assert (here.spliced > 0) is (limit > 0)


def failing(number: int, after: int) -> Callable[..., int]:
    """A splice(2) that is refused after some calls."""
    calls = iter(range(1 << 30))
    real = os.splice

    def call(*args: Any, **options: Any) -> int:
        if next(calls) < after:
            return real(*args, **options)
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("after", [0, 1, 4, 5], ids=str)
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM], ids=["EINVAL", "EPERM"])
@on_both_loops
async def test_a_splice_that_is_refused(monkeypatch: pytest.MonkeyPatch, number: int, after: int) -> None:
    monkeypatch.setattr(os, "splice", failing(number, after))
    async with stage(monkeypatch) as here:
        await deliver(here)


@on_both_loops
async def test_no_descriptors_no_splicing(monkeypatch: pytest.MonkeyPatch) -> None:
    def dup(_descriptor: int) -> int:
        raise OSError(errno.EMFILE, "no more")

    monkeypatch.setattr(os, "dup", dup)
    async with stage(monkeypatch) as here:
        await deliver(here)
        assert not here.moved


@on_both_loops
async def test_a_kernel_that_watches_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    add, calls = Poller.add, iter(range(1 << 30))

    def refuse(poller: Poller, fd: int, events: int, on_ready: Callable[[int], object]) -> None:
        if next(calls) % 2:
            raise OSError(errno.ENOSPC, "no more")
        add(poller, fd, events, on_ready)

    monkeypatch.setattr(Poller, "add", refuse)
    async with stage(monkeypatch) as here:
        await deliver(here)


@on_both_loops
async def test_a_mirrored_request_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 2 * MIB
    with recording() as mirror:
        main = Origin()
        async with stage(monkeypatch, services=mirrored(main.port, mirror.port)) as here:
            client = await here.connect()
            await client.send(post(size))
            server = await main.accept()
            await head_of(server)
            await asyncio.gather(client.send(noise(size)), server.read(size))
            await until_async(lambda: mirror.requests)
            assert mirror.requests[0].body == noise(size)
            assert not here.moved
            main.close()


@on_both_loops
async def test_under_tls_bodies_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    body = noise(3 * MIB)

    def visit(port: int) -> bytes:
        with Client(port) as client:
            return client.request(method="POST", body=body).body

    with secure_recording(None, lambda request: ok(request.body)) as origin:
        transport = ServersTransport(root_cas=[authority("one").pair.text])
        async with stage(monkeypatch, services={"app": secure(origin.port)}, transport=transport) as here:
            assert await off_loop(visit, here.engine.port) == body
            assert not here.moved


# --- tunnels -------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_tunnel_both_ways_then_little_words_then_a_half_close(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 24 * MIB
    async with stage(monkeypatch) as here:
        client, server = await here.asked(UPGRADE)
        await server.send(SWITCH)
        await head_of(client)
        _, _, up, down = await asyncio.gather(
            client.send(noise(size)), server.send(noise(size)), server.read(size), client.read(size)
        )
        assert up == down == noise(size)
        assert here.spliced > size
        assert here.bypasses == 2
        for number in range(100):
            word = b"%03d" % number
            await client.send(word)
            assert await server.read(3) == word
            await server.send(word)
            assert await client.read(3) == word
        assert here.bypasses == 0
        await asyncio.gather(client.send(noise(size)), server.read(size))
        assert here.bypasses == 1
        client.end()
        assert await server.recv() == b""
        await asyncio.gather(server.send(noise(size)), client.read(size))
        server.end()
        assert await client.recv() == b""
        await here.over()


@pytest.mark.parametrize("who", ["client", "server"])
@on_both_loops
async def test_a_reset_in_a_spliced_tunnel(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    async with stage(monkeypatch) as here:
        client, server = await here.asked(UPGRADE)
        await server.send(SWITCH)
        await head_of(client)
        size = 4 * MIB
        await asyncio.gather(client.send(noise(size)), server.send(noise(size)), server.read(size), client.read(size))
        assert here.bypasses == 2
        if who == "client":
            client.reset()
            with contextlib.suppress(ConnectionResetError):
                assert await server.recv() == b""
        else:
            server.reset()
            assert await client.was_reset()
        await here.over()


@on_both_loops
async def test_what_a_leaving_client_said_in_a_tunnel_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 16 * MIB
    async with stage(monkeypatch) as here:
        client, server = await here.asked(UPGRADE)
        await server.send(SWITCH)
        await head_of(client)

        async def say() -> None:
            await client.send(noise(size))
            client.close()

        _, heard = await asyncio.gather(say(), server.read_all())
        assert heard == noise(size)
        server.close()
        await here.over()
