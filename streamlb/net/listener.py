"""Accepting connections, raw: many per wake, and calm when descriptors run out.

What lives here: `Acceptor`, which turns a listening socket into calls of `on_accept(sock, peer)`.
What must not: what happens to a connection. Called by `process/worker.py`.
Specified by accept(2): the errors of the connection are passed over, the shortages of the machine are waited out.
"""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

log = logging.getLogger(__name__)

MAX_ACCEPTS_PER_WAKE = 64
SHORTAGE_PAUSE = 0.1
"""Seconds without accepting after the machine refused."""
BOUT_INTERVAL = 10.0
"""Seconds without a shortage after which the next one is a new bout, and logged again."""

# A connection that failed before it was accepted, as accept(2) lists them: the next one may be fine.
PASSING = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
        errno.ECONNRESET,
    }
)


class Acceptor:
    """Accepts on one listening socket until stopped; starts at once.

    on_accept: gets a connected non-blocking socket, which it owns, and the peer's address as the kernel gives it.
    has_room: asked before each; once it says no, whoever comes waits in the kernel's queue until `resume`.
    is_quiet: say nothing of shortages; somebody else will.
    """

    __slots__ = (
        "_accept",
        "_budget",
        "_has_room",
        "_is_full",
        "_is_quiet",
        "_kind",
        "_last_shortage_at",
        "_loop",
        "_on_accept",
        "_pause",
        "_refused",
        "sock",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        on_accept: Callable[[socket.socket, Any], object],
        has_room: Callable[[], bool] | None = None,
        *,
        is_quiet: bool = False,
    ) -> None:
        # process
        self._loop = loop
        self.sock = sock
        self._accept = sock._accept  # type: ignore[attr-defined]
        # Plain numbers: the properties of a socket look an enumeration up each time.
        self._kind = int(sock.family), int(sock.type), sock.proto
        self._on_accept = on_accept
        self._has_room = has_room
        self._is_full = False
        self._is_quiet = is_quiet
        self._budget = 1
        self._pause: asyncio.TimerHandle | None = None
        self._last_shortage_at = float("-inf")
        self._refused = False
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._on_readable)

    def stop(self, *, close: bool = True) -> None:
        """Accept no more. With `close=False` the socket and the queue the kernel holds for it stay for a successor."""
        if self._refused:
            return
        self._refused = True
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        elif not self._is_full:
            self._loop.remove_reader(self.sock.fileno())
        if close:
            self.sock.close()

    @property
    def is_short(self) -> bool:
        """Whether the machine has just refused."""
        return self._pause is not None

    def resume(self) -> None:
        """There may be room again."""
        if self._is_full and not self._refused:
            self._is_full = False
            self._loop.add_reader(self.sock.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        # Connections that come one by one are accepted one by one, without asking in vain for a second.
        for accepted in range(self._budget):
            if self._refused:
                return
            if self._has_room is not None and not self._has_room():
                self._is_full = True
                self._loop.remove_reader(self.sock.fileno())
                return
            try:
                # `socket.accept` would make the new socket blocking first, only for us to undo it.
                descriptor, peer = self._accept()
            except BlockingIOError:
                self._budget = max(1, accepted)
                return
            except OSError as error:
                if error.errno in PASSING:
                    continue
                self._wait_out(error)
                return
            self._deliver(descriptor, peer)
        self._budget = min(self._budget * 2, MAX_ACCEPTS_PER_WAKE)

    def _deliver(self, descriptor: int, peer: Any) -> None:
        sock = socket.socket(*self._kind, descriptor)
        try:
            sock.setblocking(False)
            self._on_accept(sock, peer)
        except Exception:
            log.exception("a connection from %s was dropped by a bug of streamlb", peer)
            sock.close()

    def _wait_out(self, error: OSError) -> None:
        """Stop listening for a moment: a shortage (EMFILE, ENFILE, ENOBUFS, ENOMEM) would make the loop spin."""
        self._loop.remove_reader(self.sock.fileno())
        self._pause = self._loop.call_later(SHORTAGE_PAUSE, self._resume)
        now = self._loop.time()
        if now - self._last_shortage_at > BOUT_INTERVAL and not self._is_quiet:
            log.warning("cannot accept connections for now: %s; trying again", error.strerror or error)
        self._last_shortage_at = now

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self.sock.fileno(), self._on_readable)
