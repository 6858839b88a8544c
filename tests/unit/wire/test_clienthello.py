"""ClientHello: OpenSSL's and odd ones made by hand, whole, byte by byte, over records, and with trailing bytes."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamlb.wire.clienthello import (
    MAX_CLIENT_HELLO,
    MAX_HELLO,
    MAX_RECORDS,
    ClientHello,
    NotTls,
    is_usual,
    read_client_hello,
)
from streamlb.wire.preamble import Incomplete, Malformed
from tests.support.hello import alpn, extension, message, names, records, spoken, vector

HTTP = (b"h2", b"http/1.1")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("trailing", [b"", b"\x14\3\3\0\1\1", b"GET /"])
@pytest.mark.parametrize(
    ("name", "protocols"),
    [("app.example.com", ("h2", "http/1.1")), ("XN--BCHER-kva.Example", ()), (None, ("postgresql",)), (None, ())],
)
def test_what_openssl_says(
    name: str | None, protocols: tuple[str, ...], version: ssl.TLSVersion, trailing: bytes
) -> None:
    said = spoken(name, protocols, version)
    expected = ClientHello((name or "").lower().encode(), tuple(each.encode() for each in protocols))
    for data in (said, memoryview(said)):
        assert read_client_hello(data) == expected
    assert read_client_hello(said + trailing) == expected
    for have in range(len(said)):
        found = read_client_hello(said[:have])
        assert isinstance(found, Incomplete), have
        assert have < found.needed <= len(said)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("protocols", [(), ("http/1.1",), ("h2", "http/1.1")])
def test_what_is_usual(protocols: tuple[str, ...], version: ssl.TLSVersion) -> None:
    said = spoken("app.example.com", protocols, version)
    while not protocols and b"\0\x10" in said:  # By chance, in what is random.
        said = spoken("app.example.com", protocols, version)
    assert is_usual(said)
    assert is_usual(said + b"\x14\3\3\0\1\1")
    assert not any(is_usual(said[:have]) for have in range(len(said)))
    assert not is_usual(b"\x80" + said[1:])


@pytest.mark.parametrize(
    "said",
    [
        spoken("a", ("h2",)),
        spoken("a", ("imap", "postgresql")),
        spoken("http", ("http/1.0",)),
        records(message(names(b"a.example.com")), 30),
        records(message(names(b"a.example.com")))[:-1],
        records(b"\2" + message()[1:]),
        records(message(extension(21, bytes(20_000)))),
        b"\x16\3\1\x40\x05\1\0\x40\1" + bytes(0x4005),
        b"\x16\2" + records(message())[2:],
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_usual(said: bytes) -> None:
    assert not is_usual(said)


@given(st.binary(max_size=80), st.integers(0, 100), st.integers(0, 100), st.binary(max_size=20))
def test_what_is_usual_is_a_hello_that_is_here(content: bytes, length: int, record: int, behind: bytes) -> None:
    data = b"\x16\3\1" + record.to_bytes(2, "big") + b"\1" + length.to_bytes(3, "big") + content + behind
    if is_usual(data):
        found = read_client_hello(data)
        assert isinstance(found, ClientHello | Malformed)
        assert isinstance(found, Malformed) or not found.protocols or b"http/1.1" in found.protocols


@pytest.mark.parametrize("size", [4, 5, 7, 100, 511])
def test_a_hello_over_several_records(size: int) -> None:
    said = message(names(b"a.example.com"), alpn(b"h2"), extension(21, bytes(300)))
    whole = records(said, size)
    assert read_client_hello(whole) == ClientHello(b"a.example.com", (b"h2",))
    for have in range(len(whole)):
        found = read_client_hello(whole[:have])
        assert isinstance(found, Incomplete)
        assert have < found.needed <= len(whole)


def test_a_hello_that_shares_its_last_record() -> None:
    said = message(names(b"a")) + b"\x0b\0\0\0"
    assert read_client_hello(records(said, 30)) == ClientHello(b"a", ())


def test_the_shortest_hellos() -> None:
    assert read_client_hello(records(message())) == ClientHello(b"", ())
    assert read_client_hello(records(message(rest=b"\0\0"))) == ClientHello(b"", ())
    assert read_client_hello(records(message(version=0x0300), minor=0)) == ClientHello(b"", ())
    assert read_client_hello(records(message(version=0x0304), minor=4)) == ClientHello(b"", ())


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (b"App.Example.COM.", b"app.example.com"),
        (b"_sip._tcp.example", b"_sip._tcp.example"),
        (b"10.0.0.1", b"10.0.0.1"),
        (b"a" * 63 + b".b", b"a" * 63 + b".b"),
        (b".".join([b"a" * 62] * 4)[:255], b".".join([b"a" * 62] * 4)[:255]),
    ],
)
def test_names(said: bytes, name: bytes) -> None:
    assert read_client_hello(records(message(names(said)))) == ClientHello(name, ())


@pytest.mark.parametrize(
    "said",
    [b"", b".", b"a..b", b".a", b"a b", b"a\0b", b"a/b", b"\xc3\xa4.de", b"-a", b"*.a", b"a:443", b"[::1]", b"::1",
     b"a" * 64, b"a\n", b"a.\n", b".".join([b"a" * 60] * 5)],
)  # fmt: skip
def test_names_that_are_none(said: bytes) -> None:
    assert isinstance(read_client_hello(records(message(names(said)))), Malformed)


@pytest.mark.parametrize(
    ("data", "alert"),
    [
        (records(message(names(b"a", b"b"))), 50),
        (records(message(names(b"a"), names(b"a"))), 47),
        (records(message(extension(99, b""), extension(99, b""))), 47),
        (records(message(names())), 50),
        (records(message(extension(0, b""))), 50),
        (records(message(extension(0, vector(2, b"\0" + vector(2, b"a")) + b"x"))), 50),
        (records(message(names(b"a", kind=1))), 50),
        (records(message(alpn())), 50),
        (records(message(alpn(b"h2", b""))), 50),
        (records(message(extension(16, vector(2, vector(1, b"h2")) + b"x"))), 50),
        (records(message(b"\0\0\0\5abc")), 50),
        (records(message(b"\0\0\0")), 50),
        (records(message(names(b"a"), rest=b"x")), 50),
        (records(message(rest=b"\0")), 50),
        (records(message(session=bytes(33))), 50),
        (records(message(suites=b"")), 50),
        (records(message(suites=b"\x13\x01\x13")), 50),
        (records(message(version=0x0203)), 70),
        (records(b"\1" + vector(3, b"\3\3" + bytes(32) + b"\0" + vector(2, b"\x13\1") + b"\0")), 50),
        (records(b"\1" + vector(3, b"\3\3" + bytes(20))), 50),
        (records(b"\1\0\0\0"), 50),
        (records(b"\2\0\0\2ab"), 10),
        (b"\x16\3\1\0\0", 10),
        (b"\x16\3\1\0\2\1\0\x16\3\1\0\0", 10),
        (records(message()[:20]) + b"\x17\3\3\0\5hello", 10),
        (records(message()[:20]) + b"\x16\2\0\0\5hello", 10),
        (b"\x16\3\1\x40\1", 22),
        (records(b"\1\0\x40\1"), 50),
        (records(message(extension(21, bytes(MAX_RECORDS))), 1), 50),
        (b"\x80\x2e\1\0\2\0\x15\0\0\0\x10", 70),
        (b"\x80\x2e\1\3\1", 70),
    ],
)
def test_what_no_client_would_say(data: bytes, alert: int) -> None:
    found = read_client_hello(data)
    assert isinstance(found, Malformed)
    assert found.alert == alert
    assert found.reason
    for trailing in (b"x", bytes(20_000)):
        assert read_client_hello(data + trailing) == found
    seen = False
    for have in range(len(data)):
        early = read_client_hello(data[:have])
        assert early == found if seen else isinstance(early, Incomplete) or early == found
        seen = early == found


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"\0\0\0\x08\4\xd2\x16\x2f", b"\x16\2", b"\x16\x16", b"\x80\x01\0"]
)
def test_something_else(data: bytes) -> None:
    assert read_client_hello(data) == NotTls()


@pytest.mark.parametrize(("data", "needed"), [(b"", 1), (b"\x16", 2), (b"\x80", 3), (b"\x80\1", 3), (b"\x80\1\1", 4)])
def test_the_first_bytes_are_not_asked_for_more_than_tells(data: bytes, needed: int) -> None:
    assert read_client_hello(data) == Incomplete(needed)


def test_a_hello_of_the_largest_size_fits() -> None:
    room = MAX_HELLO - len(message(names(b"a"), extension(21, b""))) + 4
    said = message(names(b"a"), extension(21, bytes(room)))
    for size in (16_384, len(said) // MAX_RECORDS + 1):
        whole = records(said, size)
        assert len(whole) <= MAX_CLIENT_HELLO
        assert read_client_hello(whole) == ClientHello(b"a", ())
    assert isinstance(read_client_hello(records(message(names(b"a"), extension(21, bytes(room + 1))))), Malformed)


@given(st.binary(max_size=600), st.sampled_from([b"", b"\x16\3\1", b"\x16\3\1\1\0\1\0\0\xfc\3\3"]))
@example(b"\x16\3\1\0\4\1\0\0\0", b"")
def test_any_bytes(data: bytes, prefix: bytes) -> None:
    """An answer always comes, more bytes never change it, and whoever waits is told for how many."""
    whole = prefix + data
    found = read_client_hello(whole)
    if isinstance(found, Incomplete):
        assert len(whole) < found.needed <= MAX_CLIENT_HELLO
        return
    assert read_client_hello(whole + b"more") == found
    for have in range(len(whole)):
        early = read_client_hello(whole[:have])
        assert early == found or isinstance(early, Incomplete)
        if isinstance(early, Incomplete) and isinstance(found, ClientHello):
            assert early.needed <= len(whole)


@given(
    st.lists(st.integers(1, 400), max_size=10),
    st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{1,10}){0,3}", fullmatch=True),
)
def test_records_of_any_sizes(sizes: list[int], name: str) -> None:
    said = message(names(name.encode()), alpn(*HTTP), extension(21, bytes(500)))
    whole = b""
    for size in sizes:
        whole, said = whole + (records(said[:size]) if said[:size] else b""), said[size:]
    assert read_client_hello(whole + records(said)) == ClientHello(name.encode(), HTTP)
