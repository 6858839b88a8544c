"""TLS under a protocol: what it hears, when it is asked to wait, and how it ends."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import struct

import pytest

from streamlb.net.secure_transport import PIECE, write_last
from streamlb.net.tasks import spawn
from streamlb.net.tls import Truncated
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tls import Carried, carried, connected, trusting
from tests.support.until import until_async

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)


def take(peer: ssl.SSLSocket, count: int) -> bytes:
    out = bytearray()
    while len(out) < count and (piece := peer.recv(MIB)):
        out += piece
    return bytes(out)


@VERSIONS
@on_both_loops
async def test_a_protocol_hears_and_answers(version: ssl.TLSVersion) -> None:
    async with no_descriptor_leak():
        with connected() as (ours, client):
            protocol = Carried()
            with await carried(ours, client, protocol, theirs=trusting(version)) as peer:
                peer.sendall(b"hello")
                await until_async(lambda: protocol.received == b"hello")
                protocol.transport.write(b"good ")
                protocol.transport.writelines([b"day", b"", b"!"])
                assert await asyncio.to_thread(take, peer, 9) == b"good day!"
                assert protocol.transport.get_extra_info("peername") == peer.getsockname()
                assert protocol.transport.get_extra_info("cipher")[1] == peer.version()
                protocol.transport.close()
                assert protocol.transport.is_closing()
                assert await asyncio.to_thread(peer.recv, 10) == b""
                assert await protocol.end() is None


@VERSIONS
@on_both_loops
async def test_much_comes_and_goes_and_a_slow_peer_holds_the_writer_back(version: ssl.TLSVersion) -> None:
    up, down = os.urandom(4 * MIB), os.urandom(12 * MIB)
    with connected() as (ours, client):
        protocol = Carried()
        with await carried(ours, client, protocol, theirs=trusting(version)) as peer:
            await asyncio.to_thread(peer.sendall, up)
            await until_async(lambda: len(protocol.received) == len(up))
            assert hashlib.sha256(protocol.received).digest() == hashlib.sha256(up).digest()
            transport = protocol.transport
            for start in range(0, len(down), 65536):
                transport.write(down[start : start + 65536])
            assert protocol.is_full
            assert transport.get_write_buffer_size() > transport.get_write_buffer_limits()[1]
            transport.close()
            taken = await asyncio.to_thread(take, peer, len(down) + 1)
            assert hashlib.sha256(taken).digest() == hashlib.sha256(down).digest()
            assert not protocol.is_full
            assert protocol.times_full == 1
            assert await protocol.end() is None


@on_both_loops
async def test_paused_reading_holds_the_peer_back() -> None:
    with connected() as (ours, client):
        protocol = Carried()
        with await carried(ours, client, protocol) as peer:
            protocol.transport.pause_reading()
            assert not protocol.transport.is_reading()
            sending = spawn(asyncio.to_thread(peer.sendall, b"x" * (16 * MIB)), "test: a client sends")
            await asyncio.sleep(0.2)
            assert protocol.received == b""
            assert not sending.done()
            for _ in range(50):
                protocol.transport.resume_reading()
                protocol.transport.pause_reading()
                await asyncio.sleep(0)
            protocol.transport.resume_reading()
            await sending
            await until_async(lambda: len(protocol.received) == 16 * MIB)
            protocol.transport.abort()
            await protocol.end()


@pytest.mark.parametrize("keep", [False, True])
@on_both_loops
async def test_a_peer_that_says_goodbye_may_get_its_answer(keep: bool) -> None:
    with connected() as (ours, client):
        protocol = Carried(keep=keep)
        peer = await carried(ours, client, protocol)
        peer.sendall(b"question")
        peer.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            peer.unwrap()
        await until_async(lambda: protocol.ended)
        assert protocol.received == b"question"
        if keep:
            await asyncio.sleep(0.05)
            assert not protocol.transport.is_closing()
            protocol.transport.write(b"answer")
            protocol.transport.close()
        peer.settimeout(5)
        if keep:
            assert await asyncio.to_thread(peer.recv, 100) == b"answer"
        with pytest.raises(ssl.SSLZeroReturnError):  # What Python says once both have said goodbye.
            await asyncio.to_thread(peer.recv, 100)
        peer.close()
        assert await protocol.end() is None


@on_both_loops
async def test_our_side_may_end_first() -> None:
    with connected() as (ours, client):
        protocol = Carried()
        with await carried(ours, client, protocol) as peer:
            assert not protocol.transport.can_write_eof()
            protocol.transport.write(b"last words")
            protocol.transport.write_eof()
            protocol.transport.write(b"never")
            assert await asyncio.to_thread(take, peer, 100) == b"last words"
            peer.sendall(b"still here")
            await until_async(lambda: protocol.received == b"still here")
            await asyncio.to_thread(peer.unwrap)
            assert await protocol.end() is None
            assert protocol.ended


@pytest.mark.parametrize("cut", ["fin", "reset"])
@on_both_loops
async def test_a_peer_that_vanishes_is_lost_with_a_reason(cut: str) -> None:
    async with no_descriptor_leak():
        with connected() as (ours, client):
            protocol = Carried()
            peer = await carried(ours, client, protocol)
            bare = socket.socket(fileno=peer.detach())
            if cut == "reset":
                bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            bare.close()
            error = await protocol.end()
            assert isinstance(error, Truncated if cut == "fin" else ConnectionResetError)
            assert not protocol.ended
            protocol.transport.write(b"too late")
            protocol.transport.close()
            protocol.transport.resume_reading()


@on_both_loops
async def test_a_peer_that_vanishes_while_much_is_unsent() -> None:
    with connected() as (ours, client):
        protocol = Carried()
        peer = await carried(ours, client, protocol)
        protocol.transport.write(b"x" * (16 * MIB))
        protocol.transport.pause_reading()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        peer.close()
        assert isinstance(await protocol.end(), OSError)


@on_both_loops
async def test_a_protocol_that_fails_loses_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Carried):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    with connected() as (ours, client):
        protocol = Faulty()
        with await carried(ours, client, protocol) as peer:
            peer.sendall(b"x")
            assert isinstance(await protocol.end(), ZeroDivisionError)
    assert [record.getMessage() for record in caplog.records] == ["a TLS connection was cut by a bug of streamlb"]


@on_both_loops
async def test_our_end_comes_behind_everything_that_waits() -> None:
    for way in ("close", "write_eof"):
        data = os.urandom(12 * MIB)
        with connected() as (ours, client):
            protocol = Carried()
            with await carried(ours, client, protocol) as peer:
                transport = protocol.transport
                transport.write(data[:100])
                transport.write(bytearray(data[100:]))
                assert protocol.is_full
                transport.write(b"last")
                getattr(transport, way)()
                transport.write(b"never")
                taken = await asyncio.to_thread(take, peer, len(data) + 100)
                assert taken == data + b"last"
                if way == "write_eof":
                    assert not transport.is_closing()
                    peer.sendall(b"still here")
                    await until_async(lambda got=protocol: got.received == b"still here")
                    transport.close()
                assert await protocol.end() is None
                assert transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("waiting", [0, 12 * MIB])
@pytest.mark.parametrize("size", [0, 10, PIECE, PIECE + 1, MIB])
@VERSIONS
@on_both_loops
async def test_the_last_bytes_are_followed_by_a_goodbye(version: ssl.TLSVersion, size: int, waiting: int) -> None:
    first, last = os.urandom(waiting), os.urandom(size)
    async with no_descriptor_leak():
        with connected() as (ours, client):
            protocol = Carried()
            with await carried(ours, client, protocol, theirs=trusting(version)) as peer:
                transport = protocol.transport
                transport.write(first)
                write_last(transport, last)
                transport.write(b"never")
                write_last(transport, b"never")
                assert await asyncio.to_thread(take, peer, waiting + size) == first + last
                peer.suppress_ragged_eofs = False
                assert await asyncio.to_thread(peer.recv, 1) == b""
                assert await protocol.end() is None


@on_both_loops
async def test_the_last_bytes_and_the_goodbye_are_sent_at_once() -> None:
    with connected() as (ours, client):
        protocol = Carried()
        with await carried(ours, client, protocol) as peer:
            sent: list[int] = []
            secure = protocol.transport._secure
            send = secure._send
            secure._send = lambda data, flags: sent.append(flags) or send(data, flags)
            write_last(protocol.transport, b"bye")
            assert sent == [socket.MSG_MORE]  # The end of the connection takes it along.
            assert await asyncio.to_thread(take, peer, 10) == b"bye"


@on_both_loops
async def test_the_last_bytes_for_a_peer_that_has_gone() -> None:
    with connected() as (ours, client):
        protocol = Carried()
        peer = await carried(ours, client, protocol)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        peer.close()
        write_last(protocol.transport, b"bye")
        assert isinstance(await protocol.end(), OSError)


@on_both_loops
async def test_a_connection_keeps_little_memory_of_what_it_carried() -> None:
    with connected() as (ours, client):
        protocol = Carried()
        with await carried(ours, client, protocol) as peer:
            protocol.transport.write(bytes(8 * MIB))
            assert protocol.transport._secure.queued <= 2 * PIECE
            assert len(await asyncio.to_thread(take, peer, 8 * MIB)) == 8 * MIB
            protocol.transport.abort()
            await protocol.end()
