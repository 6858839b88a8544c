"""An epoll of our own beside the loop's: descriptors that come and go are cheap here, and a burst is one wake.

What lives here: `Poller`, the one of a loop (`poller_of`), and the rules by which an event never reaches a stranger.
What must not: what the descriptors are for. Called by whatever uses raw sockets in `net` and `proxy`.
Specified by epoll(7); an epoll descriptor is itself readable while one of its descriptors is ready.
"""

from __future__ import annotations

import logging
import select
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    OnReady = Callable[[int], object]

log = logging.getLogger(__name__)

READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
URGENT: Final = select.EPOLLPRI
"""Urgent bytes are behind what is to be read next; a read stops short of them."""
PEER_ENDED: Final = select.EPOLLRDHUP
"""The peer's end has arrived, behind whatever is still to be read."""
FAILED: Final = select.EPOLLERR
"""Always reported, asked for or not: the socket has an error, which its next call will tell."""
OVER: Final = select.EPOLLHUP
"""Always reported: no byte goes either way any more."""
ON_CHANGE: Final = select.EPOLLET
"""Report a state once, when it comes; without it, again and again while it lasts."""

MAX_EVENTS_PER_WAKE: Final = 128
"""Then the loop has its turn; who is left comes next."""


class Poller:
    """Watches descriptors for one loop. An error of `on_ready` is logged, never raised into the loop; the
    object whose method it is may have an `on_bug`, which is called then: it cannot go on after a lost event.

    Everything may be called from inside `on_ready`, for any descriptor: what had been reported for one that was removed
    meanwhile is dropped, even if its number belongs to another one by then. An event may turn out to be stale: who is
    called tries, and takes `BlockingIOError` for an answer.
    """

    __slots__ = ("__weakref__", "_again", "_dispatching", "_epoll", "_loop", "_on_ready", "_poll", "_removed")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # process
        self._loop = ref(loop)  # The loop holds us: nobody would ever free the two.
        self._epoll = select.epoll()
        self._poll = self._epoll.poll
        self._on_ready: dict[int, OnReady] = {}
        self._removed: set[int] = set()
        self._dispatching = False
        self._again: dict[int, tuple[OnReady, int]] = {}
        loop.add_reader(self._epoll.fileno(), self._on_events)

    def __len__(self) -> int:
        return len(self._on_ready)

    def add(self, fd: int, events: int, on_ready: OnReady) -> None:
        """Call `on_ready(events)` whenever one of `events` is there, until `remove` or `forget`.

        A descriptor is added once. Raises `OSError` (ENOSPC, ENOMEM) where the kernel refuses to watch more.
        """
        self._epoll.register(fd, events)
        self._on_ready[fd] = on_ready

    def modify(self, fd: int, events: int) -> None:
        """Watch for these events instead. With ON_CHANGE, what is there already is reported once more."""
        self._epoll.modify(fd, events)

    def hand_over(self, fd: int, on_ready: OnReady) -> None:
        """Have another callable called from now on, for the same events. It may have missed an ON_CHANGE."""
        self._on_ready[fd] = on_ready

    def remove(self, fd: int) -> None:
        """Watch no more; nothing happens if it was not watched. To be called before the descriptor is closed."""
        if self._on_ready.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            if self._dispatching:
                self._removed.add(fd)

    def forget(self, fd: int) -> None:
        """As `remove`, without a system call: for a descriptor that is closed now and has no copy anywhere.

        The kernel watches until the last copy (`os.dup`, a forked process) is closed.
        """
        if self._on_ready.pop(fd, None) is not None and self._dispatching:
            self._removed.add(fd)

    def again(self, fd: int, events: int) -> None:
        """Call what watches `fd` once more, soon, as if `events` had come: who is not done lets others go first.

        Asked for twice before that, it comes once, with the later `events`.
        """
        if not self._again:
            loop = self._loop()
            assert loop is not None, "called without a loop"
            loop.call_soon(self._on_turn)
        self._again[fd] = self._on_ready[fd], events

    def look(self) -> None:
        """Deal with what is there now, as if the loop had come to it. Not from inside `on_ready`."""
        self._on_events()

    def close(self) -> None:
        """Watch nothing any more."""
        loop = self._loop()
        if loop is not None and not self._epoll.closed:
            loop.remove_reader(self._epoll.fileno())
        self._on_ready.clear()
        self._again.clear()
        self._epoll.close()

    def _on_events(self) -> None:
        on_ready, removed = self._on_ready, self._removed
        self._dispatching = True
        for fd, events in self._poll(0, MAX_EVENTS_PER_WAKE):
            if removed and fd in removed:
                continue
            try:
                on_ready[fd](events)
            except Exception:
                # Nobody watches it: a copy of a forgotten one is still open.
                if fd in on_ready or fd in removed:
                    self._on_bug(on_ready.get(fd))
        self._dispatching = False
        if removed:
            removed.clear()

    def _on_turn(self) -> None:
        """The turns that were asked for so far; who asks meanwhile comes the next time."""
        turns, self._again = self._again, {}
        for fd, (on_ready, events) in turns.items():
            # Whoever has the number by now is another one, unless it is the very same callable.
            if self._on_ready.get(fd) is not on_ready:
                continue
            try:
                on_ready(events)
            except Exception:
                self._on_bug(on_ready)

    def _on_bug(self, on_ready: OnReady | None) -> None:
        """Called where the error is still at hand."""
        log.exception("an event was lost by a bug of streamlb")
        on_bug = getattr(getattr(on_ready, "__self__", None), "on_bug", None)
        if on_bug is not None:
            try:
                on_bug()
            except Exception:
                log.exception("what an event was lost for does not end, by a bug of streamlb")


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, Poller] = WeakKeyDictionary()


def poller_of(loop: asyncio.AbstractEventLoop) -> Poller:
    """The poller of this loop, made at the first call; it ends with the loop."""
    found = _pollers.get(loop)
    if found is None:
        found = _pollers[loop] = Poller(loop)
    return found
