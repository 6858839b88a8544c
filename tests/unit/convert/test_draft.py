"""Drafts as YAML: quotes, comments, what was left."""

from __future__ import annotations

import pytest
import yaml

from streamlb.convert.draft import Draft, Inline, Left, duration


def test_values_come_back_as_they_were() -> None:
    draft = Draft("x.conf")
    odd = ["a b", "on", "No", "8080", "1.5", "a: b", "#x", "ü", 'say "hi"', "back\\slash", "", "~", "10s", "a/b", "*x"]
    draft.put(("http", "services", "a b"), {"list": odd, "number": 3, "yes": True, "no": False}, "line 1")
    draft.put(("http", "services", "on"), Inline(a=Inline(b=[])), "line 2")
    read = yaml.safe_load(draft.text())["http"]["services"]
    assert read == {"a b": {"list": odd, "number": 3, "yes": True, "no": False}, "on": {"a": {}}}


def test_rules_have_the_quotes_they_need() -> None:
    draft = Draft("x.conf")
    for name, rule in (("a", "Host(`a`)"), ("b", "PathRegexp(`\\.png$`)"), ("c", 'Host("it\'s")')):
        draft.put(("http", "routers", name), {"rule": rule}, "line 1")
    text = draft.text()
    assert 'rule: "Host(`a`)"' in text
    assert "rule: 'PathRegexp(`\\.png$`)'" in text
    assert yaml.safe_load(text)["http"]["routers"]["c"]["rule"] == 'Host("it\'s")'


def test_what_would_be_put_in_is_escaped() -> None:
    draft = Draft("x.conf")
    draft.put(("http", "routers", "a"), {"rule": "Path(`/${HOME}`)"}, "line 1")
    assert "$${HOME}" in draft.text()


def test_comments_say_where_things_come_from() -> None:
    draft = Draft("x.conf", left=[Left("line 3", "user www;\x07", "why")])
    draft.put(("entryPoints", "web"), {"address": ":80"}, "line 2")
    assert draft.text() == (
        "# Made by `streamlb convert` from x.conf: read it, try it, then trust it.\n\n"
        'entryPoints:\n  web:  # line 2\n    address: ":80"\n\n'
        "# Not carried over from x.conf:\n#   line 3: user www;?  (why)\n"
    )


def test_names_are_given_once() -> None:
    draft = Draft("x")
    draft.at("http", "services")["a"] = {}
    assert draft.free_name("a", "http", "services") == "a-2"
    assert draft.free_name("a@b c", "http", "services") == "a-b-c"
    assert draft.free_name("@", "http", "services") == "unnamed"


def test_long_lines_are_shortened() -> None:
    assert len(str(Left("line 1", "x" * 500, "why"))) < 130


@pytest.mark.parametrize(("seconds", "text"), [(5, "5s"), (0.5, "500ms"), (90, "90s"), (0, "0s"), (0.0001, "1ms")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
