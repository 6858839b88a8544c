"""TLS over a raw socket: what a pump uses of a socket, with OpenSSL in between.

What lives here: `SecureSocket`. What must not: contexts (`tls.py`), waiting (`handshake.py`), an asyncio transport
(`secure_transport.py`), who the peer is. Called by these and by `proxy`.
Specified by RFC 8446 (sections 5 and 6.1: records and goodbyes), RFC 5246, and the `ssl` module.
OpenSSL never sees the socket: one system call fetches what there is, however many records that are, and one sends.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, Final

from streamlb.net.tls import Truncated

if TYPE_CHECKING:
    from typing import TypeAlias

    Bytes: TypeAlias = bytes | bytearray | memoryview

CHUNK: Final = 64 * 1024
"""Bytes of ciphertext fetched at once, and of plaintext enciphered at once by `send`."""
MAX_OWN_WORDS: Final = 64 * 1024
"""Bytes that may wait for a peer that makes us talk (key updates, renegotiations) and does not listen."""


class _Buffers(threading.local):
    """What passes through within one call: for every thread its own, as a chunk belongs to one connection."""

    def __init__(self) -> None:
        self.ciphertext = memoryview(bytearray(CHUNK))
        self.plaintext = memoryview(bytearray(CHUNK))


_buffers = _Buffers()


def plaintext() -> memoryview:
    """This thread's buffer to `recv_into` with, for those who copy out of it before anything else happens."""
    return _buffers.plaintext


