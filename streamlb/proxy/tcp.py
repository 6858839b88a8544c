"""The TCP side of an entry point: what its conversations share, and where they begin.

What lives here: `TcpEntry`. What must not: the life of a conversation (`tcp_conversation.py`), what a connection that
has just come in is (whoever calls `serve`). Specified by Traefik's TCP routers.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from streamlb.errors import Retry
from streamlb.observe import records
from streamlb.observe.books import Books
from streamlb.observe.throttle import Throttle, often
from streamlb.proxy.clock import Clock
from streamlb.proxy.pump import workshop
from streamlb.proxy.raw_ledger import TcpLedger
from streamlb.proxy.tcp_conversation import TcpConversation
from streamlb.proxy.tcp_mirror import TcpMirrors

if TYPE_CHECKING:
    import asyncio

    from streamlb.balance.selection import Node, Server
    from streamlb.errors import UpstreamError
    from streamlb.proxy.arrival import Arrival
    from streamlb.proxy.live import Live
    from streamlb.proxy.pump import Stream
    from streamlb.routing.router import Route
    from streamlb.runtime.gates import Gate
    from streamlb.runtime.snapshot import World
    from streamlb.wire.proxy_protocol import Endpoint

log = logging.getLogger(__name__)

LOG_INTERVAL = 10.0
WORDS = {
    records.NO_SERVER: "no-server",
    records.QUEUE_FULL: "queue-full",
    records.QUEUE_TIMEOUT: "queue-timeout",
    records.UNREACHABLE: "unreachable",
}
"""What a reason is called among the counters."""


class TcpEntry:
    """The TCP side of one entry point in one worker. refused: connections, by router and middleware."""

    __slots__ = ("_throttle", "_world", "clock", "ledger", "live", "loop", "mirrors", "name", "refused", "workshop")

    def __init__(
        self, world: World, name: str, loop: asyncio.AbstractEventLoop, live: Live, books: Books | None = None
    ) -> None:
        # process
        self._world = world
        self.name = name
        self.loop = loop
        self.live = live
        self.ledger = TcpLedger(books or Books(), world, name, loop)
        self.workshop = workshop(loop)
        self.clock = Clock(loop)
        self.mirrors = TcpMirrors(loop, self.clock, self.ledger.mirrored)
        self.refused: Counter[tuple[str, str]] = Counter()
        self._throttle = Throttle(LOG_INTERVAL)

    def accept(self, sock: Stream, arrival: Arrival) -> bool:
        """Serve a connection in the clear; False, and the socket stays the caller's, if no TCP router wants it."""
        table = self._world.runtime.entry_points.get(self.name)
        route = table.tcp.route(arrival) if table is not None and table.tcp is not None else None
        if route is None:
            return False
        self.serve(sock, route, arrival.source, arrival.destination, server_name=arrival.host)
        return True

    def serve(
        self,
        sock: Stream,
        route: Route,
        source: Endpoint,
        destination: Endpoint | None = None,
        *,
        is_postgres: bool = False,
        server_name: bytes = b"",
    ) -> None:
        """Serve a connection that `route` takes; the socket, or what has ended TLS over it, is ours from now on.

        source: the client, as a PROXY header says or the kernel. destination: what a PROXY header says it connected to.
        is_postgres: it has asked for TLS in PostgreSQL's way, and was told to go ahead. server_name: its ClientHello's.
        """
        if route.gates is None or self._admits(route, source):
            TcpConversation(self, sock, route, source, destination, is_postgres, server_name).begin()
        else:
            sock.close()

    def present(self, service: Node) -> Node:
        """A service as it is now, for whoever has waited; as it was, if it is no more."""
        return self._world.runtime.services.get(("tcp", service.name), service)

    def _admits(self, route: Route, source: Endpoint) -> bool:
        """Whether the middlewares of a router let a client in."""
        client, port = source
        gate: Gate | None = route.gates.admit(client)
        if gate is None:
            return True
        self.refused[route.name, gate.name] += 1
        self.ledger.dropped(f"middleware-{gate.name}", route)
        if self.ledger.access.on:
            reason = records.MIDDLEWARE + gate.name
            record = records.TcpRecord(self.name, str(client), port, route=route, end=records.REFUSED, reason=reason)
            self.ledger.access.tcp(record)
        count = self._throttle.admit((route.name, gate.name), self.loop.time())
        if count:
            log.warning(
                "router %s: middleware %s refused %s: %s%s", route.name, gate.name, client, gate.reason, often(count)
            )
        return False

    def failed(self, server: Server, error: UpstreamError) -> None:
        """A server could not be reached; for want of our own resources it is not to blame."""
        if error.retry is not Retry.NEVER:
            server.state.failures += 1
            self.ledger.cells.count("tcp_failed", server.service, server.name)
            if server.watch is not None:
                server.watch.failed(error.reason)
            if server.state.latency is not None:
                server.state.latency.add(None)
        count = self._throttle.admit((server, error.reason), self.loop.time())
        if count:
            log.warning("service %s: server %s: %s%s", server.service, server.name, error.reason, often(count))

    def gave_up(self, route: Route, service: str, reason: str, *, full: bool = False) -> None:
        """A client was sent away. full: for want of a place at a server."""
        self.ledger.dropped(WORDS[reason], route)
        count = self._throttle.admit((route.name, service, full), self.loop.time())
        if count:
            trouble = "has a place" if full else "can be reached"
            log.warning("router %s: no server of service %s %s%s", route.name, service, trouble, often(count))
