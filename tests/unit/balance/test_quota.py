"""The quota of a mirror: Traefik's table, and within one of the percentage for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.quota import Quota


def admitted(quota: Quota, calls: int) -> list[int]:
    """The numbers of the calls admitted, from 1."""
    return [n for n in range(1, calls + 1) if quota.admit()]


@pytest.mark.parametrize(
    ("percent", "first_hundred"),
    [
        (0, []),
        (1, [1]),
        (10, [1, 11, 21, 31, 41, 51, 61, 71, 81, 91]),
        (25, list(range(1, 100, 4))),
        (50, list(range(1, 100, 2))),
        (90, [n for n in range(1, 101) if n % 10]),
        (99, list(range(1, 100))),
        (100, list(range(1, 101))),
    ],
)
def test_table(percent: int, first_hundred: list[int]) -> None:
    quota = Quota(percent)
    assert admitted(quota, 100) == first_hundred
    assert admitted(quota, 100) == first_hundred


def test_thirds_are_rounded_up() -> None:
    assert admitted(Quota(33), 40)[:12] == [1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34]
    assert admitted(Quota(66), 9) == [1, 2, 4, 5, 7, 8]


@given(percent=st.integers(0, 100), calls=st.integers(0, 1000))
def test_equals_the_rule_it_is_made_of(percent: int, calls: int) -> None:
    mirrored = 0
    expected = []
    for total in range(1, calls + 1):
        if mirrored * 100 < total * percent:
            mirrored += 1
            expected.append(total)
    assert admitted(Quota(percent), calls) == expected


@given(
    percent=st.integers(0, 100),
    calls=st.integers(0, 1000),
    workers=st.integers(1, 8),
    worker=st.integers(0, 7),
)
def test_within_one_of_the_percentage(percent: int, calls: int, workers: int, worker: int) -> None:
    quota = Quota(percent, worker % workers, workers)
    exact = calls * percent / 100
    assert exact - 1 <= len(admitted(quota, calls)) <= exact + 1
    assert -100 <= quota.credit <= 0


@given(percent=st.integers(0, 100), workers=st.integers(1, 8))
def test_each_hundred_is_exact(percent: int, workers: int) -> None:
    for worker in range(workers):
        quota = Quota(percent, worker, workers)
        assert [len(admitted(quota, 100)) for _ in range(3)] == [percent] * 3


def test_workers_take_turns_with_a_small_percentage() -> None:
    firsts = [admitted(Quota(1, worker, 4), 100) for worker in range(4)]
    assert firsts == [[1], [26], [51], [76]]


@given(percents=st.lists(st.integers(0, 100), min_size=1, max_size=50), calls=st.integers(1, 5))
def test_percentages_that_change_all_the_time_are_kept_on_average(percents: list[int], calls: int) -> None:
    quota, count, due = Quota(0), 0, 0
    for percent in percents:
        quota, former = Quota(percent), quota
        quota.resume(former)
        count += len(admitted(quota, calls))
        due += percent * calls
    assert abs(count * 100 - due) <= 100
