"""What survives a reload: servers' states, whose turn it is, mirror quotas' credit, queues, clients' connection counts.

What lives here: `Registry`, one per worker, and its keys. What must not: the tree itself (`build.py`).
Used by `build.py` only; its size is that of the configuration last built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlb.balance.load import LeastBusy, LeastTime
from streamlb.balance.selection import ServerState
from streamlb.balance.strategy import Rotation
from streamlb.routing.router import Rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.balance.queue import Queue
    from streamlb.balance.quota import Quota
    from streamlb.balance.tree import Balancer
    from streamlb.config.static import ServersTransport, TcpServersTransport
    from streamlb.routing.matchers import ClientAddress

    Transport = ServersTransport | TcpServersTransport
    Ordered = Rotation[Any] | LeastBusy | LeastTime
    """Strategies that remember whose turn it was."""

StateKey = tuple[str, str, str]
ServiceKey = tuple[str, str]

Places = tuple[tuple[str, int], ...]
"""The servers of a service, and how many conversations each may have at once."""


class Registry:
    """What the next snapshot takes over from the last one.

    retired: states of servers that the last build no longer has; whoever keeps something in their `pool` closes it.
    stirred: queues whose servers or places are others since the last build; whoever waits there must pick again.
    parked: of servers in maintenance, as long as they are: what is still under way there.
    """

    __slots__ = ("_counts", "_queues", "_quotas", "_rules", "_states", "_strategies", "parked", "retired", "stirred")

    def __init__(self) -> None:
        # across snapshots
        self._states: dict[StateKey, ServerState] = {}
        self._strategies: dict[ServiceKey, Ordered] = {}
        self._quotas: dict[StateKey, Quota] = {}
        self._queues: dict[ServiceKey, tuple[Queue, Places]] = {}
        self._counts: dict[tuple[str, str], dict[ClientAddress, int]] = {}
        self._rules = Rules()
        self.parked: dict[StateKey, ServerState] = {}
        # snapshot
        self.retired: list[ServerState] = []
        self.stirred: list[Queue] = []

    def renew(self) -> Renewal:
        """Begin a build; nothing changes here before it is committed."""
        return Renewal(self)


class Renewal:
    """One build's view of a registry: gives out what is known, remembers what was used, forgets the rest.

    rules: of routers, as far as they were read.

    Keys are of protocol, service and, where there are several, the name of the server or mirror.
    """

    __slots__ = (
        "_counts",
        "_parked",
        "_places",
        "_queues",
        "_quotas",
        "_registry",
        "_states",
        "_strategies",
        "_transports",
        "rules",
    )

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._states: dict[StateKey, ServerState] = {}
        self._parked: dict[StateKey, ServerState] = {}
        self._transports: dict[StateKey, Transport] = {}
        self.rules = Rules(registry._rules)
        self._places: dict[StateKey, int] = {}
        self._strategies: dict[ServiceKey, Ordered] = {}
        self._quotas: dict[StateKey, Quota] = {}
        self._queues: dict[ServiceKey, Queue] = {}
        self._counts: dict[tuple[str, str], dict[ClientAddress, int]] = {}

    def state(self, protocol: str, service: str, server: str, transport: Transport) -> ServerState:
        """The state of a server, the known one or a new one that is up.

        One that is to be reached in another way is a new one too: nobody may get a connection that was made otherwise.
        """
        key = (protocol, service, server)
        if key not in self._states:
            former = self._registry._states.get(key)
            if former is None or former.transport is None or former.transport.identity != transport.identity:
                former = ServerState()
            self._states[key] = former
            self._transports[key] = transport
        return self._states[key]

    def park(self, protocol: str, service: str, server: str) -> None:
        """A server goes into maintenance, or stays there: when it comes back, it begins anew."""
        key = (protocol, service, server)
        state = self._registry._states.get(key) or self._registry.parked.get(key)
        self._parked[key] = state or ServerState()

    def places(self, protocol: str, service: str, server: str, count: int) -> None:
        """How many conversations a server may have at once, 0 for any number."""
        self._places[protocol, service, server] = count

    def queue(self, protocol: str, service: str, fresh: Queue) -> Queue:
        """Where to wait for a place at a server: the known queue, which takes on the limits of `fresh`, else that."""
        known = self._registry._queues.get((protocol, service))
        self._queues[protocol, service] = fresh
        return known[0] if known is not None else fresh

    def resume(self, protocol: str, balancer: Balancer) -> None:
        """Let the balancer go on with whose turn it is where its predecessor stands by then."""
        if isinstance(balancer.strategy, Rotation | LeastBusy | LeastTime):
            self._strategies[protocol, balancer.name] = balancer.strategy

    def quota(self, protocol: str, service: str, mirror: str, percent: int, make: Callable[[], Quota]) -> Quota:
        """The quota of a mirror, the known one if its percentage is the same, else one that goes on from it."""
        key = (protocol, service, mirror)
        quota = self._quotas.get(key)
        if quota is not None:
            # The same service twice among the mirrors of one service: each counts for itself.
            return make()
        former = self._registry._quotas.get(key)
        quota = former if former is not None and former.percent == percent else make()
        if former is not None and quota is not former:
            quota.resume(former)
        self._quotas[key] = quota
        return quota

    def counts(self, router: str, middleware: str) -> dict[ClientAddress, int]:
        """How many connections each client has under this middleware of this router."""
        key = (router, middleware)
        self._counts[key] = self._registry._counts.get(key, self._counts.get(key, {}))
        return self._counts[key]

    def commit(self) -> None:
        """The build has succeeded: from now on this is what is known."""
        registry = self._registry
        for key, transport in self._transports.items():
            self._states[key].transport = transport
            self._states[key].max_connections = self._places.get(key, 0)
            self._states[key].queue = None
        registry.retired = [state for key, state in registry._states.items() if self._states.get(key) is not state]
        registry._states = self._states
        registry.parked = self._parked
        for state in self._parked.values():
            state.up = False  # For who still holds a node of it: nobody new gets there.
        for service, strategy in self._strategies.items():
            former = registry._strategies.get(service)
            if type(former) is type(strategy):
                strategy.resume(former)  # type: ignore[arg-type]
        registry._strategies = self._strategies
        registry._quotas = self._quotas
        self._commit_queues()
        registry._counts = self._counts
        self.rules.settle()
        registry._rules = self.rules

    def _commit_queues(self) -> None:
        registry = self._registry
        places: dict[ServiceKey, list[tuple[str, int]]] = {service: [] for service in self._queues}
        for (protocol, service, server), count in self._places.items():
            if (protocol, service) in places:
                places[protocol, service].append((server, count))
        former, registry._queues = registry._queues, {}
        registry.stirred = [queue for service, (queue, _) in former.items() if service not in self._queues]
        for key, fresh in self._queues.items():
            now = tuple(places[key])
            queue, before = former.get(key, (fresh, now))
            queue.max_size, queue.timeout, queue.limits = fresh.max_size, fresh.timeout, fresh.limits
            registry._queues[key] = queue, now
            if before != now:
                registry.stirred.append(queue)
            for server, _ in now:
                self._states[(*key, server)].queue = queue
