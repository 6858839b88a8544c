"""A connection that has not said yet what it is: a PROXY header, a ClientHello or something else is awaited.

What lives here: `Newcomer`, which looks at the first bytes and leaves them where they are, so that whoever serves the
connection finds them all; only a PROXY header and PostgreSQL's request for TLS are taken off. A ClientHello is read
where it makes a difference what it says. Where TLS ends here, the handshake is part of it.
What must not: who serves it (`door.py`), what the bytes mean (`wire`). Made by `door.py`.
Bounded in bytes by what is read (`MAX_HEADER`, `MAX_CLIENT_HELLO`), in time by the door's patience.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from typing import TYPE_CHECKING, Final

from streamlb.net.handshake import shake_hands
from streamlb.net.poller import FAILED, ON_CHANGE, OVER, PEER_ENDED, READABLE
from streamlb.net.secure import SecureSocket
from streamlb.net.tls import client_reason
from streamlb.proxy.clock import NEVER
from streamlb.proxy.contexts import UNRECOGNIZED_NAME, Unserved
from streamlb.proxy.live import LAST_CALL
from streamlb.routing.router import Route
from streamlb.runtime.secure import options_named_by
from streamlb.wire.clienthello import MAX_CLIENT_HELLO, ClientHello, is_usual
from streamlb.wire.opening import GO_AHEAD, NOT_THIS_WAY, SSL_REQUEST, TLS_BEGINNINGS, Request, read_opening
from streamlb.wire.preamble import Incomplete, Malformed
from streamlb.wire.proxy_protocol import MAX_HEADER, Header, read_header

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from streamlb.net.handshake import Handshake
    from streamlb.proxy.arrival import Arrival
    from streamlb.proxy.door import Door
    from streamlb.routing.router import HttpTable
    from streamlb.runtime.snapshot import EntryPointTable

    Step = Callable[[memoryview], int]

SILENCE: Final = 2.0
"""Seconds without a byte after which a client may be one that waits for its server to speak first. The ClientHello of
one that speaks follows its handshake at once, or after a second if it was lost on the way."""
MAX_REQUESTS: Final = 2
"""PostgreSQL's ways to encrypt that a client may ask for, one after the other."""
ALERT: Final = b"\x15\x03\x01\x00\x02\x02"
"""A fatal alert in the clear, but for its last byte (RFC 8446 section 6)."""

_view = memoryview(bytearray(max(MAX_CLIENT_HELLO, MAX_HEADER)))
"""What is looked at, for as long as a call takes."""


