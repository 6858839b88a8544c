"""`${...}` in values: what it stands for, what is none, and what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.config import interpolation
from streamlb.config.interpolation import Interpolation
from streamlb.config.load import parse
from streamlb.config.tree import Mapping, Scalar, Sequence, Source
from streamlb.routing.rule import parse as parse_rule

if TYPE_CHECKING:
    from streamlb.errors import Problem

ENVIRON = {"PORT": "8000", "HOST": "a.example", "EMPTY": "", "YES": "true", "SELF": "${PORT}", "BAD": "a\0b"}
FILES = {
    "conf/token": b"s3cret\n",
    "conf/dos": b"s3cret\r\n",
    "conf/two": b"a\n\n",
    "/etc/x": b"abs",
    "conf/number": b"42\n",
    "conf/binary": b"\xff\xfe",
}


def read(path: str) -> bytes:
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def filled(text: str) -> tuple[Scalar, list[Problem], Interpolation]:
    """The value of `key` after it was filled in."""
    problems: list[Problem] = []
    [root] = parse(Source("conf/lb.yaml", text), problems)
    work = Interpolation(ENVIRON, read, "conf")
    work.fill(root, problems)
    node = root.get("key") if isinstance(root, Mapping) else root
    assert isinstance(node, Scalar)
    return node, problems, work


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${PORT}", 8000),
        ("'${PORT}'", "8000"),
        ('"${PORT}"', "8000"),
        ("!!str ${PORT}", "8000"),
        ("!!int ${PORT}", 8000),
        ("! ${PORT}", "8000"),
        ("${YES}", True),
        ("${EMPTY}", None),
        ("${EMPTY:-x}", "x"),
        ("${NONE:-}", None),
        ("'${NONE:-}'", ""),
        ("${NONE:-a b: c # d}", None),
        ("'${NONE:-a b: c # d}'", "a b: c # d"),
        ("${NONE:-8080}", 8080),
        ("127.0.0.1:${PORT}", "127.0.0.1:8000"),
        ("${HOST}:${PORT}", "a.example:8000"),
        ("${file:token}", "s3cret"),
        ("${file:dos}", "s3cret"),
        ("'${file:two}'", "a\n"),
        ("${file:/etc/x}", "abs"),
        ("${file:number}", 42),
        ("Bearer ${file:token}", "Bearer s3cret"),
        ("$${PORT}", "${PORT}"),
        ("$${", "${"),
        ("$$${PORT}", "$${PORT}"),
        ("${SELF}", "${PORT}"),
        ("|\n  ${HOST}\n  ${PORT}\n", "a.example\n8000\n"),
    ],
)
def test_what_it_stands_for(written: str, value: object) -> None:
    node, problems, _ = filled(f"key: {written}\n")
    if value is None and "#" in written:
        assert problems  # YAML was here first: a plain value ends at `: ` and ` #`.
        return
    assert problems == []
    assert node.value == value
    assert type(node.value) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "$",
        "a$",
        "$$",
        "${1}",
        "$1/${2}",
        "'${}'",
        "'${ PORT }'",
        "$PORT",
        "'^/api/(.*)$'",
        "HostRegexp(`^[a-z]+{2}$`)",
        "PathRegexp(`^/(a|b$){1,2}`)",
        "'{name:[a-z]+$}'",
    ],
)
def test_what_is_none(text: str) -> None:
    node, problems, _ = filled(f"key: {text}\n")
    assert problems == []
    assert node.text == text.strip("'")
    assert (node.written, node.origin) == ("", "")


def test_a_rule_is_untouched() -> None:
    rule = "Host(`a.b`) && PathRegexp(`^/x{1,2}$`) || QueryRegexp(`q`, `^\\d+$`)"
    node, problems, _ = filled(f'key: "{rule}"\n'.replace("\\", "\\\\"))
    assert (node.text, problems) == (rule, [])
    parse_rule(node.text)


@pytest.mark.parametrize(
    ("written", "column", "reason", "suggestion"),
    [
        ("${POTR}", 6, "there is no variable `POTR` in the environment", "did you mean `PORT`?"),
        (
            "a-${NONE}",
            8,
            "there is no variable `NONE` in the environment",
            "`${NONE:-...}`; for `${` itself write `$${`",
        ),
        ("'a${NONE}'", 8, "there is no variable `NONE`", ""),
        ("${PORT", 6, "`${` has no `}`", "`${NAME}`, `${NAME:-default}` or `${file:path}`"),
        ("'${A:-${PORT}}'", 7, "`${...}` cannot stand inside another one", ""),
        ("'${A B}'", 7, "`${...}` holds something that is no name", ""),
        ("${A-x}", 6, "`${...}` holds something that is no name", ""),
        ("${A:?x}", 6, "`${...}` holds something that is no name", ""),
        ("${env:PORT}", 6, "a variable of the environment needs no `env:`", "write `${PORT}`"),
        ("${file:gone}", 6, "cannot read `conf/gone`: No such file or directory", ""),
        ("${file:binary}", 6, "`conf/binary` is not UTF-8 text", ""),
        ("${BAD}", 6, "the variable `BAD` holds the character U+0000", ""),
    ],
)
def test_what_goes_wrong(written: str, column: int, reason: str, suggestion: str) -> None:
    _, [problem], _ = filled(f"key: {written}\n")
    assert (problem.position.line, problem.position.column) == (1, column)
    assert reason in problem.reason
    assert suggestion in problem.suggestion


def test_keys_stay_as_they_are() -> None:
    [root] = parse(Source("x", "${PORT}: 1\n"), [])
    Interpolation(ENVIRON, read, "").fill(root, [])
    assert isinstance(root, Mapping)
    assert list(root.entries) == ["${PORT}"]


def test_where_it_came_from() -> None:
    node, _, work = filled("key: ${HOST}-${file:token}-${NONE:-x}\n")
    assert (node.origin, node.is_secret) == ("$HOST, file token, default of $NONE", True)
    assert node.written == "${HOST}-${file:token}-${NONE:-x}"
    assert work.files == {"conf/token": b"s3cret\n"}
    assert work.secrets == {"s3cret"}
    assert filled("key: ${PORT}\n")[0].is_secret is False
    assert filled("key: ${file:gone}\n")[2].files == {"conf/gone": None}


def test_variables_that_sound_like_secrets_are_some() -> None:
    for name in ("API_TOKEN", "DB_PASSWORD", "SECRET", "SIGNING_KEY", "BASIC_AUTH"):
        assert interpolation.SECRET_NAME.search(name)
    for name in ("PORT", "HOST", "KEYBOARD", "MONKEY"):
        assert not interpolation.SECRET_NAME.search(name)


def test_an_alias_is_filled_in_once() -> None:
    problems: list[Problem] = []
    [root] = parse(Source("x", "a: &x ['$${PORT}']\nb: *x\n"), problems)
    Interpolation(ENVIRON, read, "").fill(root, problems)
    assert isinstance(root, Mapping)
    node = root.get("b")
    assert isinstance(node, Sequence)
    assert isinstance(node.items[0], Scalar)
    assert (node.items[0].text, problems) == ("${PORT}", [])


def test_a_file_cannot_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpolation, "MAX_EXPANDED", 10)
    problems: list[Problem] = []
    [root] = parse(Source("x", "- ${PORT}${PORT}\n- ${PORT}\n"), problems)
    Interpolation(ENVIRON, read, "", _room=10).fill(root, problems)
    assert [problem.reason for problem in problems] == ["more than 10 characters would be put into this file"]


@given(st.text(alphabet="${}:-aB1_ file\n'\"", max_size=40))
def test_any_text_is_filled_in_or_a_problem(text: str) -> None:
    scalar = Scalar(Source("x", text), 1, 1, text, text, "|", end_line=1, end_column=1)
    problems: list[Problem] = []
    Interpolation(ENVIRON, read, "conf").fill(scalar, problems)
    assert isinstance(scalar.text, str)
    if not problems and "${" not in text:
        assert scalar.text == text
