"""Syntax errors in words: each trap with its place and what to write."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from streamlb.config import load
from streamlb.config.traps import Bare, Complaint, Explanation, bare_value, explain
from streamlb.config.tree import Source
from tests.unit.config.asking import line_of, problems_of

RULE = 'quote the rule: rule: "Host(`example.com`)"'


@pytest.fixture(params=["C", "Python"])
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        monkeypatch.setattr(load, "_LOADER", yaml.SafeLoader)


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rule: `x`\n", f"1:7  | a rule that begins with a backtick must be quoted | {RULE}"),
        ("- match: @x\n", f"1:10  | a rule that begins with `@` must be quoted | {RULE}"),
        ("rule: !Host(`a`) && x\n", f"1:7  | a rule that begins with `!` must be quoted | {RULE}"),
        ("rule: && x\n", f"1:7  | a rule that begins with `&` must be quoted | {RULE}"),
        ("address: *\n", '1:10  | a value that begins with `*` must be quoted | quote it: "..."'),
        ("key: %x\n", '1:6  | a value that begins with `%` must be quoted | quote it: "..."'),
        (
            "r: {rule: Host(`a`, `b`), service: s}\n",
            f"1:21  | a rule with a comma must be quoted inside `{{...}}` | {RULE}",
        ),
        (
            'rule: "Host(`a`)" && "x"\n',
            "1:19  | text goes on behind the closing quote \" | quote the whole value once; use ' or backticks inside",
        ),
        (
            "a:\n\tb: 1\n",
            "2:1  | a tab is used for indentation; YAML takes spaces only | indent with spaces, two a level",
        ),
        ("a:\n  address:foo\n  udp: 1\n", "2:10  | a space is missing behind the colon | address: foo"),
        ("a:\n  address::80\n  udp: 1\n", "2:10  | a space is missing behind the colon | address: :80"),
        (
            "a: {b: :${PORT}}\n",
            '1:9  | a value with `${...}` must be quoted inside `{...}` and `[...]` | quote it: "..."',
        ),
        ("a: [\n", "2:1  | a value is missing here, or a `[` or `{` above is not closed | "),
        (": b\n", "1:1  | a key is missing in front of the colon | "),
        ("a: b: c\n", '1:5  | a value that holds `: ` must be quoted | quote it: "..."'),
        (
            "a: 1\n  b: 2\n",
            "2:4  | a key is not expected here: the line above already has a value, or the indentation is off | "
            "give keys of the same mapping the same indentation",
        ),
        ('a: "x\nb: 1\n', "1:4  | this quote is never closed | add the closing quote"),
        (
            "a: [1\nb: 2\n",
            "1:4  | this `[` is not closed where it should be (see line 2) | "
            "separate items with `, ` and close with `]`",
        ),
        (
            "a: {b: 1\nc: 2\n",
            "1:4  | this `{` is not closed where it should be (see line 2) | "
            "separate items with `, ` and close with `}`",
        ),
        (
            "a:\n  - b\n c: 1\n",
            "3:2  | this does not belong to the mapping that began in line 1: the indentation is off or a quote is "
            "missing | give all its keys and items the same indentation",
        ),
    ],
)
def test_traps_are_named(text: str, line: str) -> None:
    assert line in [line_of(problem) for problem in problems_of(text)]


@pytest.mark.usefixtures("_either_parser")
def test_a_backslash_in_double_quotes() -> None:
    [problem] = problems_of('a: "\\q"\n')
    assert "no escape that YAML knows" in problem.reason


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("rule: @x", 7, Bare(1, 7, "@x")),
        ("  - rule: @x y  # why", 11, Bare(1, 11, "@x y")),
        ("- @x", 3, Bare(1, 3, "@x")),
        ("- - @x", 5, Bare(1, 5, "@x")),
        ("rule: `Host(`a`)`", 7, Bare(1, 7, "Host(`a`)", 1)),
        ("rule: `a` && `b`", 7, Bare(1, 7, "a` && `b", 1)),
        ("rule: `", 7, Bare(1, 7, "`")),
        ("a: b: c", 5, Bare(1, 4, "b: c")),
        ("rule: @x\nservice: y", 7, Bare(1, 7, "@x")),
        ("- rule: @x\n\n  service: y", 9, Bare(1, 9, "@x")),
        ("rule: @x\n  y", 7, None),
        ("- rule: @x\n   y", 9, None),
        ("{rule: @x}", 8, None),
        ("rule: {a: @x}", 11, None),
        ('rule: "a" @x', 11, None),
        ("@x", 1, None),
        ("? a: @x", 6, None),
    ],
)
def test_a_value_that_only_lacks_its_quotes(text: str, column: int, value: Bare | None) -> None:
    source = Source("x", text)
    assert bare_value(Explanation(1, column, "", lacks_quotes=True), source) == value
    assert bare_value(Explanation(1, column, ""), source) is None


def test_what_is_not_a_trap_is_said_as_the_parser_says_it() -> None:
    found = explain(Complaint("did not find expected node content", 0, 0), Source("x", "}\n"))
    assert found.reason == "not valid YAML: did not find expected node content"


@given(
    st.sampled_from(["", "cannot start any token", "mapping values are not allowed", "could not find expected ':'"]),
    st.sampled_from(["", "while scanning a tag", "while scanning a quoted scalar", "while parsing a flow mapping"]),
    st.integers(0, 9),
    st.integers(0, 30),
    st.text(max_size=60),
)
def test_any_complaint_about_any_text_is_explained(text: str, context: str, line: int, column: int, body: str) -> None:
    found = explain(Complaint(text, line, column, context, line, column), Source("x", body))
    assert found.reason
    assert found.line >= 1
    assert found.column >= 1
