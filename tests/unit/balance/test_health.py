"""The judges: rise and fall after probes, failures in a window, and who may be taken out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.health import Failures, Judge, may_leave
from streamlb.balance.selection import Server


def verdicts(judge: Judge, results: str) -> str:
    """The verdict after each result: `+` good or up, `-` bad or down."""
    said = ""
    for result in results:
        was, news = judge.up, judge.observe(result == "+")
        assert news == (judge.up != was)
        said += "+" if judge.up else "-"
    return said


@pytest.mark.parametrize(
    ("rise", "fall", "results", "expected"),
    [
        (1, 1, "+-+--+", "+-+--+"),
        (1, 3, "--+---+", "+++++-+"),
        (2, 1, "-+-++-", "----+-"),
        (3, 2, "-+--++-+++", "+++------+"),
    ],
)
def test_so_many_results_in_a_row_turn_a_verdict(rise: int, fall: int, results: str, expected: str) -> None:
    assert verdicts(Judge(rise=rise, fall=fall), results) == expected


def test_what_was_assumed_down_needs_its_rise() -> None:
    assert verdicts(Judge(rise=2, up=False), "++") == "-+"


@pytest.mark.parametrize("good", [True, False])
def test_the_first_result_decides_at_once_where_nothing_was_assumed(good: bool) -> None:
    judge = Judge(rise=5, fall=5, up=False, decided=False)
    assert judge.observe(good)  # News either way: before it nobody knew.
    assert (judge.up, judge.decided) == (good, True)
    assert not judge.observe(not good)


def test_the_streak_is_what_speaks_against_the_verdict() -> None:
    judge = Judge(fall=3)
    streaks = []
    for good in (False, False, True, False, False, False, False):
        judge.observe(good)
        streaks.append(judge.streak)
    assert streaks == [1, 2, 0, 1, 2, 0, 0]


@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.booleans(), max_size=60))
def test_a_verdict_turns_exactly_after_a_run_of_contrary_results(rise: int, fall: int, results: list[bool]) -> None:
    judge = Judge(rise=rise, fall=fall)
    for number, good in enumerate(results, 1):
        was = judge.up
        turned = judge.observe(good)
        run = fall if was else rise
        tail = results[max(0, number - run) : number]
        contrary = len(tail) == run and all(each != was for each in tail)
        assert turned == contrary
        assert judge.up == (was != turned)


def test_failures_count_within_their_window_only() -> None:
    failures = Failures(3, 10.0)
    assert [failures.add(now) for now in (0.0, 5.0, 10.0, 14.9, 25.0, 25.0, 25.1)] == [
        False, False, True, True, False, False, True,
    ]  # fmt: skip


def test_one_failure_may_be_enough() -> None:
    assert Failures(1, 10.0).add(0.0)


def test_a_success_clears_failures() -> None:
    failures = Failures(2, 10.0)
    assert not failures
    assert not failures.add(1.0)
    assert failures
    failures.clear()
    assert not failures
    assert not failures.add(1.5)


@given(st.integers(1, 5), st.lists(st.floats(0, 30), max_size=30))
def test_failures_agree_with_counting_them_all(limit: int, steps: list[float]) -> None:
    failures, times, now = Failures(limit, 10.0), [], 0.0
    for step in steps:
        now += step
        times.append(now)
        assert failures.add(now) == (sum(now - each <= 10.0 for each in times) >= limit)


def test_the_last_server_stays() -> None:
    one, other, fenced = Server("1", "h", 1), Server("2", "h", 2), Server("3", "h", 3)
    assert may_leave(one, [one, other])
    other.set_up(False)
    assert not may_leave(one, [one, other])
    # A server that takes no new clients is missed by nobody, if somebody can take its sticky ones.
    assert may_leave(fenced, [one, other])
    # The same server, listed twice, is no other.
    twin = Server("1", "h", 1, state=one.state)
    assert not may_leave(one, [one, twin])
