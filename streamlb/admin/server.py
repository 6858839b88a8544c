"""HTTP on the admin sockets, in the control process' own loop.

What lives here: `Server`, one listening socket and its connections, read by uvicorn's protocol class.
What must not: what is answered (`app.py`), where the socket is (`sockets.py`). Owned by `process/admin.py`.

uvicorn's own server is left out: it would take the signals, and wake the process ten times a second. One request per
connection; a peer that dawdles, or one too many, is cut off, so that nobody keeps the control process from its work.
"""

from __future__ import annotations

import logging
import socket
import struct
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

MAX_CONNECTIONS = 64
REQUEST_TIMEOUT = 10.0
"""Seconds a request has to come in."""
TAKING_TIMEOUT = 10.0
"""Seconds an answer has to be taken, after it was given."""
MAX_HEAD = 16 * 1024
CREDENTIALS = struct.Struct("3i")
"""Of the peer of a Unix socket: pid, uid, gid (unix(7), SO_PEERCRED)."""
CLOSE = [(b"connection", b"close")]


class Server:
    """Serves `app` on a listening socket, which it owns."""

    def __init__(self, app: ASGIApp, sock: socket.socket) -> None:
        # process
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        config.load()
        # What its callers do wrong they are told; it is nothing to the log.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._config = config
        self._sock = sock
        self._state = ServerState()
        self._state.default_headers = CLOSE
        self._server: asyncio.AbstractServer | None = None

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._server = await loop.create_unix_server(
            lambda: Connection(self._config, self._state, {}, loop), sock=self._sock
        )

    @property
    def connections(self) -> int:
        """How many callers there are."""
        return len(self._state.connections)

    def stop(self) -> None:
        """Accept no more and cut off what is under way."""
        if self._server is not None:
            self._server.close()
        self._sock.close()
        for connection in [*self._state.connections]:
            connection.transport.abort()


class Connection(H11Protocol):
    """A caller's connection: uvicorn's, with limits; instead of an address it knows the caller's user and process."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self.client = caller_of(transport.get_extra_info("socket"))
        self._due = self.loop.call_later(REQUEST_TIMEOUT, self._on_overdue)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._put_off(TAKING_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        self._put_off(None)
        super().connection_lost(exc)

    def _put_off(self, seconds: float | None) -> None:
        if self._due is not None:
            self._due.cancel()
        self._due = None if seconds is None else self.loop.call_later(seconds, self._on_overdue)

    def _on_overdue(self) -> None:
        # Once the whole request is there, it is us who take our time.
        if self.cycle is None or self.cycle.more_body or self.cycle.response_complete:
            self.transport.abort()


def caller_of(sock: socket.socket | None) -> tuple[str, int]:
    """The id of the user at the other end, and the number of his process."""
    if sock is None:
        return "", 0
    pid, uid, _ = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return str(uid), pid
