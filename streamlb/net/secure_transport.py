"""An asyncio transport that speaks TLS: it carries a protocol (the HTTP engine) over a `SecureSocket`.

What lives here: `SecureTransport`, and `write_last` for this one and others. What must not: the handshake
(`handshake.py`), records (`secure.py`), anything of the protocol it carries. Called by `proxy`.
Specified by the transports of asyncio's documentation, and RFC 8446 section 6.1 for the ways in which it may end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from streamlb.net.poller import READABLE, WRITABLE, poller_of
from streamlb.net.secure import plaintext

if TYPE_CHECKING:
    from streamlb.net.secure import Bytes, SecureSocket

log = logging.getLogger(__name__)

HIGH_WATER: Final = 64 * 1024
"""Bytes that may wait to be sent before the protocol is asked to pause."""
PIECE: Final = 32 * 1024
"""Bytes enciphered before they are sent: OpenSSL keeps the memory for them as long as the connection lasts."""


class SecureTransport(asyncio.Transport):
    """Calls `protocol` with what comes, 64 KiB per wake at most, and sends what it writes.

    Starts at once, and owns `secure`, whose handshake is complete. The protocol hears `eof_received` after a goodbye
    only; if it returns True, it may go on writing. Where the bytes ended without one, `connection_lost` gets a reason.
    """

    __slots__ = (
        "_backlog",
        "_chunk",
        "_closing",
        "_ended",
        "_fd",
        "_finished",
        "_full",
        "_held",
        "_high",
        "_loop",
        "_lost",
        "_low",
        "_paused",
        "_poller",
        "_protocol",
        "_secure",
        "_watched",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        secure: SecureSocket,
        protocol: asyncio.Protocol,
        *,
        is_watched: bool = False,
    ) -> None:
        """is_watched: the poller watches for READABLE (`shake_hands` with `stays`).

        Raises OSError, with the socket closed, if the kernel does not watch more.
        """
        # connection
        super().__init__()
        self._loop = loop
        self._poller = poller_of(loop)
        self._secure = secure
        self._chunk = plaintext()
        self._fd = secure.fileno()
        self._protocol = protocol
        self._high = HIGH_WATER
        self._low = HIGH_WATER // 4
        self._backlog: deque[memoryview] = deque()
        self._held = 0
        self._full = False
        self._paused = False
        self._ended = False
        self._finished = False
        self._closing = False
        self._lost = False
        if is_watched:
            self._watched = READABLE
            self._poller.hand_over(self._fd, self._on_ready)
        else:
            try:
                self._poller.add(self._fd, READABLE, self._on_ready)
            except OSError:
                secure.close()
                raise
            self._watched = READABLE
        protocol.connection_made(self)
        if secure.pending and self._watched & READABLE:
            self._on_readable()

    # --- what the poller calls --------------------------------------------------------------------------------

    def _on_ready(self, events: int) -> None:
        if events & ~READABLE and self._secure.unsent:
            self._on_writable()
        if events & ~WRITABLE and self._watched & READABLE:
            self._on_readable()

    def _on_readable(self) -> None:
        """Hot."""
        secure = self._secure
        try:
            count = secure.recv_into(self._chunk)
        except BlockingIOError:
            if secure.unsent:
                self._watch()
            return
        except OSError as error:
            self._lose(error)
            return
        try:
            if count:
                self._protocol.data_received(bytes(self._chunk[:count]))
            else:
                self._on_goodbye()
        except Exception as error:
            log.exception("a TLS connection was cut by a bug of streamlb")
            self._lose(error)
            return
        if secure.unsent:
            self._watch()
        if secure.pending and self._watched & READABLE:
            self._poller.again(self._fd, READABLE)

    def _on_goodbye(self) -> None:
        self._ended = True
        if self._protocol.eof_received() and not self._closing:
            self._watch()
        else:
            self.close()

    def _on_writable(self) -> None:
        was_closing = self._closing
        try:
            is_empty = self._pour() and self._conclude()
        except OSError as error:
            self._lose(self._why(error))
            return
        if is_empty:
            self._watch()
        if self._full and self.get_write_buffer_size() <= self._low:
            self._full = False
            self._protocol.resume_writing()
        if is_empty and was_closing:
            self._lose(None)

    def _pour(self) -> bool:
        """Encipher and send what was held back, piece by piece; whether all of it has gone."""
        secure, backlog = self._secure, self._backlog
        while secure.flush():
            if not backlog:
                return True
            data = backlog.popleft()
            if len(data) > PIECE:
                backlog.appendleft(data[PIECE:])
                data = data[:PIECE]
            secure.put(data)
            self._held -= len(data)
        return False

    def _conclude(self) -> bool:
        """Say what comes behind the last byte, if this was it; whether that has gone, too."""
        secure = self._secure
        if self._closing:
            secure.say_goodbye()
            return secure.flush(socket.MSG_MORE)
        if self._finished:
            secure.shutdown(socket.SHUT_WR)
        return not secure.unsent

    def _watch(self) -> None:
        """Watch exactly what is wanted: with nothing to do, even the news that the peer has gone can wait."""
        if self._lost:
            return
        wanted = WRITABLE if self._secure.unsent else 0
        if not (self._paused or self._ended or self._closing):
            wanted |= READABLE
        watched = self._watched
        if wanted == watched:
            return
        self._watched = wanted
        if not wanted:
            self._poller.remove(self._fd)
        elif watched:
            self._poller.modify(self._fd, wanted)
        else:
            try:
                self._poller.add(self._fd, wanted, self._on_ready)
            except OSError as error:  # The kernel watches no more.
                self._watched = 0
                self._lose(error)

    def _why(self, error: OSError) -> OSError:
        """The reason for an error of writing, if the peer has left one: an alert that is still to be read."""
        with contextlib.suppress(OSError):
            try:
                self._secure.recv_into(self._chunk)
            except ssl.SSLError as alert:
                return alert
        return error

    def _lose(self, error: Exception | None) -> None:
        """The connection is over; the protocol hears of it later, never from inside a call of its own."""
        if self._lost:
            return
        self._lost = self._closing = True
        self._backlog.clear()
        self._held = 0
        if self._watched:
            self._watched = 0
            self._poller.forget(self._fd)
        self._secure.raw.close()
        self._loop.call_soon(self._report, error)

    def _report(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, cast("asyncio.Protocol", None)
        protocol.connection_lost(error)

    # --- writing ----------------------------------------------------------------------------------------------

    def write(self, data: Bytes) -> None:
        """Hot."""
        if self._closing or self._finished or not data:
            return
        secure = self._secure
        try:
            if len(data) <= PIECE and not secure.unsent:
                secure.put(data)
                if secure.flush():
                    return
            else:
                self._backlog.append(memoryview(data if isinstance(data, bytes) else bytes(data)))
                self._held += len(data)
                if not secure.unsent and self._pour():
                    return
        except OSError as error:
            self._lose(self._why(error))
            return
        self._watch()
        if not self._full and self.get_write_buffer_size() > self._high:
            self._full = True
            self._protocol.pause_writing()

    def write_last(self, data: Bytes) -> None:
        """Write and close: bytes, goodbye and the end of the connection leave together, if they can leave at once."""
        secure = self._secure
        if self._closing or self._finished or secure.unsent or len(data) > PIECE:
            self.write(data)
        elif data:
            try:
                secure.put(data)
            except OSError as error:
                self._lose(error)
        self.close()

    def can_write_eof(self) -> bool:
        """Whether the peer will go on when our side has ended: many take a goodbye for the end of both."""
        return False

    def write_eof(self) -> None:
        """Say goodbye behind what was written, and go on reading."""
        if self._closing or self._finished:
            return
        self._finished = True
        if not self._secure.unsent:
            try:
                self._conclude()
            except OSError as error:
                self._lose(error)
            else:
                self._watch()

    def get_write_buffer_size(self) -> int:
        return self._secure.queued + self._held

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    # --- reading ----------------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return bool(self._watched & READABLE)

    def pause_reading(self) -> None:
        self._paused = True
        self._watch()

    def resume_reading(self) -> None:
        self._paused = False
        self._watch()
        if self._secure.pending and self._watched & READABLE:
            self._poller.again(self._fd, READABLE)

    # --- the end ----------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Send what was written, then a goodbye, and close; the peer's goodbye is not waited for."""
        if self._closing:
            return
        self._closing = True
        try:
            is_empty = not self._secure.unsent and self._conclude()
        except OSError as error:
            self._lose(error)
            return
        if is_empty:
            self._lose(None)
        else:
            self._watch()

    def abort(self) -> None:
        """Close now, without a goodbye."""
        self._lose(None)

    # --- what is asked seldom ---------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return self._secure.raw
        if name in ("peername", "sockname"):
            raw = self._secure.raw
            try:
                return raw.getpeername() if name == "peername" else raw.getsockname()
            except OSError:
                return default
        connection = self._secure.ssl_object
        if name == "ssl_object":
            return connection
        if name == "cipher":
            return connection.cipher()
        if name == "peercert":
            return connection.getpeercert()
        return default

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)


def write_last(transport: asyncio.Transport, data: bytes) -> None:
    """Write the last bytes and close, in the cheapest way that this transport has for it."""
    if isinstance(transport, SecureTransport):
        transport.write_last(data)
    else:
        transport.write(data)
        transport.close()
