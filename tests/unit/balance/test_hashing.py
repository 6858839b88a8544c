"""Rendezvous hashing: the same key the same child, nothing moves that need not, shares as the weights."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.hashing import Draws, Rendezvous, client_key, cookie_key, digest, header_key, mix
from streamlb.balance.selection import Selection

if TYPE_CHECKING:
    from ipaddress import IPv6Address

KEYS = [b"client %d" % number for number in range(2000)]


class Asked:
    """A request as the walk sees it."""

    def __init__(self, client: str = "192.0.2.7", **fields: str) -> None:
        self.client: IPv4Address | IPv6Address = ip_address(client)
        self.fields = {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}

    def values(self, name: bytes) -> list[bytes]:
        return [self.fields[name]] if name in self.fields else []


def rendezvous(**weights: int) -> Rendezvous[str]:
    return Rendezvous([(name, name, weight) for name, weight in weights.items()], client_key)


def chosen(strategy: Rendezvous[str], keys: list[bytes]) -> list[str | None]:
    return [strategy.next(Selection(b"", key)) for key in keys]


WEIGHTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9), min_size=2, max_size=8)


@given(weights=WEIGHTS, key=st.binary(min_size=1, max_size=16), data=st.data())
def test_a_child_that_goes_takes_only_its_own_keys(weights: dict[str, int], key: bytes, data: st.DataObject) -> None:
    strategy = rendezvous(**weights)
    want = Selection(b"", key)
    order = strategy.upcoming(want)
    assert strategy.next(want) == order[0]
    gone = data.draw(st.sampled_from(sorted(weights)))
    strategy.use(set(weights) - {gone})
    assert strategy.next(want) == (order[1] if gone == order[0] else order[0])
    strategy.use(set(weights))
    assert strategy.next(want) == order[0]


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2, "c": 5}, {"a": 7, "b": 7}])
def test_shares_are_as_the_weights(weights: dict[str, int]) -> None:
    shares = Counter(chosen(rendezvous(**weights), KEYS))
    for name, weight in weights.items():
        fair = len(KEYS) * weight / sum(weights.values())
        assert abs(shares[name] - fair) < 0.15 * fair + 20


def test_names_that_differ_in_one_digit_share_evenly() -> None:
    names = {f"http://10.0.0.{number}:80": 1 for number in range(10)}
    shares = Counter(chosen(rendezvous(**names), KEYS))
    assert min(shares.values()) > 150
    assert max(shares.values()) < 250


def test_the_order_of_the_configuration_does_not_matter() -> None:
    assert chosen(rendezvous(a=1, b=2, c=3), KEYS) == chosen(rendezvous(c=3, a=1, b=2), KEYS)


def test_the_choice_is_the_same_in_every_process() -> None:
    """Written down, so that a change of the hash is noticed: it would move every client."""
    assert "".join(str(each) for each in chosen(rendezvous(a=1, b=1, c=1), KEYS[:12])) == SEQUENCE
    assert digest(b"a") == 0x40F89E395B66422F


SEQUENCE = "bcccccccbbac"


def test_weight_zero_and_the_unusable_are_never_chosen() -> None:
    strategy = rendezvous(a=0, b=1, c=1)
    assert set(chosen(strategy, KEYS[:50])) == {"b", "c"}
    strategy.use({"a", "c"})
    assert set(chosen(strategy, KEYS[:5])) == {"c"}
    strategy.use(())
    assert chosen(strategy, KEYS[:1]) == [None]
    strategy.skip_to("b")


# --- keys ---


def test_the_client_is_its_address() -> None:
    assert client_key(Selection(b"", b"\x01\x02\x03\x04")) == b"\x01\x02\x03\x04"
    assert client_key(Selection(b"", b"", Asked("192.0.2.7"))) == bytes([192, 0, 2, 7])
    assert client_key(Selection()) == b""


def test_a_field_of_the_request() -> None:
    key = header_key("X-User")
    assert key(Selection(b"", b"c", Asked(x_user="ada"))) == b"ada"
    for nobody in (Asked(), Asked(x_user=""), None):
        assert key(Selection(b"", b"c", nobody)) == b"c"


def test_a_cookie_of_the_request() -> None:
    key = cookie_key("user")
    assert key(Selection(b"a=b; user=ada", b"c")) == b"ada"
    for header in (b"", b"a=b", b"user="):
        assert key(Selection(header, b"c")) == b"c"


# --- numbers ---


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_mixing_keeps_numbers_apart(one: int, other: int) -> None:
    assert 0 <= mix(one) < 2**64
    assert (mix(one) == mix(other)) == (one == other)


@given(st.integers())
def test_draws_are_a_row_of_their_seed(seed: int) -> None:
    row = [Draws(seed) for _ in range(2)]
    numbers = [row[0]() for _ in range(5)]
    assert numbers == [row[1]() for _ in range(5)]
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) == 5
