"""Deadlines as numbers, compared by one lazy timer.

What lives here: `Clock`, which ticks while it watches anything. What must not: a timer handle per request.
Used by the HTTP engine; a deadline is met within TICK seconds, and never early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import asyncio

TICK: Final = 0.25
"""Seconds between two looks at the deadlines."""
NEVER: Final = float("inf")


class Watched(Protocol):
    """Something with a deadline. `due_at`: an instant of the loop's clock, or NEVER."""

    due_at: float

    def on_due(self) -> None:
        """The deadline has passed; a new one, or NEVER, must be set."""


class Clock:
    """The coarse time of one worker's entry point, and everything that waits for it.

    now: the loop's time at the last tick; good enough to count seconds from.
    """

    __slots__ = ("_loop", "_ticking", "_watched", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: set[Watched] = set()
        self._ticking = False
        self.now = loop.time()

    def watch(self, watched: Watched) -> None:
        self._watched.add(watched)
        if not self._ticking:
            self._ticking = True
            self.now = self._loop.time()
            self._loop.call_later(TICK, self._tick)

    def forget(self, watched: Watched) -> None:
        self._watched.discard(watched)

    def after(self, seconds: float) -> float:
        """The instant to set as `due_at` for `seconds` from now."""
        return self.now + seconds + TICK

    def _tick(self) -> None:
        now = self.now = self._loop.time()
        try:
            for watched in [each for each in self._watched if each.due_at < now]:
                if watched.due_at < now:  # Another one's end may have put it off.
                    watched.on_due()
        finally:
            self._ticking = bool(self._watched)
            if self._ticking:
                self._loop.call_later(TICK, self._tick)
