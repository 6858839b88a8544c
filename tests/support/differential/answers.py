"""Answers of servers that are unusual or broken, and what clients get of them.

Recorded with nginx 1.22 and HAProxy 2.6, each told no more than where to send requests.
"""

from __future__ import annotations

from tests.support.differential.bodies import CHUNKED, CHUNKS
from tests.support.differential.cases import (
    EXACT_CHUNKS,
    HOP,
    LF_ENDS,
    NO_CONTROLS,
    NO_FIELD,
    NOT_HTTP,
    OTHER_CODINGS,
    TWO_FRAMINGS,
    Case,
)
from tests.support.http import After

LENGTH = b"Content-Length: 5"


def answer(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK", body: bytes = b"hello") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""]) + body


ANSWERS = {
    "a length": Case(answer(LENGTH), "200 hello"),
    "chunks": Case(answer(CHUNKED, body=CHUNKS), "200 hello"),
    "a body to the end": Case(
        [answer(), After.CLOSE],
        "200 hello",
        haproxy="200 hello, closed",
        why="the end of a server's connection is not the end of the client's; the body goes on in chunks",
    ),
    "a body to a reset": Case(
        [answer(), 0.05, After.RESET],
        "cut, closed",
        haproxy="200 hello, closed",
        why="a reset is no end, and nobody may take the answer for complete",
    ),
    "an HTTP/1.0 server": Case([answer(LENGTH, start=b"HTTP/1.0 200 OK"), After.CLOSE], "200 hello"),
    "a length and chunks": Case(
        [answer(LENGTH, CHUNKED, body=CHUNKS), After.CLOSE],
        "502",
        nginx="200 hello",
        haproxy="200 hello",
        why=TWO_FRAMINGS,
    ),
    "two lengths": Case(
        [answer(LENGTH, b"Content-Length: 6"), After.CLOSE], "502", nginx="cut, closed", why=TWO_FRAMINGS
    ),
    "the same length twice": Case(
        [answer(LENGTH, LENGTH), After.CLOSE], "502", nginx="200 hello", haproxy="200 hello", why=TWO_FRAMINGS
    ),
    "a signed length": Case(
        [answer(b"Content-Length: +5"), After.CLOSE],
        "502",
        nginx="200 hello",
        why="a length is digits and nothing else (RFC 9110 section 8.6)",
    ),
    "an unknown coding": Case(
        [answer(b"Transfer-Encoding: gzip"), After.CLOSE], "502", nginx="200 hello", why=OTHER_CODINGS
    ),
    "a coding of HTTP/1.0": Case(
        [answer(CHUNKED, start=b"HTTP/1.0 200 OK", body=CHUNKS), After.CLOSE],
        "502",
        nginx="200 hello",
        haproxy="200 hello, closed",
        why="HTTP/1.0 has no codings, so the framing is faulty (RFC 9112 section 6.1)",
    ),
    "bare line feeds": Case(
        answer(LENGTH).replace(b"\r\n", b"\n"), "502", nginx="200 hello", haproxy="200 hello", why=LF_ENDS
    ),
    "a folded field": Case(
        answer(b"X-A: b\r\n c", LENGTH),
        "502",
        haproxy="200 hello",
        why="obsolete, and read in two ways by clients (RFC 9112 section 5.2)",
    ),
    "a space before the colon": Case(answer(b"X-A : b", LENGTH), "502"),
    "a name that is no token": Case(answer(b"X(A): b", LENGTH), "502", nginx="200 hello", why=NO_FIELD),
    "a line without a colon": Case(answer(b"X-A", LENGTH), "502", nginx="200 hello", why=NO_FIELD),
    "a bare CR in a value": Case(answer(b"X-A: b\rc", LENGTH), "502"),
    "NUL in a value": Case(answer(b"X-A: b\x00c", LENGTH), "502", haproxy="200 hello", why=NO_CONTROLS),
    "no reason": Case(answer(LENGTH, start=b"HTTP/1.1 200 "), "200 hello"),
    "no blank behind the status": Case(answer(LENGTH, start=b"HTTP/1.1 200"), "200 hello"),
    "status 999": Case(answer(LENGTH, start=b"HTTP/1.1 999 Odd"), "999"),
    "a status of four digits": Case(
        [answer(LENGTH, start=b"HTTP/1.1 2000 OK"), After.CLOSE],
        "502",
        nginx="2000 hello",
        haproxy="2000 hello",
        why=NOT_HTTP,
    ),
    "a version in lower case": Case(
        [answer(LENGTH, start=b"http/1.1 200 OK"), After.CLOSE], "502", nginx="200 hello", why=NOT_HTTP
    ),
    "HTTP/2.0": Case(
        [answer(LENGTH, start=b"HTTP/2.0 200 OK"), After.CLOSE],
        "502",
        nginx="200 hello",
        haproxy="200 hello",
        why=NOT_HTTP,
    ),
    "garbage": Case([b"garbage\r\n\r\n", After.CLOSE], "502", nginx="garbage", why=NOT_HTTP),
    "an early end of a counted body": Case([answer(b"Content-Length: 9"), After.CLOSE], "cut, closed"),
    "an early end of chunks": Case([answer(CHUNKED, body=b"5\r\nhello\r\n"), After.CLOSE], "cut, closed"),
    "a broken chunk": Case(
        [answer(CHUNKED, body=b"5\r\nhello\r\nxyz\r\n"), After.CLOSE],
        "502",
        nginx="nothing, closed",
        why="nothing was sent yet, so the client may be told",
    ),
    "a chunk size ended by LF": Case(
        [answer(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"), After.CLOSE],
        "502",
        nginx="200 hello",
        haproxy="200 hello",
        why=EXACT_CHUNKS,
    ),
    "nothing": Case([After.CLOSE], "502"),
    "a reset": Case([After.RESET], "502"),
    "half a head": Case([b"HTTP/1.1 200 OK\r\nX-A", After.CLOSE], "502"),
    "more than was announced": Case(answer(LENGTH, body=b"hello there"), "200 hello"),
    "a 204 with a body": Case(answer(LENGTH, start=b"HTTP/1.1 204 No Content"), "204"),
    "a body for HEAD": Case(answer(LENGTH), "200", method="HEAD"),
    "a switch nobody asked for": Case(
        [answer(b"Connection: Upgrade", b"Upgrade: x", start=b"HTTP/1.1 101 Switching", body=b""), After.CLOSE],
        "502",
        nginx="101",
        why="a tunnel is for those who asked for one (RFC 9110 section 7.8)",
    ),
    "a field named in Connection": Case(
        answer(b"Connection: X-Mine", b"X-Mine: 1", LENGTH),
        "200 hello",
        nginx="200 hello X-Mine=1",
        haproxy="200 hello X-Mine=1",
        why="required to end here (RFC 9110 section 7.6.1)",
        show=("X-Mine",),
    ),
    "Keep-Alive": Case(
        answer(b"Keep-Alive: timeout=5", LENGTH),
        "200 hello",
        haproxy="200 hello Keep-Alive=timeout=5",
        why=HOP,
        show=("Keep-Alive",),
    ),
    "Server": Case(
        answer(b"Server: mine", LENGTH),
        "200 hello Server=mine",
        nginx="200 hello Server=nginx/1.22.1",
        why="servers speak for themselves",
        show=("Server",),
    ),
    "101 fields": Case(
        answer(*[b"X-%d: 1" % n for n in range(100)], LENGTH),
        "502",
        nginx="200 hello",
        why="the limit is 100 fields, as for requests",
    ),
    "a field of 20 kB": Case(
        answer(b"X-B: " + b"b" * 20_000, LENGTH),
        "200 hello",
        nginx="502",
        haproxy="502",
        why="the limit is 32 KiB for the whole head",
    ),
    "a head of 40 kB": Case(answer(*[b"X-B: " + b"b" * 1000] * 40, LENGTH), "502"),
}

SECTIONS = {
    "Answers": ANSWERS,
}
