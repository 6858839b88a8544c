"""What a worker makes of health: the control process's verdicts, and what its own clients' requests show.

What lives here: `Verdicts` (which servers of the world may be picked), `Watch` (the failures of one server).
What must not: probing (`prober.py`), heavy imports: workers load this module.
Called by `process/worker.py`; the engines call `server.watch`. Specified in docs/reference.md ("Health").
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from streamlb.balance.health import Failures, may_leave
from streamlb.balance.slow_start import shares

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from streamlb.balance.selection import Server
    from streamlb.balance.tree import Balancer, TreeNode
    from streamlb.config.model import PassiveHealthCheck
    from streamlb.runtime.snapshot import Runtime

    Key = tuple[str, str, str]

log = logging.getLogger(__name__)

WARMING_STEPS = 20
"""How often the share of a server grows until it is whole."""


class Watch:
    """Counts what the engines see of one server; `server.watch` where the service has a `passiveHealthCheck`.

    probed: whether an active check exists, which alone brings the server back. fresh: the service's servers that take
    new clients.
    """

    __slots__ = ("_verdicts", "failures", "fresh", "key", "probed", "server")

    def __init__(
        self, verdicts: Verdicts, key: Key, server: Server, fresh: list[Server], failures: Failures, probed: bool
    ) -> None:
        # snapshot
        self._verdicts = verdicts
        self.key = key
        self.server = server
        self.fresh = fresh
        self.probed = probed
        # across snapshots
        self.failures = failures

    def failed(self, reason: str) -> None:
        """A client's request failed by the server's fault."""
        if self.failures.add(self._verdicts.now()):
            self._verdicts.eject(self, reason)

    def succeeded(self) -> None:
        """The server did what a client asked for."""
        if self.failures:
            self.failures.clear()

    def answered(self, status: int) -> None:
        """The server has answered an HTTP request."""
        if status >= 500:
            self.failed(f"answered {status}")
        else:
            self.succeeded()


class Verdicts:
    """Which servers may be picked, in one worker.

    report: tells the control process of a server that was taken out here and has an active check.
    on_down: called after a server was taken down, by whatever. turns: how often one went up or down.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, report: Callable[[Key], None], on_down: Callable[[], None]
    ) -> None:
        # process
        self._on_down = on_down
        self.now = loop.time
        self._loop = loop
        self._report = report
        # across snapshots
        self._down: set[Key] = set()
        self._ejected: dict[Key, asyncio.TimerHandle | None] = {}
        self._failures: dict[Key, Failures] = {}
        self.turns = 0
        self._back_at: dict[Key, float] = {}
        # snapshot
        self._servers: dict[Key, list[Server]] = {}
        self._slow: dict[tuple[str, str], tuple[Balancer, float]] = {}
        self._warming: set[tuple[str, str]] = set()

    def begin(self, down: Iterable[Key]) -> None:
        """All that the control process has found out so far, for the world that comes with it."""
        self._down = set(down)

    def adopt(self, runtime: Runtime) -> None:
        """Apply what is known to a new world, before anybody picks in it."""
        self._servers = {}
        self._slow = {}
        former, self._failures = self._failures, {}
        probed: set[Key] = set()
        for (protocol, name), node in runtime.services.items():
            options = runtime.config.section(protocol).services[name].load_balancer
            if options is None:
                continue
            # A load balancer's children are servers.
            balancer = cast("Balancer", node)
            servers = [(cast("Server", child.node), child.weight) for child in balancer.children]
            if options.slow_start:
                self._slow[protocol, name] = (balancer, options.slow_start)
            if options.health_check is None and options.passive_health_check is None:
                for server, _ in servers:
                    # What a former configuration's checks have found is nobody's business any more.
                    server.set_up(True)
                continue
            fresh = [server for server, weight in servers if weight > 0]
            for server, _ in servers:
                key = (protocol, name, server.name)
                self._servers.setdefault(key, []).append(server)
                if options.health_check is not None:
                    probed.add(key)
                passive = options.passive_health_check
                if passive is not None:
                    failures = self._failures[key] = _failures(passive, former.get(key))
                    server.watch = Watch(self, key, server, fresh, failures, key in probed)
        for key, timer in list(self._ejected.items()):
            # Nobody would bring back one that waits for probes that are no more.
            if key not in self._failures or (timer is None and key not in probed):
                self._forget(key)
        self._back_at = {key: at for key, at in self._back_at.items() if key in self._servers and key[:2] in self._slow}
        for key in self._servers:
            self._settle(key)
        for service in self._slow:
            self._share(service)

    def apply(self, key: Key, up: bool) -> None:
        """The control process has found out that a server is up, or down."""
        if not up:
            self._down.add(key)
            self._settle(key)
            return
        self._down.discard(key)
        was_ejected = key in self._ejected
        self._forget(key)
        self._settle(key)
        if was_ejected:
            self._log_back(key, "its health check succeeds")

    def is_ejected(self, key: Key) -> bool:
        """Whether a server is out for what clients' requests showed."""
        return key in self._ejected

    def eject(self, watch: Watch, reason: str) -> None:
        """Take a server out for what clients' requests showed, unless nobody would remain."""
        key = watch.key
        if not watch.server.up or not may_leave(watch.server, watch.fresh):
            return
        window = watch.failures.window
        watch.failures.clear()
        self._ejected[key] = None if watch.probed else self._loop.call_later(window, self._on_window_over, key)
        self._settle(key)
        until = "until its health check succeeds" if watch.probed else f"for {window:g} s"
        log.warning(
            "service %s: server %s is taken out %s: %s (%s)", key[1], key[2], until, reason, self._how_many(watch.fresh)
        )
        if watch.probed:
            self._report(key)

    def _on_window_over(self, key: Key) -> None:
        self._forget(key)
        self._settle(key)
        self._log_back(key, "it has had its time")

    def _forget(self, key: Key) -> None:
        timer = self._ejected.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _settle(self, key: Key) -> None:
        up = key not in self._down and key not in self._ejected
        servers = self._servers.get(key, ())
        was_up = any(server.up for server in servers)
        for server in servers:
            server.set_up(up)
        if up == was_up:
            return
        self.turns += 1
        self._back_at.pop(key, None)
        if not up:
            self._on_down()
        if key[:2] in self._slow:
            if up:
                self._back_at[key] = self.now()
            self._share(key[:2])
        for server in servers if up else ():
            if server.queue is not None:
                # Whoever waits for a place at the others may have one here.
                server.queue.offer(server)

    def _share(self, service: tuple[str, str]) -> None:
        """Give the servers of a service that have come back what is theirs by now."""
        balancer, window = self._slow[service]
        ages: dict[TreeNode, float | None] = {}
        for child in balancer.children:
            if child.weight > 0 and child.node.up:
                ages[child.node] = self._age((*service, child.name), window)
        balancer.warm(shares(ages, window))
        is_warming = any(age is not None for age in ages.values())
        if is_warming and service not in self._warming:
            self._warming.add(service)
            self._loop.call_later(window / WARMING_STEPS, self._on_step, service)

    def _age(self, key: Key, window: float) -> float | None:
        """Seconds since a server has come back; None when that is so long ago that it does not matter."""
        back_at = self._back_at.get(key)
        if back_at is None:
            return None
        age = self.now() - back_at
        return age if age < window else None

    def _on_step(self, service: tuple[str, str]) -> None:
        self._warming.discard(service)
        if service in self._slow:
            self._share(service)

    def _log_back(self, key: Key, reason: str) -> None:
        watches = [server.watch for server in self._servers.get(key, ()) if isinstance(server.watch, Watch)]
        if watches:
            log.info("service %s: server %s is back: %s (%s)", key[1], key[2], reason, self._how_many(watches[0].fresh))

    @staticmethod
    def _how_many(fresh: list[Server]) -> str:
        return f"{sum(server.up for server in fresh)} of {len(fresh)} servers up"


def _failures(options: PassiveHealthCheck, former: Failures | None) -> Failures:
    """The failures counted so far go on counting, if they are counted as before."""
    limit, window = options.max_failed_attempts, options.failure_window
    if former is not None and (former.limit, former.window) == (limit, window):
        return former
    return Failures(limit, window)
