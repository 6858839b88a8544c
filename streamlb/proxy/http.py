"""HTTP entry points: what all connections of one entry point share.

What lives here: `HttpEntry`, the protocol factory of a listener, with the clock, the pools and the log of failures.
What must not: the life of a connection (`downstream.py`) or of an exchange (`forwarder.py`).
Used by `process/worker.py`.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Final

from streamlb.observe.books import Books
from streamlb.observe.throttle import Throttle, often
from streamlb.proxy.clock import NEVER, Clock
from streamlb.proxy.downstream import Downstream
from streamlb.proxy.heads import Habits
from streamlb.proxy.ledger import HttpLedger
from streamlb.proxy.marking import Marking
from streamlb.proxy.mirror import Mirrors
from streamlb.proxy.pool import Pool
from streamlb.proxy.replay import Replays
from streamlb.proxy.trusted import Trusted
from streamlb.wire.policy import RequestPolicy

if TYPE_CHECKING:
    import asyncio

    from streamlb.balance.selection import Node, Server
    from streamlb.config.static import EntryPoint
    from streamlb.errors import DownstreamError, UpstreamError
    from streamlb.proxy.arrival import Arrival
    from streamlb.proxy.live import Live
    from streamlb.routing.router import HttpTable, Route
    from streamlb.runtime.snapshot import World

UNREAD_TIMEOUT: Final = 180.0
"""Seconds a client may take nothing of its answer, where `writeTimeout` does not say: it holds memory meanwhile."""
LOG_INTERVAL: Final = 5.0
"""Seconds between two lines about the same trouble with the same server."""

log = logging.getLogger(__name__)


class HttpEntry:
    """One HTTP entry point of one worker; called, it makes the protocol of a new connection.

    is_secure: this is its side for clients that come over TLS.
    gone: requests whose clients left before they had the answer; nobody gets the 499 these would be answered with.
    head_timeout: seconds for a whole head. read_timeout, write_timeout: seconds between two pieces of a request's
    body, of an answer the client takes. idle_timeout: seconds between requests. NEVER is no limit.
    max_head: bytes. wears_out: whether connections end after some requests (`max_requests`) or seconds (`max_age`).
    """

    __slots__ = (
        "_throttle",
        "_world",
        "clock",
        "forwarding",
        "gone",
        "habits",
        "head_timeout",
        "idle_timeout",
        "is_secure",
        "ledger",
        "live",
        "loop",
        "marking",
        "max_age",
        "max_head",
        "max_requests",
        "mirrors",
        "name",
        "policy",
        "read_timeout",
        "replays",
        "server_name",
        "trusted",
        "wears_out",
        "write_timeout",
    )

    def __init__(
        self,
        world: World,
        name: str,
        loop: asyncio.AbstractEventLoop,
        live: Live,
        books: Books | None = None,
        *,
        is_secure: bool = False,
    ) -> None:
        # worker
        self._world = world
        self.name = name
        self.is_secure = is_secure
        self.loop = loop
        self.live = live
        self.ledger = HttpLedger(books or Books(), world, name)
        self.clock = Clock(loop)
        self.mirrors = Mirrors(self)
        self.replays = Replays()
        self.habits = Habits()
        self.gone = 0
        self._throttle = Throttle(LOG_INTERVAL)
        self.server_name = socket.gethostname().encode()
        options = world.runtime.entry_points[name].options
        self.policy = request_policy(options)
        self.forwarding = options.forwarded_headers
        self.trusted = Trusted(self.forwarding)
        self.marking = Marking.of(options, world.runtime.entry_points[name].tracing)
        self._set_limits(options)

    def _set_limits(self, options: EntryPoint) -> None:
        timeouts = options.transport.responding_timeouts
        self.head_timeout = timeouts.read_header_timeout or NEVER
        self.read_timeout = timeouts.read_timeout or NEVER
        self.write_timeout = timeouts.write_timeout or UNREAD_TIMEOUT
        self.idle_timeout = timeouts.idle_timeout or NEVER
        self.max_head = options.http.max_header_bytes
        self.max_requests = options.transport.keep_alive_max_requests
        self.max_age = options.transport.keep_alive_max_time
        self.wears_out = bool(self.max_requests or self.max_age)

    def __call__(self, arrival: Arrival | None = None, options: str = "") -> Downstream:
        """arrival: who the client is, if not whom the transport names. options: of its TLS handshake, by name."""
        return Downstream(self, arrival, options)

    @property
    def table(self) -> HttpTable | None:
        """The routers of this moment; read once per request."""
        table = self._world.runtime.entry_points.get(self.name)
        if table is None:
            return None
        return table.https if self.is_secure else table.http

    @property
    def terminating(self) -> bool:
        """Whether this worker has been told to finish and end."""
        return self._world.terminating

    @property
    def is_for_tls_only(self) -> bool:
        """Whether HTTP was spoken where only HTTPS is."""
        table = self._world.runtime.entry_points.get(self.name)
        return not self.is_secure and table is not None and table.http is None and table.https is not None

    def misdirects(self, options: str, host: bytes, route: Route | None) -> bool:
        """Whether a request may not come over a connection whose handshake was held to these TLS options."""
        table = self._world.runtime.entry_points.get(self.name)
        return table is not None and table.plan.misdirects(options, host, route)

    def present(self, service: Node) -> Node:
        """A service as it is now, for whoever has waited; as it was, if it is no more."""
        return self._world.runtime.services.get(("http", service.name), service)

    def pool_of(self, server: Server) -> Pool:
        """The connections kept to `server`, made at its first use."""
        pool = server.pool
        if pool is None:
            pool = server.pool = Pool(self.loop, server, self.clock)
        return pool  # type: ignore[no-any-return]

    def opened(self, connection: Downstream) -> None:
        self.ledger.opened()
        self.live.add(connection)
        self.clock.watch(connection)

    def closed(self, connection: Downstream) -> None:
        self.ledger.closed()
        self.live.discard(connection)
        self.clock.forget(connection)

    # --- what went wrong ---------------------------------------------------------------------------------------

    def refused(self, peer: str, error: DownstreamError) -> None:
        log.debug("%s: refused a request from %s: %s", self.name, peer, error)

    def turned_away(self, service: str, reason: str) -> None:
        """A request was answered 503 for want of a place at a server."""
        self.ledger.cells.count("http_queue_refused", service, "full" if reason == "its queue is full" else "timeout")
        count = self._throttle.admit((service, reason), self.loop.time())
        if count:
            log.warning("service %s: all servers have their maxConnections, %s%s", service, reason, often(count))

    def failed(self, server: Server, error: UpstreamError) -> None:
        server.state.failures += 1
        self.ledger.cells.count("http_failed", server.service, server.name)
        # 503 is our own shortage.
        if server.watch is not None and error.status != 503:
            server.watch.failed(error.reason)
        if server.state.latency is not None:
            server.state.latency.add(None)
        count = self._throttle.admit((server, error.reason), self.loop.time())
        if count:
            log.warning("service %s: server %s: %s%s", server.service, server.name, error.reason, often(count))

    def fell_back(self, failed: Server | None, status: int | None, server: Server) -> None:
        """A request goes to a fallback instead of being answered with `status` (None: nobody could be reached)."""
        main = failed.service if failed is not None else ""
        self.ledger.cells.count("http_fell_back", main, server.service)
        count = self._throttle.admit((main, status, server.service), self.loop.time())
        if count:
            trouble = "cannot be reached" if status is None else f"failed with {status}"
            log.warning("service %s: %s, service %s takes over%s", main, trouble, server.service, often(count))


def request_policy(options: EntryPoint) -> RequestPolicy:
    """What an entry point's options say about requests that can be read."""
    allowed, forwarded = options.http.encoded_characters, options.forwarded_headers
    escapes = {
        b"2F": allowed.allow_encoded_slash,
        b"5C": allowed.allow_encoded_back_slash,
        b"00": allowed.allow_encoded_null_character,
        b"3B": allowed.allow_encoded_semicolon,
        b"25": allowed.allow_encoded_percent,
        b"3F": allowed.allow_encoded_question_mark,
        b"23": allowed.allow_encoded_hash,
    }
    return RequestPolicy(
        sanitize=options.http.sanitize_path,
        encode_semicolons=options.http.encode_query_semicolons,
        refused=frozenset(digits for digits, is_allowed in escapes.items() if not is_allowed),
        underscores=options.http.underscore_headers_strategy,
        kept_hops=frozenset(name.lower().encode() for name in forwarded.connection),
    )
