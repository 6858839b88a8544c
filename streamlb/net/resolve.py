"""Names to addresses, off the loop: one lookup per name at a time, remembered for a moment.

What lives here: `Resolver`. What must not: dialling. Called by `dial.py` and by `proxy/udp.py`.
Numeric addresses never come here. Specified by getaddrinfo(3); the system's resolver configuration is obeyed.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from streamlb.net.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LOOKUPS = 64
"""Lookups under way at once in a worker; more are refused at once rather than queued behind a dead name server."""
MAX_WAITERS = 1024
"""Callers waiting for one name."""
MAX_NAMES = 1024
"""Names remembered; the oldest goes first."""
KEEP = 5.0
"""Seconds an answer is used. The system does not tell us the record's own time to live."""
KEEP_FAILURE = 1.0

Found = list[tuple[socket.AddressFamily, Any]]
"""Family and numeric host of each address, in the system's order of preference; empty: the name does not resolve."""


class Resolver:
    """Looks names up in the background of the running loop. `on_done(found)` is never called from inside `resolve`."""

    __slots__ = ("_known", "_waiting")

    def __init__(self) -> None:
        # process
        self._known: dict[str, tuple[float, Found]] = {}
        self._waiting: dict[str, list[Callable[[Found], object]]] = {}

    def resolve(self, host: str, on_done: Callable[[Found], object]) -> None:
        loop = asyncio.get_running_loop()
        known = self._known.get(host)
        if known is not None and loop.time() < known[0]:
            loop.call_soon(on_done, known[1])
            return
        waiting = self._waiting.get(host)
        if waiting is not None and len(waiting) < MAX_WAITERS:
            waiting.append(on_done)
        elif waiting is not None or len(self._waiting) >= MAX_LOOKUPS:
            loop.call_soon(on_done, [])
        else:
            self._waiting[host] = [on_done]
            spawn(self._look_up(host), name=f"resolve {host}")

    async def _look_up(self, host: str) -> None:
        loop = asyncio.get_running_loop()
        found: Found = []
        try:
            answers = await loop.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
            found = [(socket.AddressFamily(family), where[0]) for family, _, _, _, where in answers]
        except (OSError, ValueError):  # ValueError: a name IDNA cannot encode.
            pass
        finally:
            waiting = self._waiting.pop(host, [])
        self._remember(host, found, loop.time())
        for on_done in waiting:
            # Each in a callback of its own: one that fails must not starve the others.
            loop.call_soon(on_done, found)

    def _remember(self, host: str, found: Found, now: float) -> None:
        self._known.pop(host, None)
        while len(self._known) >= MAX_NAMES:
            del self._known[next(iter(self._known))]
        self._known[host] = (now + (KEEP if found else KEEP_FAILURE), found)


_resolvers: WeakKeyDictionary[asyncio.AbstractEventLoop, Resolver] = WeakKeyDictionary()


def resolver(loop: asyncio.AbstractEventLoop) -> Resolver:
    """The resolver of this loop: one per worker."""
    found = _resolvers.get(loop)
    if found is None:
        found = _resolvers[loop] = Resolver()
    return found
