"""Addresses as text, and clients' addresses as values."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.errors import StartError
from streamlb.net.address import Address, client_group, client_ip, client_of, numeric_family, parse_address

READABLE = {
    ":80": Address("", 80, "tcp"),
    ":0": Address("", 0, "tcp"),
    "127.0.0.1:8000": Address("127.0.0.1", 8000, "tcp"),
    "127.0.0.1:8000/tcp": Address("127.0.0.1", 8000, "tcp"),
    ":53/udp": Address("", 53, "udp"),
    ":53/UDP": Address("", 53, "udp"),
    "[::1]:443": Address("::1", 443, "tcp"),
    "[::1]:443/udp": Address("::1", 443, "udp"),
    "[::]:80": Address("::", 80, "tcp"),
    "[fe80::1%eth0]:80": Address("fe80::1%eth0", 80, "tcp"),
    "lb.example.com:80": Address("lb.example.com", 80, "tcp"),
    "my-host_1:65535": Address("my-host_1", 65535, "tcp"),
}
UNREADABLE = [
    "",
    "80",
    "host",
    "host:",
    "host:http",
    "host:80/",
    "host:80/sctp",
    "host:80/udp/tcp",
    "::1:80",
    "[::1]",
    "[::1]80",
    "[]:80",
    "[1.2.3.4]:80",
    "[::1::]:80",
    "host:65536",
    "host:99999",
    "host:123456",
    "host:-1",
    "host:+80",
    "host:8_0",
    "host:\u0661",
    "h\u00f6st:80",
    " host:80",
    "host:80\n",
    "host :80",
    "http://host:80",
    "*:80",
]


@pytest.mark.parametrize("text", READABLE)
def test_reads(text: str) -> None:
    assert parse_address(text) == READABLE[text]


@pytest.mark.parametrize("text", UNREADABLE)
def test_refuses_and_says_which(text: str) -> None:
    with pytest.raises(StartError) as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


@given(
    host=st.one_of(st.just(""), st.ip_addresses().map(str), st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)),
    port=st.integers(0, 65535),
    kind=st.sampled_from(["tcp", "udp"]),
)
def test_what_is_written_is_read_back(host: str, port: int, kind: str) -> None:
    address = Address(host, port, kind)  # type: ignore[arg-type]
    assert parse_address(str(address)) == address


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except StartError:
        return
    assert 0 <= address.port <= 65535


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("::1", socket.AF_INET6),
        ("::ffff:1.2.3.4", socket.AF_INET6),
        ("localhost", None),
        ("1.2.3", None),
        ("127.0.0.01", None),
        ("", None),
        ("a\0b", None),
        ("fe80::1%lo", None),
    ],
)
def test_tells_numbers_from_names(host: str, family: socket.AddressFamily | None) -> None:
    assert numeric_family(host) is family


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("192.0.2.7", 4711), "192.0.2.7"),
        (("2001:db8::1", 4711, 0, 0), "2001:db8::1"),
        (("::ffff:192.0.2.7", 4711, 0, 0), "192.0.2.7"),
        (("fe80::1%eth0", 4711, 0, 2), "fe80::1"),
    ],
)
def test_a_client_is_who_it_is(peer: tuple[object, ...], address: str) -> None:
    assert client_ip(peer) == ipaddress.ip_address(address)
    assert client_of(str(peer[0])) == (client_ip(peer), address)


@pytest.mark.parametrize(
    ("host", "other", "same"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8", False),
        ("2001:db8::7", "2001:db8::ffff:8", True),
        ("2001:db8::7", "2001:db8:0:1::7", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::1", "192.0.2.7", False),
    ],
)
def test_for_whom_a_client_counts(host: str, other: str, same: bool) -> None:
    assert (client_group(host) == client_group(other)) is same
