"""The connections kept to one server, ready for the next exchange.

What lives here: `Pool` (idle connections, newest first), dialling for an owner, and the limits of both.
What must not: which server is asked (balance), what is sent (`forwarder.py`).
Traefik's `serversTransport`: maxIdleConnsPerHost, dialTimeout, idleConnTimeout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.errors import Retry, UpstreamError
from streamlb.net.dial import dial
from streamlb.net.tasks import spawn
from streamlb.proxy.upstream import Upstream

if TYPE_CHECKING:
    import asyncio
    import socket

    from streamlb.balance.selection import Server
    from streamlb.net.dial import Dial
    from streamlb.proxy.clock import Clock
    from streamlb.proxy.upstream import Owner
    from streamlb.runtime.snapshot import World


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
                self._owner.on_dial_failed(error or UpstreamError(502, "the dial failed", Retry.ALWAYS))
        else:
            spawn(self._adopt(sock), "http: adopt a server connection")

    async def _adopt(self, sock: socket.socket) -> None:
        pool = self._pool
        try:
            await pool.loop.create_connection(lambda: Upstream(pool, self), sock=sock)
        except OSError as error:
            sock.close()
            if self._owner is not None:
                reason = f"connection lost: {error.strerror}"
                self._owner.on_dial_failed(UpstreamError(502, reason, Retry.ALWAYS))

    def on_made(self, upstream: Upstream) -> None:
        """The socket has its protocol."""
        owner, self._owner = self._owner, None
        if owner is None:
            self._pool.put(upstream)  # Whoever wanted it has gone; the next one will be glad.
        else:
            owner.on_connected(upstream)


class Pool:
    """Idle connections to `server`, last in first out, so that surplus ones grow old and are closed.

    authority: the `Host` value for requests that came without one.
    """

    __slots__ = ("_closed", "_idle", "_world", "authority", "clock", "loop", "server")

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server, clock: Clock, world: World) -> None:
        self.loop = loop
        self.server = server
        self.clock = clock
        host = f"[{server.host}]" if ":" in server.host else server.host
        self.authority = f"{host}:{server.port}".encode()
        # Asked at every use: a pool outlives the configuration it was made under.
        self._world = world
        self._idle: list[Upstream] = []
        self._closed = False

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
        dialling.begin(self._world.runtime.config.servers_transport.forwarding_timeouts.dial_timeout)
        return dialling

    def put(self, upstream: Upstream) -> None:
        """Keep `upstream` for the next exchange, if there is room."""
        options = self._world.runtime.config.servers_transport
        if self._closed or len(self._idle) >= options.max_idle_conns_per_host:
            upstream.transport.close()
            return
        upstream.due_at = self.clock.after(options.forwarding_timeouts.idle_conn_timeout)
        self._idle.append(upstream)

    def close(self) -> None:
        """Close what is idle now, and later what is in use: the server is no longer in the configuration."""
        self._closed = True
        for upstream in self._idle:
            upstream.transport.close()
        self._idle.clear()

    def forget(self, upstream: Upstream) -> None:
        if upstream in self._idle:
            self._idle.remove(upstream)

    def opened(self, upstream: Upstream) -> None:
        self.clock.watch(upstream)

    def closed(self, upstream: Upstream) -> None:
        self.clock.forget(upstream)
        self.forget(upstream)
