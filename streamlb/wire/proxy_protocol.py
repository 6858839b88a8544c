"""The PROXY protocol: who the client is, said by a proxy before the client's first byte.

What lives here: reading and writing the header of versions 1 and 2. What must not: whom to believe (`proxy`), sockets.
Strict, for a header that two could read in two ways would let a client say who it is.
Specified by "The PROXY protocol", versions 1 & 2 (Willy Tarreau, HAProxy), sections 2.1 and 2.2.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

from streamlb.wire.preamble import Incomplete, Malformed

MAX_V1: Final = 107
"""Bytes of the longest line of version 1, its end included."""
MAX_V2_LENGTH: Final = 4096
"""Bytes of addresses and extras of version 2. Real ones have some hundred; a Unix address has 216."""
MAX_HEADER: Final = 16 + MAX_V2_LENGTH

V1: Final = b"PROXY "
SHORTEST_V1: Final = b"PROXY UNKNOWN\r\n"
SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"

LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6 = 0x11, 0x21
_SIZES: Final = {TCP4: 4, TCP6: 16}
"""Bytes of an address, by family and transport. Other addresses say nothing about a TCP client."""
MAX_FAMILY, MAX_TRANSPORT = 3, 2
CRC32C: Final = 0x03

_line = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})").fullmatch
_unknown = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*+)?").fullmatch

IPAddress = IPv4Address | IPv6Address
Endpoint = tuple[IPAddress, int]
"""An address and a port."""


class Header(NamedTuple):
    """A header of `length` bytes. No source and destination: the proxy speaks for itself, or of somebody unknown."""

    length: int
    source: Endpoint | None = None
    destination: Endpoint | None = None


class Absent(NamedTuple):
    """The first bytes are those of something else."""


# --- reading -----------------------------------------------------------------------------------------------------


def read_header(data: bytes | memoryview) -> Header | Incomplete | Absent | Malformed:
    """Read the header that `data` begins with; what comes behind it is left alone."""
    data = bytes(data[:MAX_HEADER])
    if data.startswith(V1):
        return _read_v1(data)
    if data.startswith(SIGNATURE):
        return _read_v2(data)
    if V1.startswith(data) or SIGNATURE.startswith(data):
        # Not a byte more than it takes to tell: there may be no more if it is something else.
        return Incomplete(len(data) + 1)
    return Absent()


def _read_v1(data: bytes) -> Header | Incomplete | Malformed:
    end = data.find(b"\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            return Malformed(f"a line of more than {MAX_V1} bytes")
        return Incomplete(max(len(data) + 1, len(SHORTEST_V1)))
    line, ending = data[: end - 1], data[end - 1 : end + 1]
    if ending != b"\r\n":
        return Malformed("a line that does not end in CRLF")
    if _unknown(line):
        return Header(end + 1)
    found = _line(line)
    if found is None:
        return Malformed("not a line of version 1")
    family, source, destination, source_port, destination_port = found.groups()
    parse = IPv4Address if family == b"TCP4" else IPv6Address
    ports = int(source_port), int(destination_port)
    if max(ports) > 65_535:
        return Malformed("a port beyond 65535")
    try:
        addresses = parse(source.decode()), parse(destination.decode())
    except AddressValueError:
        return Malformed(f"not addresses of {family.decode()}")
    return Header(end + 1, (addresses[0], ports[0]), (addresses[1], ports[1]))


def _read_v2(data: bytes) -> Header | Incomplete | Malformed:
    if len(data) < 16:
        return Incomplete(16)
    command, family = data[12], data[13]
    length = data[14] << 8 | data[15]
    if command not in (LOCAL, PROXY):
        return Malformed("an unknown version or command")
    if family >> 4 > MAX_FAMILY or family & 15 > MAX_TRANSPORT:
        return Malformed("an unknown family or transport")
    if length > MAX_V2_LENGTH:
        return Malformed(f"more than {MAX_V2_LENGTH} bytes")
    if len(data) < 16 + length:
        return Incomplete(16 + length)
    header = data[: 16 + length]
    size = _SIZES.get(family, 0)
    if command == LOCAL or not size:
        return Header(len(header))
    behind = 16 + 2 * size + 4
    if len(header) < behind:
        return Malformed("too short for its addresses")
    reason = _fault_of_extras(header, behind)
    if reason:
        return Malformed(reason)
    parse = IPv4Address if family == TCP4 else IPv6Address
    source, destination = parse(header[16 : 16 + size]), parse(header[16 + size : 16 + 2 * size])
    source_port = int.from_bytes(header[behind - 4 : behind - 2], "big")
    return Header(len(header), (source, source_port), (destination, int.from_bytes(header[behind - 2 : behind], "big")))


def _fault_of_extras(header: bytes, at: int) -> str:
    """What is wrong with the type-length-value fields behind the addresses; only the checksum's value is read."""
    while at < len(header):
        end = at + 3 + int.from_bytes(header[at + 1 : at + 3], "big")
        if at + 3 > len(header) or end > len(header):
            return "a field longer than the header"
        if header[at] == CRC32C:
            if end - at != 7:
                return "a checksum that is not four bytes long"
            zeroed = header[: at + 3] + bytes(4) + header[end:]
            if crc32c(zeroed) != int.from_bytes(header[at + 3 : end], "big"):
                return "a wrong checksum"
        at = end
    return ""


def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return tuple(found)


_crcs: Final = _table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum (RFC 9260 appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _crcs[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


# --- writing -----------------------------------------------------------------------------------------------------


def render(version: int, source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """The header that says who the client is and what it connected to; without them, that we speak for ourselves."""
    if source is None or destination is None:
        return SHORTEST_V1 if version == 1 else SIGNATURE + bytes((LOCAL, 0, 0, 0))
    (client, client_port), (here, here_port) = source, destination
    if client.version != here.version:
        client, here = _as_v6(client), _as_v6(here)
    if version == 1:
        return f"PROXY TCP{client.version} {client} {here} {client_port} {here_port}\r\n".encode()
    family = TCP4 if client.version == 4 else TCP6
    addresses = client.packed + here.packed + client_port.to_bytes(2, "big") + here_port.to_bytes(2, "big")
    return SIGNATURE + bytes((PROXY, family, 0, len(addresses))) + addresses


def _as_v6(address: IPAddress) -> IPv6Address:
    """An IPv4 address as IPv6 writes it (RFC 4291 section 2.5.5.2)."""
    return address if isinstance(address, IPv6Address) else IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
