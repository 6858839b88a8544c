"""TLS under a pump: records, goodbyes and cuts, with Python's own TLS as the peer."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest

from streamlb.net.secure import CHUNK, MAX_OWN_WORDS
from streamlb.net.tasks import spawn
from streamlb.net.tls import Truncated, client_reason
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tls import both_ends, connected, trusting
from tests.support.until import until_async

if TYPE_CHECKING:
    from streamlb.net.secure import SecureSocket

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)


async def receive(secure: SecureSocket, size: int = CHUNK) -> bytes:
    """What the next `recv_into` gives, waiting for it if need be."""
    view = memoryview(bytearray(size))
    loop = asyncio.get_running_loop()
    while True:
        try:
            return bytes(view[: secure.recv_into(view)])
        except BlockingIOError:
            assert not secure.pending
        readable = asyncio.Event()
        loop.add_reader(secure.fileno(), readable.set)
        try:
            await asyncio.wait_for(readable.wait(), 10)
        finally:
            loop.remove_reader(secure.fileno())


async def receive_exactly(secure: SecureSocket, count: int) -> bytes:
    out = bytearray()
    while len(out) < count:
        piece = await receive(secure)
        assert piece
        out += piece
    return bytes(out)


async def send_all(secure: SecureSocket, data: bytes) -> None:
    view = memoryview(data)
    while view or secure.unsent:
        try:
            if view:
                view = view[secure.send(view) :]
            else:
                secure.flush()
        except BlockingIOError:
            pass
        await asyncio.sleep(0.001 if secure.unsent else 0)


def take_all(peer: ssl.SSLSocket) -> bytes:
    out = bytearray()
    while piece := peer.recv(MIB):
        out += piece
    return bytes(out)


# --- as it should be -----------------------------------------------------------------------------------------------


@VERSIONS
@on_both_loops
async def test_words_pass_both_ways_and_both_say_goodbye(version: ssl.TLSVersion) -> None:
    async with no_descriptor_leak():
        with connected() as (ours, client):
            secure, peer = await both_ends(ours, client, theirs=trusting(version))
            with peer:
                peer.sendall(b"hello")
                assert await receive(secure) == b"hello"
                assert secure.send(b"good day") == 8
                assert await asyncio.to_thread(peer.recv, 100) == b"good day"
                secure.shutdown(socket.SHUT_WR)
                assert await asyncio.to_thread(peer.recv, 100) == b""
                await asyncio.to_thread(peer.unwrap)
                assert await receive(secure) == b""
                assert secure.goodbye
                secure.close()


@VERSIONS
@on_both_loops
async def test_much_passes_both_ways_at_once(version: ssl.TLSVersion) -> None:
    up, down = os.urandom(5 * MIB), os.urandom(5 * MIB)
    with connected() as (ours, client):
        secure, peer = await both_ends(ours, client, theirs=trusting(version))
        with peer:
            peer.settimeout(20)

            async def send() -> None:
                await send_all(secure, down)
                secure.shutdown(socket.SHUT_WR)

            async def write() -> None:
                await asyncio.to_thread(peer.sendall, up)

            # One `ssl` object is not for two threads, so the client writes first and we read meanwhile.
            received, _ = await asyncio.gather(receive_exactly(secure, len(up)), write())
            taken, _ = await asyncio.gather(asyncio.to_thread(take_all, peer), send())
            assert hashlib.sha256(received).digest() == hashlib.sha256(up).digest()
            assert hashlib.sha256(taken).digest() == hashlib.sha256(down).digest()
            secure.close()


@pytest.mark.parametrize("size", [1, 7, 100, 16384, 16385, CHUNK])
@on_both_loops
async def test_a_view_of_any_size_gets_every_byte_once(size: int) -> None:
    data = os.urandom(40_000)
    with connected() as (ours, client):
        secure, peer = await both_ends(ours, client)
        with peer:
            for start in range(0, len(data), 9_000):
                peer.sendall(data[start : start + 9_000])
            out = bytearray()
            while len(out) < len(data):
                piece = await receive(secure, size)
                assert 0 < len(piece) <= size
                out += piece
            assert out == data
            assert not secure.pending
            secure.close()


@on_both_loops
async def test_many_records_are_one_read_and_their_goodbye_the_next() -> None:
    with connected() as (ours, client):
        secure, peer = await both_ends(ours, client)
        with peer:
            for _ in range(100):
                peer.sendall(b"record")
            peer.settimeout(0)
            with pytest.raises(ssl.SSLWantReadError):
                peer.unwrap()
            await asyncio.sleep(0.05)
            view = memoryview(bytearray(CHUNK))
            assert secure.recv_into(view) == 600
            assert secure.pending
            assert secure.recv_into(view) == 0
            assert not secure.pending
            secure.close()


@on_both_loops
async def test_what_the_kernel_does_not_take_is_unsent_until_flushed() -> None:
    with connected() as (ours, client):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        secure, peer = await both_ends(ours, client)
        with peer:
            data = os.urandom(CHUNK)
            sent = 0
            while not secure.unsent:
                assert secure.send(data) == len(data)
                sent += len(data)
            assert secure.queued >= secure.unsent > 0
            with pytest.raises(BlockingIOError):
                secure.send(data)
            taking = spawn(asyncio.to_thread(take_all, peer), "test: a client reads")
            await until_async(secure.flush)
            assert secure.queued == 0
            secure.shutdown(socket.SHUT_WR)
            await until_async(secure.flush)
            assert len(await taking) == sent
            secure.close()


@VERSIONS
@on_both_loops
async def test_our_goodbye_drops_nothing_of_what_the_peer_has_still_to_say(version: ssl.TLSVersion) -> None:
    """OpenSSL looks for the peer's goodbye when it writes ours, and throws away what it finds instead."""
    with connected() as (ours, client):
        secure, peer = await both_ends(ours, client, theirs=trusting(version))
        with peer:
            peer.sendall(b"a" * 1000)
            peer.sendall(b"b" * 1000)
            await asyncio.sleep(0.05)
            assert await receive(secure, 10) == b"a" * 10
            secure.shutdown(socket.SHUT_WR)
            assert secure.pending
            assert await receive_exactly(secure, 1990) == b"a" * 990 + b"b" * 1000
            peer.sendall(b"c")
            assert await receive(secure) == b"c"
            secure.close()


