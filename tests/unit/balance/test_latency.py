"""What is known of a server's answers: a bounded memory, and failures that make nobody look fast."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.latency import SAMPLES, Latency


def latency(*samples: float | None) -> Latency:
    made = Latency()
    for sample in samples:
        made.add(sample)
    return made


def test_nothing_is_known_at_first() -> None:
    assert Latency().expected is None


def test_the_mean_of_good_answers() -> None:
    assert latency(0.1, 0.2, 0.3).expected == pytest.approx(0.2)


def test_a_server_that_fails_every_second_time_needs_two_tries() -> None:
    assert latency(0.1, None, 0.1, None).expected == pytest.approx(0.2)


def test_a_server_that_only_fails_is_never_fast() -> None:
    failing = latency(None)
    assert failing.expected == inf
    failing.add(0.1)
    assert failing.expected == pytest.approx(0.2)


def test_only_the_last_answers_count() -> None:
    made = latency(*[9.0] * SAMPLES, *[None] * SAMPLES)
    assert made.expected == inf
    for _ in range(SAMPLES):
        made.add(0.5)
    assert made.expected == pytest.approx(0.5)


def test_to_forget_is_to_begin() -> None:
    made = latency(1.0, None, 3.0)
    made.forget()
    assert made.expected is None
    made.add(0.5)
    assert made.expected == 0.5


@given(st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=3 * SAMPLES))
def test_it_is_what_the_last_samples_say(samples: list[float | None]) -> None:
    last = samples[-SAMPLES:]
    good = [sample for sample in last if sample is not None]
    expected = sum(good) / len(good) * len(last) / len(good) if good else inf
    assert latency(*samples).expected == pytest.approx(expected, abs=1e-6)
