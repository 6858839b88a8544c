"""Both ends of a TLS connection for tests: ours on the running loop, the client's by Python's own `ssl` in a thread.

What lives here: contexts of both, `connected` (two ends of a TCP connection), `shaken` (awaits a handshake of ours),
`Carried`, a protocol that notes what it is told, and `echoing`, a server of it. What must not: anything of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from streamlb.config.tls import TlsOptions
from streamlb.net.handshake import shake_hands
from streamlb.net.listener import Acceptor
from streamlb.net.secure import SecureSocket
from streamlb.net.secure_transport import SecureTransport
from streamlb.net.tls import server_context
from tests.support.certificates import Pair, authority, local_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TIMEOUT = 10.0


def pair_text(pair: Pair) -> tuple[str, str]:
    return pair.text, pair.key.read_text()


def serving(*pairs: Pair, protocols: tuple[str, ...] = (), **options: Any) -> ssl.SSLContext:
    """A server's context of ours, with the options of a configuration."""
    return server_context(tuple(map(pair_text, pairs or (local_pair(),))), TlsOptions(**options), protocols)


def trusting(version: ssl.TLSVersion | None = None, shown: Pair | None = None) -> ssl.SSLContext:
    """A client's context of Python's, held to one version; `shown`: its certificate."""
    context = ssl.create_default_context(cafile=str(authority().pair.certificate))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


@contextlib.contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection: ours, non-blocking, and a client's, with a timeout. Both are closed afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname(), TIMEOUT)
        ours, _ = listening.accept()
    ours.setblocking(False)
    for sock in (ours, client):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with ours, client:
        yield ours, client


async def shaken(secure: SecureSocket, timeout: float = TIMEOUT) -> SecureSocket:
    """The socket after its handshake; raises what it failed with."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[OSError | None] = loop.create_future()
    shake_hands(loop, secure, timeout, done.set_result)
    error = await asyncio.wait_for(done, TIMEOUT)
    if error is not None:
        raise error
    return secure


def secured(client: socket.socket, context: ssl.SSLContext | None = None, **options: Any) -> ssl.SSLSocket:
    """The client's end after its handshake; blocks, so run it in a thread."""
    return (context or trusting()).wrap_socket(client, server_hostname="localhost", **options)


async def both_ends(
    ours: socket.socket,
    client: socket.socket,
    context: ssl.SSLContext | None = None,
    theirs: ssl.SSLContext | None = None,
) -> tuple[SecureSocket, ssl.SSLSocket]:
    """A TLS connection between the two."""
    secure = SecureSocket(ours, context or serving(), server_side=True)
    _, peer = await asyncio.gather(shaken(secure), asyncio.to_thread(secured, client, theirs))
    return secure, peer


class Carried(asyncio.Protocol):
    """Notes everything; `keep`: what it answers to the peer's end."""

    def __init__(self, *, keep: bool = False) -> None:
        self.transport = cast("SecureTransport", None)
        self.keep = keep
        self.received = bytearray()
        self.pieces = 0
        self.ended = False
        self.is_full = False
        self.times_full = 0
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("SecureTransport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.pieces += 1

    def eof_received(self) -> bool:
        self.ended = True
        return self.keep

    def pause_writing(self) -> None:
        self.is_full = True
        self.times_full += 1

    def resume_writing(self) -> None:
        self.is_full = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    async def end(self) -> Exception | None:
        return await asyncio.wait_for(asyncio.shield(self.lost), TIMEOUT)


async def carried(
    ours: socket.socket,
    client: socket.socket,
    protocol: Carried,
    context: ssl.SSLContext | None = None,
    theirs: ssl.SSLContext | None = None,
) -> ssl.SSLSocket:
    """Have `protocol` carried over our end; the client's end."""
    secure, peer = await both_ends(ours, client, context, theirs)
    SecureTransport(asyncio.get_running_loop(), secure, protocol)
    return peer


class Echo(Carried):
    """Says everything back."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


@dataclass(slots=True)
class Echoing:
    """What an echoing server has seen. resumed: whether a session was, per connection."""

    port: int
    connections: list[Echo] = field(default_factory=list)
    resumed: list[bool] = field(default_factory=list)
    failures: list[OSError] = field(default_factory=list)


@contextlib.asynccontextmanager
async def echoing(context: ssl.SSLContext, timeout: float = TIMEOUT) -> AsyncIterator[Echoing]:
    """A server on the running loop that echoes over TLS."""
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    seen = Echoing(listening.getsockname()[1])

    def accept(sock: socket.socket, peer: Any) -> None:
        secure = SecureSocket(sock, context, server_side=True)

        def on_done(error: OSError | None) -> None:
            if error is not None:
                seen.failures.append(error)
                return
            seen.resumed.append(bool(secure.ssl_object.session_reused))
            echo = Echo()
            seen.connections.append(echo)
            SecureTransport(loop, secure, echo, is_watched=True)

        shake_hands(loop, secure, timeout, on_done, stays=True)

    acceptor = Acceptor(loop, listening, accept)
    try:
        yield seen
    finally:
        acceptor.stop()
        for echo in seen.connections:
            echo.transport.abort()
            await echo.end()