# --- other ends ----------------------------------------------------------------------------------------------------


@on_both_loops
async def test_an_end_without_a_goodbye_is_a_cut() -> None:
    with connected() as (ours, client):
        secure, peer = await both_ends(ours, client)
        peer.sendall(b"half")
        assert await receive(secure) == b"half"
        socket.socket(fileno=peer.detach()).close()
        with pytest.raises(Truncated) as caught:
            await receive(secure)
        assert client_reason(caught.value) == "connection closed without a TLS goodbye"
        peer.close()
        secure.close()


@on_both_loops
async def test_a_reset_is_a_reset() -> None:
    with connected() as (ours, client):
        secure, peer = await both_ends(ours, client)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        peer.close()
        with pytest.raises(ConnectionResetError):
            await receive(secure)
        secure.close()


@on_both_loops
async def test_garbage_between_records_is_told_and_not_raised_as_anything_else() -> None:
    with connected() as (ours, client):
        secure, peer = await both_ends(ours, client)
        bare = socket.socket(fileno=peer.detach())
        with bare:
            bare.sendall(b"\x17\x03\x03\x00\x20" + os.urandom(32))
            with pytest.raises(ssl.SSLError) as caught:
                await receive(secure)
            assert "bad record mac" in client_reason(caught.value)
            # The alert, then nothing.
            assert (await asyncio.to_thread(bare.recv, 1000))[:3] in (b"\x15\x03\x03", b"\x17\x03\x03")
            secure.close()


@on_both_loops
async def test_close_says_goodbye_and_a_reset_does_not() -> None:
    for is_cut in (False, True):
        with connected() as (ours, client):
            secure, peer = await both_ends(ours, client)
            if is_cut:
                secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            secure.close()
            if is_cut:
                with socket.socket(fileno=peer.detach()) as bare, pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(bare.recv, 100)
            else:
                assert await asyncio.to_thread(peer.recv, 100) == b""
                peer.close()


@on_both_loops
async def test_a_peer_that_makes_us_talk_and_does_not_listen_is_given_up() -> None:
    with connected() as (ours, client):
        secure, peer = await both_ends(ours, client)
        with peer:
            while not secure.unsent:
                secure.send(bytes(CHUNK))
            secure._outgoing.write(bytes(MAX_OWN_WORDS + 1))  # As thousands of key updates would.
            peer.sendall(b"x")
            with pytest.raises(ConnectionAbortedError):
                await receive(secure)
            secure.close()
