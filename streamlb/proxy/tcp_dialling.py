"""Reaching a TCP server: connected, told who the client is, and, where it wants TLS, after the handshake.

What lives here: `reach`, which is `dial` and what comes between it and the first byte of a client.
What must not: who is reached (balance), trying another one (`tcp_conversation.py`).
Called by `tcp_conversation.py` and `tcp_mirror.py`. Specified in docs/reference.md ("TCP services").
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from streamlb.errors import Retry, UpstreamError
from streamlb.net.address import client_ip
from streamlb.net.dial import REASONS, dial
from streamlb.wire.proxy_protocol import render

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from streamlb.balance.selection import Server
    from streamlb.net.dial import Dial, OnDone
    from streamlb.runtime.reach import Reach
    from streamlb.wire.proxy_protocol import Endpoint

    Introduction = Callable[[], tuple[Endpoint | None, Endpoint | None]]
    """Who the client is and what it connected to; asked where a server wants to know."""


def reach(
    loop: asyncio.AbstractEventLoop, server: Server, introduction: Introduction, on_done: OnDone
) -> Dial | Reaching:
    """Connect to `server`: `on_done` gets a socket ready for the client's bytes, or a reason, as with `dial`."""
    how: Reach = server.limits
    if not (how.proxy_version or server.tls_name):
        return dial(loop, server.host, server.port, how.dial, on_done, how.keep_alive)
    return Reaching(loop, server, introduction, on_done)


class Reaching:
    """A server that wants more than a connection, on the way. Ends once, or never after `cancel`."""

    __slots__ = ("_dial", "_introduction", "_on_done", "_server")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, server: Server, introduction: Introduction, on_done: OnDone
    ) -> None:
        how: Reach = server.limits
        # conversation
        self._server = server
        self._introduction = introduction
        self._on_done: OnDone | None = on_done
        self._dial: Dial = dial(loop, server.host, server.port, how.dial, self._on_dialled, how.keep_alive)

    def cancel(self) -> None:
        self._on_done = None
        self._dial.cancel()

    def _on_dialled(self, sock: socket.socket | None, error: UpstreamError | None) -> None:
        how: Reach = self._server.limits
        if sock is not None and how.proxy_version:
            error = introduce(sock, how.proxy_version, *self._introduction())
            if error is not None:
                sock.close()
                sock = None
        self._finish(sock, error)

    def _finish(self, sock: socket.socket | None, error: UpstreamError | None) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(sock, error)


def introduce(
    sock: socket.socket, version: int, source: Endpoint | None, destination: Endpoint | None
) -> UpstreamError | None:
    """Begin a connection with a PROXY header; why not, if it cannot be sent whole."""
    header = render(version, source, destination)
    try:
        # Nothing was sent before, so there is room for it.
        if sock.send(header) == len(header):
            return None
        code = errno.EAGAIN
    except OSError as error:
        code = error.errno or errno.EIO
    return UpstreamError(502, REASONS.get(code, "the PROXY header could not be sent"), Retry.ALWAYS)


def local_endpoint(sock: socket.socket) -> Endpoint | None:
    """Where a client's connection was accepted; None if it is gone."""
    try:
        here = sock.getsockname()
        return client_ip(here), here[1]
    except OSError:
        return None
