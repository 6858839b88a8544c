"""What a TCP connection must get past before it is served: the middlewares of its router.

What lives here: `AllowList` and `InFlight`, and `Gates`, a router's row of them. What must not: sockets, logging.
Built by `build.py`; whoever serves a connection calls `admit`, and `leave` when it is over.
Specified by Traefik's TCP middlewares `ipAllowList` and `inFlightConn`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from streamlb.config.model import qualify
from streamlb.errors import InternalError
from streamlb.routing.matchers import client_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlb.config.model import Config
    from streamlb.routing.matchers import ClientAddress


class Gate(Protocol):
    """One middleware. name: as configured. reason: why somebody is not admitted."""

    name: str
    reason: str

    def admit(self, client: ClientAddress) -> bool: ...

    def leave(self, client: ClientAddress) -> None:
        """A connection that was admitted is over."""


class AllowList:
    """Admits the clients of certain ranges."""

    __slots__ = ("_tests", "name", "reason")

    def __init__(self, name: str, ranges: Sequence[str]) -> None:
        self.name = name
        self.reason = "its address is not allowed"
        self._tests = [client_in(each) for each in ranges]

    def admit(self, client: ClientAddress) -> bool:
        return any(test(client) for test in self._tests)

    def leave(self, client: ClientAddress) -> None:
        """Nobody is counted."""


class InFlight:
    """Admits so many connections at once of each client address.

    counts: connections by address, of those who have any; so it has no more entries than there are connections. Kept
    across snapshots, as the connections are.
    """

    __slots__ = ("_amount", "counts", "name", "reason")

    def __init__(self, name: str, amount: int, counts: dict[ClientAddress, int]) -> None:
        self.name = name
        self.reason = f"it has {amount} connection(s) already"
        self._amount = amount
        self.counts = counts

    def admit(self, client: ClientAddress) -> bool:
        count = self.counts.get(client, 0)
        if count >= self._amount:
            return False
        self.counts[client] = count + 1
        return True

    def leave(self, client: ClientAddress) -> None:
        count = self.counts[client] - 1
        if count:
            self.counts[client] = count
        else:
            del self.counts[client]


class Gates:
    """The middlewares of a router, in order."""

    __slots__ = ("_gates",)

    def __init__(self, gates: Sequence[Gate]) -> None:
        self._gates = tuple(gates)

    def admit(self, client: ClientAddress) -> Gate | None:
        """Let a client in; or the gate that does not, and then it has passed none."""
        passed: list[Gate] = []
        for gate in self._gates:
            if not gate.admit(client):
                for each in passed:
                    each.leave(client)
                return gate
            passed.append(gate)
        return None

    def leave(self, client: ClientAddress) -> None:
        """A client that was let in has gone."""
        for gate in self._gates:
            gate.leave(client)


def gates_of(config: Config, counts: Callable[[str, str], dict[ClientAddress, int]]) -> dict[str, Gates]:
    """The gates of the TCP routers that have middlewares; counts: the connections by router and middleware."""
    found = {}
    for name, router in config.tcp.routers.items():
        if router.middlewares:
            names = [qualify(each, name) for each in router.middlewares]
            found[name] = Gates([_gate(each, name, config, counts) for each in names])
    return found


def _gate(name: str, router: str, config: Config, counts: Callable[[str, str], dict[ClientAddress, int]]) -> Gate:
    configured = config.tcp.middlewares.get(name)
    if configured is not None and configured.ip_allow_list is not None:
        return AllowList(name, configured.ip_allow_list.source_range)
    if configured is not None and configured.in_flight_conn is not None:
        return InFlight(name, configured.in_flight_conn.amount, counts(router, name))
    raise InternalError(f"tcp router {router}: middleware {name} does not exist")
