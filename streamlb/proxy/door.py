"""The door of an entry point: every connection comes in here, and goes to whom it belongs.

What lives here: `Door`, which routes what is known enough about, to TCP or HTTP, in the clear or over TLS.
What must not: what a connection says before (`newcomer.py`), contexts (`contexts.py`), the engines behind.
Made by `process/serving.py`. Specified by Traefik's order on TCP entry points: in the clear TCP routers come before
HTTP, over TLS the narrower one wins (`EntryPointTable.take_tls`).
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, Final

from streamlb.net.listener import Acceptor
from streamlb.net.poller import poller_of
from streamlb.net.secure_transport import SecureTransport
from streamlb.net.tasks import spawn
from streamlb.observe.books import Books
from streamlb.observe.records import REFUSED, TcpRecord
from streamlb.observe.throttle import Throttle
from streamlb.proxy.arrival import Arrival
from streamlb.proxy.clock import NEVER, Clock
from streamlb.proxy.contexts import Contexts
from streamlb.proxy.http import HttpEntry
from streamlb.proxy.newcomer import Newcomer
from streamlb.proxy.tcp import TcpEntry
from streamlb.proxy.trusted import Trusted

if TYPE_CHECKING:
    import asyncio
    import socket

    from streamlb.net.secure import SecureSocket
    from streamlb.proxy.live import Live
    from streamlb.proxy.pump import Stream
    from streamlb.routing.router import Route
    from streamlb.runtime.snapshot import EntryPointTable, World


log = logging.getLogger(__name__)

MAX_NEWCOMERS: Final = 10_000
"""Connections of one entry point that have not yet said what they are; beyond it the oldest is cut."""
LOG_INTERVAL: Final = 10.0
"""Seconds between two lines about the same trouble."""


class Door:
    """Where the connections of one entry point come in, in one worker.

    limit: connections at once, 0 for any. patience: seconds a connection has to say what it is, its handshake included.
    adopting: connections on their way to the HTTP engine, which are not live yet.
    """

    def __init__(
        self,
        world: World,
        name: str,
        loop: asyncio.AbstractEventLoop,
        live: Live,
        sock: socket.socket,
        books: Books | None = None,
    ) -> None:
        # process
        self._world = world
        self.name = name
        self.loop = loop
        self.live = live
        self.poller = poller_of(loop)
        self.clock = Clock(loop)
        options = world.runtime.entry_points[name].options
        self._limit = limit = options.transport.max_connections
        self.patience = options.transport.responding_timeouts.read_header_timeout or NEVER
        self.wants_header = options.proxy_protocol is not None
        self.trusted = Trusted(options.proxy_protocol)
        self._throttle = Throttle(LOG_INTERVAL)
        self._newcomers: dict[Newcomer, None] = {}
        self._adopting = 0
        self.contexts = Contexts(world, name, loop)
        books = books or Books()
        self._http = HttpEntry(world, name, loop, live, books)
        self._https = HttpEntry(world, name, loop, live, books, is_secure=True)
        self._tcp = TcpEntry(world, name, loop, live, books)
        self._acceptor = Acceptor(loop, sock, self._accept, self._has_room if limit else None)
        self.stop = self._acceptor.stop
        if limit:
            live.on_left = self._acceptor.resume

    def _has_room(self) -> bool:
        if len(self.live) + self._adopting < self._limit:
            return True
        if self._throttle.admit(self._limit, self.loop.time()):
            log.warning("entry point %s: %d connections are open, others wait", self.name, self._limit)
        return False

    @property
    def table(self) -> EntryPointTable:
        """The routers of this moment."""
        return self._world.runtime.entry_points[self.name]

    def _accept(self, sock: socket.socket, peer: Any) -> None:
        arrival = Arrival(peer)
        table = self.table
        if self.wants_header or table.speaks_tls:
            Newcomer(self, sock, arrival).look()
        else:
            self.take_plain(sock, arrival)

    # --- who says what it is ----------------------------------------------------------------------------------

    def opened(self, newcomer: Newcomer) -> None:
        """Somebody has to be waited for."""
        if len(self._newcomers) >= MAX_NEWCOMERS:
            if self._throttle.admit("newcomers", self.loop.time()):
                log.warning("entry point %s: %d connections say nothing, the oldest are cut", self.name, MAX_NEWCOMERS)
            next(iter(self._newcomers)).abort()
        self._newcomers[newcomer] = None
        self.clock.watch(newcomer)
        self.live.add(newcomer)

    def closed(self, newcomer: Newcomer) -> None:
        """It is waited for no more."""
        self._newcomers.pop(newcomer, None)
        self.clock.forget(newcomer)
        self.live.discard(newcomer)

    def refused(self, arrival: Arrival, reason: str, word: str = "tls") -> None:
        """A connection is turned away for what it said. word: what such reasons are called among the counters."""
        log.debug("%s: turned away %s: %s", self.name, arrival.client, reason)
        ledger = self._tcp.ledger
        ledger.dropped(word)
        if ledger.access.on:
            client, port = arrival.source
            ledger.access.tcp(TcpRecord(self.name, str(client), port, end=REFUSED, reason=reason))

    # --- whose it is ------------------------------------------------------------------------------------------

    def take_plain(self, sock: socket.socket, arrival: Arrival) -> None:
        """A connection in the clear is the TCP routers', else HTTP's, else nobody's."""
        if self._tcp.accept(sock, arrival):
            return
        table = self.table
        if table.http is None and table.https is None:
            sock.close()
            return
        self._adopting += 1
        spawn(self._adopt(sock, arrival), f"HTTP connection of entry point {self.name}")

    def take_tcp(self, sock: Stream, route: Route, arrival: Arrival) -> None:
        """A connection over TLS is a TCP router's; `sock` is the socket, or what has ended TLS over it."""
        self._tcp.serve(
            sock, route, arrival.source, arrival.destination, is_postgres=arrival.is_postgres, server_name=arrival.host
        )

    def take_https(self, secure: SecureSocket, arrival: Arrival, options: str) -> None:
        """TLS has ended here, held to these options; what is inside is HTTP. The poller watches it already."""
        protocol = self._https(arrival, options)
        SecureTransport(self.loop, secure, protocol, is_watched=True)

    async def _adopt(self, sock: socket.socket, arrival: Arrival) -> None:
        """Hand a connection that was accepted raw to the HTTP engine."""
        try:
            await self.loop.connect_accepted_socket(functools.partial(self._http, arrival), sock)
        except OSError:
            # The client left in between.
            sock.close()
        finally:
            self._adopting -= 1
            self._acceptor.resume()
