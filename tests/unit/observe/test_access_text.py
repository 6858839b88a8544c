"""Text of peers is spelled out, and instants are right whenever they come."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.observe.access_text import Stamps, quotable, text

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTANT = 1_790_000_000_123_456_789


@pytest.fixture
def india() -> Iterator[None]:
    """Local time is half an hour off everybody else's."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Kolkata"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"plain", "plain"),
        (b'"quoted\\"', '"quoted\\"'),
        (b"a\r\nb", "a\\x0d\\x0ab"),
        (b"\x1b[31m\x7f", "\\x1b[31m\\x7f"),
        (b"\xff\xe2\x80\xae", "\\xff\\xe2\\x80\\xae"),
    ],
)
def test_text_is_printable_ascii(said: bytes, shown: str) -> None:
    assert text(said) == shown


def test_between_quotes_there_are_none() -> None:
    assert quotable(b'a"b\\c\n') == "a\\x22b\\x5cc\\x0a"


@given(st.binary())
def test_whatever_is_said(said: bytes) -> None:
    assert text(said).isascii()
    assert text(said).isprintable()
    assert not set(quotable(said)) & {'"', "\n"}


def test_instants() -> None:
    stamps = Stamps()
    assert stamps.rfc3339(INSTANT)[0] == "2026-09-21T14:13:20.123456789Z"
    assert stamps.rfc3339(INSTANT + 1_000_000_000)[0] == "2026-09-21T14:13:21.123456789Z"
    assert stamps.rfc3339(1)[0] == "1970-01-01T00:00:00.000000001Z"
    assert stamps.clf(INSTANT) == "21/Sep/2026:14:13:20 +0000"


def test_local_time_says_where(india: None) -> None:
    stamps = Stamps()
    assert stamps.rfc3339(INSTANT) == ("2026-09-21T14:13:20.123456789Z", "2026-09-21T19:43:20.123456789+05:30")
    assert stamps.clf(INSTANT) == "21/Sep/2026:14:13:20 +0000"
