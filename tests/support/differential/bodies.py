"""Requests whose bodies are framed in unusual ways, and fields about connections.

Recorded with nginx 1.22 and HAProxy 2.6, each told no more than where to send requests.
"""

from __future__ import annotations

from tests.support.differential.cases import EXACT_CHUNKS, HOP, OTHER_CODINGS, TWO_FRAMINGS, Case
from tests.support.differential.requests import get

CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return get(b"/x", *lines, method=b"POST", version=version) + body


FRAMING = {
    "a length": Case(post(b"Content-Length: 5", body=b"hello"), "POST /x body=hello => 200"),
    "chunks": Case(post(CHUNKED, body=CHUNKS), "POST /x body=hello => 200"),
    "a length and chunks": Case(
        post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + EVIL),
        "=> 400, closed",
        haproxy="POST /x => 200, closed",
        why=TWO_FRAMINGS,
    ),
    "two lengths": Case(post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"), "=> 400, closed"),
    "the same length twice": Case(
        post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
        "=> 400, closed",
        haproxy="POST /x body=hello => 200",
        why=TWO_FRAMINGS,
    ),
    "a list of lengths": Case(
        post(b"Content-Length: 5, 5", body=b"hello"),
        "=> 400, closed",
        haproxy="POST /x body=hello => 200",
        why=TWO_FRAMINGS,
    ),
    "a signed length": Case(post(b"Content-Length: +5", body=b"hello"), "=> 400, closed"),
    "a hexadecimal length": Case(post(b"Content-Length: 0x5", body=b"hello"), "=> 400, closed"),
    "a length with zeros in front": Case(post(b"Content-Length: 005", body=b"hello"), "POST /x body=hello => 200"),
    "a length of 2^64+5": Case(post(b"Content-Length: 18446744073709551621", body=b"hello"), "=> 400, closed"),
    "a coding of HTTP/1.0": Case(
        post(CHUNKED, body=CHUNKS, version=b"HTTP/1.0"),
        "=> 400, closed",
        haproxy="POST /x body=hello => 200, closed",
        why="HTTP/1.0 has no codings, so the framing is faulty (RFC 9112 section 6.1)",
    ),
    "an unknown coding": Case(
        post(b"Transfer-Encoding: gzip", body=CHUNKS), "=> 501, closed", haproxy="=> 400, closed", why=OTHER_CODINGS
    ),
    "two codings": Case(
        post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
        "=> 501, closed",
        haproxy="=> 422, closed",
        why=OTHER_CODINGS,
    ),
    "chunked twice": Case(
        post(CHUNKED, CHUNKED, body=CHUNKS),
        "=> 501, closed",
        nginx="=> 400, closed",
        haproxy="=> 400, closed",
        why=OTHER_CODINGS,
    ),
    "identity": Case(
        post(b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello"),
        "=> 501, closed",
        haproxy="=> 400, closed",
        why=OTHER_CODINGS,
    ),
    "a coding in capitals": Case(post(b"Transfer-Encoding: CHUNKED", body=CHUNKS), "POST /x body=hello => 200"),
    "a chunk extension": Case(post(CHUNKED, body=b'5;a=b;c="d"\r\nhello\r\n0\r\n\r\n'), "POST /x body=hello => 200"),
    "a chunk size ended by LF": Case(
        post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"),
        "=> 400, closed",
        nginx="POST /x body=hello => 200",
        haproxy="POST /x body=hello => 200",
        why=EXACT_CHUNKS,
    ),
    "a chunk size with 0x": Case(post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"), "=> 400, closed"),
    "a chunk size with a blank": Case(
        post(CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n"),
        "=> 400, closed",
        nginx="POST /x body=hello => 200",
        haproxy="POST /x body=hello => 200",
        why=EXACT_CHUNKS,
    ),
    "a chunk size with zeros in front": Case(
        post(CHUNKED, body=b"0005\r\nhello\r\n000\r\n\r\n"), "POST /x body=hello => 200"
    ),
    "a chunk size out of range": Case(post(CHUNKED, body=b"10000000000000005\r\nhello\r\n0\r\n\r\n"), "=> 400, closed"),
    "other bytes behind a chunk": Case(post(CHUNKED, body=b"5\r\nhelloXX0\r\n\r\n"), "=> 400, closed"),
    "a trailer": Case(post(CHUNKED, body=b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"), "POST /x body=hello => 200"),
    "a trailer that is a length": Case(
        post(CHUNKED, body=b"5\r\nhello\r\n0\r\nContent-Length: 40\r\n\r\n"),
        "=> 400, closed",
        nginx="POST /x body=hello => 200",
        haproxy="POST /x body=hello => 200",
        why="a server that merges trailers into the head would believe it (RFC 9110 section 6.5.1)",
    ),
}

CONNECTIONS = {
    "a field named in Connection": Case(
        get(b"/x", b"Connection: X-Mine", b"X-Mine: 1"),
        "GET /x => 200",
        nginx="GET /x X-Mine=1 => 200",
        haproxy="GET /x X-Mine=1 => 200",
        why="required to end here (RFC 9110 section 7.6.1)",
        show=("X-Mine",),
    ),
    "Host named in Connection": Case(get(b"/x", b"Connection: Host"), "GET /x => 200"),
    "X-Forwarded-For named in Connection": Case(
        get(b"/x", b"Connection: X-Forwarded-For"), "GET /x X-Forwarded-For=127.0.0.1 => 200", show=("X-Forwarded-For",)
    ),
    "a forged X-Forwarded-For": Case(
        get(b"/x", b"X-Forwarded-For: 6.6.6.6"), "GET /x X-Forwarded-For=127.0.0.1 => 200", show=("X-Forwarded-For",)
    ),
    "a forged X_Forwarded_For": Case(
        get(b"/x", b"X_Forwarded_For: 6.6.6.6"),
        "GET /x => 200",
        haproxy="GET /x X_Forwarded_For=6.6.6.6 => 200",
        why="many servers read `_` as `-`",
        show=("X_Forwarded_For",),
    ),
    "Proxy-Connection and Keep-Alive": Case(
        get(b"/x", b"Proxy-Connection: close", b"Keep-Alive: timeout=5"),
        "GET /x => 200",
        nginx="GET /x Proxy-Connection=close => 200",
        haproxy="GET /x Proxy-Connection=close Keep-Alive=timeout=5 => 200",
        why=HOP,
        show=(
            "Proxy-Connection",
            "Keep-Alive",
        ),
    ),
    "Proxy-Authorization": Case(
        get(b"/x", b"Proxy-Authorization: Basic eA=="),
        "GET /x => 200",
        nginx="GET /x Proxy-Authorization=Basic eA== => 200",
        haproxy="GET /x Proxy-Authorization=Basic eA== => 200",
        why=HOP,
        show=("Proxy-Authorization",),
    ),
    "TE: gzip, trailers": Case(
        get(b"/x", b"TE: gzip, trailers", b"Connection: TE"),
        "GET /x TE=trailers => 200",
        nginx="GET /x => 200",
        why="trailers pass, so a server may be told that they are welcome",
        show=("TE",),
    ),
    "an upgrade to h2c": Case(
        get(b"/x", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"),
        "GET /x => 200",
        nginx="GET /x HTTP2-Settings=AAMAAABkAAQ => 200",
        haproxy="GET /x Upgrade=h2c HTTP2-Settings=AAMAAABkAAQ => 200",
        why="never passed on: nobody would look into such a tunnel",
        show=(
            "Upgrade",
            "HTTP2-Settings",
        ),
    ),
    "an upgrade without Connection": Case(
        get(b"/x", b"Upgrade: websocket"),
        "GET /x => 200",
        haproxy="GET /x Upgrade=websocket => 200",
        why="not an upgrade (RFC 9110 section 7.8)",
        show=("Upgrade",),
    ),
    "an upgrade": Case(
        get(b"/x", b"Connection: Upgrade", b"Upgrade: websocket"),
        "GET /x Upgrade=websocket => 200",
        nginx="GET /x => 200",
        haproxy="=> 400, closed",
        why="upgrades pass, as they do with Traefik; nginx wants to be told, HAProxy wants a key",
        show=("Upgrade",),
    ),
    "Expect: 100-continue": Case(
        post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
        "POST /x body=hello Expect=100-continue => 200",
        nginx="POST /x body=hello => 200",
        why="the server decides whether it wants the body",
        show=("Expect",),
    ),
    "another expectation": Case(
        get(b"/x", b"Expect: a-pony"),
        "=> 417, closed",
        nginx="GET /x => 200",
        haproxy="GET /x Expect=a-pony => 200",
        why="nobody on the path could meet it (RFC 9110 section 10.1.1)",
        show=("Expect",),
    ),
}

SECTIONS = {
    "Framing": FRAMING,
    "Connections": CONNECTIONS,
}
