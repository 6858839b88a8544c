"""Patterns: RE2's syntax, linear time, limits, and where a mistake stands."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.routing.pattern import MAX_PATTERN, PatternError, escape, literal_ending, searcher

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", b"", True),
        ("b", b"abc", True),
        ("^b", b"abc", False),
        ("c$", b"abc", True),
        ("c$", b"abc\n", False),
        ("^a.c$", b"a\xffc", True),
        ("^a.c$", "aéc".encode(), True),
        ("^a..c$", b"a\xe2\x82c", True),
        (r"^\pL+$", "aé".encode(), True),
        ("(?i)ABC", b"abc", True),
        (r"\Qa.c\E", b"abc", False),
        ("(?P<name>b)", b"abc", True),
    ],
)
def test_meaning(pattern: str, text: bytes, expected: bool) -> None:
    assert searcher(pattern.encode())(text) is expected


@pytest.mark.parametrize(
    ("pattern", "marked", "message"),
    [
        ("a(b", "", "a `(` of the pattern is never closed"),
        ("a)b", "", "a `)` of the pattern was never opened"),
        ("[a", "", "a `[` of the pattern is never closed"),
        ("x|*", "*", "there is nothing to repeat"),
        ("a**", "**", "a repetition of a repetition"),
        ("ab{2,1}", "{2,1}", "a repetition is out of order, or over 1000"),
        ("b{1001}", "{1001}", "a repetition is out of order, or over 1000"),
        ("x[z-a]", "z-a", "this range of characters is unknown or runs backwards"),
        (r"(a)\1", r"\1", "RE2 has no such escape"),
        ("a\\", "", "a backslash with nothing behind it"),
        ("a(?=b)", "(?=", "patterns look neither ahead nor back: RE2 has no such thing"),
        ("(?<!a)b", "(?<!", "patterns look neither ahead nor back: RE2 has no such thing"),
        ("x(?z)", "(?z", "not a valid pattern: invalid perl operator"),
        (r"\pL{300}", "", "the pattern is too large: its repetitions multiply"),
        ("((x{10}){10}){10}" * 12, "", "the pattern is too large: its repetitions multiply"),
        ("a" * (MAX_PATTERN + 1), "", "the pattern is longer than 4096 bytes"),
    ],
)
def test_mistakes(pattern: str, marked: str, message: str) -> None:
    with pytest.raises(PatternError) as caught:
        searcher(pattern.encode())
    error = caught.value
    assert (pattern[error.column :][: error.width], error.message) == (marked, message)


@pytest.mark.parametrize(
    ("pattern", "ending"),
    [
        (r"^.+\.example\.com$", ".example.com"),
        (r"(?i)^[a-z]+\.Ex-1\.com$", ".ex-1.com"),
        (r"(?:[a-z]+|x)[.]a[.]com$", ".a.com"),
        (r"\\\.com$", ".com"),
        (r"[|(]\.com$", ".com"),
        (r"\.+\.com$", ".com"),
        (r"\x2Dc\.om$", ".om"),
        (r"x\.com", ""),
        (r"\.com\$", ""),
        (r"a|b\.com$", ""),
        (r"(\.com$)", ""),
        (r"(?m)\.com$", ""),
        (r"(?s-i:x)\.com$", ""),
        (r"x.com$", ""),
        (r"[a[.]com$", ""),
        (r"\.*com$", ""),
        (r"\.c?om$", ""),
        (r"\x{2e}com$", ""),
        (r"\Q\.com$", ""),
        (r"\\.com$", ""),
        ("", ""),
    ],
)
def test_how_a_text_must_end(pattern: str, ending: str) -> None:
    assert literal_ending(pattern) == ending


@given(st.text(r"ab.^$|()[]*?\-iQ", max_size=12).map(lambda text: text + "$"), st.text("abAB.-\\|", max_size=8))
@settings(max_examples=500)
def test_what_is_said_of_endings_is_so(pattern: str, text: str) -> None:
    ending = literal_ending(pattern)
    matches = compiled(pattern)
    if ending and not isinstance(matches, PatternError) and matches(text.lower().encode()):
        assert text.lower().endswith(ending)


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "(a*)*b", "^(.*?,){20}x", "a?" * 40 + "a" * 40])
def test_what_makes_others_hang_takes_linear_time(pattern: str) -> None:
    matches = searcher(pattern.encode())
    started = time.process_time()
    for _ in range(5):
        matches(b"a" * 16_384 + b"!")
    assert time.process_time() - started < 2.0


@given(st.text(max_size=30), st.text(max_size=10), st.text(max_size=10))
def test_an_escaped_text_matches_itself_only(text: str, before: str, after: str) -> None:
    matches = searcher(f"^{escape(text)}$".encode("utf-8", "surrogatepass").replace(b"\0", rb"\x00"))
    assert matches(text.encode())
    assert matches((before + text + after).encode()) == (before + after == "" or before + text + after == text)


@given(st.text("ab.^$|()[]*+?{}12,\\-é", max_size=12), st.binary(max_size=20))
def test_any_pattern_compiles_or_says_what_is_wrong(pattern: str, text: bytes) -> None:
    found = compiled(pattern)
    if isinstance(found, PatternError):
        assert found.message
        assert 0 <= found.column <= found.column + found.width <= len(pattern)
    else:
        assert found(text) in (True, False)


def compiled(pattern: str) -> Callable[[bytes], bool] | PatternError:
    try:
        return searcher(pattern.encode())
    except PatternError as error:
        return error


PLAIN = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "^", "$"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from("*?+")).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
)


@given(pattern=PLAIN, text=st.text("abc", max_size=8))
def test_common_patterns_mean_what_they_mean_to_python(pattern: str, text: str) -> None:
    assert searcher(pattern.encode())(text.encode()) == bool(re.search(pattern, text))


def test_re2_is_loaded_with_the_first_pattern_only() -> None:
    program = (
        "import sys\n"
        "from streamlb.routing.router import HttpTable, Router\n"
        "HttpTable([Router('a', 'Host(`a`, `*.b`) && Path(`/`)', None)])\n"
        "assert 're2' not in sys.modules\n"
        "HttpTable([Router('a', 'PathRegexp(`a`)', None)])\n"
        "assert 're2' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
