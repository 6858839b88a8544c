"""The first words of a TLS client, read without answering: which host it wants and what it will speak there.

What lives here: `read_client_hello`, and `is_usual` for those who need not read it. What must not: cryptography,
sockets, what is done about it (`proxy`).
Strict where a server would be, so that nothing is routed by a name that OpenSSL would read in another way.
RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3 (server names), RFC 7301 section 3.1 (ALPN).
"""

from __future__ import annotations

import re
import struct
from typing import Final, NamedTuple

from streamlb.wire.preamble import Incomplete, Malformed

MAX_HELLO: Final = 16 * 1024
"""Bytes of a ClientHello's message. Those of browsers have two thousand, with post-quantum key shares."""
MAX_RECORDS: Final = 128
"""Records one ClientHello may be spread over; nobody needs more than a few."""
MAX_CLIENT_HELLO: Final = 4 + MAX_HELLO + MAX_RECORDS * 5
"""Bytes that need to be at hand at most."""

MAX_RECORD: Final = 2**14
HANDSHAKE: Final = 0x16
CLIENT_HELLO: Final = 1
SERVER_NAME: Final = 0
ALPN: Final = 16
ALPN_KIND: Final = b"\0\x10"
HTTP_1_1: Final = b"\x08http/1.1"
"""As ALPN names it. No host name has a slash."""

UNEXPECTED_MESSAGE: Final = 10
RECORD_OVERFLOW: Final = 22
ILLEGAL_PARAMETER: Final = 47
DECODE_ERROR: Final = 50
PROTOCOL_VERSION: Final = 70

SHORT: Final = "a ClientHello shorter than it says"
MAX_NAME: Final = 255
_name = re.compile(rb"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?").fullmatch
_beginning = struct.Struct("!HxHBBH").unpack_from
_extension = struct.Struct("!HH").unpack_from
_first_name = struct.Struct("!HBH").unpack_from


class ClientHello(NamedTuple):
    """What a client said. server_name: lower case, no trailing dot, empty if it named none. protocols: its ALPN."""

    server_name: bytes
    protocols: tuple[bytes, ...]


class NotTls(NamedTuple):
    """The first bytes are those of something else."""


class _Fault(Exception):
    """Raised while reading, for `Malformed`."""

    def __init__(self, reason: str, alert: int = DECODE_ERROR) -> None:
        self.malformed = Malformed(reason, alert)


def read_client_hello(data: bytes | memoryview) -> ClientHello | Incomplete | NotTls | Malformed:
    """Read all that a client has said so far; whatever comes behind its ClientHello is left alone."""
    data = memoryview(data)
    size = len(data)
    if not size:
        return Incomplete(1)
    if data[0] != HANDSHAKE:
        return _other(data)
    if size < 2:
        return Incomplete(2)
    if data[1] != 3:
        # Whatever the minor version says is of no importance (RFC 8446 section 5.1).
        return NotTls()
    try:
        if size > 9 and data[5] == CLIENT_HELLO:
            # Nearly always all of it is there, in one record.
            record, length = data[3] << 8 | data[4], data[6] << 16 | data[7] << 8 | data[8]
            if 0 < length <= min(record - 4, size - 9, MAX_HELLO) and record <= MAX_RECORD:
                return _hello(data[9 : 9 + length])
        message = _message(data)
        return message if isinstance(message, Incomplete) else _hello(message)
    except _Fault as fault:
        return fault.malformed


def is_usual(data: bytes) -> bool:
    """Whether a ClientHello is here whole, in one record, from somebody who speaks HTTP/1.1 if it names protocols. Hot.

    For those to whom nothing else makes a difference; reading it costs ten times as much. What is odd in any way, or
    happens to look so, is not usual, and has to be read.
    """
    if len(data) < 9:
        return False
    beginning, record, kind, high, low = _beginning(data)
    return (
        beginning == HANDSHAKE << 8 | 3
        and kind == CLIENT_HELLO
        and not high
        and low + 4 <= record <= min(len(data) - 5, MAX_RECORD)
        and (HTTP_1_1 in data or ALPN_KIND not in data)
    )


def _other(data: memoryview) -> Incomplete | NotTls | Malformed:
    """Not a TLS record. An SSL 2 hello, which old clients wrap later versions in, is to be refused, not passed on."""
    if data[0] != 0x80:
        return NotTls()
    for place, expected in ((2, (1,)), (3, (0, 3))):
        if len(data) <= place:
            return Incomplete(place + 1)
        if data[place] not in expected:
            return NotTls()
    return Malformed("an SSL 2 handshake", PROTOCOL_VERSION)


