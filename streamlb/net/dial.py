"""Connecting to a server without blocking: a connected socket or a reason, by callback.

What lives here: `dial` and its deadline; the `OSError` of a connect becomes an `UpstreamError` here and nowhere else.
What must not: who is dialled (balance), what is said (proxy). Called by `proxy`.
Specified by connect(2): EINPROGRESS, then writable, then SO_ERROR.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from streamlb.errors import Retry, UpstreamError
from streamlb.net.address import KEEPALIVE_IDLE, LOOPBACK, keep_alive, numeric_family, unpace
from streamlb.net.poller import WRITABLE, poller_of
from streamlb.net.resolve import resolver

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from streamlb.net.resolve import Found

    OnDone = Callable[[socket.socket | None, UpstreamError | None], object]

PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"

STREAM = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY)

REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.EADDRNOTAVAIL: "no free local port or address",
    errno.ENOENT: "there is no such socket",
    errno.EACCES: "the socket may not be used",
    errno.EAGAIN: "the socket's queue is full",
}
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def local_ports() -> tuple[int, int]:
    """First and last of the ports the kernel chooses from for a socket that is not bound, as it is set now."""
    try:
        first, last = Path(PORT_RANGE).read_text().split()
        return int(first), int(last)
    except (OSError, ValueError):
        return 1, 65535


FIRST_LOCAL_PORT, LAST_LOCAL_PORT = local_ports()

known_family = functools.lru_cache(maxsize=4096)(numeric_family)


class Dial:
    """One attempt to reach `host:port`, over each address of a name, until the deadline.

    Ends once: `on_done(sock, None)` with a connected non-blocking socket the callee owns, or `on_done(None, error)`.
    """

    __slots__ = ("_deadline_at", "_done", "_found", "_keep_alive", "_loop", "_on_done", "_port", "_sock", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, port: int, timeout: float, on_done: OnDone, keep_alive: float
    ) -> None:
        # conversation
        self._loop = loop
        self._port = port
        self._on_done: OnDone | None = on_done
        self._keep_alive = keep_alive
        self._done = False
        self._sock: socket.socket | None = None
        self._found: Found = []
        self._deadline_at = loop.time() + timeout if timeout > 0 else float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Give up; `on_done` will not be called."""
        self._done = True
        self._on_done = None
        self._stop_timer()
        self._drop_socket()

    def start(self, host: str) -> None:
        if host.startswith("/"):
            self._connect_unix(host)
            return
        family = known_family(host)
        if family is None:
            self._set_timer(self._deadline_at)
            resolver(self._loop).resolve(host, self._on_resolved)
        else:
            self._connect(family, host)

    def _on_resolved(self, found: Found) -> None:
        if self._done:
            return
        if not found:
            self._fail(UpstreamError(502, "the name does not resolve", Retry.ALWAYS))
            return
        self._found = list(found)
        self._next_address()

    def _next_address(self) -> None:
        family, host = self._found.pop(0)
        self._connect(family, host)

    def _connect_unix(self, path: str) -> None:
        """unix(7): connected at once or not at all; a listener whose queue is full is not asked again."""
        try:
            sock = self._sock = socket.socket(socket.AF_UNIX, STREAM)
            code = sock.connect_ex(path)
        except OSError as error:
            code = error.errno or errno.EIO
        if code:
            self._loop.call_soon(self._on_refused, code)
        else:
            self._loop.call_soon(self._on_connected)

    def _connect(self, family: socket.AddressFamily, host: str) -> None:
        try:
            sock = self._sock = socket.socket(family, STREAM)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            is_local = host.startswith(LOOPBACK)
            if is_local:
                unpace(sock)
            else:
                keep_alive(sock, self._keep_alive)
            code = sock.connect_ex((host, self._port))
            if is_local and code == errno.EINPROGRESS:
                # The handshake over loopback is done when connect returns; asking again saves watching the socket.
                code = sock.connect_ex((host, self._port))
        except OSError as error:
            code = error.errno or errno.EIO
        if code in UNDER_WAY:
            self._wait(sock)
        elif code:
            self._loop.call_soon(self._on_refused, code)
        else:
            self._loop.call_soon(self._on_connected)

    def _wait(self, sock: socket.socket) -> None:
        # Every address of a name gets an equal share of the time that is left.
        now = self._loop.time()
        self._set_timer(now + max(0.0, self._deadline_at - now) / (len(self._found) + 1))
        poller_of(self._loop).add(sock.fileno(), WRITABLE, self._on_writable)

    def _on_writable(self, _events: int) -> None:
        sock = self._sock
        if sock is None:
            return
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        poller_of(self._loop).remove(sock.fileno())
        if code:
            self._on_refused(code)
        else:
            self._on_connected()

    def _on_connected(self) -> None:
        sock = self._sock
        if sock is None:
            return
        if self._reached_itself(sock):
            self._on_refused(errno.ECONNREFUSED)
            return
        self._sock = None
        self._finish(sock, None)

    def _reached_itself(self, sock: socket.socket) -> bool:
        # Only where the port we dial is one the kernel might choose for our side.
        if not FIRST_LOCAL_PORT <= self._port <= LAST_LOCAL_PORT:
            return False
        here: tuple[str, int] = sock.getsockname()
        try:
            return here[1] == self._port and here == sock.getpeername()
        except OSError:  # Reset since: whoever reads next will see it.
            return False

    def _on_refused(self, code: int) -> None:
        if self._done:
            return
        self._drop_socket()
        if code in SHORTAGES:
            self._fail(UpstreamError(503, f"the proxy is short of resources: {os.strerror(code)}", Retry.NEVER))
        elif self._found:
            self._next_address()
        elif code == errno.ETIMEDOUT:
            self._fail(UpstreamError(504, "connecting took too long", Retry.ALWAYS))
        else:
            reason = REASONS.get(code) or os.strerror(code).lower()
            self._fail(UpstreamError(502, reason, Retry.ALWAYS))

    def _on_timeout(self) -> None:
        self._timer = None
        resolving = self._sock is None
        self._drop_socket()
        if self._found:
            self._next_address()
        else:
            reason = "looking the name up took too long" if resolving else "connecting took too long"
            self._fail(UpstreamError(504, reason, Retry.ALWAYS))

    def _fail(self, error: UpstreamError) -> None:
        self._finish(None, error)

    def _finish(self, sock: socket.socket | None, error: UpstreamError | None) -> None:
        self._done = True
        self._stop_timer()
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(sock, error)

    def _set_timer(self, at: float) -> None:
        self._stop_timer()
        if at != float("inf"):
            self._timer = self._loop.call_at(at, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop_socket(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            poller_of(self._loop).forget(sock.fileno())
            sock.close()


def dial(
    loop: asyncio.AbstractEventLoop,
    host: str,
    port: int,
    timeout: float,
    on_done: OnDone,
    keep_alive: float = KEEPALIVE_IDLE,
) -> Dial:
    """Start connecting to `host:port`, or to a Unix socket if `host` is a path; a timeout of 0 leaves it to the kernel
    to give up.

    keep_alive: seconds of silence before the kernel asks whether the server is still there; negative: never.
    `on_done` is called once, later, never from inside this call; not at all after `cancel`.
    """
    attempt = Dial(loop, port, timeout, on_done, keep_alive)
    attempt.start(host)
    return attempt
