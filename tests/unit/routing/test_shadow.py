"""Routers that are never reached: what is reported is certain, what is plain is found, ten thousand take no time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.routing import shadow
from streamlb.routing.router import HttpTable, Router, TcpTable
from streamlb.routing.rule import Rule, render
from streamlb.routing.shadow import Hidden, find_hidden
from tests.unit.routing.rules import CONNECTIONS, REQUESTS, RULES, TCP_RULES, Ask


def routers(*rules: str | tuple[str, int]) -> list[Router]:
    """Routers named after their place."""
    pairs = [(rule, 0) if isinstance(rule, str) else rule for rule in rules]
    return [Router(str(n), rule, None, priority) for n, (rule, priority) in enumerate(pairs)]


def by(*rules: str | tuple[str, int]) -> dict[str, tuple[str, ...]]:
    return {each.name: each.by for each in find_hidden(routers(*rules), "http")}


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("Host(`a`)", "Host(`A.`)"),
        ("Host(`a`)", "Host(`a`) && Path(`/x`)"),
        ("Host(`*.a`)", "Host(`x.a`)"),
        ("Host(`a`, `b`)", "Host(`b`)"),
        ("Host(`a`) || Path(`/x`)", "Path(`/x`) && Method(`GET`)"),
        ("PathPrefix(`/a`)", "Path(`/a/b`) || PathPrefix(`/a/c`) && Method(`GET`)"),
        ("Host(`a`) && PathPrefix(`/a`)", "Host(`a`) && PathPrefix(`/a/b`) && Header(`X`, `1`)"),
        ("PathRegexp(`png$`)", "Path(`/a.png`)"),
        ("!Path(`/a`)", "Host(`a`) && Path(`/b`)"),
        ("!(Host(`a`) || Host(`b`))", "!(Host(`a`) || Host(`b`) || Host(`c`))"),
        ("ClientIP(`10.0.0.0/8`)", "ClientIP(`10.1.2.3`) && Method(`GET`)"),
        ("Path(`/b`)", "(Path(`/a`) || Path(`/b`)) && !Path(`/a`)"),
        ("Host(`b`)", "Host(`a`) && Method(`GET`) && Method(`PUT`) || Host(`b`)"),
    ],
)
def test_a_router_before_takes_all(wide: str, narrow: str) -> None:
    assert by((wide, 9), (narrow, 1)) == {"1": ("0",)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Host(`a`) && Path(`/x`)", "Host(`a`)"),
        ("Host(`x.a`)", "Host(`*.a`)"),
        ("Host(`a`)", "Host(`a`, `b`)"),
        ("Host(`a`)", "Path(`/`)"),
        ("PathPrefix(`/a`)", "PathRegexp(`^/a`)"),
        ("Header(`X`, `1`)", "Header(`X`, `2`)"),
        ("!Path(`/a`)", "Host(`a`)"),
    ],
)
def test_a_router_before_takes_some(before: str, after: str) -> None:
    assert by((before, 9), (after, 1)) == {}


def test_the_same_rule_twice() -> None:
    assert by("Host(`a`)", "Host(`a`)", "Host(`a`)") == {"1": ("0",), "2": ("0",)}


def test_several_take_it_together() -> None:
    assert by(("Host(`a`)", 9), ("Path(`/x`)", 8), ("Host(`a`, `b`) && Path(`/x`) || Host(`a`)", 1)) == {
        "2": ("0", "1")
    }


def test_the_first_of_several_is_named() -> None:
    assert by(("PathPrefix(`/`)", 7), ("Host(`a`)", 8), ("Host(`a`)", 9), ("Host(`a`) && Path(`/x`)", 1)) == {
        "1": ("2",),
        "3": ("2",),
    }


def test_a_catch_all_leaves_the_asterisk() -> None:
    hidden = find_hidden(routers(("PathPrefix(`/`)", 9), ("Host(`a`)", 1), ("Path(`/x`)", 1)), "http")
    assert hidden == [Hidden("1", ("0",), None, True), Hidden("2", ("0",), None, False)]
    table = HttpTable(routers(("PathPrefix(`/`)", 9), ("Host(`a`)", 1)))
    route = table.route(Ask(host=b"a", path=b"*"))
    assert route is not None
    assert route.name == "1"


@pytest.mark.parametrize(
    ("rule", "one", "other"),
    [
        ("Host(`a`) && Host(`b`)", "Host(`a`)", "Host(`b`)"),
        ("Method(`GET`) && Method(`post`)", "Method(`GET`)", "Method(`POST`)"),
        ("Path(`/a`) && PathPrefix(`/b`)", "Path(`/a`)", "PathPrefix(`/b`)"),
        ("Path(`/a`) && !PathPrefix(`/`)", "!PathPrefix(`/`)", "Path(`/a`)"),
        ("Host(`*.a`) && (Host(`a`) || Host(`b`))", "Host(`*.a`)", "Host(`a`)"),
    ],
)
def test_a_rule_that_excludes_itself(rule: str, one: str, other: str) -> None:
    assert find_hidden(routers(rule), "http") == [Hidden("0", (), (one, other))]


def test_a_rule_in_the_words_of_version_2() -> None:
    old = Router("old", "PathPrefix(`/a`, `/b`)", None, 9, "v2")
    new = Router("new", "Path(`/b/c`)", None, 1)
    assert find_hidden([old, new], "http") == [Hidden("new", ("old",))]


def test_tcp() -> None:
    rules = routers(("HostSNI(`*`)", 5), ("ClientIP(`10.0.0.0/8`)", 1), ("ClientIP(`10.0.0.0/8`)", 9))
    assert find_hidden(rules, "tcp") == [Hidden("1", ("2",))]
    assert find_hidden(routers("!HostSNI(`*`)"), "tcp") == [Hidden("0")]


PRIORITIES = st.sampled_from([0, 0, 1, 20])


@given(
    rules=st.lists(st.tuples(RULES, PRIORITIES), min_size=2, max_size=8),
    requests=st.lists(REQUESTS, min_size=1, max_size=8),
)
@settings(max_examples=150)
def test_what_is_reported_is_certain(rules: list[tuple[Rule, int]], requests: list[Ask]) -> None:
    configured = routers(*((render(rule), priority) for rule, priority in rules))
    hidden = {each.name: each for each in find_hidden(configured, "http")}
    table = HttpTable(configured)
    for request in requests:
        route = table.route(request)
        if route is not None and route.name in hidden:
            assert hidden[route.name].but_asterisk
            assert not request.path.startswith(b"/")


@given(rules=st.lists(TCP_RULES, min_size=2, max_size=6), connection=CONNECTIONS)
def test_what_is_reported_of_tcp_is_certain(rules: list[Rule], connection: Ask) -> None:
    configured = routers(*(render(rule) for rule in rules))
    hidden = {each.name for each in find_hidden(configured, "tcp")}
    route = TcpTable(configured).route(connection)
    assert route is None or route.name not in hidden


@pytest.mark.parametrize(
    "shape",
    [
        "Host(`h{}.com`)",
        "Host(`h.com`) && PathPrefix(`/a{}/`)",
        "PathRegexp(`^/a{}/`)",
        "!Path(`/a{}`)",
        "Method(`GET`) && PathRegexp(`^/a{}/`)",
    ],
)
def test_ten_thousand_routers_take_no_time(shape: str) -> None:
    many = routers(*(shape.format(n) for n in range(10_000)), shape.format(77) + " && Header(`X`, `1`)")
    started = time.process_time()
    find_hidden(many, "http")
    assert time.process_time() - started < 5.0  # It takes half a second; the margin is for a busy machine.


def test_a_search_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "MAX_COMPARISONS", 1)
    assert by("Host(`a`)", "Host(`a`)", "Host(`a`)") == {"1": ("0",)}
    monkeypatch.setattr(shadow, "MAX_ALL_CASES", 1)
    assert by("Host(`a`)", "Host(`a`)") == {}
