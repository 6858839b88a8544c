"""Bodies kept for a fallback: within the limit of one, within the limit of all, and given back."""

from __future__ import annotations

import pytest

from streamlb.balance.selection import FallbackOrder, Server
from streamlb.proxy.replay import MAX_HELD, Replays
from streamlb.wire.message import CHUNKED

SPARE = Server("spare", "127.0.0.1", 80)


def order(size: int, *statuses: int) -> tuple[FallbackOrder, int]:
    return FallbackOrder("f", SPARE, frozenset(statuses), size), 0


def test_a_body_is_kept_and_given_back() -> None:
    replays = Replays()
    replay = replays.begin((order(10, 503),), 8, b"1234")
    assert replay is not None
    assert replay.add(b"5678")
    assert replays.held == 8
    assert replay.take() == b"12345678"
    assert (replays.held, replay.take()) == (0, b"")


def test_without_a_status_nothing_is_kept() -> None:
    assert Replays().begin((order(10),), 0, b"") is None


def test_the_most_generous_order_counts() -> None:
    replays = Replays()
    assert replays.begin((order(1, 503), order(10, 500), order(99)), 8, b"") is not None
    assert replays.begin((order(1, 503), order(10, 500), order(99)), 11, b"") is None


@pytest.mark.parametrize("size", [0, 10])
def test_a_body_over_the_limit_is_let_go(size: int) -> None:
    replays = Replays()
    assert replays.begin((order(size, 503),), size + 1, b"") is None
    assert replays.begin((order(size, 503),), CHUNKED, b"x" * (size + 1)) is None
    replay = replays.begin((order(size, 503),), CHUNKED, b"x" * size)
    assert replay is not None
    assert not replay.add(b"x")
    assert replays.held == 0


def test_all_together_are_bounded() -> None:
    replays = Replays()
    replay = replays.begin((order(10, 503),), 2, b"")
    assert replay is not None
    replays.held = MAX_HELD - 1
    assert replay.add(b"x")
    assert not replay.add(b"x")
    assert replays.held == MAX_HELD - 1
