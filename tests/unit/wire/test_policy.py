"""What an entry point's settings do to the fields of a request."""

from __future__ import annotations

import pytest

from streamlb.errors import DownstreamError
from streamlb.wire.http1 import read_fields, read_request_line, read_unusual_request
from streamlb.wire.policy import DEFAULT, RequestPolicy


def block(*lines: bytes) -> bytes:
    return b"\r\n".join([b"Host: a", *lines, b"", b""])


def kept(policy: RequestPolicy, *lines: bytes) -> list[bytes]:
    """What goes on of a block; both lanes must agree on it."""
    fast = read_fields(block(*lines), policy)
    slow = read_unusual_request(b"GET / HTTP/1.1\r\n" + block(*lines), policy)
    assert fast is not None
    assert (fast.kept, fast.pairs) == (slow.fields.kept, slow.fields.pairs)
    return fast.kept.split(b"\r\n")[:-1]


def test_nothing_is_asked_for_by_default() -> None:
    assert kept(DEFAULT, b"X_Fine: 1", b"Foo: 1", b"Connection: foo") == [b"X_Fine: 1"]
    assert (DEFAULT.sanitize, DEFAULT.semicolon, DEFAULT.refused) == (True, b"&", frozenset())


def test_underscores_deleted() -> None:
    policy = RequestPolicy(underscores="delete")
    assert kept(policy, b"X_Fine: 1", b"A-B: _", b"Content_Length: 5") == [b"A-B: _"]
    fields = read_fields(block(b"X_Fine: 1"), policy)
    assert fields is not None
    assert not fields.values(b"x_fine")


@pytest.mark.parametrize("line", [b"X_Fine: 1", b"_: 1", b"X_Forwarded_For: 1"])
def test_underscores_refused(line: bytes) -> None:
    policy = RequestPolicy(underscores="reject")
    assert kept(policy, b"A-B: _") == [b"A-B: _"]
    assert read_fields(block(line), policy) is None
    with pytest.raises(DownstreamError, match="underscore") as refused:
        read_unusual_request(b"GET / HTTP/1.1\r\n" + block(line), policy)
    assert refused.value.status == 400
    assert read_request_line(b"GET / HTTP/1.1\r\n")


def test_fields_that_stay_though_connection_names_them() -> None:
    policy = RequestPolicy(kept_hops=frozenset({b"foo"}))
    named = b"Connection: close, Foo, Bar, foo"
    assert kept(policy, b"Foo: 1", b"Bar: 2", named) == [b"Foo: 1", b"Connection: foo"]
    assert kept(policy, b"Foo: 1", b"Bar: 2") == [b"Foo: 1", b"Bar: 2"]


def test_they_are_listed_beside_what_the_proxy_lists() -> None:
    policy = RequestPolicy(kept_hops=frozenset({b"foo"}))
    lines = [b"Foo: 1", b"Connection: upgrade, foo", b"Upgrade: websocket", b"TE: trailers"]
    assert kept(policy, *lines) == [
        b"Foo: 1",
        b"TE: trailers",
        b"Connection: TE, Upgrade, foo",
        b"Upgrade: websocket",
    ]
