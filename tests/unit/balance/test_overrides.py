"""Overrides: exceptions for one request, and nothing else changes."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from streamlb.balance.overrides import Overridden, by_cookie, by_header
from streamlb.balance.selection import Selection, Server
from streamlb.balance.sticky import Attributes, Sticky, token
from streamlb.balance.tree import Balancer, Child


class Asked:
    """A request with fields."""

    client = IPv4Address("192.0.2.1")

    def __init__(self, *fields: tuple[bytes, bytes]) -> None:
        self.fields = fields

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


def server(name: str) -> Server:
    return Server(name, "127.0.0.1", 80)


def asking(*fields: tuple[bytes, bytes], cookie: bytes = b"") -> Selection:
    return Selection(cookie, b"", Asked(*fields))


V2 = (b"x-canary", b"v2")


def app(a: Server, b: Server, weight: int = 0, *, cookie: str = "") -> Overridden:
    edges = [Child("a", a, 1), Child("b", b, weight)]
    sticky = Sticky(cookie, [(edge.name, edge.node) for edge in edges], Attributes()) if cookie else None
    return Overridden(Balancer("app", edges, sticky=sticky), [(by_header("X-Canary", "v2"), b)])


@pytest.mark.parametrize(
    ("value", "values", "expected"),
    [
        ("v2", [b"v2"], True),
        ("v2", [b"v1", b"v2"], True),
        ("v2", [b"V2"], False),
        ("v2", [b"v2, v1"], False),
        ("v2", [], False),
        ("", [b""], True),
        (None, [b""], True),
        (None, [], False),
        ("ü", ["ü".encode()], True),
    ],
)
def test_fields(value: str | None, values: list[bytes], expected: bool) -> None:
    assert by_header("X-Canary", value)(asking(*((b"x-canary", each) for each in values))) is expected
    assert not by_header("X-Canary", value)(Selection())


@pytest.mark.parametrize(
    ("value", "header", "expected"),
    [
        ("always", b"a=b; canary=always", True),
        ("always", b"canary=never", False),
        ("always", b"", False),
        (None, b"canary=", True),
        (None, b"a=canary", False),
    ],
)
def test_cookies(value: str | None, header: bytes, expected: bool) -> None:
    assert by_cookie("canary", value)(asking(cookie=header)) is expected


def test_a_child_of_weight_zero_is_reached_by_override_only() -> None:
    a, b = server("a"), server("b")
    root = app(a, b)
    assert root.pick(asking(V2)) is b
    assert {root.pick(asking()) for _ in range(5)} == {a}
    assert repr(root) == "Overridden(app)"


def test_a_child_that_is_down_or_refuses_cannot_be_forced() -> None:
    a, b = server("a"), server("b")
    root = app(a, b)
    want = asking(V2)
    want.retry(b)
    assert root.pick(want) is a
    b.set_up(False)
    assert root.pick(asking(V2)) is a


def test_the_rotation_does_not_notice() -> None:
    a, b = server("a"), server("b")
    root = app(a, b, 2)
    picked = []
    for _ in range(6):
        assert root.pick(asking(V2)) is b
        picked.append(root.pick(asking()))
    assert picked == [a, b, b, a, b, b]


def test_an_override_comes_before_stickiness_and_sets_no_cookie() -> None:
    a, b = server("a"), server("b")
    root = app(a, b, 1, cookie="c")
    want = asking(V2, cookie=f"c={token('a')}".encode())
    assert root.pick(want) is b
    assert want.cookies == []
    assert root.pick(asking(cookie=f"c={token('a')}".encode())) is a


def test_the_first_that_matches_and_is_up_decides() -> None:
    a, b = server("a"), server("b")
    balancer = Balancer("app", [Child("a", a, 1), Child("b", b, 1)])
    root = Overridden(balancer, [(by_header("X-Canary", None), a), (by_header("X-Canary", "v2"), b)])
    assert root.pick(asking(V2)) is a
    a.set_up(False)
    assert root.pick(asking(V2)) is b


def test_parents_hear_of_its_health() -> None:
    a, b, c = server("a"), server("b"), server("c")
    inner = app(a, b, 1)
    root = Balancer("root", [Child("inner", inner, 1), Child("c", c, 1)])
    assert (inner.up, inner.opens) == (True, False)
    a.set_up(False)
    b.set_up(False)
    assert not inner.up
    assert {root.pick(asking(V2)) for _ in range(4)} == {c}
    b.set_up(True)
    assert {root.pick(asking()) for _ in range(4)} == {b, c}
