"""Sources, excerpts and the columns inside scalars."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.config.load import parse
from streamlb.config.tree import MAX_EXCERPT, Mapping, Scalar, Source, duplicate, is_empty, problem_at, text_of
from tests.unit.config.asking import tree_of


def scalar_of(text: str) -> Scalar:
    node = tree_of(text)
    assert isinstance(node, Mapping)
    [entry] = node.entries.values()
    assert isinstance(entry.value, Scalar)
    return entry.value


def test_lines_are_those_of_yaml() -> None:
    source = Source("x", "a\r\nb\rc\x85d\u2028e\n")
    assert [source.line(number) for number in range(8)] == ["", "a", "b", "c", "d", "e", "", ""]


def test_a_problem_marks_no_more_than_the_line() -> None:
    source = Source("x.yaml", "abc\n")
    assert source.problem(1, 2, "p", "r", width=50).width == 2
    assert source.problem(1, 2, "p", "r", width=0).width == 1
    assert source.problem(9, 1, "p", "r").excerpt == ""
    assert Source("x", "y" * (MAX_EXCERPT + 1)).problem(1, 1, "", "r").excerpt == ""


@pytest.mark.parametrize(
    ("text", "offset", "spot"),
    [
        ("k: Host(`a`)\n", 5, (1, 9)),
        ("k: 'it''s x'\n", 2, (1, 7)),
        ("k: 'it''s x'\n", 3, (1, 9)),
        ("k: 'it''s x'\n", 4, (1, 10)),
        ('k: "a\\tb\\x41\\u00e9z"\n', 2, (1, 8)),
        ('k: "a\\tb\\x41\\u00e9z"\n', 5, (1, 19)),
        ("k: 'ab'\n", 2, (1, 7)),
        ("k: 'ab'\n", 3, None),
        ("k: ab\n", 2, (1, 6)),
        ("k: ab\n", 9, None),
        ("k: |\n  ab\n", 0, None),
        ("k: a\n  b\n", 0, None),
    ],
)
def test_where_a_character_of_a_scalar_is_written(text: str, offset: int, spot: tuple[int, int] | None) -> None:
    assert scalar_of(text).spot(offset) == spot


@given(st.text(st.characters(codec="ascii", min_codepoint=32, exclude_characters="\x7f"), min_size=1, max_size=20))
def test_every_character_is_found_in_every_quoting(text: str) -> None:
    single = scalar_of("k: '" + text.replace("'", "''") + "'\n")
    assert single.text == text
    for offset, char in enumerate(text):
        spot = single.spot(offset)
        assert spot
        assert single.source.line(1)[spot[1] - 1] == char
    double = scalar_of("k: " + json.dumps(text) + "\n")
    for offset, char in enumerate(text):
        spot = double.spot(offset)
        assert spot
        assert double.source.line(1)[spot[1] - 1] in (char, "\\")


def test_width_of_a_scalar_over_several_lines_is_its_first_line() -> None:
    assert scalar_of("k: abc\n  def\n").width == 3


def test_empty_nodes() -> None:
    assert is_empty(None)
    assert is_empty(parse(Source("x", "~\n"), [])[0])
    assert not is_empty(tree_of("{}\n"))
    assert text_of(tree_of("[]\n")) == ""
    assert text_of(scalar_of("k: 080\n")) == "080"


def test_problems_at_nodes() -> None:
    problem = problem_at(scalar_of("key: value\n"), "key", "wrong", "right")
    assert (problem.position.line, problem.position.column, problem.width) == (1, 6, 5)
    assert (problem.path, problem.reason, problem.suggestion, problem.excerpt) == (
        "key",
        "wrong",
        "right",
        "key: value",
    )


def test_keys_that_differ_in_case_are_named_both() -> None:
    node = tree_of("Rule: a\nrule: b\n")
    assert isinstance(node, Mapping)
    problem = duplicate(node.entries["rule"].key, node.entries["Rule"].key, "")
    assert problem.reason == "`rule` is the same key as `Rule` in line 1"
