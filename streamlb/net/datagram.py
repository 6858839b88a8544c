"""Datagram sockets: the entry point's door, connected sockets towards servers, and where a server's name leads.

What lives here: `open_door`, `connect`, `Destination`, and which errors mean that a server is not there.
What must not: flows and picks (`proxy/udp.py`). Called by `proxy`.
Specified by udp(7), ip(7) and ipv6(7): IP_PKTINFO, errors of connected sockets; RFC 3542 section 6.
"""

from __future__ import annotations

import errno
import functools
import socket
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from streamlb.net.address import numeric_family
from streamlb.net.resolve import KEEP, KEEP_FAILURE, resolver

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable

    from streamlb.net.resolve import Found

MAX_DATAGRAM = 65535
"""Bytes; no UDP payload is larger (RFC 768: a 16-bit length), so nothing is ever truncated."""

IP_PKTINFO = 8
IPV6_RECVPKTINFO = 49
IPV6_PKTINFO = 50
"""Linux's numbers; Python's socket module has them from 3.14 on."""

SO_MEMINFO = 55
MEMINFO = struct.Struct("9I")
"""linux/sock_diag.h: bytes waiting to be read, the receive buffer's size, six more, and what found no room there."""
NO_MEMINFO = (0,) * 9

ANCILLARY_SIZE = socket.CMSG_SPACE(20)
"""Bytes for one `in6_pktinfo`, the larger of the two."""
MAX_LOCAL_ADDRESSES = 256
"""Addresses of this machine whose answer notes are remembered per door."""

DATAGRAMS = int(socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

MIRROR_RECEIVE_BUFFER = 1
"""Bytes; the kernel makes it its minimum. Nobody reads what a mirror answers, so it may not pile up."""

ABSENT = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
    }
)
"""Errors, mostly brought by ICMP (RFC 1122 section 4.1.3.3), that say the server is not there.

Any other error of a send concerns that one datagram: too large for the family, no buffer, a firewall."""


Notes = list[tuple[int, int, bytes]]
"""Ancillary data of sendmsg: level, type, value."""


class FixedDoor:
    """A socket bound to one address: a flow's key is the client's socket address.

    receive: the next datagram and the key of its flow, or BlockingIOError.
    answer: send a datagram back to the client of a flow.
    """

    __slots__ = ("answer", "receive")

    def __init__(self, sock: socket.socket) -> None:
        # The socket's own methods, without a Python frame in between.
        self.receive: Callable[[], tuple[bytes, Any]] = functools.partial(sock.recvfrom, MAX_DATAGRAM)
        self.answer: Callable[[bytes, Any], int] = sock.sendto


class WildcardDoor:
    """A socket bound to every address of the machine: a flow's key is the client and the local address it sent to.

    Without the second half an answer would leave from whatever address the routing table prefers, and a client that
    asked another one would not take it. Costs about 0.3 us per datagram more than a fixed door.
    """

    __slots__ = ("_local", "_notes", "_recvmsg", "_render_notes", "_sendmsg")

    def __init__(self, sock: socket.socket) -> None:
        if sock.family == socket.AF_INET6:
            # struct in6_pktinfo: the header's destination (an IPv4 one is mapped), the interface.
            self._local = slice(0, 16)
            self._render_notes = ipv6_notes
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        else:
            # struct in_pktinfo: the interface, the local address (where a broadcast arrived too), the destination.
            self._local = slice(4, 8)
            self._render_notes = ipv4_notes
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self._recvmsg = sock.recvmsg
        self._sendmsg = sock.sendmsg
        self._notes: dict[bytes, Notes] = {b"": []}

    def receive(self) -> tuple[bytes, Any]:
        data, notes, _, client = self._recvmsg(MAX_DATAGRAM, ANCILLARY_SIZE)
        return data, (client, notes[0][2][self._local] if notes else b"")

    def answer(self, data: bytes, key: Any) -> int:
        client, local = key
        notes = self._notes.get(local)
        if notes is None:
            notes = self._remember(local)
        return self._sendmsg((data,), notes, 0, client)

    def _remember(self, local: bytes) -> Notes:
        if len(self._notes) > MAX_LOCAL_ADDRESSES:
            self._notes = {b"": []}
        notes = self._notes[local] = self._render_notes(local)
        return notes


