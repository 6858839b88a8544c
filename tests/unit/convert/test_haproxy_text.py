"""HAProxy's language: words, sections, defaults, and what is no such thing."""

from __future__ import annotations

import pytest

from streamlb.convert.draft import ConvertError
from streamlb.convert.haproxy_text import Line, parse, seconds


def test_words() -> None:
    [section] = parse('global\n  a "b c" \'d#e\' f\\ g h\\x41 "i\\"j" # k\n\n# l\n')
    assert section.lines[0].words == ["a", "b c", "d#e", "f g", "hA", 'i"j']
    assert section.lines[0].place == "line 2"


def test_sections_have_the_defaults_above_or_those_they_name() -> None:
    text = """defaults one
  mode http
  timeout connect 1s
frontend a
  timeout connect 2s
  timeout client 3s
defaults two
  mode tcp
backend b
backend c from one
"""
    _, a, _, b, c = parse(text)
    assert (a.mode, b.mode, c.mode) == ("http", "tcp", "http")
    assert [line.words[2] for line in a.inherited("timeout connect")] == ["2s"]
    assert [line.words[2] for line in c.inherited("timeout connect")] == ["1s"]
    assert b.last("timeout connect") is None


def test_without_a_word_the_mode_is_tcp() -> None:
    assert parse("backend a")[0].mode == "tcp"


@pytest.mark.parametrize(
    ("text", "expected"), [("10", 0.01), ("5s", 5), ("2m", 120), ("250us", 0.00025), ("1d", 86400)]
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text, Line(1, [], "")) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["bind :80", "frontend", "global\n a 'b", 'global\n a "b'])
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(ConvertError):
        parse(text)


def test_what_is_no_time() -> None:
    with pytest.raises(ConvertError):
        seconds("soon", Line(1, [], ""))


def test_a_line_that_is_too_short() -> None:
    with pytest.raises(ConvertError, match="too little"):
        Line(1, ["server", "a"], "").word(2)