def _message(data: memoryview) -> memoryview | Incomplete:
    """The ClientHello's message without its header, put together from its records."""
    parts: list[memoryview] = []
    have = at = 0
    wanted = 4
    for _ in range(MAX_RECORDS):
        if len(data) < at + 5:
            return Incomplete(at + 5)
        if data[at] != HANDSHAKE or data[at + 1] != 3:
            raise _Fault("another record between those of the ClientHello", UNEXPECTED_MESSAGE)
        length = data[at + 3] << 8 | data[at + 4]
        if not length:
            raise _Fault("an empty record", UNEXPECTED_MESSAGE)
        if length > MAX_RECORD:
            raise _Fault("a record of more than 16,384 bytes", RECORD_OVERFLOW)
        part = data[at + 5 : at + 5 + length]
        parts.append(part)
        have += len(part)
        at += 5 + length
        if have and parts[0][0] != CLIENT_HELLO:
            raise _Fault("the first message is no ClientHello", UNEXPECTED_MESSAGE)
        if wanted == 4 and have >= 4:
            header = b"".join(parts)[:4]
            wanted += int.from_bytes(header[1:], "big")
            if wanted == 4:
                raise _Fault("an empty ClientHello")
            if wanted > 4 + MAX_HELLO:
                raise _Fault(f"a ClientHello of more than {MAX_HELLO:,} bytes")
        if have >= wanted > 4:
            whole = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
            return whole[4:wanted]
        if len(part) < length:
            return Incomplete(_needed(at - length, length, wanted - have + len(part)))
    raise _Fault(f"a ClientHello in more than {MAX_RECORDS} records")


def _needed(start: int, length: int, missing: int) -> int:
    """Bytes in all until the record that begins its payload at `start` is whole, or all that is known to be missing."""
    return start + min(length, missing)


def _hello(message: memoryview) -> ClientHello:
    try:
        return _walk(message.tobytes())
    except (IndexError, struct.error):
        raise _Fault(SHORT) from None


def _walk(data: bytes) -> ClientHello:
    """Over the fields that say nothing to us, to the extensions. Hot: every connection over TLS comes by."""
    size = len(data)
    if size < 2:
        raise _Fault(SHORT)
    if data[0] != 3:
        raise _Fault("a version that is not of TLS", PROTOCOL_VERSION)
    length = data[34]
    at = 35 + length
    if at > size:
        raise _Fault(SHORT)
    if length > 32:
        raise _Fault("a session of more than 32 bytes")
    length = data[at] << 8 | data[at + 1]
    at += 2 + length
    if at > size:
        raise _Fault(SHORT)
    if not length or length % 2:
        raise _Fault("no whole cipher suites")
    length = data[at]
    at += 1 + length
    if at > size:
        raise _Fault(SHORT)
    if not length:
        raise _Fault("no compression methods")
    if at == size:
        return ClientHello(b"", ())
    end = at + 2 + (data[at] << 8 | data[at + 1])
    if end > size:
        raise _Fault(SHORT)
    if end < size:
        raise _Fault("a ClientHello longer than it says")
    return _extensions(data, at + 2)


def _extensions(data: bytes, at: int) -> ClientHello:
    name = b""
    protocols: tuple[bytes, ...] = ()
    seen = set()
    size = len(data)
    while at < size:
        kind, length = _extension(data, at)
        at += 4 + length
        if at > size:
            raise _Fault(SHORT)
        if kind in seen:
            raise _Fault("an extension that comes twice", ILLEGAL_PARAMETER)
        seen.add(kind)
        if kind == SERVER_NAME:
            name = _server_name(data[at - length : at])
        elif kind == ALPN:
            protocols = _protocols(data[at - length : at])
    return ClientHello(name, protocols)


def _server_name(content: bytes) -> bytes:
    """The one name in a list that could hold more kinds of names than were ever invented."""
    whole, kind, length = _first_name(content)
    size = len(content)
    if kind != 0:
        raise _Fault("a server name of an unknown kind")
    if whole > size - 2 or length > whole - 3:
        raise _Fault(SHORT)
    if length < size - 5:
        raise _Fault("more than one server name")
    name = content[5:].lower()
    if length > MAX_NAME or not _name(name):
        raise _Fault("a server name that is no host name", ILLEGAL_PARAMETER)
    return name.removesuffix(b".")


def _protocols(content: bytes) -> tuple[bytes, ...]:
    size = len(content)
    whole = content[0] << 8 | content[1]
    found = []
    at = 2
    while at < min(size, whole + 2):
        length = content[at]
        if not length:
            raise _Fault("an empty protocol name")
        found.append(content[at + 1 : at + 1 + length])
        at += 1 + length
    if at > size:
        raise _Fault(SHORT)
    if not found or at != size or whole != size - 2:
        raise _Fault("a list of protocols that is not as long as it says")
    return tuple(found)
