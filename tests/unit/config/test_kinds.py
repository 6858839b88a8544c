"""Types in words, and what to write instead."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le

from streamlb.config.kinds import (
    describe,
    describe_node,
    fields_of,
    keys_by_lower,
    kind_of,
    placeholder,
    remedy,
    required_keys,
    shorten,
    words_of,
)
from streamlb.config.model import Config, Cookie, Router, Sticky
from streamlb.config.quantities import Duration, Percent
from tests.unit.config.asking import tree_of


@pytest.mark.parametrize(
    ("hint", "words", "least"),
    [
        (str, "text", ""),
        (bool, "`true` or `false`", False),
        (int, "a whole number", 0),
        (float, "a number", 0),
        (Percent, "a whole number from 0 to 100", 0),
        (Annotated[int, Ge(1)], "a whole number, 1 or more", 1),
        (Annotated[int, Le(9)], "a whole number, 9 or less", 0),
        (Literal["a", "b"], "one of `a`, `b`", "a"),
        (Literal["a"] | None, "`a`", None),
        (Annotated[int, Ge(1), Le(9)] | Literal["auto"], "a whole number from 1 to 9, or `auto`", 1),
        (Duration, "a duration such as `300ms`, `3s` or `1m30s`", 0),
        (list[str], "a list (`- item` lines)", []),
        (dict[str, str], "a mapping (`key: value` lines)", {}),
        (Router, "a mapping (`key: value` lines)", {"service": ""}),
        (Sticky | None, "a mapping (`key: value` lines)", None),
        (Any, "something else", None),
    ],
)
def test_types(hint: Any, words: str, least: object) -> None:
    assert describe(hint) == words
    assert placeholder(hint) == least


def test_keys_are_those_of_the_yaml() -> None:
    assert list(fields_of(Cookie)) == ["name", "secure", "httpOnly", "sameSite", "maxAge", "path", "domain"]
    assert keys_by_lower(Config)["entrypoints"] == "entryPoints"
    assert required_keys(Router) == {"service"}
    assert words_of(kind_of(int | Literal["auto"])) == ["auto"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "a list"),
        ("{}", "a mapping"),
        ("~", "nothing"),
        ("5", "the number 5"),
        ("05.50", "the number 05.50"),
        ("true", "`true`"),
        ("'5'", 'the text "5"'),
        ("x" * 99, f'the text "{"x" * 57}..."'),
    ],
)
def test_values(text: str, words: str) -> None:
    assert describe_node(tree_of(text + "\n")) == words


def test_shorten() -> None:
    assert shorten("x" * 60) == "x" * 60
    assert len(shorten("x" * 61)) == 60


@pytest.mark.parametrize(
    ("hint", "text", "words"),
    [
        (bool, "yes", "did you mean `true`?"),
        (bool, "Off", "did you mean `false`?"),
        (bool, "'true'", "remove the quotes: `true`"),
        (int, '"3"', "remove the quotes: `3`"),
        (int, '"x"', ""),
        (int, "heavy", ""),
        (Literal["none", "lax"], "laxx", "did you mean `lax`?"),
        (str, "true", 'if you mean the word, quote it: "true"'),
        (list[str], "web", "write `[web]`"),
        (list[str], "{a: b}", "put `- ` in front of each item"),
        (Router, "service:app", "put a space behind the colon: `service: app`"),
        (Router, "http://x", ""),
        (Router, "app", ""),
        (Router, "[{service: x}]", "remove the `- `"),
        (dict[str, Router], "[{name: x}]", "the names are keys here: `name:` and the rest below it"),
        (str, "[a]", ""),
    ],
)
def test_remedies(hint: Any, text: str, words: str) -> None:
    assert remedy(hint, tree_of(text + "\n")) == words