class Newcomer:
    """A connection at the door. `due_at`: when to ask whether it is one of the silent, or when it is cut.

    step: what its next bytes are read as; answers how many are needed for that, 0 when it could read them.
    first: the first byte it has said, -1 for none yet. low_water: bytes that wake us up.
    """

    __slots__ = (
        "_arrival",
        "_door",
        "_ends_at",
        "_first",
        "_handshake",
        "_is_open",
        "_is_watched",
        "_low_water",
        "_requests",
        "_sock",
        "_step",
        "due_at",
    )

    def __init__(self, door: Door, sock: socket.socket, arrival: Arrival) -> None:
        # connection
        self._door = door
        self._sock = sock
        self._arrival = arrival
        self._step: Step | None = self._read_header if door.wants_header else self._read_opening
        self._first = -1
        self._low_water = 1
        self._requests = 0
        self._handshake: Handshake | None = None
        self._is_open = False
        self._is_watched = False
        self._ends_at = NEVER
        self.due_at = NEVER

    def look(self, events: int = 0) -> None:
        """Read what there is, as far as it can be read."""
        is_over = bool(events & (PEER_ENDED | OVER | FAILED))
        try:
            while self._step is not None:
                count = self._sock.recv_into(_view, 0, socket.MSG_PEEK)
                if not count:
                    self.abort()
                    return
                self._first = _view[0]
                needed = self._step(_view[:count])
                if not needed:
                    continue
                if not is_over:
                    self._wait(needed)
                elif not self._is_taken_plain():
                    self.abort()
                return
        except BlockingIOError:
            self._wait(1)
        except OSError:
            self.abort()

    # --- what it says -----------------------------------------------------------------------------------------

    def _read_header(self, data: memoryview) -> int:
        """The PROXY header, which has to come before anything else, if there is one."""
        found = read_header(data)
        if isinstance(found, Incomplete):
            return found.needed
        if isinstance(found, Malformed):
            self._turn_away(f"its PROXY header: {found.reason}", word="proxy-header")
            return 0
        if isinstance(found, Header):
            self._take_off(found.length)
            self._first = -1
            if found.source is not None and self._door.trusted.covers(self._arrival.client):
                self._arrival.speak_for(found.source, found.destination)
        if self._door.table.speaks_tls:
            self._step = self._read_opening
        else:
            self._go_on_plain()
        return 0

    def _read_opening(self, data: memoryview) -> int:
        """What comes first of all, or behind the PROXY header."""
        arrival = self._arrival
        universal = self._door.contexts.universal()
        if universal is not None and is_usual(data.tobytes()):
            arrival.is_tls = True
            self._shake_hands(universal.context, universal.options)
            return 0
        table = self._door.table
        found = read_opening(data, postgres=table.tcp_tls is not None and not arrival.is_postgres)
        if isinstance(found, Incomplete):
            return found.needed
        if isinstance(found, ClientHello):
            arrival.is_tls, arrival.host, arrival.protocols = True, found.server_name, found.protocols
            self._find_taker(table)
        elif isinstance(found, Request):
            self._answer(found)
        elif isinstance(found, Malformed):
            self._turn_away(f"its ClientHello: {found.reason}", found.alert)
        elif arrival.is_postgres:
            self._turn_away("it asked for TLS and does not speak it")
        else:
            self._go_on_plain()
        return 0

    def _answer(self, request: Request) -> None:
        """PostgreSQL asks before it begins with TLS."""
        self._take_off(len(SSL_REQUEST))
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            self._turn_away("it asks again and again for encryption")
            return
        self._arrival.is_postgres = request.is_for_tls
        self._sock.send(GO_AHEAD if request.is_for_tls else NOT_THIS_WAY)

    def _take_off(self, count: int) -> None:
        """Take bytes away that have been looked at."""
        while count:
            count -= self._sock.recv_into(_view[:count])

    # --- where it goes ----------------------------------------------------------------------------------------

    def _go_on_plain(self) -> None:
        self._leave()
        self._door.take_plain(self._sock, self._arrival)

    def _is_taken_plain(self) -> bool:
        """Give a connection that says nothing, or nothing of TLS, to a TCP router in the clear, if one wants it."""
        says_something = self._first >= 0 and (self._step == self._read_header or self._first in TLS_BEGINNINGS)
        if self._step is None or says_something or self._arrival.is_postgres:
            return False
        tcp = self._door.table.tcp
        if tcp is None or tcp.route(self._arrival) is None:
            return False
        self._go_on_plain()
        return True

    def _find_taker(self, table: EntryPointTable) -> None:
        """Over TLS: pass the bytes on as they are, or end TLS here, for whoever takes the connection."""
        arrival = self._arrival
        taker: Route | HttpTable | None
        if arrival.is_postgres:
            taker = table.tcp_tls.route(arrival) if table.tcp_tls is not None else None
        else:
            taker = table.take_tls(arrival)
        if taker is None:
            self._turn_away("no router wants it", UNRECOGNIZED_NAME, word="no-router")
        elif isinstance(taker, Route) and taker.tls.passthrough:
            self._leave()
            self._door.take_tcp(self._sock, taker, arrival)
        else:
            self._end_tls(taker)

    def _end_tls(self, taker: Route | HttpTable) -> None:
        """End TLS here, with what fits the name the client asks for."""
        arrival = self._arrival
        route = taker if isinstance(taker, Route) else None
        options = options_named_by(route) if route is not None else self._door.table.plan.options_of(arrival.host)
        context = self._door.contexts.find(arrival, options, is_http=route is None)
        if isinstance(context, Unserved):
            self._turn_away(context.reason, context.alert)
        else:
            self._shake_hands(context, options, route)

    def _shake_hands(self, context: ssl.SSLContext, options: str, route: Route | None = None) -> None:
        """From now on the bytes are OpenSSL's. route: whose connection it is, if not HTTP's."""
        door = self._door
        self._step = None
        self._unwatch()
        if not self._is_open and not self._open():
            return
        self.due_at = self._ends_at
        secure = SecureSocket(self._sock, context, server_side=True)
        on_shaken = functools.partial(self._on_shaken, secure, options, route)
        # Whoever serves HTTP goes on watching the socket; a pump begins anew.
        self._handshake = shake_hands(door.loop, secure, 0, on_shaken, stays=route is None)

    def _on_shaken(self, secure: SecureSocket, options: str, route: Route | None, error: OSError | None) -> None:
        self._handshake = None
        self._leave()
        door, arrival = self._door, self._arrival
        if error is not None:
            door.refused(arrival, client_reason(error))
        elif route is not None:
            door.take_tcp(secure, route, arrival)
        else:
            door.take_https(secure, arrival, options)

    def _turn_away(self, reason: str, alert: int = 0, *, word: str = "tls") -> None:
        """Close, with a word why if TLS has one for it."""
        self._door.refused(self._arrival, reason, word)
        if alert:
            with contextlib.suppress(OSError):
                # What is left unread would make the end a reset, which may overtake the alert.
                self._sock.recv_into(_view)
                self._sock.send(ALERT + bytes((alert,)))
        self.abort()

    # --- waiting ----------------------------------------------------------------------------------------------

    def _wait(self, needed: int) -> None:
        """Until there are `needed` bytes, or the client has ended. Fewer wake nobody up."""
        if needed != self._low_water:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, needed)
            self._low_water = needed
        if not self._is_open:
            if not self._open():
                return
            self.due_at = min(self._ends_at, self._door.clock.after(SILENCE))
        if not self._is_watched:
            # Where the kernel does not take so high a mark, what it would tell again and again is told once.
            self._door.poller.add(self._sock.fileno(), READABLE | PEER_ENDED | ON_CHANGE, self.look)
            self._is_watched = True

    def _open(self) -> bool:
        """Be one of those who are waited for; whether there is still somebody who waits."""
        self._is_open = True
        self.due_at = self._ends_at = self._door.clock.after(self._door.patience)
        self._door.opened(self)
        return self._is_open

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._door.poller.remove(self._sock.fileno())
        if self._low_water != 1:
            self._low_water = 1
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def _leave(self) -> None:
        """Let go of the socket."""
        self._step = None
        self._unwatch()
        if self._is_open:
            self._is_open = False
            self._door.closed(self)

    def on_due(self) -> None:
        if self.due_at < self._ends_at:
            self.due_at = self._ends_at
            self._is_taken_plain()
        else:
            self._turn_away("it has not said in time what it is", word="silent")

    # --- as one of the live conversations ---------------------------------------------------------------------

    def drain(self) -> None:
        """What has been accepted may still say what it wants, if it is quick."""
        self._ends_at = min(self._ends_at, self._door.clock.after(LAST_CALL))
        self.due_at = min(self.due_at, self._ends_at)

    def on_bug(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._leave()
        if self._handshake is not None:
            self._handshake.cancel()
        self._sock.close()
