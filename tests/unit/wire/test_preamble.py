"""What readers of first bytes have in common: nobody is told to wait for what is there already."""

from __future__ import annotations

import pytest

from streamlb.wire.clienthello import MAX_CLIENT_HELLO, read_client_hello
from streamlb.wire.preamble import Incomplete, Malformed
from streamlb.wire.proxy_protocol import MAX_HEADER, read_header
from tests.support.hello import message, records


@pytest.mark.parametrize(
    ("read", "limit", "data"),
    [
        (read_client_hello, MAX_CLIENT_HELLO, records(message(), 7)),
        (read_header, MAX_HEADER, b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
        (read_header, MAX_HEADER, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\n\0\0\1\n\0\0\2\0\1\0\2"),
    ],
)
def test_asking_again_with_what_is_needed_comes_to_an_end(read: object, limit: int, data: bytes) -> None:
    assert callable(read)
    have = asked = 0
    while isinstance(found := read(data[:have]), Incomplete):
        assert have < found.needed <= min(len(data), limit)
        have = found.needed
        asked += 1
    assert not isinstance(found, Malformed)
    assert asked < len(data)
