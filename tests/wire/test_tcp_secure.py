"""Pumps between TLS and plain sockets: bytes, ends, cuts and back pressure, on either side, on both loops."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import select
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.net.poller import WRITABLE
from streamlb.net.secure import SecureSocket
from streamlb.net.tasks import spawn
from streamlb.proxy.pump import Pumps, workshop
from tests.support.certificates import local_pair
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tls import connected, secured, serving, shaken, trusting
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB = 1 << 20
TIMEOUT = 20.0
SIDES = pytest.mark.parametrize("sides", ["client", "server", "both"])
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class Copy:
    """A tap that keeps what it gets, and how it ended."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.end = ""

    def feed(self, chunk: memoryview) -> None:
        self.got += chunk

    def finish(self) -> None:
        self.end = "finished"

    def abort(self) -> None:
        self.end = "aborted"


class Relayed:
    """A running pair of pumps between `client` and `server`, which are played by the test."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.copy = Copy()
        self.pumps: Pumps | None = None
        self.half_closed = 0
        self.ended = 0

    def on_half_closed(self) -> None:
        self.half_closed += 1

    def on_end(self) -> None:
        self.ended += 1


async def accepted(
    ours: socket.socket, theirs: socket.socket, version: ssl.TLSVersion | None
) -> tuple[SecureSocket, ssl.SSLSocket]:
    """We are the server."""
    secure = SecureSocket(ours, serving(), server_side=True)
    shaking = asyncio.to_thread(secured, theirs, trusting(version), suppress_ragged_eofs=False)
    _, peer = await asyncio.gather(shaken(secure), shaking)
    return secure, peer


async def dialled(
    ours: socket.socket, theirs: socket.socket, version: ssl.TLSVersion | None
) -> tuple[SecureSocket, ssl.SSLSocket, asyncio.Task[None]]:
    """We are the client. The server's handshake ends with our last word, which the pumps may have to say."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(local_pair().certificate, local_pair().key)
    secure = SecureSocket(ours, trusting(version), server_side=False, server_hostname="localhost")
    peer = context.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False)
    shaking = spawn(asyncio.to_thread(peer.do_handshake), "the handshake of the server")
    await shaken(secure)
    return secure, peer, shaking


@contextlib.asynccontextmanager
async def relayed(sides: str, version: ssl.TLSVersion | None = None, *, tapped: bool = False) -> AsyncIterator[Relayed]:
    """`sides`: who speaks TLS: the client, the server, both."""
    with connected() as (down, client), connected() as (up, server):
        downstream: Any = down
        upstream: Any = up
        shaking = None
        if sides in ("client", "both"):
            downstream, client = await accepted(down, client, version)
        if sides in ("server", "both"):
            upstream, server, shaking = await dialled(up, server, version)
        loop = asyncio.get_running_loop()
        relay = Relayed(client, server)
        with client, server:
            client.settimeout(TIMEOUT)
            server.settimeout(TIMEOUT)
            relay.pumps = Pumps(loop, workshop(loop), downstream, upstream, relay, (relay.copy,) if tapped else ())
            relay.pumps.start()
            try:
                if shaking is not None:
                    await asyncio.wait_for(shaking, TIMEOUT)
                yield relay
            finally:
                relay.pumps.abort()
                assert relay.ended == 1


def recv(sock: socket.socket, count: int = 65536) -> bytes:
    """What came; b"" for an end with its goodbye, or one in the clear."""
    try:
        return sock.recv(count)
    except ssl.SSLZeroReturnError:
        return b""


def read_all(sock: socket.socket) -> bytes:
    out = bytearray()
    while piece := recv(sock):
        out += piece
    return bytes(out)


def end(sock: socket.socket) -> None:
    """Say that nothing more will come, and go on listening."""
    if isinstance(sock, ssl.SSLSocket):
        # `unwrap` waits for the other's goodbye, and that comes when the whole conversation is over.
        sock.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            sock._sslobj.shutdown()  # type: ignore[attr-defined]
        sock.settimeout(TIMEOUT)
    else:
        sock.shutdown(socket.SHUT_WR)


def was_reset(sock: socket.socket) -> bool:
    """Whether a reset is behind whatever else has come, and nothing that looks like an end."""
    # Python's `ssl` calls both an unexpected end.
    with socket.socket(fileno=os.dup(sock.fileno())) as raw:
        raw.settimeout(TIMEOUT)
        try:
            while raw.recv(65536):
                pass
        except ConnectionResetError:
            return True
    return False


def exchange(sock: socket.socket, data: bytes, expected: int) -> bytes:
    """Send `data` and receive `expected` bytes, both at once."""
    sock.setblocking(False)
    left, got = memoryview(data), bytearray()
    until = time.monotonic() + TIMEOUT
    while left or len(got) < expected:
        assert time.monotonic() < until, f"{len(left)} bytes not sent, {len(got)} of {expected} received"
        moved = False
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if left:
                left = left[sock.send(left[: 1 << 18]) :]
                moved = True
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if len(got) < expected:
                piece = recv(sock)
                assert piece, f"ended after {len(got)} of {expected} bytes"
                got += piece
                moved = True
        if not moved:
            select.select([sock], [sock] if left else [], [], 0.05)
    sock.settimeout(TIMEOUT)
    return bytes(got)


in_thread = asyncio.to_thread


