"""The life of UDP flows: who is admitted, who has gone quiet, when to look again.

What lives here: `Flow` and `FlowTable`, pure; time comes as `now`. What must not: sockets, picks, timers.
Called by `proxy/udp.py`, which closes what `expire` hands back and keeps one timer set to `next_at`.
Specified by Traefik's entry point page (`udp.timeout`): traffic in either direction keeps a flow alive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

TICKS_PER_TIMEOUT = 16
"""A quiet flow ends at most one tick after its timeout, never before."""
MIN_TICK = 0.001
"""Seconds; keeps a tiny timeout from asking for a timer that never rests."""


class Flow:
    """One client's conversation, as far as its life goes. The shell adds the rest in a subclass.

    key: who the client is; one flow per key.
    last_seen_at: instant of the last datagram of either direction; the shell writes it, nothing else per datagram.
    """

    __slots__ = ("_tick", "key", "last_seen_at")

    def __init__(self, key: Hashable) -> None:
        # conversation
        self.key = key
        self.last_seen_at = 0.0
        self._tick = 0


F = TypeVar("F", bound=Flow)


class FlowTable(Generic[F]):
    """The flows of one listener, at most `max_flows`.

    Deadlines are lazy: a datagram only writes `last_seen_at`. Every flow is filed under the tick in which it would
    end; when that tick comes it ends, or is filed anew if it was seen meanwhile: once per timeout, however busy it is.

    flows: by key; the shell's hot path reads it directly and changes it only through the methods.
    """

    __slots__ = ("_step", "_ticks", "_timeout", "flows", "max_flows")

    def __init__(self, timeout: float, max_flows: int) -> None:
        # process
        self.flows: dict[Hashable, F] = {}
        self._ticks: dict[int, dict[F, None]] = {}
        # snapshot
        self.set_limits(timeout, max_flows)

    def __len__(self) -> int:
        return len(self.flows)

    @property
    def has_room(self) -> bool:
        return len(self.flows) < self.max_flows

    @property
    def next_at(self) -> float | None:
        """When `expire` is due next; None while there is no flow."""
        return min(self._ticks) * self._step if self._ticks else None

    def set_limits(self, timeout: float, max_flows: int) -> None:
        """Take over new limits; every flow is filed anew. A lower `max_flows` ends nobody, it admits nobody."""
        self.max_flows = max_flows
        self._timeout = timeout
        self._step = max(timeout / TICKS_PER_TIMEOUT, MIN_TICK)
        self._ticks.clear()
        for flow in self.flows.values():
            self._file(flow, 0)

    def admit(self, flow: F, now: float) -> None:
        """Add a new flow; only where `has_room` and its key is new."""
        assert self.has_room
        assert flow.key not in self.flows
        flow.last_seen_at = now
        self.flows[flow.key] = flow
        self._file(flow, 0)

    def remove(self, flow: F) -> None:
        """Forget a flow that is in the table."""
        del self.flows[flow.key]
        tick = self._ticks[flow._tick]
        del tick[flow]
        if not tick:
            del self._ticks[flow._tick]

    def expire(self, now: float, max_visits: int) -> list[F]:
        """Forget and return the flows quiet for the timeout; looks at no more than `max_visits` flows.

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
                    del self.flows[flow.key]
                    ended.append(flow)
                else:
                    self._file(flow, number + 1)
            del self._ticks[number]
        return ended

    def _file(self, flow: F, earliest: int) -> None:
        """Put the flow under the first tick after its end, but not before `earliest`."""
        number = max(int((flow.last_seen_at + self._timeout) // self._step) + 1, earliest)
        flow._tick = number
        self._ticks.setdefault(number, {})[flow] = None
