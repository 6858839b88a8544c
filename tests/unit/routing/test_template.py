"""Patterns in braces: what is literal, what is a pattern, and where a mistake stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.routing.pattern import PatternError, searcher
from streamlb.routing.template import HOST, PATH, PREFIX, QUERY, TemplateKind, to_pattern


@pytest.mark.parametrize(
    ("text", "kind", "pattern"),
    [
        ("/a", PATH, "^/a$"),
        ("/a.b", PREFIX, r"^/a\.b"),
        ("/p/{id}", PATH, "^/p/[^/]+$"),
        ("/p/{id:[0-9]+}/x", PATH, "^/p/(?:[0-9]+)/x$"),
        ("/p/{id:[0-9]{2,3}}", PREFIX, "^/p/(?:[0-9]{2,3})"),
        ("/{a}{b:x|y}", PATH, "^/[^/]+(?:x|y)$"),
        ("{sub:[a-z]+}.example.com", HOST, r"(?i)^(?:[a-z]+)\.example\.com$"),
        ("{sub}.example.com", HOST, r"(?i)^[^.]+\.example\.com$"),
        ("x{any}", QUERY, "^x.*$"),
        ("/{a:b:c}", PATH, "^/(?:b:c)$"),
    ],
)
def test_meaning(text: str, kind: TemplateKind, pattern: str) -> None:
    assert to_pattern(text, kind) == pattern


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("/a{", "{"),
        ("/{a}}", "}"),
        ("/{a}{b:{}", "{"),
        ("/{}", "{}"),
        ("/{:x}", "{:x}"),
        ("/{a:}", "{a:}"),
        ("/{a:x**}", "**"),
        ("/{a:(}", "("),
    ],
)
def test_mistakes(text: str, marked: str) -> None:
    with pytest.raises(PatternError) as caught:
        to_pattern(text, PATH)
    assert text[caught.value.column :][: caught.value.width] == marked


@given(st.text("ab/{}:.*()[]\\", max_size=15))
def test_any_text_is_a_template_or_a_mistake(text: str) -> None:
    found = read(text)
    if isinstance(found, PatternError):
        assert 0 <= found.column < found.column + found.width <= len(text)
    else:
        matches = searcher(found.encode())
        assert "{" in text or matches(text.encode())


def read(text: str) -> str | PatternError:
    try:
        return to_pattern(text, PATH)
    except PatternError as error:
        return error
