"""The first bytes of a connection: whole, byte by byte, and with more behind them."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.wire.clienthello import ClientHello
from streamlb.wire.opening import GSS_REQUEST, SSL_REQUEST, Plain, Request, read_opening
from streamlb.wire.preamble import Incomplete, Malformed


def client_hello(name: str | None = "a.com", protocols: list[str] | None = None) -> bytes:
    """What a real client says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("behind", [b"", b"\x16", b"more"])
def test_tls(behind: bytes) -> None:
    hello = client_hello("A.com", ["h2", "http/1.1"])
    assert read_opening(hello + behind) == ClientHello(b"a.com", (b"h2", b"http/1.1"))
    assert read_opening(hello + behind, postgres=True) == ClientHello(b"a.com", (b"h2", b"http/1.1"))


@pytest.mark.parametrize("whole", [client_hello(), SSL_REQUEST, GSS_REQUEST])
def test_byte_by_byte(whole: bytes) -> None:
    for end in range(len(whole)):
        found = read_opening(whole[:end], postgres=True)
        assert isinstance(found, Incomplete)
        assert end < found.needed <= len(whole)


@pytest.mark.parametrize("behind", [b"", b"\x16\x03\x01"])
def test_a_request_for_encryption(behind: bytes) -> None:
    assert read_opening(SSL_REQUEST + behind, postgres=True) == Request(is_for_tls=True)
    assert read_opening(GSS_REQUEST + behind, postgres=True) == Request(is_for_tls=False)
    assert read_opening(SSL_REQUEST + behind) == Plain()


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"\0", b"\0\0\0\x08\x04\xd2\x16\x31", b"\x16\x01", b"\x80\x2e\x02", b"\xff"]
)
def test_anything_else(data: bytes) -> None:
    assert read_opening(data) == Plain()


def test_what_only_began_like_a_request() -> None:
    assert isinstance(read_opening(b"\0\0", postgres=True), Incomplete)
    assert read_opening(b"\0\0\0\x09", postgres=True) == Plain()
    assert read_opening(b"\0\x01", postgres=True) == Plain()


def test_what_tls_refuses() -> None:
    assert isinstance(read_opening(b"\x16\x03\x01\x00\x00"), Malformed)
    assert isinstance(read_opening(b"\x80\x2e\x01\x03\x01"), Malformed)


@given(data=st.binary(max_size=40), postgres=st.booleans())
def test_whatever_comes_is_an_outcome(data: bytes, postgres: bool) -> None:
    found = read_opening(data, postgres=postgres)
    assert not isinstance(found, Incomplete) or found.needed > len(data)
