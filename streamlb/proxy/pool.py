"""The connections kept to one server, ready for the next exchange.

What lives here: `Pool` (idle connections, newest first), dialling for an owner, and the limits of both.
What must not: which server is asked (balance), what is sent (`forwarder.py`).
Traefik's `serversTransport`: maxIdleConnsPerHost, dialTimeout, idleConnTimeout.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from streamlb.errors import InternalError, Retry, UpstreamError
from streamlb.net.dial import dial
from streamlb.net.handshake import MIN_HANDSHAKE_TIMEOUT, shake_hands
from streamlb.net.secure import SecureSocket
from streamlb.net.secure_transport import SecureTransport
from streamlb.net.tasks import spawn
from streamlb.net.tls import PemError, client_context, handshake_error
from streamlb.proxy.introducing import introduce
from streamlb.proxy.upstream import Upstream

if TYPE_CHECKING:
    import asyncio
    import ssl

    from streamlb.balance.selection import Server, ServerState
    from streamlb.config.model import Config
    from streamlb.config.static import ServersTransport
    from streamlb.net.dial import Dial
    from streamlb.net.handshake import Handshake
    from streamlb.proxy.clock import Clock
    from streamlb.proxy.introducing import Ends
    from streamlb.proxy.upstream import Owner

MAX_HANDSHAKE_TIMEOUT: Final = 3600.0
"""Seconds a TLS handshake may take where dialTimeout 0 sets no limit; the loops want a number."""


def context_of(transport: ServersTransport) -> ssl.SSLContext:
    """The TLS context of a transport, made once for all that say the same."""
    return client_context(*transport.trust)


def prepare(config: Config) -> None:
    """Make the TLS contexts that will be needed: it takes too long to let a first request wait for it."""
    balancers = [service.load_balancer for service in config.http.services.values() if service.load_balancer]
    for balancer in balancers:
        if any(server.url.lower().startswith("https:") for server in balancer.servers):
            named = config.http.servers_transports.get(balancer.servers_transport)
            try:
                context_of(named or config.servers_transport)
            except PemError as error:
                name = balancer.servers_transport or "serversTransport"
                raise InternalError(f"the certificates of {name} cannot be used: {error.reason}") from error


def retire(states: list[ServerState]) -> None:
    """Let go of servers that the configuration no longer has; what is under way there is finished."""
    for state in states:
        if isinstance(state.pool, Pool):
            state.pool.close()


class Dialling:
    """A connection on its way to an owner, who may lose interest."""

    __slots__ = ("_dial", "_due_at", "_ends", "_handshake", "_owner", "_pool")

    def __init__(self, pool: Pool, owner: Owner) -> None:
        self._pool = pool
        self._owner: Owner | None = owner
        self._ends: Ends = (None, None)
        self._dial: Dial | None = None
        self._handshake: Handshake | None = None
        self._due_at = 0.0

    def begin(self, timeout: float) -> None:
        pool, server = self._pool, self._pool.server
        self._due_at = pool.loop.time() + (timeout or MAX_HANDSHAKE_TIMEOUT)
        self._dial = dial(pool.loop, server.host, server.port, timeout, self._on_socket)

    def cancel(self) -> None:
        self._owner = None
        if self._dial is not None:
            self._dial.cancel()
        if self._handshake is not None:
            self._handshake.cancel()

    def _on_socket(self, sock: socket.socket | None, error: UpstreamError | None) -> None:
        if sock is not None and self._pool.transport.proxy_protocol is not None:
            error = self._introduce(sock, self._pool.transport.proxy_protocol.version)
        if sock is None or error is not None:
            self._fail(error or UpstreamError(502, "the dial failed", Retry.ALWAYS))
        elif self._pool.server.tls_name:
            self._secure(sock)
        else:
            spawn(self._adopt(sock), "http: adopt a server connection")

    def _introduce(self, sock: socket.socket, version: int) -> UpstreamError | None:
        if self._owner is not None:
            self._ends = self._owner.ends
        error = introduce(sock, version, self._ends)
        if error is not None:
            sock.close()
        return error

    async def _adopt(self, sock: socket.socket) -> None:
        pool = self._pool
        loop = pool.loop
        make = loop.create_unix_connection if sock.family == socket.AF_UNIX else loop.create_connection
        try:
            await make(lambda: Upstream(pool, self), sock=sock)
        except OSError as error:
            sock.close()
            self._fail(UpstreamError(502, f"connection lost: {error.strerror}", Retry.ALWAYS))

    def _secure(self, sock: socket.socket) -> None:
        """Shake hands; there is what is left of the time for dialling."""
        pool, transport = self._pool, self._pool.transport
        try:
            name = transport.server_name or pool.server.tls_name
            secure = SecureSocket(sock, context_of(transport), server_side=False, server_hostname=name)
        except (ValueError, PemError) as error:  # ValueError: a name that TLS cannot carry.
            sock.close()
            self._fail(handshake_error(error))
            return
        left = max(MIN_HANDSHAKE_TIMEOUT, self._due_at - pool.loop.time())
        self._handshake = shake_hands(pool.loop, secure, left, lambda error: self._on_shaken(secure, error), stays=True)

    def _on_shaken(self, secure: SecureSocket, error: OSError | None) -> None:
        self._handshake = None
        if error is None:
            SecureTransport(self._pool.loop, secure, Upstream(self._pool, self), is_watched=True)
        else:
            self._fail(handshake_error(error))

    def _fail(self, error: UpstreamError) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.on_dial_failed(error)

    def on_made(self, upstream: Upstream) -> None:
        """The socket has its protocol."""
        upstream.ends = self._ends
        owner, self._owner = self._owner, None
        if owner is None:
            self._pool.put(upstream)  # Whoever wanted it has gone; the next one will be glad.
        else:
            owner.on_connected(upstream)


class Pool:
    """Idle connections to `server`, last in first out, so that surplus ones grow old and are closed.

    authority: the `Host` value for requests that came without one.
    """

    __slots__ = ("_closed", "_idle", "authority", "clock", "loop", "server")

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server, clock: Clock) -> None:
        self.loop = loop
        self.server = server
        self.clock = clock
        host = f"[{server.host}]" if ":" in server.host else server.host
        self.authority = f"{host}:{server.port}".encode() if server.port else b"localhost"
        self._idle: list[Upstream] = []
        self._closed = False

    @property
    def transport(self) -> ServersTransport:
        """Asked at every use: a pool outlives the configuration it was made under."""
        return self.server.state.transport  # type: ignore[no-any-return]

    def take(self, owner: Owner) -> Upstream | None:
        """An idle connection that is believed to be alive, or None."""
        idle = self._idle
        if idle and self.transport.proxy_protocol is not None:
            return self._take_of(owner.ends)
        while idle:
            upstream = idle.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    def _take_of(self, ends: Ends) -> Upstream | None:
        """An idle connection on which the server was told of the same client."""
        for upstream in [each for each in reversed(self._idle) if each.ends == ends]:
            self._idle.remove(upstream)
            if not upstream.transport.is_closing():
                return upstream
        return None

    @property
    def idle(self) -> int:
        """How many connections are kept for later."""
        return len(self._idle)

    def dial(self, owner: Owner) -> Dialling:
        """Connect for `owner`, who hears of it by `on_connected` or `on_dial_failed`, never before this returns."""
        dialling = Dialling(self, owner)
        dialling.begin(self.transport.forwarding_timeouts.dial_timeout)
        return dialling

    def put(self, upstream: Upstream) -> None:
        """Keep `upstream` for the next exchange, if there is room."""
        options = self.transport
        if self._closed or len(self._idle) >= options.max_idle_conns_per_host:
            if self._closed or not self._idle or options.proxy_protocol is None:
                upstream.transport.close()
                return
            # The oldest one's client has hardly stayed for as long.
            self._idle.pop(0).transport.close()
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
