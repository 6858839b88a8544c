"""Messages: the path that rules see, and the small questions heads answer."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.wire.message import RESERVED, RequestFields, RequestHead, ResponseHead, decode_path


def request(target: bytes, method: bytes = b"GET") -> RequestHead:
    return RequestHead(method, target, 1, b"", RequestFields())


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        (b"/plain", b"/plain"),
        (b"/foo%20bar", b"/foo bar"),
        (b"/%41%62", b"/Ab"),
        (b"/a%2Fb%2fc", b"/a%2Fb%2fc"),
        (b"/%25%3F%23%3b", b"/%25%3F%23%3b"),
        (b"/%e4%FF%00", b"/\xe4\xff\x00"),
        (b"/%", b"/%"),
        (b"/%4", b"/%4"),
        (b"/%zz%%41", b"/%zz%A"),
    ],
)
def test_paths_are_decoded_but_for_reserved_characters(raw: bytes, decoded: bytes) -> None:
    assert decode_path(raw) == decoded
    assert request(raw + b"?q=%41").path == decoded


def test_a_request_line_below_a_path() -> None:
    assert request(b"/a?b").line_below(b"/app/v1") == b"GET /app/v1/a?b HTTP/1.1\r\n"
    assert request(b"*", b"OPTIONS").line_below(b"/app") == b"OPTIONS * HTTP/1.1\r\n"


def test_another_target() -> None:
    head = request(b"/a%2e?x=1")
    head.retarget(b"/b%20c?y=2")
    assert (head.line, head.path, head.query) == (b"GET /b%20c?y=2 HTTP/1.1\r\n", b"/b c", b"y=2")


@given(st.binary(max_size=20))
def test_decoding_never_makes_a_separator(path: bytes) -> None:
    decoded = decode_path(path)
    for byte in RESERVED:
        if byte != b"%"[0]:
            assert decoded.count(bytes([byte])) == path.count(bytes([byte]))


def test_the_query_is_raw() -> None:
    assert request(b"/a?b=%41?c").query == b"b=%41?c"
    assert request(b"/a").query == b""


def test_the_client_is_an_address() -> None:
    head = request(b"/")
    head.peer = "::1"
    assert head.client == ip_address("::1")


def test_values_in_order() -> None:
    fields = RequestFields()
    fields.pairs = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    assert fields.values(b"a") == [b"1", b"3"]
    assert fields.values(b"c") == []


def test_an_answer_to_head_has_no_body() -> None:
    head = ResponseHead(200)
    head.framing = 5
    assert (head.body_framing(b"HEAD"), head.body_framing(b"GET")) == (0, 5)
