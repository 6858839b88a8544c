"""The connections kept to one server, ready for the next exchange.

What lives here: `Pool` (idle connections, newest first), dialling for an owner, and the limits of both.
What must not: which server is asked (balance), what is sent (`proxy/http.py`).
Traefik's `serversTransport`: maxIdleConnsPerHost, dialTimeout, idleConnTimeout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.errors import UpstreamError
from streamlb.net.dial import dial
from streamlb.net.tasks import spawn
from streamlb.proxy.upstream import Upstream

if TYPE_CHECKING:
    import asyncio
    import socket

    from streamlb.balance.selection import Server
    from streamlb.config.model import ServersTransport
    from streamlb.net.dial import Dial
    from streamlb.proxy.clock import Clock
    from streamlb.proxy.upstream import Owner


class Dialling:
    """A connection on its way to an owner, who may lose interest."""

    __slots__ = ("_dial", "_owner", "_pool")

    def __init__(self, pool: Pool, owner: Owner) -> None:
        self._pool = pool
        self._owner: Owner | None = owner
        self._dial: Dial | None = None

    def begin(self, timeout: float) -> None:
        server = self._pool.server
        self._dial = dial(self._pool.loop, server.host, server.port, timeout, self._on_socket)

    def cancel(self) -> None:
        self._owner = None
        if self._dial is not None:
            self._dial.cancel()

    def _on_socket(self, sock: socket.socket | None, error: UpstreamError | None) -> None:
        if sock is None:
            if self._owner is not None:
                self._owner.on_dial_failed(error or UpstreamError(502, "the dial failed"))
        else:
            spawn(self._adopt(sock), "http: adopt a server connection")

    async def _adopt(self, sock: socket.socket) -> None:
        pool = self._pool
        try:
            _, upstream = await pool.loop.create_connection(lambda: Upstream(pool), sock=sock)
        except OSError as error:
            sock.close()
            if self._owner is not None:
                self._owner.on_dial_failed(UpstreamError(502, f"connection lost: {error.strerror}"))
            return
        if self._owner is None:
            pool.put(upstream)  # Whoever wanted it has gone; the next one will be glad.
        else:
            self._owner.on_connected(upstream)


class Pool:
    """Idle connections to `server`, last in first out, so that surplus ones grow old and are closed."""

    __slots__ = ("_clock", "_idle", "_transport", "loop", "server")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, server: Server, clock: Clock, transport: ServersTransport
    ) -> None:
        self.loop = loop
        self.server = server
        self._clock = clock
        self._transport = transport
        self._idle: list[Upstream] = []

    def take(self) -> Upstream | None:
        """An idle connection that is believed to be alive, or None."""
        idle = self._idle
        while idle:
            upstream = idle.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    def dial(self, owner: Owner) -> Dialling:
        """Connect for `owner`, who hears of it by `on_connected` or `on_dial_failed`, never before this returns."""
        dialling = Dialling(self, owner)
        dialling.begin(self._transport.forwarding_timeouts.dial_timeout)
        return dialling

    def put(self, upstream: Upstream) -> None:
        """Keep `upstream` for the next exchange, if there is room."""
        if len(self._idle) >= self._transport.max_idle_conns_per_host:
            upstream.transport.close()
            return
        upstream.due_at = self._clock.after(self._transport.forwarding_timeouts.idle_conn_timeout)
        self._idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        if upstream in self._idle:
            self._idle.remove(upstream)

    def opened(self, upstream: Upstream) -> None:
        self._clock.watch(upstream)

    def closed(self, upstream: Upstream) -> None:
        self._clock.forget(upstream)
        self.forget(upstream)
