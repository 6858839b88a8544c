"""The PROXY protocol: both versions read whole, byte by byte and with trailing bytes, written, and read back."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.wire.preamble import Incomplete, Malformed
from streamlb.wire.proxy_protocol import (
    MAX_HEADER,
    MAX_V2_LENGTH,
    SIGNATURE,
    Absent,
    Endpoint,
    Header,
    crc32c,
    read_header,
    render,
)

CLIENT = (ip_address("192.0.2.1"), 56324)
HERE = (ip_address("192.0.2.2"), 443)
CLIENT6 = (ip_address("2001:db8::1"), 56324)
HERE6 = (ip_address("2001:db8::2"), 443)
ADDRESSES = struct.pack("!4s4sHH", CLIENT[0].packed, HERE[0].packed, 56324, 443)
ADDRESSES6 = struct.pack("!16s16sHH", CLIENT6[0].packed, HERE6[0].packed, 56324, 443)


def v2(command: int, family: int, content: bytes = b"") -> bytes:
    return SIGNATURE + bytes([command, family]) + len(content).to_bytes(2, "big") + content


def field(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + len(content).to_bytes(2, "big") + content


def with_checksum(family: int, addresses: bytes, *fields: bytes, off: int = 0) -> bytes:
    zeroed = v2(0x21, family, addresses + field(3, bytes(4)) + b"".join(fields))
    value = (crc32c(zeroed) + off) % 2**32
    return v2(0x21, family, addresses + field(3, value.to_bytes(4, "big")) + b"".join(fields))


GOOD: list[tuple[bytes, Endpoint | None, Endpoint | None]] = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", CLIENT, HERE),
    (b"PROXY TCP6 2001:db8::1 2001:DB8::2 56324 443\r\n", CLIENT6, HERE6),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535\r\n", (ip_address("::ffff:c000:201"), 0), (ip_address("::1"), 65535)),
    (b"PROXY UNKNOWN\r\n", None, None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None, None),
    (b"PROXY UNKNOWN" + b" " * 92 + b"\r\n", None, None),
    (v2(0x21, 0x11, ADDRESSES), CLIENT, HERE),
    (v2(0x21, 0x21, ADDRESSES6), CLIENT6, HERE6),
    (v2(0x21, 0x11, ADDRESSES + field(4, b"") + field(0xEA, b"vpce-1")), CLIENT, HERE),
    (v2(0x21, 0x11, ADDRESSES + field(4, bytes(MAX_V2_LENGTH - 15))), CLIENT, HERE),
    (with_checksum(0x11, ADDRESSES), CLIENT, HERE),
    (with_checksum(0x21, ADDRESSES6, field(2, b"a.example.com"), field(4, bytes(9))), CLIENT6, HERE6),
    (v2(0x20, 0x00), None, None),
    (v2(0x20, 0x11, ADDRESSES), None, None),
    (v2(0x20, 0x21, b"whatever"), None, None),
    (v2(0x21, 0x00), None, None),
    (v2(0x21, 0x00, b"whatever"), None, None),
    (v2(0x21, 0x31, bytes(216)), None, None),
    (v2(0x21, 0x12, ADDRESSES), None, None),
]


@pytest.mark.parametrize(("data", "source", "destination"), GOOD)
def test_headers(data: bytes, source: Endpoint | None, destination: Endpoint | None) -> None:
    expected = Header(len(data), source, destination)
    assert read_header(memoryview(data)) == expected
    for trailing in (b"", b"G", b"\r\n", data, bytes(70_000)):
        assert read_header(data + trailing) == expected
    for have in range(len(data)):
        found = read_header(data[:have])
        assert isinstance(found, Incomplete)
        assert have < found.needed <= min(len(data), MAX_HEADER)


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 \r\n",
        b"PROXY TCP4  192.0.2.1 192.0.2.2 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 056324 443\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.2 1 443\r\n",
        b"PROXY TCP4 192.0.2 192.0.2.2 1 443\r\n",
        b"PROXY TCP4 ::1 ::2 1 443\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 443\r\n",
        b"PROXY TCP6 fe80::1%1 ::2 1 443\r\n",
        b"PROXY tcp4 192.0.2.1 192.0.2.2 1 443\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 443\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 \xc2\xb2 443\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY UNKNOWN \r \r\n",
        b"PROXY \r\n",
        b"PROXY UNKNOWN" + b" " * 93 + b"\r\n",
        b"PROXY " + b"x" * 200,
        v2(0x22, 0x11, ADDRESSES),
        v2(0x11, 0x11, ADDRESSES),
        v2(0x31, 0x11, ADDRESSES),
        v2(0x21, 0x41, ADDRESSES),
        v2(0x21, 0x13, ADDRESSES),
        v2(0x21, 0x11, ADDRESSES[:-1]),
        v2(0x21, 0x21, ADDRESSES),
        v2(0x21, 0x11, ADDRESSES + b"\4"),
        v2(0x21, 0x11, ADDRESSES + b"\4\0\2x"),
        v2(0x21, 0x11, ADDRESSES + field(3, b"abc")),
        v2(0x21, 0x11, ADDRESSES + bytes(MAX_V2_LENGTH)),
        with_checksum(0x11, ADDRESSES, off=1),
    ],
)
def test_malformed_headers(data: bytes) -> None:
    found = read_header(data)
    assert isinstance(found, Malformed)
    assert found.reason
    assert read_header(data + b"GET / HTTP/1.1\r\n\r\n") == found


@pytest.mark.parametrize(
    "data",
    [b"G", b"PUT / HTTP/1.1\r\n", b"PROXY\r\n", b"proxy TCP4 ", b"\r\n\r\nGET", b"\n", b"\x16\3\1",
     b"\r\n\r\n\0\r\nQUIT\r", b" PROXY UNKNOWN\r\n"],
)  # fmt: skip
def test_something_else(data: bytes) -> None:
    assert read_header(data) == Absent()


def test_nobody_waits_for_more_than_tells() -> None:
    for have in range(6):
        assert read_header(b"PROXY "[:have]) == Incomplete(have + 1)
    for have in range(12):
        assert read_header(SIGNATURE[:have]) == Incomplete(have + 1)


def test_what_is_written() -> None:
    assert render(1, CLIENT, HERE) == b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
    assert render(1, CLIENT6, HERE6) == b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"
    assert render(2, CLIENT, HERE) == v2(0x21, 0x11, ADDRESSES)
    assert render(2, CLIENT6, HERE6) == v2(0x21, 0x21, ADDRESSES6)


def test_speaking_for_oneself() -> None:
    assert render(1, None, HERE) == b"PROXY UNKNOWN\r\n"
    assert render(2, CLIENT, None) == v2(0x20, 0)


@pytest.mark.parametrize("version", [1, 2])
def test_families_that_differ_become_one(version: int) -> None:
    found = read_header(render(version, CLIENT, HERE6))
    assert isinstance(found, Header)
    assert found.source == (ip_address("::ffff:192.0.2.1"), 56324)
    assert found.destination == HERE6


def test_the_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283


addresses = st.one_of(
    st.binary(min_size=4, max_size=4).map(IPv4Address), st.binary(min_size=16, max_size=16).map(IPv6Address)
)
endpoints = st.tuples(addresses, st.integers(0, 65_535))


@given(st.sampled_from([1, 2]), endpoints, endpoints, st.binary(max_size=20))
def test_what_was_written_reads_the_same(version: int, source: Endpoint, destination: Endpoint, behind: bytes) -> None:
    written = render(version, source, destination)
    found = read_header(written + behind)
    assert isinstance(found, Header)
    assert found.length == len(written)
    if source[0].version == destination[0].version:
        assert (found.source, found.destination) == (source, destination)
    assert len(written) <= (107 if version == 1 else 52)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0"]))
def test_any_bytes(data: bytes, prefix: bytes) -> None:
    """An answer always comes, more bytes never change it, and whoever waits is told for how many."""
    whole = prefix + data
    found = read_header(whole)
    if isinstance(found, Incomplete):
        assert len(whole) < found.needed <= MAX_HEADER
        return
    assert read_header(whole + b"more") == found
    for have in range(len(whole)):
        early = read_header(whole[:have])
        assert early == found or isinstance(early, Incomplete)
