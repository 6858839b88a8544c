"""Request heads: what both lanes read, what is refused, and what goes on to the server."""

from __future__ import annotations

import pytest

from streamlb.errors import DownstreamError
from streamlb.wire.http1 import MAX_FIELDS, find_flaw, read_fields, read_request, read_request_line
from streamlb.wire.message import CHUNKED, RequestHead


def head(*lines: bytes, start: bytes = b"GET /x HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def is_fast(raw: bytes) -> bool:
    """Whether the strict lane takes a head."""
    end = raw.find(b"\r\n") + 2
    return read_request_line(raw[:end]) is not None and read_fields(raw[end:]) is not None


def refusal(raw: bytes) -> int:
    """The status a head is refused with; it must not get past the strict lane either."""
    assert not is_fast(raw)
    with pytest.raises(DownstreamError) as refused:
        read_request(raw)
    return refused.value.status


def kept(raw: bytes) -> list[bytes]:
    return read_request(raw).fields.kept.split(b"\r\n")[:-1]


# --- what is taken -------------------------------------------------------------------------------------------------


def test_a_plain_head_takes_the_strict_lane() -> None:
    raw = head(b"Accept: */*", b"X-Odd:\t a b \t", b"Cookie: a=1", b"cookie: b=2", start=b"PUT /a%20b?c=d%26 HTTP/1.1")
    assert is_fast(raw)
    request = read_request(raw)
    assert (request.method, request.target, request.minor) == (b"PUT", b"/a%20b?c=d%26", 1)
    assert request.line == b"PUT /a%20b?c=d%26 HTTP/1.1\r\n"
    assert (request.path, request.query) == (b"/a b", b"c=d%26")
    assert request.values(b"x-odd") == [b"a b"]
    assert request.fields.cookie == b"a=1; b=2"
    assert kept(raw) == [b"Accept: */*", b"X-Odd:\t a b \t", b"Cookie: a=1", b"cookie: b=2"]


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (b"Host: MyApp.Test.com", b"myapp.test.com"),
        (b"Host: myapp.test.com:8080", b"myapp.test.com"),
        (b"host:myapp.test.com.", b"myapp.test.com"),
        (b"HOST:  a.b.:80 ", b"a.b"),
        (b"Host: [::1]:80", b"[::1]"),
        (b"Host: [FE80::1%25eth0]", b"[fe80::1%25eth0]"),
        (b"Host: 127.0.0.1:", b"127.0.0.1"),
    ],
)
def test_the_host_name_is_without_port_and_case(field: bytes, name: bytes) -> None:
    raw = head(host=field)
    assert is_fast(raw)
    assert read_request(raw).host == name


def test_an_empty_host_is_a_host() -> None:
    request = read_request(head(host=b"Host:"))
    assert (request.host, request.fields.host) == (b"", b"")


@pytest.mark.parametrize(
    ("start", "host", "target", "name"),
    [
        (b"GET http://b.test/p?q HTTP/1.1", b"Host: a", b"/p?q", b"b.test"),
        (b"GET HTTP://b.test:81 HTTP/1.1", b"Host: a", b"/", b"b.test"),
        (b"GET http://b.test?q HTTP/1.1", b"Host: a", b"/?q", b"b.test"),
        (b"GET http://b.test/p HTTP/1.0", b"", b"/p", b"b.test"),
        (b"OPTIONS * HTTP/1.1", b"Host: a", b"*", b"a"),
        (b"OPTIONS http://b.test HTTP/1.1", b"Host: a", b"*", b"b.test"),
        (b"OPTIONS http://b.test/ HTTP/1.1", b"Host: a", b"/", b"b.test"),
    ],
)
def test_other_forms_of_the_target(start: bytes, host: bytes, target: bytes, name: bytes) -> None:
    request = read_request(head(start=start, host=host))
    assert (request.target, request.host) == (target, name)
    assert request.line == start.split()[0] + b" " + target + b" HTTP/1.1\r\n"


def test_the_host_of_an_absolute_target_is_the_only_host() -> None:
    request = read_request(head(start=b"GET http://b.test/ HTTP/1.1"))
    assert request.values(b"host") == [b"b.test"]
    assert request.fields.host == b"b.test"


def test_http_1_0_needs_no_host_and_is_sent_on_as_1_1() -> None:
    request = read_request(head(start=b"GET / HTTP/1.0", host=b""))
    assert (request.minor, request.host, request.line) == (0, b"", b"GET / HTTP/1.1\r\n")
    assert not request.keep_alive


def test_http_1_0_has_neither_upgrade_nor_expectation() -> None:
    lines = [b"Upgrade: websocket", b"Connection: upgrade, keep-alive", b"Expect: 100-continue"]
    request = read_request(head(*lines, start=b"GET / HTTP/1.0"))
    assert (request.fields.upgrade, request.fields.expectation, request.fields.kept) == (b"", b"", b"")
    assert request.keep_alive


