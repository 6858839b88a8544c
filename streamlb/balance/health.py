"""Is a server fit to be picked: the two judges, one for probes and one for what clients' requests show.

What lives here: `Judge` (rise and fall), `Failures` (how many in a window), `may_leave` (the last servers stay).
What must not: probes, timers, the clock (`now` is given), what a verdict does to the tree (`selection.Server.set_up`).
Called by `health`. Specified in docs/reference.md ("Health") and by Traefik's health check pages.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlb.balance.selection import Server


class Judge:
    """The verdict on one server after each probe.

    up: the verdict. streak: results in a row that speak against it. rise, fall: as many of them turn it.
    decided: False before the first result of a server nothing was assumed about; that one decides at once.
    """

    __slots__ = ("decided", "fall", "rise", "streak", "up")

    def __init__(self, *, rise: int = 1, fall: int = 1, up: bool = True, decided: bool = True) -> None:
        self.rise = rise
        self.fall = fall
        self.up = up
        self.decided = decided
        self.streak = 0

    def observe(self, good: bool) -> bool:
        """Take in one result; whether the verdict is new."""
        if not self.decided:
            self.decided = True
            self.up = good
            return True
        if good == self.up:
            self.streak = 0
            return False
        self.streak += 1
        if self.streak < (self.rise if good else self.fall):
            return False
        self.up = good
        self.streak = 0
        return True


class Failures:
    """The latest failures of one server, `limit` of them at most. window: seconds a failure counts."""

    __slots__ = ("_times", "limit", "window")

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self._times: deque[float] = deque(maxlen=limit)

    def __bool__(self) -> bool:
        return bool(self._times)

    def add(self, now: float) -> bool:
        """Whether there were `limit` failures within the window, this one included."""
        self._times.append(now)
        return len(self._times) == self.limit and now - self._times[0] <= self.window

    def clear(self) -> None:
        """A success: what was before does not count."""
        self._times.clear()


def may_leave(server: Server, fresh: Iterable[Server]) -> bool:
    """Whether somebody remains for new clients without `server`; fresh: the servers that take new clients when up.

    What clients' requests show may be the clients' fault, or everybody's: on that alone nobody is left without.
    """
    return any(other.up for other in fresh if other.state is not server.state)