class SecureSocket:
    """A connected non-blocking socket that speaks TLS. It stays with the thread that made it.

    raw: the socket underneath, owned; fileno: its. ssl_object: for what was agreed on.
    unsent: bytes of ciphertext that the kernel did not take, to be flushed at the next writable event.
    pending: `recv_into` may have something without a readable event.
    fetched: bytes of ciphertext the last call of `recv_into` that asked the kernel got; fewer than `CHUNK`: it had no
    more.
    goodbye: the peer has said that it ends; without it, the end of the bytes is a cut.
    """

    __slots__ = (
        "_ciphertext",
        "_cut",
        "_decipher",
        "_encipher",
        "_failure",
        "_incoming",
        "_inner",
        "_outgoing",
        "_recv",
        "_rest",
        "_said_goodbye",
        "_send",
        "_shut",
        "_starts",
        "_stash",
        "_waits_for_company",
        "fetched",
        "fileno",
        "goodbye",
        "pending",
        "raw",
        "ssl_object",
        "unsent",
    )

    def __init__(
        self,
        raw: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """Raises ValueError for a name that TLS cannot carry."""
        # connection
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(
            self._incoming, self._outgoing, server_side, server_hostname or None, session
        )
        # The wrapping of `ssl` would cost a call for each record, and for each step of a handshake.
        inner: Any = self.ssl_object._sslobj  # type: ignore[attr-defined]
        self._inner = inner
        self._decipher = inner.read
        self._encipher = inner.write
        self.raw = raw
        self.fileno = raw.fileno
        self._recv = raw.recv_into
        self._send = raw.send
        self._ciphertext = _buffers.ciphertext
        self._rest: bytes | memoryview = b""
        self._stash = b""
        self._failure: OSError | None = None
        self._starts = not server_side
        self._waits_for_company = False
        self._said_goodbye = False
        self._shut = False
        self._cut = False
        self.unsent = 0
        self.pending = False
        self.fetched = 0
        self.goodbye = False

    @property
    def queued(self) -> int:
        """Bytes of ciphertext that are still here."""
        return len(self._rest) + self._outgoing.pending

    # --- the handshake ----------------------------------------------------------------------------------------

    def shake(self) -> bool:
        """Go on with the handshake; whether it is complete. Raises OSError when it has failed or the peer is gone.

        While there is something `unsent`, only a writable event helps; else only a readable one.
        """
        if self._rest and not self.flush():
            return False
        if self._starts:
            self._starts = False
        else:
            try:
                count = self._recv(self._ciphertext)
            except BlockingIOError:
                return False
            if not count:
                raise Truncated
            self._incoming.write(self._ciphertext[:count])
        try:
            self._inner.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return False
        except ssl.SSLError:
            self._say_why()
            raise
        self.pending = self._incoming.pending > 0
        if self._inner.server_side and self._inner.version() == "TLSv1.3":
            # Nobody waits for the tickets: they leave with what is sent first.
            self._waits_for_company = True
        else:
            self.flush()
        return True

    # --- reading ----------------------------------------------------------------------------------------------

    def recv_into(self, view: memoryview) -> int:
        """Fill `view` with what has come; 0 is the peer's goodbye. Hot.

        Raises BlockingIOError when there is nothing now, OSError when the connection is broken or was cut. Fetches
        `CHUNK` bytes at most; if more of it may be had than `view` holds, that is `pending`.
        """
        incoming = self._incoming
        if not self.pending:
            self.fetched = 0
            count = self.fetched = self._recv(self._ciphertext)
            if not count:
                return self._recv_end()
            incoming.write(self._ciphertext[:count])
        elif self._stash or self.goodbye or self._failure is not None:
            return self._recv_kept(view)
        try:
            count = self._decipher(len(view), view)
        except ssl.SSLWantReadError:
            self.pending = False
            self._answer()
            raise BlockingIOError(errno.EAGAIN, "no whole record yet") from None
        except ssl.SSLZeroReturnError:
            count = 0
        except ssl.SSLError:
            self._say_why()
            raise
        if not count:
            self._end()
            return 0
        if incoming.pending:
            count = self._recv_more(view, count)
        # What a record holds beyond `view` is with OpenSSL.
        elif self.pending or count == len(view):
            self.pending = self._inner.pending() > 0
        if self._outgoing.pending:
            self._answer()
        return count

    def _recv_more(self, view: memoryview, count: int) -> int:
        """Fill the rest of `view` from records that are already here. What ends them is told by the next call."""
        incoming, size = self._incoming, len(view)
        self.pending = True
        try:
            while count < size and incoming.pending:
                taken = self._decipher(size - count, view[count:])
                if not taken:
                    self.goodbye = True
                    return count
                count += taken
            self.pending = incoming.pending > 0 or self._inner.pending() > 0
        except ssl.SSLWantReadError:
            self.pending = False
        except ssl.SSLZeroReturnError:
            self.goodbye = True
        except ssl.SSLError as error:
            self._say_why()
            self._failure = error
        return count

    def _recv_kept(self, view: memoryview) -> int:
        """What was read ahead, then what came behind it."""
        if self._stash:
            count = min(len(view), len(self._stash))
            view[:count] = self._stash[:count]
            self._stash = self._stash[count:]
            return count
        if self._failure is not None:
            raise self._failure
        self._end()
        return 0

    def _recv_end(self) -> int:
        """The raw socket has ended."""
        if not self.goodbye:
            raise Truncated
        return 0

    def _end(self) -> None:
        self.goodbye = True
        self.pending = False

    # --- writing ----------------------------------------------------------------------------------------------

    def send(self, data: Bytes) -> int:
        """Send `data` or its beginning: how many bytes, which is all up to `CHUNK`. Hot.

        What the kernel does not take of them is `unsent`; until that is flushed, BlockingIOError is raised.
        """
        if self._rest and not self.flush():
            raise BlockingIOError(errno.EAGAIN, "the last bytes are still unsent")
        count: int = self._encipher(data)
        if count < len(data):
            count = self._encipher_more(data, count, CHUNK)
        self.flush()
        return count

    def put(self, data: Bytes) -> None:
        """Encipher all of `data`; it is `queued` then, and leaves with the next `flush`. Hot."""
        count = self._encipher(data)
        if count < len(data):
            self._encipher_more(data, count, len(data))

    def _encipher_more(self, data: Bytes, count: int, limit: int) -> int:
        """OpenSSL makes one record per call."""
        view = memoryview(data)[:limit]
        while count < len(view):
            count += self._encipher(view[count:])
        return count

    def flush(self, flags: int = 0) -> bool:
        """Send what is there; whether all of it has gone. Raises OSError. Hot.

        flags: MSG_MORE has it leave together with the FIN of a `close` that follows at once.
        """
        self._waits_for_company = False
        rest = self._rest or self._outgoing.read()
        while rest:
            try:
                sent = self._send(rest, flags)
            except BlockingIOError:
                sent = 0
            if sent < len(rest):
                self._rest = memoryview(rest)[sent:]
                self.unsent = len(self._rest)
                return False
            rest = self._outgoing.read()
        self._rest = b""
        self.unsent = 0
        if self._shut:
            self._shut = False
            self.raw.shutdown(socket.SHUT_WR)
        return True

    def _answer(self) -> None:
        """Send what a record of the peer made OpenSSL say: the answer to a key update."""
        if self._rest:
            if self._outgoing.pending > MAX_OWN_WORDS:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the peer makes us talk and does not listen")
        elif not self._waits_for_company or self._outgoing.pending > MAX_OWN_WORDS:
            self.flush()

    # --- ends -------------------------------------------------------------------------------------------------

    def shutdown(self, how: int) -> None:
        """Say goodbye, and end our side once that has gone; the peer may go on. Raises OSError.

        how: as for a socket; reading goes on in any case.
        """
        if how == socket.SHUT_RD or self._said_goodbye:
            return
        self.say_goodbye()
        self._shut = True
        self.flush()

    def say_goodbye(self) -> None:
        """Queue our goodbye, behind what is there; it leaves with the next `flush`. Nothing may be sent after it."""
        if self._said_goodbye:
            return
        self._said_goodbye = True
        if self.pending and not (self.goodbye or self._failure):
            self._read_ahead()  # Or OpenSSL, which looks for the peer's goodbye, would drop a record.
        try:
            self._inner.shutdown()
        except ssl.SSLError:
            return  # As ever, unless the peer was first: OpenSSL looks for its goodbye, too.

    def _read_ahead(self) -> None:
        view = memoryview(bytearray(2 * CHUNK))
        count = 0
        with contextlib.suppress(BlockingIOError, ssl.SSLError):
            while self.pending and count < len(view) and self._failure is None and not self.goodbye:
                count += self.recv_into(view[count:])
        self._stash += bytes(view[:count])
        self.pending = self.pending or bool(self._stash) or self.goodbye

    def _say_why(self) -> None:
        """Send the alert that OpenSSL has written for a broken rule."""
        with contextlib.suppress(OSError):
            self.flush()

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """As of a socket. Who arranges for a reset gets no goodbye: a cut must not look like an end."""
        self.raw.setsockopt(level, option, value)
        if level == socket.SOL_SOCKET and option == socket.SO_LINGER:
            self._cut = True

    def close(self) -> None:
        """Close, with a goodbye if there was none; what is unsent is lost."""
        if not (self._said_goodbye or self._cut or self._starts) and self.raw.fileno() >= 0:
            with contextlib.suppress(OSError):
                self.say_goodbye()
                self.flush(socket.MSG_MORE)
        self.raw.close()
