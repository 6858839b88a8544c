"""The strict lane against h11, the authority: what it takes, h11 reads identically."""

from __future__ import annotations

import contextlib

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamlb.errors import DownstreamError, UpstreamError
from streamlb.wire.forwarding import MANAGED
from streamlb.wire.http1 import read_fields, read_request, read_request_line, read_response
from streamlb.wire.message import CHUNKED, NO_BODY, UNTIL_CLOSE

ACTED_ON = MANAGED | {
    *(b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te", b"cookie"),
    *(b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"http2-settings"),
}
NAMES = [
    b"Host",
    b"host",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Connection",
    b"X",
    b"X_Y",
    b"Cookie",
    b"Te",
    b"A b",
]
VALUES = [
    b"a",
    b"a:80",
    b"",
    b"0",
    b"5",
    b"05",
    b"+5",
    b"5,5",
    b"chunked",
    b"gzip",
    b"close",
    b"x, y",
    b"\xff",
    b"a b",
    b"\t",
]
SEPARATORS = [b":", b": ", b":\t", b" :", b":  "]
ENDS = [b"\r\n", b"\r\n", b"\r\n", b" \r\n", b"\n", b"\r", b"\r\n "]
METHODS = [b"GET", b"POST", b"CONNECT", b"get", b"M-SEARCH", b"G T"]
TARGETS = [b"/", b"/a?b", b"*", b"http://b/", b"/a#b", b'/"', b"/\x80", b"b:80", b"//x", b"/%zz"]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 "]

junk = st.binary(max_size=6)
names = st.sampled_from(NAMES) | junk
values = st.sampled_from(VALUES) | junk
field_lines = st.tuples(names, st.sampled_from(SEPARATORS), values, st.sampled_from(ENDS)).map(b"".join)
field_blocks = st.lists(field_lines, max_size=4).map(b"".join)
hosts = st.sampled_from([b"Host: a\r\n", b"Host: a\r\n", b"", b"Host:\r\n"])
request_heads = st.tuples(
    st.sampled_from(METHODS), st.just(b" "), st.sampled_from(TARGETS) | junk, st.just(b" "), st.sampled_from(VERSIONS),
    st.sampled_from(ENDS[:4]), hosts, field_blocks, st.just(b"\r\n"),
).map(b"".join)  # fmt: skip
status_lines = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 204 ", b"HTTP/1.1 304 x", b"HTTP/1.0 200 OK", b"HTTP/1.1 20 x"]
)
response_heads = st.tuples(status_lines, st.sampled_from(ENDS[:4]), field_blocks, st.just(b"\r\n")).map(b"".join)

Fields = list[tuple[bytes, bytes]]


def by_h11(raw: bytes) -> tuple[bytes, bytes, Fields, int]:
    """(method, target, fields, framing) as h11 reads them; raises h11.RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    fields = [(bytes(name), bytes(value)) for name, value in event.headers]
    return bytes(event.method), bytes(event.target), fields, framing_of(fields, NO_BODY)


def framing_of(fields: Fields, default: int) -> int:
    """The framing of what h11 has accepted."""
    framing = default
    for name, value in fields:
        if name == b"content-length" and framing != CHUNKED:
            framing = int(value)
        elif name == b"transfer-encoding":
            framing = CHUNKED
    return framing


def is_imitation(name: bytes) -> bool:
    """Whether a name passes for one the proxy acts on where `_` is read as `-`."""
    return b"_" in name and name.replace(b"_", b"-") in ACTED_ON


def check_request(raw: bytes) -> None:
    end = raw.find(b"\r\n") + 2
    line, fields = read_request_line(raw[:end]), read_fields(raw[end:])
    if line is None or fields is None:
        return
    method, target, theirs, framing = by_h11(raw)  # It must take it, too.
    assert line == (method, target)
    assert fields.pairs == [(name, value) for name, value in theirs if not is_imitation(name)]
    assert fields.framing == framing


@settings(max_examples=400)
@given(request_heads)
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX:\r\n\r\n")
@example(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n")
def test_what_the_strict_lane_takes_h11_reads_identically(raw: bytes) -> None:
    if raw.find(b"\r\n\r\n") + 4 == len(raw):  # Only complete heads are ever given to it.
        check_request(raw)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.from_regex(rb"[A-Za-z-]{1,8}", fullmatch=True), st.from_regex(rb"[ -~]{0,9}", fullmatch=True))
    )
)
def test_plain_fields_take_the_strict_lane(pairs: Fields) -> None:
    """The fast lane must be taken, or its checks above would prove nothing."""
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%b: %b\r\n" % pair for pair in pairs) + b"\r\n"
    check_request(raw)
    fields = read_fields(raw[16:])
    assert fields is not None
    assert fields.pairs[1:] == [(b"x-" + name.lower(), value.strip(b" ")) for name, value in pairs]


@settings(max_examples=400)
@given(request_heads)
def test_whatever_is_accepted_h11_accepts_with_the_same_framing(raw: bytes) -> None:
    """Never a different reading, whichever lane: the head may be refused, but not reinterpreted."""
    if raw.find(b"\r\n\r\n") + 4 != len(raw):
        return
    try:
        head = read_request(raw)
    except DownstreamError:
        return
    method, target, theirs, framing = by_h11(raw)
    assert (head.method, head.fields.framing) == (method, framing)
    assert target in (head.target, b"http://b" + head.target)
    host = [value for name, value in theirs if name == b"host"]
    assert head.fields.host == (b"b" if target.startswith(b"http") else b"".join(host))


@settings(max_examples=300)
@given(request_heads)
def test_what_is_sent_on_reads_the_same_again(raw: bytes) -> None:
    """The rendered head goes through the strict lane and through h11 with the same framing and target."""
    if raw.find(b"\r\n\r\n") + 4 != len(raw):
        return
    try:
        head = read_request(raw)
    except DownstreamError:
        return
    fields = head.fields
    sent = head.line + b"Host: s\r\n" + fields.framing_line + fields.expectation + fields.kept + b"\r\n"
    method, target, _, framing = by_h11(sent)
    assert (method, target, framing) == (head.method, head.target, fields.framing)
    again = read_request(sent).fields
    assert (again.framing, again.kept, again.upgrade) == (fields.framing, fields.kept, fields.upgrade)


@settings(max_examples=400)
@given(response_heads)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
@example(b"HTTP/1.1 101 Other\r\nUpgrade: a\r\n\r\n")
@example(b"HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\n")
def test_answers_are_read_as_h11_reads_them(raw: bytes) -> None:
    if raw.find(b"\r\n\r\n") + 4 != len(raw):
        return
    try:
        head = read_response(raw, b"GET")
    except UpstreamError:
        return
    connection = h11.Connection(h11.CLIENT)
    upgrade = [("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "a")]
    connection.send(h11.Request(method="GET", target="/", headers=upgrade))
    connection.receive_data(raw)
    event = connection.next_event()
    assert isinstance(event, h11.InformationalResponse if head.status < 200 else h11.Response)
    assert head.status == event.status_code
    fields = [(bytes(name), bytes(value)) for name, value in event.headers]
    bodiless = head.status < 200 or head.status in (204, 304)
    assert head.framing == (NO_BODY if bodiless else framing_of(fields, UNTIL_CLOSE))


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_junk_never_raises_anything_else(junk: bytes) -> None:
    with contextlib.suppress(DownstreamError):
        read_request(junk + b"\r\n\r\n")
    with contextlib.suppress(UpstreamError):
        read_response(junk + b"\r\n\r\n", b"GET")
