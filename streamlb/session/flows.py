"""The life of UDP flows: who is admitted, who gives way, who has gone quiet, when to look again.

What lives here: `Flow` and `FlowTable`, pure; time comes as `now`. What must not: sockets, picks, timers.
Called by `proxy/udp.py`, which closes what `expire` and `yielding` hand back and keeps one timer set to `next_at`.
Specified by Traefik's entry point page (`udp.timeout`) and docs/reference.md, "UDP flows".
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

TICKS_PER_TIMEOUT = 16
"""A quiet flow ends at most one tick after its timeout, never before."""
MIN_TICK = 0.001
"""Seconds; keeps a tiny timeout from asking for a timer that never rests."""
SPARED = 1.0
"""Seconds a new flow is left alone whoever wants its place: time for an answer, and a bound on what a flood costs."""


class Stage(Enum):
    """What is known of a flow's client. Anybody can forge a first datagram; to answer takes whoever has the address.

    FRESH: no answer yet. SERVED: answered. PROVEN: it has spoken again after an answer, and keeps its place.
    """

    FRESH = 0
    SERVED = 1
    PROVEN = 2


class Flow:
    """One client's conversation, as far as its life goes. The shell adds the rest in a subclass.

    key: one flow per key. client: for whom it counts. stage: written by the table.
    last_seen_at: instant of the last datagram of either direction; the shell writes it, nothing else per datagram.
    """

    __slots__ = ("_tick", "client", "key", "last_seen_at", "opened_at", "stage")

    def __init__(self, key: Hashable, client: Hashable) -> None:
        # conversation
        self.key = key
        self.client = client
        self.stage = Stage.FRESH
        self.opened_at = 0.0
        self.last_seen_at = 0.0
        self._tick = 0


F = TypeVar("F", bound=Flow)


class _Lines(Generic[F]):
    """Flows by stage, those that are not proven in the order they came to it. count: all of them."""

    __slots__ = ("count", "fresh", "served")

    def __init__(self, fresh: dict[F, None], served: dict[F, None]) -> None:
        self.count = 0
        self.fresh = fresh
        self.served = served

    def add(self, flow: F) -> None:
        self.count += 1
        self.fresh[flow] = None

    def drop(self, flow: F) -> None:
        self.count -= 1
        if flow.stage is Stage.FRESH:
            del self.fresh[flow]
        elif flow.stage is Stage.SERVED:
            del self.served[flow]


class FlowTable(Generic[F]):
    """The flows of one listener, at most `max_flows`, of these at most `max_per_client` of one client.

    Deadlines are lazy: a datagram only writes `last_seen_at`. Every flow is filed under the tick in which it would
    end; when that tick comes it ends, or is filed anew if it was seen meanwhile: once per timeout, however busy it is.

    flows: by key; the shell's hot path reads it directly and changes it only through the methods.
    """

    __slots__ = ("_clients", "_lines", "_step", "_ticks", "_timeout", "flows", "max_flows", "max_per_client")

    def __init__(self, timeout: float, max_flows: int, max_per_client: int) -> None:
        # process
        self.flows: dict[Hashable, F] = {}
        self._ticks: dict[int, dict[F, None]] = {}
        # The first of a plain dict is slow to find when many before it are gone; a client's lines are short.
        self._lines: _Lines[F] = _Lines(OrderedDict(), OrderedDict())
        self._clients: dict[Hashable, _Lines[F]] = {}
        # snapshot
        self.set_limits(timeout, max_flows, max_per_client)

    def __len__(self) -> int:
        return len(self.flows)

    @property
    def next_at(self) -> float | None:
        """When `expire` is due next; None while there is no flow."""
        return min(self._ticks) * self._step if self._ticks else None

    def set_limits(self, timeout: float, max_flows: int, max_per_client: int) -> None:
        """Take over new limits; every flow is filed anew. Lower numbers end nobody, they admit nobody."""
        self.max_flows = max_flows
        self.max_per_client = max_per_client
        self._timeout = timeout
        self._step = max(timeout / TICKS_PER_TIMEOUT, MIN_TICK)
        self._ticks.clear()
        for flow in self.flows.values():
            self._file(flow, 0)

    # --- who is in ---

    def has_room(self, client: Hashable) -> bool:
        lines = self._clients.get(client)
        return len(self.flows) < self.max_flows and (lines is None or lines.count < self.max_per_client)

    def is_crowded(self, client: Hashable) -> bool:
        """Whether a client has as many flows as one may have."""
        lines = self._clients.get(client)
        return lines is not None and lines.count >= self.max_per_client

    def yielding(self, client: Hashable, now: float) -> F | None:
        """The flow to `remove` for a new one of `client`, which has no room; None if none gives way.

        A crowded client gets the place of a flow of its own, rather of one that has had its answer. Else it is the
        place of the oldest flow without an answer, or of one that is silent since; not in its first second.
        """
        if len(self.flows) > self.max_flows:
            return None
        if not self.is_crowded(client):
            return _first_due(self._lines.fresh, now) or _first_due(self._lines.served, now)
        lines = self._clients[client]
        if lines.count > self.max_per_client:
            return None
        return next(iter(lines.served), None) or _first_due(lines.fresh, now)

    def admit(self, flow: F, now: float) -> None:
        """Add a new flow; only where its client `has_room` and its key is new."""
        assert flow.key not in self.flows
        flow.opened_at = flow.last_seen_at = now
        self.flows[flow.key] = flow
        self._lines.add(flow)
        lines = self._clients.get(flow.client)
        if lines is None:
            lines = self._clients[flow.client] = _Lines({}, {})
        lines.add(flow)
        self._file(flow, 0)

    def remove(self, flow: F) -> None:
        """Forget a flow that is in the table."""
        tick = self._ticks[flow._tick]
        del tick[flow]
        if not tick:
            del self._ticks[flow._tick]
        self._forget(flow)

    # --- what becomes of them ---

    def answered(self, flow: F) -> None:
        """An answer goes to the client of a fresh flow."""
        flow.stage = Stage.SERVED
        for lines in (self._lines, self._clients[flow.client]):
            del lines.fresh[flow]
            lines.served[flow] = None

    def proved(self, flow: F) -> None:
        """The client of a served flow has spoken again."""
        flow.stage = Stage.PROVEN
        for lines in (self._lines, self._clients[flow.client]):
            del lines.served[flow]

    def expire(self, now: float, max_visits: int, on_alive: Callable[[F], object] = bool) -> list[F]:
        """Forget and return the flows quiet for the timeout; looks at no more than `max_visits` flows.

        on_alive: called with those that were looked at and go on.

        With work left over, `next_at` stays in the past. Cost: O(visits), which is O(1) per flow and timeout.
        """
        ended: list[F] = []
        while self._ticks and (number := min(self._ticks)) * self._step <= now:
            tick = self._ticks[number]
            while tick:
                if max_visits == 0:
                    return ended
                max_visits -= 1
                flow, _ = tick.popitem()
                if flow.last_seen_at + self._timeout <= now:
                    self._forget(flow)
                    ended.append(flow)
                else:
                    self._file(flow, number + 1)
                    on_alive(flow)
            del self._ticks[number]
        return ended

    def _forget(self, flow: F) -> None:
        del self.flows[flow.key]
        self._lines.drop(flow)
        lines = self._clients[flow.client]
        lines.drop(flow)
        if not lines.count:
            del self._clients[flow.client]

    def _file(self, flow: F, earliest: int) -> None:
        """Put the flow under the first tick after its end, but not before `earliest`."""
        number = max(int((flow.last_seen_at + self._timeout) // self._step) + 1, earliest)
        flow._tick = number
        self._ticks.setdefault(number, {})[flow] = None


def _first_due(line: dict[F, None], now: float) -> F | None:
    """The first of a line, if it is not spared any more."""
    flow = next(iter(line), None)
    return flow if flow is not None and flow.opened_at + SPARED <= now else None
