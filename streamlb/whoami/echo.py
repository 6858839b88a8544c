"""The TCP and the UDP example server: what is sent comes back with the server's name in front.

What lives here: `TcpEcho`, one per connection, and `UdpEcho`, one per socket. A TCP message is a line: however the
bytes are cut on their way, the name stands in front of each line once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamlb.whoami.identity import show_peer

if TYPE_CHECKING:
    from streamlb.whoami.identity import Identity

MAX_DATAGRAM = 65_507
"""The largest payload of an IPv4 datagram: 65,535 less 20 of IP and 8 of UDP (RFC 768)."""


class TcpEcho(asyncio.Protocol):
    """Echoes lines under backpressure; closes when the client has finished and has been answered."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._mark = f"{identity.name}: ".encode()
        self._at_line_start = True
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no subclass.
        self._peer = show_peer(transport.get_extra_info("peername"))
        self._identity.note(f"tcp {self._peer} connected")

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        ends_line = data.endswith(b"\n")
        marked = (data[:-1] if ends_line else data).replace(b"\n", b"\n" + self._mark)
        lead = self._mark if self._at_line_start else b""
        self._transport.write(lead + marked + (b"\n" if ends_line else b""))
        self._at_line_start = ends_line

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        how = "reset" if exc else "closed"
        self._identity.note(f"tcp {self._peer} {how} after {self._received} bytes")


class UdpEcho(asyncio.DatagramProtocol):
    """Answers each datagram with one."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._mark = f"{identity.name}: ".encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]  # uvloop's is no subclass.

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._identity.note(f"udp {show_peer(addr)} {len(data)} bytes")
        self._transport.sendto((self._mark + data)[:MAX_DATAGRAM], addr)