@VERSIONS
@SIDES
@on_both_loops
async def test_words_and_ends_pass_both_ways(sides: str, version: ssl.TLSVersion) -> None:
    async with no_descriptor_leak(), relayed(sides, version, tapped=True) as relay:
        for number in range(5):
            relay.client.sendall(b"question %d" % number)
            assert await in_thread(recv, relay.server) == b"question %d" % number
            relay.server.sendall(b"answer %d" % number)
            assert await in_thread(recv, relay.client) == b"answer %d" % number
        end(relay.client)
        assert await in_thread(recv, relay.server) == b""
        await until_async(lambda: relay.half_closed == 1)
        relay.server.sendall(b"late")
        end(relay.server)
        assert await in_thread(read_all, relay.client) == b"late"
        await until_async(lambda: relay.ended)
        assert bytes(relay.copy.got) == b"".join(b"question %d" % number for number in range(5))
        assert relay.copy.end == "finished"


@SIDES
@on_both_loops
async def test_a_server_that_speaks_first_is_heard(sides: str) -> None:
    async with relayed(sides) as relay:
        relay.server.sendall(b"220 ready\r\n")
        assert await in_thread(recv, relay.client) == b"220 ready\r\n"


@SIDES
@on_both_loops
async def test_much_passes_both_ways_at_once(sides: str) -> None:
    up, down = os.urandom(6 * MIB), os.urandom(6 * MIB)
    async with relayed(sides) as relay:
        got_down, got_up = await asyncio.gather(
            in_thread(exchange, relay.client, up, len(down)), in_thread(exchange, relay.server, down, len(up))
        )
        assert hashlib.sha256(got_up).digest() == hashlib.sha256(up).digest()
        assert hashlib.sha256(got_down).digest() == hashlib.sha256(down).digest()


@SIDES
@on_both_loops
async def test_a_slow_reader_stops_the_sender_and_gets_all_of_it_and_the_end(sides: str) -> None:
    data = os.urandom(1 << 16) * 400

    def send() -> None:
        relay.server.sendall(data)
        end(relay.server)

    async with relayed(sides) as relay:
        assert relay.pumps is not None
        pump = relay.pumps._down
        sending = spawn(in_thread(send), "the server")
        await until_async(lambda: not pump._direction.wants_read)
        await asyncio.sleep(0.1)
        moved = sum(relay.pumps.moved)
        assert moved < len(data)
        assert len(pump._rest) <= pump._direction.limit + (1 << 16)
        received = await in_thread(read_all, relay.client)
        await sending
        assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


@SIDES
@on_both_loops
async def test_single_bytes_arrive(sides: str) -> None:
    data = os.urandom(300)
    async with relayed(sides) as relay:
        for byte in data:
            relay.client.sendall(bytes([byte]))
        end(relay.client)
        assert await in_thread(read_all, relay.server) == data


@SIDES
@on_both_loops
async def test_a_reset_is_a_reset_on_the_other_side(sides: str) -> None:
    async with relayed(sides, tapped=True) as relay:
        relay.client.sendall(b"x")
        assert await in_thread(recv, relay.server) == b"x"
        relay.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(relay.client.detach())
        assert await in_thread(was_reset, relay.server)
        await until_async(lambda: relay.ended)
        assert relay.copy.end == "aborted"


@pytest.mark.parametrize("begun", [b"", b"\x17\x03\x03\x40\x00 the beginning of a record"])
@VERSIONS
@on_both_loops
async def test_an_end_without_a_goodbye_is_a_reset_on_the_other_side(begun: bytes, version: ssl.TLSVersion) -> None:
    """Also where the last packet brings part of a record and the end at once."""
    async with relayed("client", version) as relay:
        relay.client.sendall(b"x")
        assert await in_thread(recv, relay.server) == b"x"
        raw = socket.socket(fileno=relay.client.detach())
        with raw:
            raw.send(begun)
            raw.shutdown(socket.SHUT_WR)
            assert await in_thread(was_reset, relay.server)


@on_both_loops
async def test_a_cut_of_the_server_does_not_look_like_an_end_to_a_client_with_tls() -> None:
    async with relayed("client") as relay:
        relay.server.sendall(b"half of it")
        assert await in_thread(recv, relay.client) == b"half of it"
        relay.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        relay.server.close()
        assert await in_thread(was_reset, relay.client)


@SIDES
@on_both_loops
async def test_both_may_end_at_once(sides: str) -> None:
    async with relayed(sides) as relay:
        relay.client.sendall(b"bye")
        relay.server.sendall(b"bye")
        end(relay.client)
        end(relay.server)
        assert await in_thread(read_all, relay.client) == b"bye"
        assert await in_thread(read_all, relay.server) == b"bye"
        await until_async(lambda: relay.ended)


@pytest.mark.parametrize("size", [10, 12 * MIB])
@on_both_loops
async def test_a_goodbye_that_finds_no_room_arrives_all_the_same(size: int) -> None:
    """The kernel takes the last byte and not the goodbye: nothing may be closed before that has gone, too."""
    data = os.urandom(1 << 16) * (size // (1 << 16) + 1)
    refused = []
    async with relayed("client") as relay:
        assert relay.pumps is not None
        downstream: Any = relay.pumps._downstream
        real = downstream._send
        on_ready, loop = relay.pumps._up.on_ready, asyncio.get_running_loop()

        def stingy(piece: Any, *flags: int) -> int:
            if downstream._said_goodbye and not refused:
                refused.append(len(piece))
                loop.call_soon(on_ready, WRITABLE)
                raise BlockingIOError
            sent: int = real(piece, *flags)
            return sent

        downstream._send = stingy
        end(relay.client)
        assert await in_thread(recv, relay.server) == b""
        sending = spawn(in_thread(relay.server.sendall, data[:size]), "the server")
        await until_async(lambda: sending.done() or not relay.pumps._down._direction.wants_read)  # type: ignore[union-attr]
        received = spawn(in_thread(read_all, relay.client), "the client")
        await sending
        end(relay.server)
        assert len(await received) == size
        assert len(refused) == 1
        await until_async(lambda: relay.ended)
