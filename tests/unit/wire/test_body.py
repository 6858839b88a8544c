"""Bodies: counted, chunked and endless ones, whole, byte by byte and with trailing bytes, and against h11."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.wire.body import LAST_CHUNK, MAX_CHUNK_LINE, MAX_TRAILERS, Body, BodyError, encode_chunk
from streamlb.wire.message import CHUNKED, UNTIL_CLOSE


def fed(framing: int, data: bytes, size: int = 0) -> tuple[int, bytes, bool]:
    """(bytes taken, payload, done) after feeding `data` in pieces of `size` (0: whole)."""
    body, payload, taken = Body(framing), list[bytes](), 0
    for at in range(0, len(data), size or len(data) or 1):
        piece = data[at : at + size] if size else data
        took = body.feed(piece, payload)
        taken += took
        if body.done:
            break
        assert took == len(piece)
    return taken, b"".join(payload), body.done


CHUNKS = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"005\r\nhello\r\n00\r\n\r\n", b"hello"),
    (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
    (b'5;a=b;c="d e"\r\nhello\r\n0;x\r\n\r\n', b"hello"),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
    (b"1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", b"a"),
]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7])
@pytest.mark.parametrize(("data", "payload"), CHUNKS)
def test_chunks(data: bytes, payload: bytes, size: int) -> None:
    assert fed(CHUNKED, data, size) == (len(data), payload, True)
    assert fed(CHUNKED, data + b"GET / HTTP/1.1\r\n", 0) == (len(data), payload, True)
    assert not fed(CHUNKED, data[:-1], size)[2]


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_counted_body_takes_its_bytes_and_no_more(size: int) -> None:
    assert fed(5, b"helloGET", size) == (5, b"hello", True)
    assert fed(5, b"hell", size) == (4, b"hell", False)


def test_an_empty_body_is_done_at_once() -> None:
    body = Body(0)
    assert body.done
    assert body.feed(b"more") == 0


def test_an_endless_body_takes_everything() -> None:
    assert fed(UNTIL_CLOSE, b"abc", 1) == (3, b"abc", False)


def test_a_finished_body_takes_nothing() -> None:
    body = Body(CHUNKED)
    assert body.feed(LAST_CHUNK) == 5
    assert body.feed(b"5\r\n") == 0


REFUSED = {
    "a hexadecimal prefix": b"0x5\r\nhello\r\n",
    "a plus": b"+5\r\nhello\r\n",
    "a minus": b"-5\r\nhello\r\n",
    "an underscore": b"1_0\r\n",
    "a space before": b" 5\r\nhello\r\n",
    "a space behind": b"5 \r\nhello\r\n",
    "a tab behind": b"5\t\r\nhello\r\n",
    "no size": b"\r\nhello\r\n",
    "only an extension": b";a\r\nhello\r\n",
    "not hexadecimal": b"g\r\n",
    "overflow": b"8000000000000000\r\n",
    "too many digits": b"00000000000000005\r\nhello\r\n",
    "LF after the size": b"5\nhello\r\n",
    "CR after the size": b"5\rhello\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n",
    "LF in an extension": b"5;a\nb\r\nhello\r\n",
    "NUL in an extension": b"5;a\x00\r\nhello\r\n",
    "no end after the data": b"5\r\nhello0\r\n\r\n",
    "LF after the data": b"5\r\nhello\n0\r\n\r\n",
    "any two bytes after the data": b"5\r\nhelloXX0\r\n\r\n",
    "a long chunk line": b"5;" + b"a" * MAX_CHUNK_LINE + b"\r\n",
    "a trailer without colon": b"0\r\nX\r\n\r\n",
    "a trailer with a space": b"0\r\nX : 1\r\n\r\n",
    "a trailer ended by LF": b"0\r\nX: 1\n\r\n",
    "a folded trailer": b"0\r\nX: 1\r\n y\r\n\r\n",
    "too many trailers": b"0\r\n" + b"X: 1\r\n" * (MAX_TRAILERS // 6 + 1) + b"\r\n",
    "a long trailer": b"0\r\nX: " + b"1" * MAX_TRAILERS,
    "a length as trailer": b"0\r\nContent-Length: 5\r\n\r\n",
    "a forwarding field as trailer": b"0\r\nX_Forwarded-For: 5\r\n\r\n",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("size", [0, 1])
def test_refused_chunks(data: bytes, size: int) -> None:
    with pytest.raises(BodyError):
        fed(CHUNKED, data, size)


def test_an_endless_chunk_line_is_not_kept() -> None:
    body = Body(CHUNKED)
    for _ in range(MAX_CHUNK_LINE):
        body.feed(b"1")
    with pytest.raises(BodyError):
        body.feed(b"1")


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), st.integers(0, 9), st.binary(max_size=9))
def test_what_is_encoded_is_read(pieces: list[bytes], size: int, behind: bytes) -> None:
    data = b"".join(map(encode_chunk, pieces)) + LAST_CHUNK
    assert fed(CHUNKED, data, size) == (len(data), b"".join(pieces), True)
    assert fed(CHUNKED, data + behind)[0] == len(data)


TOKENS = [
    b"5",
    b"0",
    b"a",
    b"\r\n",
    b"\n",
    b"\r",
    b"hello",
    b";x",
    b" ",
    b"X: 1",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(TOKENS) | st.binary(max_size=2), max_size=8).map(b"".join))
def test_what_is_taken_as_complete_h11_reads_identically(data: bytes) -> None:
    try:
        taken, payload, done = fed(CHUNKED, data)
    except BodyError:
        return
    if not done:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    assert isinstance(connection.next_event(), h11.Request)
    theirs = b""
    while isinstance(event := connection.next_event(), h11.Data):
        theirs += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert (theirs, connection.trailing_data[0]) == (payload, data[taken:])


def test_counted_bytes_may_go_another_way() -> None:
    body = Body(10)
    assert body.feed(b"abc") == 3
    assert body.counted == 7
    body.skip(6)
    assert body.feed(b"") == 0
    assert not body.done
    body.skip(1)
    assert body.counted == 0
    assert body.feed(b"GET") == 0  # The next message.
    assert body.done


@pytest.mark.parametrize("framing", [CHUNKED, UNTIL_CLOSE])
def test_only_counted_bytes_are_known_beforehand(framing: int) -> None:
    body = Body(framing)
    body.feed(b"400\r\n")
    assert body.counted == 0


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("framing", "data", "content"),
    [(5, b"abcde", 5), (CHUNKED, b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n", 5), (UNTIL_CLOSE, b"abcdefg", 7)],
)
def test_what_has_passed_is_content_only(framing: int, data: bytes, content: int, step: int) -> None:
    body = Body(framing)
    assert body.passed == 0
    for at in range(0, len(data), step):
        body.feed(data[at : at + step])
    assert body.passed == content
