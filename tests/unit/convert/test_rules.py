"""Rules put together: they are read as they were meant."""

from __future__ import annotations

import pytest

from streamlb.convert.rules import NoRule, Rule, all_of, any_of, hosts, literal, matcher, none_of, pattern
from streamlb.process.configuration import check_rule

A, B, C = matcher("Host", "a"), matcher("Path", "/b"), matcher("Method", "GET")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (all_of([A, B]), "Host(`a`) && Path(`/b`)"),
        (any_of([A, B]), "Host(`a`) || Path(`/b`)"),
        (all_of([any_of([A, B]), C]), "(Host(`a`) || Path(`/b`)) && Method(`GET`)"),
        (any_of([all_of([A, B]), C]), "Host(`a`) && Path(`/b`) || Method(`GET`)"),
        (none_of(A), "!Host(`a`)"),
        (none_of(none_of(A)), "!(!Host(`a`))"),
        (none_of(all_of([A, B])), "!(Host(`a`) && Path(`/b`))"),
        (all_of([A, A]), "Host(`a`)"),
        (hosts(["a", "b"]), "Host(`a`, `b`)"),
        (pattern("PathRegexp", "x$", ignore_case=True), "PathRegexp(`(?i)x$`)"),
        (pattern("HeaderRegexp", "^v", "X"), "HeaderRegexp(`X`, `^v`)"),
    ],
)
def test_text(rule: Rule, text: str) -> None:
    assert str(rule) == text
    assert check_rule(text, "http") is None


def test_what_cannot_be_said() -> None:
    for value in ("a`b", "a\nb"):
        with pytest.raises(NoRule):
            matcher("Path", value)
    with pytest.raises(NoRule, match="RE2"):
        pattern("PathRegexp", "(?=x)")


def test_a_text_is_no_pattern() -> None:
    assert literal("a.b") == "a\\.b"
