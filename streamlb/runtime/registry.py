"""What survives a reload: servers' states, rotations' positions, mirror quotas' credit, clients' connection counts.

What lives here: `Registry`, one per worker, and its keys. What must not: the tree itself (`build.py`).
Used by `build.py` only; its size is that of the configuration last built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlb.balance.selection import ServerState
from streamlb.balance.strategy import Rotation

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.balance.quota import Quota
    from streamlb.balance.tree import Balancer
    from streamlb.config.static import ServersTransport, TcpServersTransport
    from streamlb.routing.matchers import ClientAddress

    Transport = ServersTransport | TcpServersTransport

StateKey = tuple[str, str, str]


class Registry:
    """What the next snapshot takes over from the last one.

    retired: states of servers that the last build no longer has; whoever keeps something in their `pool` closes it.
    parked: of servers in maintenance, as long as they are: what is still under way there.
    """

    __slots__ = ("_counts", "_quotas", "_rotations", "_states", "parked", "retired")

    def __init__(self) -> None:
        # across snapshots
        self._states: dict[StateKey, ServerState] = {}
        self._rotations: dict[tuple[str, str], tuple[tuple[str, ...], Rotation[Any]]] = {}
        self._quotas: dict[StateKey, Quota] = {}
        self._counts: dict[tuple[str, str], dict[ClientAddress, int]] = {}
        self.parked: dict[StateKey, ServerState] = {}
        # snapshot
        self.retired: list[ServerState] = []

    def renew(self) -> Renewal:
        """Begin a build; nothing changes here before it is committed."""
        return Renewal(self)


class Renewal:
    """One build's view of a registry: gives out what is known, remembers what was used, forgets the rest.

    Keys are of protocol, service and, where there are several, the name of the server or mirror.
    """

    __slots__ = ("_counts", "_parked", "_quotas", "_registry", "_rotations", "_states", "_transports")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._states: dict[StateKey, ServerState] = {}
        self._parked: dict[StateKey, ServerState] = {}
        self._transports: dict[StateKey, Transport] = {}
        self._rotations: dict[tuple[str, str], tuple[tuple[str, ...], Rotation[Any]]] = {}
        self._quotas: dict[StateKey, Quota] = {}
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

    def resume(self, protocol: str, balancer: Balancer) -> None:
        """Let the balancer's rotation go on where its predecessor stands, if children and weights are the same."""
        rotation = balancer.strategy
        if not isinstance(rotation, Rotation):
            return
        key = (protocol, balancer.name)
        names = tuple(child.name for child in balancer.children)
        former_names, former = self._registry._rotations.get(key, ((), None))
        if former is not None and former_names == names and former.shape == rotation.shape:
            rotation.resume(former)
        self._rotations[key] = (names, rotation)

    def quota(self, protocol: str, service: str, mirror: str, percent: int, make: Callable[[], Quota]) -> Quota:
        """The quota of a mirror, the known one if its percentage is the same."""
        key = (protocol, service, mirror)
        quota = self._quotas.get(key)
        if quota is not None:
            # The same service twice among the mirrors of one service: each counts for itself.
            return make()
        former = self._registry._quotas.get(key)
        quota = former if former is not None and former.percent == percent else make()
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
        registry.retired = [state for key, state in registry._states.items() if self._states.get(key) is not state]
        registry._states = self._states
        registry.parked = self._parked
        for state in self._parked.values():
            state.up = False  # For who still holds a node of it: nobody new gets there.
        registry._rotations = self._rotations
        registry._quotas = self._quotas
        registry._counts = self._counts