def ipv4_notes(local: bytes) -> Notes:
    """Ancillary data that makes a datagram leave from `local`; by which interface is left to the routing table."""
    return [(socket.IPPROTO_IP, IP_PKTINFO, bytes(4) + local + bytes(4))]


def ipv6_notes(local: bytes) -> Notes:
    """The same for IPv6. A multicast group cannot be a source: then the kernel chooses."""
    return [] if local[0] == 0xFF else [(socket.IPPROTO_IPV6, IPV6_PKTINFO, local + bytes(4))]


def open_door(sock: socket.socket) -> FixedDoor | WildcardDoor:
    """The door of a bound socket; it must be non-blocking."""
    if sock.getsockname()[0] in ("0.0.0.0", "::"):
        return WildcardDoor(sock)
    return FixedDoor(sock)


def overruns(sock: socket.SocketType) -> int:
    """Datagrams the kernel has dropped because the socket's receive buffer was full; counts modulo 2**32."""
    return _memory_of(sock)[8]


def is_half_full(sock: socket.SocketType) -> bool:
    """Whether more than half of the socket's receive buffer is taken."""
    waiting, size, *_ = _memory_of(sock)
    return waiting * 2 > size


def _memory_of(sock: socket.SocketType) -> tuple[int, ...]:
    try:
        return MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size))
    except (OSError, struct.error):
        # Not Linux's own kernel (gVisor): nothing is known.
        return NO_MEMINFO


class Place(NamedTuple):
    """One address of a destination."""

    family: socket.AddressFamily
    where: tuple[str, int]


def connect(place: Place) -> socket.SocketType:
    """A non-blocking socket that sends to, and hears from, `place` only. An OSError leaves nothing open.

    It is the plain C object: what the class around it adds costs 2 us per socket, and nobody needs it here.
    """
    sock = socket.SocketType(place.family, DATAGRAMS)
    try:
        sock.connect(place.where)
    except OSError:
        sock.close()
        raise
    return sock


def connect_deaf(place: Place) -> socket.SocketType:
    """`connect` for a socket nobody will read."""
    sock = connect(place)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIRROR_RECEIVE_BUFFER)
    return sock


class Destination:
    """Where the datagrams for one server go. A numeric address is known at once and for ever.

    A name is looked up in the background; while the answer is old and asked for again, the old one serves, and if the
    name stops resolving the old one goes on serving.

    place: the address to use; None while nothing is known.
    is_asking: a lookup is under way; those who `wait` are told when it has ended.
    """

    __slots__ = ("_found", "_fresh_until", "_host", "_loop", "_port", "_waiting", "is_asking", "place")

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> None:
        # process
        self._loop = loop
        self._host = host
        self._port = port
        # until the next lookup
        self._found: Found = []
        self._fresh_until = float("-inf")
        self.is_asking = False
        self._waiting: dict[Hashable, Callable[[], object]] = {}
        self.place: Place | None = None
        family = numeric_family(host)
        if family is not None:
            self._use([(family, host)])
            self._fresh_until = float("inf")

    def refresh(self, now: float) -> None:
        """Have the name looked up if what is known is old. Never answers from inside this call."""
        if now >= self._fresh_until and not self.is_asking:
            self.is_asking = True
            resolver(self._loop).resolve(self._host, self._on_found)

    def wait(self, who: Hashable, on_found: Callable[[], object]) -> None:
        """Have `on_found` called after the lookup under way, whether or not it found something."""
        self._waiting[who] = on_found

    def forget(self, who: Hashable) -> None:
        """`who` no longer waits."""
        self._waiting.pop(who, None)

    def refused(self, place: Place) -> None:
        """`place` is not there: use the name's next address from now on (`localhost` is ::1 and 127.0.0.1)."""
        if place == self.place and len(self._found) > 1:
            self._use([*self._found[1:], self._found[0]])

    def _on_found(self, found: Found) -> None:
        self.is_asking = False
        self._fresh_until = self._loop.time() + (KEEP if found else KEEP_FAILURE)
        if found and sorted(found) != sorted(self._found):
            self._use(list(found))
        waiting, self._waiting = self._waiting, {}
        for on_found in waiting.values():
            on_found()

    def _use(self, found: Found) -> None:
        self._found = found
        family, host = found[0]
        self.place = Place(family, (host, self._port))