@pytest.mark.parametrize(
    ("lines", "framing", "line"),
    [
        ([], 0, b""),
        ([b"Content-Length: 0"], 0, b"Content-Length: 0\r\n"),
        ([b"content-length:\t17 "], 17, b"Content-Length: 17\r\n"),
        ([b"Content-Length: 0017"], 17, b"Content-Length: 17\r\n"),
        ([b"Content-Length: 9223372036854775807"], 2**63 - 1, b"Content-Length: 9223372036854775807\r\n"),
        ([b"Transfer-Encoding: chunked"], CHUNKED, b"Transfer-Encoding: chunked\r\n"),
        ([b"transfer-encoding: CHUNKED"], CHUNKED, b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_framing(lines: list[bytes], framing: int, line: bytes) -> None:
    raw = head(*lines, start=b"POST / HTTP/1.1")
    assert is_fast(raw)
    fields = read_request(raw).fields
    assert (fields.framing, fields.framing_line) == (framing, line)


@pytest.mark.parametrize(
    ("start", "lines", "keeps"),
    [
        (b"GET / HTTP/1.1", [], True),
        (b"GET / HTTP/1.1", [b"Connection: close"], False),
        (b"GET / HTTP/1.1", [b"Connection: keep-alive", b"connection: x, CLOSE"], False),
        (b"GET / HTTP/1.0", [], False),
        (b"GET / HTTP/1.0", [b"Connection: Keep-Alive"], True),
    ],
)
def test_persistence(start: bytes, lines: list[bytes], keeps: bool) -> None:
    assert read_request(head(*lines, start=start)).keep_alive is keeps


# --- what ends here ------------------------------------------------------------------------------------------------


def test_hop_by_hop_fields_end_here() -> None:
    raw = head(
        b"Connection: keep-alive, X-Secret",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic x",
        b"X-Secret: 1",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAA",
        b"TE: gzip",
        b"X-Stays: 2",
    )
    assert kept(raw) == [b"X-Stays: 2"]


def test_connection_cannot_remove_what_the_proxy_stands_for() -> None:
    raw = head(b"Connection: Host, Content-Length, X-Forwarded-For, Cookie", b"Content-Length: 3", b"Cookie: a=b")
    fields = read_request(raw).fields
    assert (fields.host, fields.framing, fields.cookie) == (b"a", 3, b"a=b")
    assert kept(raw) == [b"Cookie: a=b"]


def test_te_trailers_stays() -> None:
    assert kept(head(b"TE: gzip, trailers")) == [b"TE: trailers", b"Connection: TE"]
    assert kept(head(b"TE: nottrailers")) == []


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        ([b"Upgrade: WebSocket", b"Connection: keep-alive, Upgrade"], [b"Connection: Upgrade", b"Upgrade: WebSocket"]),
        ([b"Upgrade: websocket"], []),
        ([b"Connection: upgrade"], []),
        ([b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AA"], []),
        ([b"Upgrade: H2C, websocket", b"Connection: upgrade"], [b"Connection: Upgrade", b"Upgrade: websocket"]),
        ([b"Upgrade: a", b"Upgrade: h2c", b"Connection: upgrade"], [b"Connection: Upgrade", b"Upgrade: a"]),
        ([b"Upgrade: x, h2c", b"Connection: upgrade"], [b"Connection: Upgrade", b"Upgrade: x"]),
    ],
)
def test_upgrades_pass_only_when_meant_and_never_to_h2c(lines: list[bytes], sent: list[bytes]) -> None:
    assert kept(head(*lines)) == sent


def test_forwarding_fields_are_set_apart() -> None:
    fields = read_request(head(b"X-Forwarded-For: 1.1.1.1", b"x-real-ip: 2.2.2.2", b"X-Other: 3")).fields
    assert fields.managed == [(b"x-forwarded-for", b"1.1.1.1"), (b"x-real-ip", b"2.2.2.2")]
    assert fields.kept == b"X-Other: 3\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"X_Forwarded_For: 1",
        b"x-forwarded_for: 1",
        b"X_Real-IP: 1",
        b"Content_Length: 5",
        b"Transfer_Encoding: chunked",
    ],
)
def test_underscore_spellings_are_dropped(line: bytes) -> None:
    raw = head(line, b"X_Fine: 1")
    assert is_fast(raw)
    fields = read_request(raw).fields
    assert (fields.kept, fields.managed, fields.framing) == (b"X_Fine: 1\r\n", [], 0)
    assert not fields.values(line.partition(b":")[0].lower())


def test_the_expectation_is_kept_apart() -> None:
    fields = read_request(head(b"expect: 100-Continue", b"X: Expect: 100-continue")).fields
    assert fields.expectation == b"Expect: 100-continue\r\n"
    assert fields.kept == b"X: Expect: 100-continue\r\n"


# --- what is refused -----------------------------------------------------------------------------------------------

REFUSED_FIELDS = {
    "bare CR": b"X: a\rb",
    "bare LF": b"X: a\nY: b",
    "NUL": b"X: a\x00b",
    "a control character": b"X: a\x0bb",
    "DEL": b"X: a\x7fb",
    "a space before the colon": b"X : a",
    "a tab before the colon": b"X\t: a",
    "an empty name": b": a",
    "no colon": b"X",
    "a name that is no token": b"X(y): a",
    "obs-fold": b"X: a\r\n b",
    "obs-fold by tab": b"X: a\r\n\tb",
    "two Hosts": b"Host: a",
    "two different Hosts": b"host: b",
    "two Content-Lengths": b"Content-Length: 5\r\nContent-Length: 6",
    "the same Content-Length twice": b"Content-Length: 5\r\nContent-Length: 5",
    "a list of Content-Lengths": b"Content-Length: 5, 5",
    "an empty Content-Length": b"Content-Length:",
    "a signed Content-Length": b"Content-Length: +5",
    "a negative Content-Length": b"Content-Length: -5",
    "a hexadecimal Content-Length": b"Content-Length: 0x5",
    "an underscore in Content-Length": b"Content-Length: 1_0",
    "a space in Content-Length": b"Content-Length: 1 0",
    "Content-Length out of range": b"Content-Length: 9223372036854775808",
    "Content-Length of 2^64+5": b"Content-Length: 18446744073709551621",
    "CL and TE": b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    "TE and CL": b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    "two Transfer-Encodings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
}


@pytest.mark.parametrize("field", REFUSED_FIELDS.values(), ids=REFUSED_FIELDS)
def test_refused_fields(field: bytes) -> None:
    for start in (b"POST / HTTP/1.1", b"POST http://a/ HTTP/1.1"):
        assert refusal(head(field, start=start)) in (400, 501)  # h11 calls two codings unknown.


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"chunked, chunked", b"chunked;a=b", b"identity", b""])
def test_other_codings_are_refused(coding: bytes) -> None:
    assert refusal(head(b"Transfer-Encoding: " + coding, start=b"POST / HTTP/1.1")) in (400, 501)
    assert refusal(head(b"Transfer-Encoding: gzip", start=b"POST / HTTP/1.1")) == 501


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"Host: a b",
        b"Host: a/b",
        b"Host: u@a",
        b"Host: :80",
        b"Host: a:b",
        b"Host: [::1",
        b'Host: "a"',
        b"Host: a#",
    ],
)
def test_refused_hosts(host: bytes) -> None:
    assert refusal(head(host=host)) == 400


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"GET /a#b HTTP/1.1", 400),
        (b"GET http://b/a#b HTTP/1.1", 400),
        (b"GET a HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET ftp://b/ HTTP/1.1", 400),
        (b"GET http://u@b/ HTTP/1.1", 400),
        (b"GET http:///p HTTP/1.1", 400),
        (b"GET http:// HTTP/1.1", 400),
        (b"GET http://?p HTTP/1.1", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET / http/1.1", 400),
        (b"GET /\x80 HTTP/1.1", 400),
        (b"GET /", 400),
        (b"G(T / HTTP/1.1", 400),
        (b" GET / HTTP/1.1", 400),
        (b"CONNECT a:80 HTTP/1.1", 501),
        (b"CONNECT /x HTTP/1.1", 501),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/0.9", 505),
    ],
)
def test_refused_request_lines(start: bytes, status: int) -> None:
    assert refusal(head(start=start)) == status


