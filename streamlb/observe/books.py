"""What a worker keeps of all that happens: its counters, and the access log if there is one.

What lives here: `Books`, which follows the configuration. What must not: what is written into them (`proxy/ledger.py`
and its like). Made by `process/worker.py`, handed to every entry point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from streamlb.config.observation import METRICS, PING, Prometheus
from streamlb.observe.access import AccessLog
from streamlb.observe.cells import Cells
from streamlb.observe.families import COUNTS, ENTRY_POINT, ROUTER, SERVER, SERVICE

if TYPE_CHECKING:
    from streamlb.config.model import Config
    from streamlb.observe.cells import Bounds, Meaning

DURATIONS: Final = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
"""Upper bounds of the buckets that durations of TCP connections and UDP flows are counted in, in seconds."""
UNTOLD: Final = frozenset({PING, METRICS})
"""Routers of which nothing is counted: they are asked by those who watch."""


class Ledger(Protocol):
    """One entry point's."""

    def renew(self) -> None:
        """The configuration has changed: find every block anew."""


class Books:
    """What a worker keeps of all that happens. cells: its counters; access: who writes lines, if anybody does.

    bounds: upper ones of the buckets that durations of requests are counted in, in seconds.
    """

    __slots__ = ("__weakref__", "_ledgers", "access", "bounds", "cells")

    def __init__(self, cells: Cells | None = None, access: AccessLog | None = None) -> None:
        # worker
        self.cells = cells or Cells()
        self.access = access or AccessLog()
        self.access.tally = self._tally
        self._ledgers: WeakSet[Ledger] = WeakSet()
        # snapshot
        self.bounds: Bounds = tuple(Prometheus().buckets)

    def add(self, ledger: Ledger) -> None:
        self._ledgers.add(ledger)

    def _tally(self, outcome: str, count: int) -> None:
        self.cells.count("access_log_lines", outcome, amount=count)

    def adopt(self, config: Config) -> None:
        """Another configuration is served from now on. What is gone from it is forgotten: if it comes back, it starts
        from zero. Who is still in conversation with it counts nowhere."""
        prometheus = config.metrics.prometheus
        self.bounds = tuple(sorted((prometheus or Prometheus()).buckets))
        self.cells.retain(Wanted(config, self.bounds))
        for ledger in list(self._ledgers):
            ledger.renew()


class Wanted:
    """Whether a block is of something that a configuration has."""

    def __init__(self, config: Config, bounds: Bounds) -> None:
        self._bounds = bounds
        self._entry_points = {*config.entry_points, ""}
        redirections = [f"{name}-redirection@internal" for name in config.entry_points]
        self._routers = {"http": {*config.http.routers, *redirections, ""}, "tcp": {*config.tcp.routers, ""}}
        self._routers["udp"] = {*config.udp.routers, ""}
        self._services = {"http": {*config.http.services, ""}}
        self._services["tcp"] = {*config.tcp.services, ""}
        self._services["udp"] = {*config.udp.services, ""}
        self._servers = {
            (protocol, name, server.name)
            for protocol in ("http", "tcp", "udp")
            for name, service in config.section(protocol).services.items()
            if service.load_balancer is not None
            for server in service.load_balancer.servers
        }

    def __call__(self, meaning: Meaning) -> bool:
        kind, labels = meaning.kind, meaning.labels
        if kind == "count":
            return self._wants_count(*labels)
        if kind == "connections":
            return labels[0] in self._entry_points
        if kind not in self._services:
            return True
        entry_point, router, root, leaf, server = labels[:5]
        return (
            entry_point in self._entry_points
            and router in self._routers[kind]
            and root in self._services[kind]
            and (not server or (kind, leaf, server) in self._servers)
            and (kind != "http" or meaning.bounds == self._bounds)
        )

    def _wants_count(self, family: str, *values: str) -> bool:
        protocol, names = COUNTS.get(family, ("", ()))
        labels = dict(zip(names, values, strict=False))
        service = labels.get(SERVICE, "")
        server = labels.get(SERVER, "")
        return (
            labels.get(ENTRY_POINT, "") in self._entry_points
            and (not protocol or labels.get(ROUTER, "") in self._routers[protocol])
            and (not protocol or service in self._services[protocol])
            and (not server or (protocol, service, server) in self._servers)
        )
