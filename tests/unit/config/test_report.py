"""Reports: layout, carets, colours, hostile text, JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from streamlb.config.check import Loaded, load_text
from streamlb.config.report import MAX_EXCERPT_WIDTH, clean, count_line, render, report, summary, to_objects
from streamlb.errors import ConfigError, Position, Problem

PROBLEM = Problem(
    Position("lb.yaml", 12, 14),
    "http.routers.web.service",
    "unknown service `ap`",
    "did you mean `app`?",
    "    service: ap",
    2,
)


def test_layout() -> None:
    assert render([PROBLEM]) == (
        "lb.yaml:12:14: error: http.routers.web.service: unknown service `ap`\n"
        " 12 |     service: ap\n"
        "    |              ^^ did you mean `app`?\n"
    )
    assert render([]) == ""


def test_without_excerpt_and_path() -> None:
    plain = Problem(Position("lb.yaml", 1, 1), "", "cannot read the file: gone")
    assert render([plain], word="note") == "lb.yaml:1:1: note: cannot read the file: gone\n"
    hinted = Problem(Position("lb.yaml", 1, 1), "", "empty", "write something")
    assert render([hinted]) == "lb.yaml:1:1: error: empty\n  write something\n"


def test_the_caret_stands_below_wide_characters_and_tabs() -> None:
    wide = Problem(Position("x", 1, 5), "", "r", "", "中文: ab", 2)
    assert render([wide]).split("\n")[1:3] == [" 1 | 中文: ab", "   |       ^^"]
    tab = Problem(Position("x", 1, 2), "", "r", "", "\ta", 1)
    assert render([tab]).split("\n")[1:3] == [" 1 |  a", "   |  ^"]
    marked = Problem(Position("x", 1, 1), "", "r", "", "中a", 1)
    assert render([marked]).split("\n")[2] == "   | ^^"


def test_long_lines_are_cut_around_the_mark() -> None:
    excerpt = "a" * 200 + "BAD" + "c" * 200
    lines = render([Problem(Position("x", 1, 201), "", "r", "", excerpt, 3)]).split("\n")
    assert len(lines[1]) < MAX_EXCERPT_WIDTH + 20
    at = lines[1].index("BAD")
    assert lines[2][at : at + 3] == "^^^"
    assert "^" not in lines[2][:at]


def test_colours_only_when_asked() -> None:
    assert "\x1b" not in render([PROBLEM]) + count_line(1)
    assert "\x1b[31m" in render([PROBLEM], colour=True)
    assert "\x1b[33m" in render([PROBLEM], colour=True, word="note")


def test_no_control_characters_reach_a_terminal() -> None:
    evil = "\x1b[2J\r\u202e\x07"
    problem = Problem(Position(f"f{evil}", 1, 1), evil, evil, evil, f"x{evil}", 3)
    assert not set("\x1b\r\u202e\x07") & set(render([problem]))
    assert clean("中 é") == "中 é"
    assert clean("a\tb\x00") == "a b?"


@given(st.text(max_size=300), st.integers(1, 400), st.integers(1, 400), st.booleans())
def test_any_problem_can_be_shown(text: str, column: int, width: int, colour: bool) -> None:
    shown = render([Problem(Position("x", 1, column), "p", text, text, text, width)], colour)
    assert shown.endswith("\n")


def test_counts() -> None:
    assert count_line(1) == "1 error\n"
    assert count_line(12, 2) == "12 errors, 2 notes\n"
    assert count_line(0) == ""


VALID = """\
entryPoints: {web: {address: ":80"}}
http:
  routers: {r: {rule: x, service: s}, q: {rule: y, service: s}}
  services: {s: {loadBalancer: {servers: [{url: "http://a"}]}}, e: {loadBalancer: {}}}
"""


def good() -> Loaded:
    return load_text(VALID)


def bad() -> Loaded:
    raise ConfigError([PROBLEM])


def test_a_valid_configuration() -> None:
    valid, text = report(good, "lb.yaml")
    assert valid
    assert text.splitlines()[-1] == "lb.yaml is valid: 1 entry point, 2 routers, 2 services, 1 server"
    assert "note: http.services.e.loadBalancer: the load balancer has no servers" in text
    assert summary(good().config) == "1 entry point, 2 routers, 2 services, 1 server"


def test_an_invalid_configuration() -> None:
    valid, text = report(bad, "lb.yaml")
    assert not valid
    assert text == render([PROBLEM]) + "1 error\n"


def test_json() -> None:
    valid, text = report(bad, "lb.yaml", "json")
    assert not valid
    assert json.loads(text) == to_objects([PROBLEM]) == [
        {
            "severity": "error",
            "file": "lb.yaml",
            "line": 12,
            "column": 14,
            "width": 2,
            "path": "http.routers.web.service",
            "reason": "unknown service `ap`",
            "suggestion": "did you mean `app`?",
            "excerpt": "    service: ap",
        }
    ]  # fmt: skip
    valid, text = report(good, "lb.yaml", "json")
    assert valid
    assert [item["severity"] for item in json.loads(text)] == ["note"]


def test_names_of_files_that_are_no_text() -> None:
    def refused() -> Loaded:
        raise ConfigError([Problem(Position("a\udcff.yaml", 1, 1), "", "cannot read `a\udcff`")])

    assert json.loads(report(refused, "x", "json")[1])[0]["file"] == "a\\udcff.yaml"
    assert report(refused, "x")[1].startswith("a?.yaml:1:1: error: cannot read `a?`")
