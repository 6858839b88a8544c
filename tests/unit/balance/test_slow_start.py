"""A server that has come back: how its share grows, and that it takes exactly that."""

from __future__ import annotations

from collections import Counter
from itertools import cycle, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.selection import Selection, Server
from streamlb.balance.slow_start import LEAST, MAX_SKIPS, Warming, shares
from streamlb.balance.strategy import Rotation
from streamlb.balance.tree import Balancer, Child


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ({}, {}),
        ({"a": None, "b": None}, {}),
        ({"a": None, "b": 0.0}, {"b": LEAST}),
        ({"a": None, "b": 2.5}, {"b": 0.25}),
        ({"a": None, "b": 10.0}, {}),
        ({"a": None, "b": 11.0, "c": 5.0}, {"c": 0.5}),
        # Nobody is warm: the warmest stands for all.
        ({"a": 5.0, "b": 2.5}, {"b": 0.5}),
        ({"a": 1.0, "b": 1.0}, {}),
        ({"a": 0.0}, {}),
    ],
)
def test_shares_grow_with_time(ages: dict[str, float | None], expected: dict[str, float]) -> None:
    assert shares(ages, 10.0) == expected


def turns(warming: Warming[str], count: int) -> Counter[str]:
    return Counter(str(warming.next()) for _ in range(count))


def test_a_share_is_taken_evenly_and_the_others_keep_their_proportions() -> None:
    rotation = Rotation([("a", 2), ("b", 1), ("new", 1)])
    warming = Warming(rotation.next)
    warming.set({"new": 0.25})
    found = [warming.next() for _ in range(130)]
    # Of 4 turns a block the new one takes a quarter of one: 10 of 130, every thirteenth.
    assert Counter(found) == {"a": 80, "b": 40, "new": 10}
    at = [place for place, child in enumerate(found) if child == "new"]
    assert {later - earlier for earlier, later in pairwise(at)} <= {12, 13, 14}


def test_without_shares_all_is_as_usual() -> None:
    assert [Warming(cycle("abc").__next__).next() for _ in range(1)] == ["a"]
    warming = Warming(Rotation([("a", 1), ("b", 1)]).next)
    assert turns(warming, 10) == {"a": 5, "b": 5}


def test_nobody_is_nobody() -> None:
    warming = Warming(Rotation[str]([]).next)
    warming.set({"a": 0.5})
    assert warming.next() is None


def test_a_strategy_that_insists_is_given_in_to() -> None:
    asked = []

    def insist(want: str) -> str:
        asked.append(want)
        return "a"

    warming = Warming(insist)
    warming.set({"a": 0.001})
    assert warming.next("key") == "a"
    assert asked == ["key"] * (MAX_SKIPS + 1)


def test_credit_survives_the_next_step_and_is_bounded() -> None:
    warming = Warming(Rotation([("a", 1), ("b", 1)]).next)
    warming.set({"b": 0.9})
    turns(warming, 3)
    for share in (0.91, 0.95):
        warming.set({"b": share})
    assert turns(warming, 195)["b"] == pytest.approx(95, abs=2)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.floats(0.05, 0.99))
def test_any_weights_any_share(weights: list[int], share: float) -> None:
    warming = Warming(Rotation(list(enumerate(weights))).next)
    warming.set({0: share})
    count = 2000
    found = Counter(warming.next() for _ in range(count))
    whole = sum(weights[1:]) + share * weights[0]
    assert found[0] == pytest.approx(count * share * weights[0] / whole, abs=20)
    for index, weight in enumerate(weights[1:], 1):
        assert found[index] == pytest.approx(count * weight / whole, abs=20)


def test_a_balancer_warms_and_goes_back_to_its_exact_rotation() -> None:
    one, new = Server("one", "h", 1), Server("new", "h", 2)
    balancer = Balancer("app", [Child("one", one), Child("new", new)])

    def picks(count: int) -> Counter[str]:
        return Counter(str(server and server.name) for server in (balancer.pick(Selection()) for _ in range(count)))

    balancer.warm({new: 0.25})
    assert picks(50) == {"one": 40, "new": 10}
    # Whoever else fails, the one that is warming up serves.
    one.set_up(False)
    assert picks(3) == {"new": 3}
    one.set_up(True)
    want = Selection()
    want.retry(one)
    assert balancer.pick(want) is new
    balancer.warm({})
    assert picks(50) == {"one": 25, "new": 25}
