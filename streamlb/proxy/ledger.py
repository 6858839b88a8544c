"""Where the engines tell that something is over, or was not done, and why.

What lives here: `HttpLedger`, of an HTTP entry point; TCP's and UDP's are in `raw_ledger.py`. What must not: what is
shown (`observe/series.py`), how a line of the access log looks. Called by the engines, which are given the books.
Every conversation is told of once, with one call at its end; only where somebody reads the access log, more is made of
it than numbers.
"""

from __future__ import annotations

from bisect import bisect_left
from time import perf_counter
from typing import TYPE_CHECKING, Final

from streamlb.observe.books import UNTOLD
from streamlb.observe.records import HttpRecord, TlsFacts

if TYPE_CHECKING:
    from streamlb.balance.selection import Server
    from streamlb.observe.books import Books
    from streamlb.observe.cells import Block
    from streamlb.proxy.downstream import Downstream
    from streamlb.proxy.http_facts import HttpFacts
    from streamlb.routing.router import Route
    from streamlb.runtime.snapshot import World
    from streamlb.wire.message import RequestHead

    Key = tuple[Route | None, Server | None, int, bytes]

METHODS: Final = frozenset(
    {b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PRI", b"PUT", b"TRACE"}
)
UNUSUAL: Final = b"EXTENSION_METHOD"
"""What every other method is counted as: clients make them up."""
MAX_KNOWN: Final = 10_000
"""Combinations an entry point finds without a search; there are more only where servers make statuses up."""


class HttpLedger:
    """An HTTP entry point's, or that of its connections with one version and cipher of TLS."""

    __slots__ = (
        "__weakref__",
        "_below",
        "_blocks",
        "_books",
        "_bounds",
        "_connections",
        "_first",
        "_name",
        "_sums",
        "_values",
        "_world",
        "access",
        "cells",
        "tls",
    )

    def __init__(self, books: Books, world: World, name: str, tls: TlsFacts | None = None) -> None:
        # worker
        self._books = books
        self._world = world
        self._name = name
        self.tls = tls
        self.access = books.access
        self.cells = books.cells
        self._values = books.cells.values
        self._below: dict[TlsFacts, HttpLedger] = {}
        self._connections = books.cells.block("connections", (name, "TCP"), 2)
        books.add(self)
        # snapshot
        self._blocks: dict[Key, Block] = {}
        self.renew()

    def renew(self) -> None:
        self._bounds = bounds = self._books.bounds
        self._first = bounds[0] if bounds else float("inf")
        self._sums = len(bounds) + 1
        self._blocks = {}

    def over_tls(self, tls: TlsFacts) -> HttpLedger:
        """The ledger of connections that are secured like this; there are few ways."""
        ledger = self._below.get(tls)
        if ledger is None:
            ledger = self._below[tls] = HttpLedger(self._books, self._world, self._name, tls)
        return ledger

    # --- connections -------------------------------------------------------------------------------------------

    def opened(self) -> None:
        self._values[self._connections.at] += 1.0

    def closed(self) -> None:
        self._values[self._connections.at + 1] += 1.0

    # --- exchanges ---------------------------------------------------------------------------------------------

    def over(self, facts: HttpFacts) -> None:
        """An exchange is over, whichever way. Hot."""
        seconds = perf_counter() - facts.began_at
        facts.began_at = 0.0
        key = (facts.route, facts.server, facts.status, facts.head.method)
        block = self._blocks.get(key) or self._find(key)
        given = facts.answer_size if facts.answer_body is None else facts.answer_body.passed
        values, at = self._values, block.at
        values[at if seconds <= self._first else at + bisect_left(self._bounds, seconds)] += 1.0
        at += self._sums
        values[at] += seconds
        if given:
            values[at + 2] += given
        if facts.request_body is not None:
            values[at + 1] += facts.request_body.passed
        if facts.bytes_up or facts.bytes_down:
            values[at + 1] += facts.bytes_up
            values[at + 2] += facts.bytes_down
        stuck = facts.want.stuck
        if stuck is not None and facts.server is not None:
            self.cells.count("http_sticky", facts.server.service, "hit" if stuck else "miss")
        if self.access.on:
            self.access.http(self._record(facts, seconds))
        facts.request_body = facts.answer_body = facts.origin_head = None
        if facts.reason or facts.retries:
            facts.reason, facts.retries = "", 0

    def _find(self, key: Key) -> Block:
        """The block of a combination that was not met since the configuration changed."""
        route, server, status, method = key
        if method not in METHODS:
            usual = (route, server, status, UNUSUAL)
            return self._blocks.get(usual) or self._find(usual) if method != UNUSUAL else self._made(key)
        return self._made(key)

    def _made(self, key: Key) -> Block:
        route, server, status, method = key
        size = self._sums + 3
        if self._counts(route):
            tls = self.tls
            labels = (
                self._name,
                route.name if route is not None else "",
                route.service.name if route is not None and route.service is not None else "",
                server.service if server is not None else "",
                server.name if server is not None else "",
                method.decode(),
                str(status),
                "websocket" if status == 101 else "http",
                tls.version if tls is not None else "",
                tls.cipher if tls is not None else "",
            )
            block = self.cells.block("http", labels, size, self._bounds)
        else:
            block = self.cells.nowhere(size)
        if len(self._blocks) < MAX_KNOWN:
            self._blocks[key] = block
        return block

    def _counts(self, route: Route | None) -> bool:
        """Whether metrics are wanted of a router, or of what no router takes; never of what watches the proxy."""
        if route is not None:
            return route.name not in UNTOLD and (route.observed is None or route.observed.metrics)
        table = self._world.runtime.entry_points.get(self._name)
        return table is None or table.options.observability.metrics

    def dialled(self, server: Server) -> None:
        """No connection to it was to spare."""
        self.cells.count("http_dialled", server.service, server.name)

    def retried(self, server: Server) -> None:
        """A request is sent once more, for its first try with `server` came to nothing."""
        self.cells.count("http_retried", server.service)

    def refused(self, client: Downstream, status: int, reason: str, head: RequestHead | None = None) -> None:
        """A request was answered that could not be read, or not to its end."""
        self.cells.count("http_refused", self._name, str(status))
        if self.access.on:
            self.access.http(self._refusal(client, status, reason, head))

    # --- what the access log gets ------------------------------------------------------------------------------

    def _refusal(self, client: Downstream, status: int, reason: str, head: RequestHead | None) -> HttpRecord:
        address, port = client.source
        return HttpRecord(
            self._name,
            address,
            port,
            head=head,
            status=status,
            reason=reason,
            tls=self._tls(client),
            secure=client.entry.is_secure,
        )

    def _tls(self, client: Downstream) -> TlsFacts | None:
        return self.tls._replace(subject=client.subject) if self.tls is not None and client.subject else self.tls

    def _record(self, facts: HttpFacts, seconds: float) -> HttpRecord:
        address, port = facts.client.source
        origin = facts.origin_head
        size = facts.answer_size if facts.answer_body is None else facts.answer_body.passed
        answered = origin is not None and facts.status == origin.status
        return HttpRecord(
            self._name,
            address,
            port,
            head=facts.head,
            route=facts.route,
            server=facts.server,
            duration=seconds,
            origin_duration=perf_counter() - facts.asked_at if answered else 0.0,
            status=facts.status,
            origin_status=origin.status if origin is not None else 0,
            origin_head=origin,
            sent_head=facts.sent_head,
            request_bytes=(facts.request_body.passed if facts.request_body is not None else 0) + facts.bytes_up,
            origin_bytes=size + facts.bytes_down if answered else 0,
            sent_bytes=size + facts.bytes_down,
            retries=facts.retries,
            reason=facts.reason,
            sticky_hit=facts.want.stuck,
            mirrors=tuple(order.name for order in facts.want.mirrors),
            tls=self._tls(facts.client),
            secure=facts.client.entry.is_secure,
        )


def tls_facts(version: str, cipher: str) -> TlsFacts:
    """What Traefik calls it: `TLSv1.3` is `1.3`. Ciphers keep the names the system has for them."""
    return TlsFacts(version.removeprefix("TLSv"), cipher)
