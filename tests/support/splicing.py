"""A client, the engine and a server with bodies so large that they are spliced, and what must hold afterwards.

What lives here: `stage` and the bodies of the tests of splicing over HTTP. What must not: the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamlb.net.poller import poller_of
from streamlb.net.splice import Pipe
from streamlb.proxy.downstream import Downstream
from streamlb.proxy.pump import workshop
from streamlb.proxy.upstream import Upstream
from tests.support.engine import Engine, http_engine
from tests.support.loops import no_descriptor_leak
from tests.support.tcp import HOST, Origin, Peer
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

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
