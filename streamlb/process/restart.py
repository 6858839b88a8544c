"""How soon a worker that died is started again.

What lives here: `Restarts`, the history of one worker slot. Pure: time comes as `now`.
What must not: processes, signals. Used by `process/control.py`.
"""

from __future__ import annotations

DELAYS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Seconds to wait after the first, second ... death in a row."""
CALM = 30.0
"""Seconds a worker must live for its deaths before to be forgotten."""
LOOP = 4
"""Deaths in a row that are called a crash loop."""


class Restarts:
    """The deaths in a row of one slot: a worker that dies at once is started again ever more slowly."""

    __slots__ = ("_deaths", "_started_at")

    def __init__(self) -> None:
        # process
        self._deaths = 0
        self._started_at = 0.0

    def started(self, now: float) -> None:
        self._started_at = now

    def died(self, now: float) -> float:
        """Seconds to wait before the next start."""
        self._deaths = 1 if now - self._started_at >= CALM else self._deaths + 1
        return DELAYS[min(self._deaths, len(DELAYS)) - 1]

    @property
    def is_loop(self) -> bool:
        """Whether the slot does nothing but die."""
        return self._deaths >= LOOP

    @property
    def deaths(self) -> int:
        return self._deaths
