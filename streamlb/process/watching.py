"""Files and directories that are looked at until they change.

What lives here: `Watcher`, which calls once when a change is over. What must not: reading what has changed.
Owned by the control process. Specified in docs/reference.md ("Sources").
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Stamp = tuple[object, ...] | None

INTERVAL: Final = 1.0
"""Seconds between two looks at what no event tells of."""


class Watcher:
    """Calls `on_change` in the loop when one of the paths has changed and then been quiet for `debounce` seconds."""

    def __init__(self, paths: Iterable[str], on_change: Callable[[], None], debounce: float) -> None:
        # process
        self._on_change = on_change
        self._debounce = debounce
        self._timer: asyncio.TimerHandle | None = None
        self._due: asyncio.TimerHandle | None = None
        # between two changes
        self._stamps: dict[str, Stamp] = {path: stamp(path) for path in paths}

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._look)

    def stop(self) -> None:
        for timer in (self._timer, self._due):
            if timer is not None:
                timer.cancel()
        self._timer = self._due = None

    def update(self, paths: Iterable[str], debounce: float | None = None) -> None:
        """Look at these from now on; those that were looked at before are not forgotten to have changed meanwhile."""
        self._stamps = {path: self._stamps[path] if path in self._stamps else stamp(path) for path in paths}
        if debounce is not None:
            self._debounce = debounce

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(INTERVAL, self._look)
        fresh = {path: stamp(path) for path in self._stamps}
        if fresh != self._stamps:
            self._stamps = fresh
            if self._due is not None:
                self._due.cancel()
            self._due = loop.call_later(self._debounce, self._on_quiet)

    def _on_quiet(self) -> None:
        self._due = None
        self._on_change()


def stamp(path: str) -> Stamp:
    """What tells a file, or the names in a directory, from what was there before; None if there is nothing."""
    try:
        found = os.stat(path)
        names = tuple(sorted(os.listdir(path))) if os.path.isdir(path) else ()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, names
