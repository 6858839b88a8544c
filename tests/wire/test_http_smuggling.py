"""Request smuggling, form by form: a recording origin sees nothing, or exactly the one intended request.

Each entry ends with a request that an attacker would want somebody to take for another client's. The recorder reads
leniently; what it records is what the engine let through. The forms are those of RFC 9112 section 11 and its history.
"""

from __future__ import annotations

import h11
import pytest

from tests.support.engine import http_engine, off_loop
from tests.support.http import Client, ok, parse_replies, raw_http, recording
from tests.support.loops import on_both_loops

EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
START = b"POST /x HTTP/1.1\r\nHost: a\r\n"
SIZE = b"Content-Length: %d" % len(EVIL)
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def smuggled(*lines: bytes, body: bytes = b"0\r\n\r\n" + EVIL, start: bytes = START) -> bytes:
    return start + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


REFUSED = {
    "CL.TE": smuggled(b"Content-Length: 45", b"Transfer-Encoding: chunked"),
    "TE.CL": smuggled(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"28\r\n" + EVIL + b"\r\n0\r\n\r\n"),
    "CL.CL": smuggled(b"Content-Length: 5", b"Content-Length: 45"),
    "CL.CL, the same": smuggled(b"Content-Length: 5", b"Content-Length: 5"),
    "a list of CLs": smuggled(b"Content-Length: 5, 45"),
    "TE.TE, one unknown": smuggled(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
    "TE.TE, unknown first": smuggled(b"Transfer-Encoding: x", b"Transfer-Encoding: chunked"),
    "xchunked": smuggled(b"Transfer-Encoding: xchunked"),
    "chunked in quotes": smuggled(b'Transfer-Encoding: "chunked"'),
    "chunked twice": smuggled(b"Transfer-Encoding: chunked, chunked"),
    "identity": smuggled(b"Transfer-Encoding: identity", b"Content-Length: 5"),
    "chunked, identity": smuggled(b"Transfer-Encoding: chunked, identity"),
    "an empty coding": smuggled(b"Transfer-Encoding: ,chunked"),
    "a vertical tab before chunked": smuggled(b"Transfer-Encoding:\x0bchunked"),
    "a form feed behind chunked": smuggled(b"Transfer-Encoding: chunked\x0c"),
    "NUL behind chunked": smuggled(b"Transfer-Encoding: chunked\x00"),
    "a space before the colon": smuggled(b"Transfer-Encoding : chunked", b"Content-Length: 5"),
    "a tab before the colon": smuggled(b"Transfer-Encoding\t: chunked", b"Content-Length: 5"),
    "a space before the name": smuggled(b" Transfer-Encoding: chunked", b"Content-Length: 5"),
    "a folded coding": smuggled(b"Transfer-Encoding:\r\n chunked", b"Content-Length: 5"),
    "a field hidden by LF": smuggled(b"X: y\nTransfer-Encoding: chunked", b"Content-Length: 5"),
    "a field hidden by CR": smuggled(b"X: y\rTransfer-Encoding: chunked", b"Content-Length: 5"),
    "an end hidden by LF": smuggled(b"X: y\n\nGET /evil HTTP/1.1", b"Host: a"),
    "a name with a colon": smuggled(b":Transfer-Encoding: chunked", b"Content-Length: 5"),
    "TE in HTTP/1.0": smuggled(b"Transfer-Encoding: chunked", start=b"POST /x HTTP/1.0\r\nHost: a\r\n"),
    "TE in HTTP/1.0 with keep-alive": smuggled(
        b"Connection: keep-alive", b"Transfer-Encoding: chunked", start=b"POST /x HTTP/1.0\r\nHost: a\r\n"
    ),
    "a plus": smuggled(b"Content-Length: +5"),
    "a hexadecimal length": smuggled(b"Content-Length: 0x5"),
    "a length of 2^64+5": smuggled(b"Content-Length: 18446744073709551621"),
    "a length with a space": smuggled(b"Content-Length: 4 5"),
    "a length of Arabic digits": smuggled("Content-Length: ٥".encode()),
    "an empty length": smuggled(b"Content-Length:"),
    "CL and nothing": smuggled(b"Content-Length: ,"),
    "two Hosts": smuggled(b"Host: b", b"Content-Length: 0", body=EVIL),
    "a Host with a space": smuggled(start=b"POST /x HTTP/1.1\r\nHost: a b\r\n", body=EVIL),
    "a Host with a path": smuggled(start=b"POST /x HTTP/1.1\r\nHost: a/evil\r\n", body=EVIL),
    "a version in the target": smuggled(start=b"POST /x HTTP/1.1 HTTP/1.1\r\nHost: a\r\n", body=EVIL),
    "a tab in the request line": smuggled(start=b"POST\t/x HTTP/1.1\r\nHost: a\r\n", body=EVIL),
    "CONNECT": smuggled(start=b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n", body=EVIL),
    "chunk size with 0x": smuggled(CHUNKED[:-2], body=b"0x0\r\n\r\n" + EVIL),
    "chunk size with a plus": smuggled(CHUNKED[:-2], body=b"+0\r\n\r\n" + EVIL),
    "chunk size with a space": smuggled(CHUNKED[:-2], body=b"0 \r\n\r\n" + EVIL),
    "chunk size overflow": smuggled(CHUNKED[:-2], body=b"10000000000000000\r\n\r\n" + EVIL),
    "chunk size ended by LF": smuggled(CHUNKED[:-2], body=b"0\n\n" + EVIL),
    "an extension with LF": smuggled(CHUNKED[:-2], body=b"2;\nxx\r\n0\r\n\r\n" + EVIL),
    "an extension with CR": smuggled(CHUNKED[:-2], body=b"0;\rxx\r\n\r\n" + EVIL),
    "two bytes behind the data": smuggled(CHUNKED[:-2], body=b"2\r\nabXX0\r\n\r\n" + EVIL),
    "a trailer that is a length": smuggled(CHUNKED[:-2], body=b"0\r\nContent-Length: 40\r\n\r\n" + EVIL),
    "a trailer with a space": smuggled(CHUNKED[:-2], body=b"0\r\nX : y\r\n\r\n" + EVIL),
}

ONE_REQUEST = {
    # The attack is the engine's to defuse: one request goes out, and what follows is answered as a request of its own.
    "CL.0": smuggled(b"Content-Length: 0", body=EVIL),
    "GET with a length": smuggled(SIZE, body=EVIL, start=b"GET /x HTTP/1.1\r\nHost: a\r\n"),
    "an underscore coding": smuggled(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    "an underscore length": smuggled(b"Content_Length: 45", body=b""),
    "a length named in Connection": smuggled(b"Connection: Content-Length", SIZE, body=EVIL),
    "a coding named in Connection": smuggled(b"Connection: Transfer-Encoding", CHUNKED[:-2], body=b"0\r\n\r\n"),
    "a Host named in Connection": smuggled(b"Connection: Host", body=b""),
    "an extension in quotes": smuggled(CHUNKED[:-2], body=b'0;a="\\r\\n0\\r\\n"\r\n\r\n'),
    "an absolute target": smuggled(body=b"", start=b"POST http://a/x HTTP/1.1\r\nHost: evil\r\n"),
    "an h2c upgrade": smuggled(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ", body=b""
    ),
    "an upgrade with a body": smuggled(b"Connection: Upgrade", b"Upgrade: x", SIZE, body=EVIL),
    "a method override": smuggled(b"X-HTTP-Method-Override: GET", SIZE, body=EVIL),
    "Expect": smuggled(b"Expect: 100-continue", SIZE, body=EVIL),
    "leading zeros": smuggled(b"Content-Length: %019d" % len(EVIL), body=EVIL),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
@on_both_loops
async def test_the_origin_sees_no_second_request(data: bytes) -> None:
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            replies = parse_replies(await off_loop(raw_http, engine.port, data + EVIL))
            assert [reply.status for reply in replies][-1] in (400, 501)
            assert len(replies) == 1
            with Client(engine.port) as client:  # An honest client gets its own answer.
                assert (await off_loop(client.request, "/honest")).status == 200
        assert origin.targets() == ["/honest"]


@pytest.mark.parametrize("data", ONE_REQUEST.values(), ids=ONE_REQUEST)
@on_both_loops
async def test_the_origin_sees_the_one_intended_request(data: bytes) -> None:
    with recording(lambda request: ok(b"", b"X-Saw: " + request.target.encode())) as origin:
        async with http_engine(origin.port) as engine:
            last = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            replies = parse_replies(await off_loop(raw_http, engine.port, data + last))
        first = origin.requests[0]
        intended = [b"/evil"] if data == ONE_REQUEST["CL.0"] else []
        assert [reply.value("x-saw") for reply in replies] == [b"/x", *intended, b"/last"]
        assert origin.targets() == ["/x", *(each.decode() for each in intended), "/last"]
        assert first.value("host") == b"a"
        assert len(first.values("content-length")) + len(first.values("transfer-encoding")) <= 1
        assert not any(b"_" in name or name.lower() == b"http2-settings" for name, _ in first.headers)
        check_strict(first.raw)


def check_strict(raw: bytes) -> None:
    """h11 as another server would read what was sent on: one complete request and not a byte behind it."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    events = []
    while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        events.append(event)
    assert isinstance(events[0], h11.Request)
    assert isinstance(events[-1], h11.EndOfMessage)
    assert connection.trailing_data[0] == b""
