"""Go durations."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.config.duration import DurationError, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300ms", 0.3),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        ("10", 10.0),
        ("0", 0.0),
        ("0.5", 0.5),
        ("+2s", 2.0),
        ("100us", 1e-4),
        ("100µs", 1e-4),
        ("5ns", 5e-9),
        (" 3s ", 3.0),
        (".5s", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", " ", "s", "3 s", "3x", "1m30", "-1s", "1d", "3s!", "١s", "1e3", "99999999h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(DurationError):
        parse_duration(text)


def test_a_negative_duration_only_where_it_has_a_meaning() -> None:
    assert parse_duration("-1", signed=True) == -1.0
    assert parse_duration(" -100ms", signed=True) == pytest.approx(-0.1)
    assert parse_duration("5s", signed=True) == 5.0
    for text in ("--1s", "-", "- 1s x"):
        with pytest.raises(DurationError):
            parse_duration(text, signed=True)


@given(st.integers(0, 80), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_parts_add_up(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    expected = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert parse_duration(text) == pytest.approx(expected)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_duration_error(text: str) -> None:
    with suppress(DurationError):
        assert parse_duration(text) >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.3, "300ms"),
        (1e-6, "1us"),
        (1.5, "1.5s"),
        (10, "10s"),
        (90, "1m30s"),
        (3600, "1h"),
        (5400, "1h30m"),
        (3661.25, "1h1m1.25s"),
        (-2, "-2s"),
    ],
)
def test_durations_as_text(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert parse_duration(text, signed=True) == pytest.approx(seconds)
