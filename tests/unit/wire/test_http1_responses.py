"""Answer heads: framing, what ends here, what is refused."""

from __future__ import annotations

import pytest

from streamlb.errors import UpstreamError
from streamlb.wire.http1 import MAX_FIELDS, is_asked_for, read_response
from streamlb.wire.message import CHUNKED, NO_BODY, UNTIL_CLOSE


def head(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


@pytest.mark.parametrize(
    ("start", "lines", "framing", "keeps"),
    [
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5"], 5, True),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Connection: close"], 5, False),
        (b"HTTP/1.1 200", [b"transfer-encoding: Chunked"], CHUNKED, True),
        (b"HTTP/1.1 200 ", [], UNTIL_CLOSE, True),
        (b"HTTP/1.1 204 No Content", [b"Content-Length: 5"], NO_BODY, True),
        (b"HTTP/1.1 304 Not Modified", [b"Content-Length: 5"], NO_BODY, True),
        (b"HTTP/1.1 103 Early Hints", [b"Link: </a>"], NO_BODY, True),
        (b"HTTP/1.1 101 Switching Protocols", [b"Upgrade: x", b"Connection: upgrade"], NO_BODY, True),
        (b"HTTP/1.1 999 Odd", [b"Content-Length: 0"], 0, True),
        (b"HTTP/1.0 200 OK", [], UNTIL_CLOSE, False),
        (b"HTTP/1.0 200 OK", [b"Content-Length: 5", b"Connection: keep-alive"], 5, True),
    ],
)
def test_framing_and_persistence(start: bytes, lines: list[bytes], framing: int, keeps: bool) -> None:
    answer = read_response(head(*lines, start=start), b"GET")
    assert answer.status == int(start.split()[1])
    assert (answer.framing, answer.keep_alive) == (framing, keeps)
    assert answer.body_framing(b"HEAD") == NO_BODY
    assert answer.body_framing(b"POST") == framing


def test_what_goes_to_the_client() -> None:
    answer = read_response(
        head(
            b"Server: x",
            b"Connection: keep-alive, X-Hop",
            b"X-Hop: 1",
            b"Keep-Alive: timeout=5",
            b"Proxy-Authenticate: Basic",
            b"Content-Length:  005",
            b"Set-Cookie: a=b",
        ),
        b"GET",
    )
    assert answer.rendered == b"HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a=b\r\n"
    assert answer.framing_line == b"Content-Length: 5\r\n"
    assert answer.plain == answer.rendered + answer.framing_line + b"\r\n"


def test_a_304_keeps_its_length_and_a_204_does_not() -> None:
    line = b"Content-Length: 5"
    assert read_response(head(line, start=b"HTTP/1.1 304 x"), b"GET").framing_line == line + b"\r\n"
    assert read_response(head(line, start=b"HTTP/1.1 204 x"), b"GET").framing_line == b""


def test_a_switch_says_so() -> None:
    raw = head(b"Connection: Upgrade", b"Upgrade: websocket", b"X: 1", start=b"HTTP/1.1 101 Switching Protocols")
    answer = read_response(raw, b"GET")
    assert answer.plain == (
        b"HTTP/1.1 101 Switching Protocols\r\nX: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )


def test_http_1_0_answers_are_spoken_as_1_1() -> None:
    assert (
        read_response(head(b"X: 1", start=b"HTTP/1.0 200 Fine"), b"GET").plain == b"HTTP/1.1 200 Fine\r\nX: 1\r\n\r\n"
    )


REFUSED = {
    "not HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/2": head(start=b"HTTP/2.0 200 OK"),
    "HTTP/0.9": head(start=b"HTTP/0.9 200 OK"),
    "lower case": head(start=b"http/1.1 200 OK"),
    "two digits": head(start=b"HTTP/1.1 20 OK"),
    "four digits": head(start=b"HTTP/1.1 2000 OK"),
    "a status of 000": head(start=b"HTTP/1.1 000 OK"),
    "a status of 099": head(start=b"HTTP/1.1 099 OK"),
    "no status": head(start=b"HTTP/1.1"),
    "bare LF": b"HTTP/1.1 200 OK\nX: 1\r\n\r\n",
    "bare CR": head(b"X: a\rb"),
    "NUL in the reason": head(start=b"HTTP/1.1 200 O\x00K"),
    "NUL": head(b"X: a\x00"),
    "a control character": head(b"X: a\x1b"),
    "a space before the colon": head(b"X : a"),
    "an empty name": head(b": a"),
    "obs-fold": head(b"X: a\r\n b"),
    "two lengths": head(b"Content-Length: 5", b"Content-Length: 6"),
    "the same length twice": head(b"Content-Length: 5", b"Content-Length: 5"),
    "a signed length": head(b"Content-Length: +5"),
    "an empty length": head(b"Content-Length:"),
    "a length out of range": head(b"Content-Length: 9223372036854775808"),
    "CL and TE": head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "gzip": head(b"Transfer-Encoding: gzip, chunked"),
    "TE in 1.0": head(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK"),
    "too many fields": head(*[b"X: 1"] * (MAX_FIELDS + 1)),
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_refused_answers(raw: bytes) -> None:
    with pytest.raises(UpstreamError) as refused:
        read_response(raw, b"GET")
    assert refused.value.status == 502


@pytest.mark.parametrize(
    ("answered", "asked", "fits"),
    [
        (b"websocket", b"WebSocket", True),
        (b"b/1", b"a, B/1", True),
        (b"b, a", b"a, b", True),
        (b"h2c", b"websocket", False),
        (b"websocket, h2c", b"websocket", False),
        (b"", b"websocket", False),
        (b"websocket", b"", False),
    ],
)
def test_switches_are_to_what_was_offered(answered: bytes, asked: bytes, fits: bool) -> None:
    assert is_asked_for(answered, asked) is fits


def test_a_server_cannot_write_our_log() -> None:
    with pytest.raises(UpstreamError) as refused:
        read_response(b"EVIL words HTTP\r\nX\r\n\r\n", b"GET")
    assert "EVIL" not in refused.value.reason
