"""Repeated complaints at a bounded rate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlb.observe.throttle import MAX_KEYS, Throttle


def test_the_first_is_told_the_rest_are_counted() -> None:
    throttle = Throttle(10.0)
    assert [throttle.admit("a", now) for now in (0.0, 1.0, 9.9, 10.0, 10.1, 20.0)] == [1, 0, 0, 3, 0, 2]


def test_keys_do_not_silence_each_other() -> None:
    throttle = Throttle(10.0)
    assert [throttle.admit(key, 0.0) for key in ("a", "b", "a", "b")] == [1, 1, 0, 0]


def test_the_number_of_keys_is_bounded() -> None:
    throttle = Throttle(10.0)
    for number in range(10 * MAX_KEYS):
        throttle.admit(number, 0.0)
        assert len(throttle._seen) <= MAX_KEYS


@given(st.lists(st.floats(0, 3), max_size=60))
def test_lines_keep_their_distance_and_nothing_is_lost(pauses: list[float]) -> None:
    throttle = Throttle(5.0)
    now, told_at, told, seen = 0.0, float("-inf"), 0, 0
    for pause in pauses:
        now += pause
        seen += 1
        count = throttle.admit("key", now)
        told += count
        if count:
            assert now - told_at > 5.0 - 1e-9  # The sum of pauses is rounded.
            told_at = now
    assert told + throttle.admit("key", now + 5.0) == seen + 1
