"""Who gets the next place at a server that takes only so many at once.

What lives here: `Queue`, one per load balancer and worker: first come, first served, bounded in size and time. It
outlives snapshots, and so do the states of servers, by which it knows them.
What must not: clocks (whoever waits watches `timeout` himself), connections. Called by `proxy`.
Specified in docs/reference.md, "loadBalancer.queue"; as in HAProxy, a client that a cookie binds waits for its server.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from streamlb.balance.selection import Server, ServerState


class Waiter(Protocol):
    """Somebody in a queue."""

    def on_room(self) -> None:
        """There is a place; it has left the queue and must pick again."""


class Queue:
    """The waiters of the load balancer `name`. max_size: 0 lets nobody wait. timeout: seconds one may wait.

    limits: those of the load balancer's servers; opaque here.
    """

    __slots__ = ("_lines", "_places", "_turn", "limits", "max_size", "name", "timeout")

    def __init__(self, name: str, max_size: int, timeout: float, limits: Any = None) -> None:
        self.name = name
        self.max_size = max_size
        self.timeout = timeout
        self.limits = limits
        self._turn = 0
        self._places: dict[Waiter, ServerState | None] = {}
        # By server, None for those who take any: the waiters and the order they came in.
        self._lines: dict[ServerState | None, OrderedDict[Waiter, int]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def join(self, waiter: Waiter, server: Server | None = None) -> bool:
        """Wait for `server`, or for any; False when there is no room to wait in."""
        if len(self._places) >= self.max_size:
            return False
        self._turn += 1
        state = self._places[waiter] = server.state if server is not None else None
        self._lines.setdefault(state, OrderedDict())[waiter] = self._turn
        return True

    def leave(self, waiter: Waiter) -> None:
        """Wait no more; nothing happens to one who does not."""
        if waiter not in self._places:
            return
        state = self._places.pop(waiter)
        line = self._lines[state]
        del line[waiter]
        if not line:
            del self._lines[state]

    def offer(self, server: Server) -> None:
        """`server` has a place: let them have it in turn, until it is full again; each is asked at most once."""
        for _ in range(len(self._places)):
            waiter = None if server.is_full else self._first(server)
            if waiter is None:
                return
            self.leave(waiter)
            waiter.on_room()

    def stir(self) -> None:
        """The world is another one: whoever waits picks again in turn, and may come back."""
        for waiter in [*self._places]:
            if waiter in self._places:
                self.leave(waiter)
                waiter.on_room()

    def _first(self, server: Server) -> Waiter | None:
        """Who came first of those that `server` can serve."""
        heads = [next(iter(line.items())) for line in (self._lines.get(None), self._lines.get(server.state)) if line]
        return min(heads, key=lambda head: head[1])[0] if heads else None
