"""The TLS handshake without blocking: a word when it is done or has failed, by callback.

What lives here: `shake_hands` and its deadline. What must not: what a failure means to anybody (`tls.py` has words for
it), the bytes (`secure.py`). Called by `proxy`.
Specified by RFC 8446 section 4 and RFC 5246 section 7; a peer that is slow or mute has until the deadline.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from streamlb.net.poller import READABLE, WRITABLE, poller_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from streamlb.net.secure import SecureSocket

    OnDone = Callable[[OSError | None], object]


MIN_HANDSHAKE_TIMEOUT: Final = 0.1
"""Seconds a TLS handshake with a server gets at least, however long the connect before it took."""


class Handshake:
    """One handshake. Ends once: `on_done(None)`, or `on_done(error)` with the socket closed."""

    __slots__ = ("_events", "_loop", "_on_done", "_poller", "_secure", "_stays", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, secure: SecureSocket, on_done: OnDone, stays: bool) -> None:
        # connection
        self._loop = loop
        self._poller = poller_of(loop)
        self._secure = secure
        self._on_done: OnDone | None = on_done
        self._stays = stays
        self._timer: asyncio.Handle | None = None
        self._events = 0

    def cancel(self) -> None:
        """Give up and close the socket; `on_done` will not be called."""
        if self._on_done is not None:
            self._on_done = None
            self._stop()
            self._secure.raw.close()

    def start(self, timeout: float) -> None:
        if timeout > 0:
            self._timer = self._loop.call_later(timeout, self._on_timeout)
        try:
            is_done = self._secure.shake()
            if not is_done:
                self._events = WRITABLE if self._secure.unsent else READABLE
                self._poller.add(self._secure.fileno(), self._events, self._on_ready)
        except OSError as error:
            self._finish_later(error)
        else:
            if is_done:
                self._finish_later(None)

    def _on_ready(self, _events: int) -> None:
        secure = self._secure
        try:
            if not secure.shake():
                events = WRITABLE if secure.unsent else READABLE
                if events != self._events:
                    self._events = events
                    self._poller.modify(secure.fileno(), events)
                return
        except OSError as error:
            self._finish(error)
        else:
            self._finish(None)

    def _on_timeout(self) -> None:
        self._finish(TimeoutError(errno.ETIMEDOUT, "the TLS handshake took too long"))

    def _finish_later(self, error: OSError | None) -> None:
        self._stop()
        self._timer = self._loop.call_soon(self._finish, error)

    def _finish(self, error: OSError | None) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is None:
            return
        if error is None and self._stays:
            error = self._stay()
        self._stop()
        if error is not None:
            self._secure.raw.close()
        on_done(error)

    def _stay(self) -> OSError | None:
        """Leave the socket watched, for whoever takes over; the error if the kernel does not watch more."""
        events, self._events = self._events, 0
        fd = self._secure.fileno()
        if events == WRITABLE:
            self._poller.modify(fd, READABLE)
        elif not events:
            try:
                self._poller.add(fd, READABLE, self._on_ready)
            except OSError as error:
                return error
        return None

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._events:
            self._events = 0
            self._poller.remove(self._secure.fileno())


def shake_hands(
    loop: asyncio.AbstractEventLoop, secure: SecureSocket, timeout: float, on_done: OnDone, *, stays: bool = False
) -> Handshake:
    """Go through the handshake of `secure`, beginning at once with what has come; a timeout of 0 sets no limit.

    `on_done` is called once, later, never from inside this call; not at all after `cancel`. After a failure the socket
    is closed, and whoever could be told why, was. After success `secure.pending` may be true, and `secure.unsent` too.

    stays: after success the poller goes on watching for READABLE, and `on_done` has to `hand_over` the socket;
    otherwise nobody watches it.
    """
    handshake = Handshake(loop, secure, on_done, stays)
    handshake.start(timeout)
    return handshake
