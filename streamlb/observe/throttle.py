"""Repeated complaints at a bounded rate.

What lives here: `Throttle`, which says whether a line may be logged now and how many it stands for.
What must not: the clock (`now` is given), the logging itself. Used by the engines for what a peer can cause at will.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_KEYS: Final = 256
"""Complaints told apart at once; when there are more, all are forgotten and begin anew."""


def often(count: int) -> str:
    """What a line says at its end when it stands for more than one occurrence."""
    return f" ({count} times)" if count > 1 else ""


class Throttle:
    """At most one line per `interval` seconds for each key."""

    __slots__ = ("_interval", "_seen")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._seen: dict[Hashable, list[float]] = {}

    def admit(self, key: Hashable, now: float) -> int:
        """How many occurrences the line to be logged now stands for; 0: stay silent."""
        entry = self._seen.get(key)
        if entry is None:
            if len(self._seen) >= MAX_KEYS:
                self._seen.clear()
            self._seen[key] = [now + self._interval, 0]
            return 1
        entry[1] += 1
        if now < entry[0]:
            return 0
        count = int(entry[1])
        entry[0], entry[1] = now + self._interval, 0
        return count