def test_an_unknown_expectation_is_refused() -> None:
    assert refusal(head(b"Expect: a-pony")) == 417


def test_http_1_0_has_no_chunks() -> None:
    assert refusal(head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0")) == 400


def test_too_many_fields() -> None:
    lines = [b"X: %d" % number for number in range(MAX_FIELDS - 1)]
    assert is_fast(head(*lines))
    assert refusal(head(*lines, b"One: more")) == 431


def test_nothing_a_head_may_not_have_is_read_however_it_starts() -> None:
    for number in [*range(0x09), *range(0x0B, 0x0D), *range(0x0E, 0x20), 0x7F]:
        junk = bytes([number])
        assert refusal(head(b"X: a" + junk)) == 400
        assert refusal(head(b"X: a" + junk, start=b"GET / HTTP/1.0")) == 400


def test_flaws_are_seen_before_the_end() -> None:
    raw = head(b"X: \xff\ttab")
    assert all(find_flaw(raw[:cut]) is None for cut in range(len(raw) + 1))
    assert find_flaw(b"GET / HTTP/1.1\n")
    assert find_flaw(b"\x16\x03\x01")
    assert find_flaw(b"GET /\rx")
    assert not find_flaw(b"GET / HTTP/1.1\r")


def test_methods_that_may_be_repeated() -> None:
    for method, answer in ((b"GET", True), (b"PUT", True), (b"POST", False), (b"PATCH", False), (b"get", False)):
        assert read_request(head(start=method + b" / HTTP/1.1")).idempotent is answer


def test_heads_are_bytes_to_the_last() -> None:
    request = read_request(head(b"X: \xe4\xff"))
    assert isinstance(request, RequestHead)
    assert request.values(b"x") == [b"\xe4\xff"]
