"""Traefik 2's words and today's say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.routing import v2
from streamlb.routing.matchers import compile_rule
from streamlb.routing.rule import Matcher, Or, Rule, RuleError, parse, render
from tests.unit.routing.rules import MATCHERS, REQUESTS, Ask, matches


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Host(`a`, `b`)", "Host(`a`) || Host(`b`)"),
        ("HostHeader(`a`)", "Host(`a`)"),
        ("HostRegexp(`{sub:[a-z]+}.a.com`)", r"HostRegexp(`^[a-z]+\.a\.com$`)"),
        ("HostRegexp(`{sub:x|y}.a.com`, `b.com`)", r"HostRegexp(`^(x|y)\.a\.com$`) || Host(`b.com`)"),
        ("Path(`/a`, `/ab`)", "Path(`/a`) || Path(`/ab`)"),
        ("Path(`/{x:[a-b]+}`)", "PathRegexp(`^/[a-b]+$`)"),
        ("PathPrefix(`/a`, `/b c`)", "PathPrefix(`/a`) || PathPrefix(`/b c`)"),
        ("PathPrefix(`/{x}/`)", "PathRegexp(`^/[^/]+/`)"),
        ("Method(`get`, `PUT`)", "Method(`GET`) || Method(`PUT`)"),
        ("Headers(`X-A`, `1`)", "Header(`X-A`, `1`)"),
        ("Headers(`X-A`, `1`, `X-B`, ``)", "Header(`X-A`, `1`) && HeaderRegexp(`X-B`, ``)"),
        ("HeadersRegexp(`X-A`, `^1`, `X-B`, `w`)", "HeaderRegexp(`X-A`, `^1`) && HeaderRegexp(`X-B`, `w`)"),
        ("Query(`k=1`)", "Query(`k`, `1`)"),
        ("Query(`k=1`, `j=two words`)", "Query(`k`, `1`) && Query(`j`, `two words`)"),
        ("Query(`k=`)", "QueryRegexp(`k`, ``)"),
        ("Query(`k={n:[0-9]+}`)", "QueryRegexp(`k`, `^[0-9]+$`)"),
        ("ClientIP(`10.0.0.0/8`, `::1`)", "ClientIP(`10.0.0.0/8`) || ClientIP(`::1`)"),
        (
            "!(Host(`a.com`) || Method(`GET`, `PUT`)) && Path(`/`)",
            "!Host(`a.com`) && !Method(`GET`) && !Method(`PUT`) && Path(`/`)",
        ),
    ],
)
@given(request_=REQUESTS)
def test_old_and_new_say_the_same(old: str, new: str, request_: Ask) -> None:
    assert compile_rule(v2.parse(old))(request_) == compile_rule(parse(new))(request_)


SAME_WORDS = MATCHERS.filter(lambda matcher: matcher.name in ("Host", "Path", "PathPrefix", "Method", "ClientIP"))


@given(rule=SAME_WORDS, request_=REQUESTS)
def test_what_both_versions_have_means_the_same(rule: Rule, request_: Ask) -> None:
    assert compile_rule(v2.parse(render(rule)))(request_) == matches(rule, request_)


@given(text=st.text("Host(`a{:}[b]`,)&|! PathQuery=", max_size=30))
def test_any_text_is_a_rule_or_an_error_with_a_column(text: str) -> None:
    found = read(text)
    if isinstance(found, RuleError):
        assert 0 <= found.column <= len(text)
    else:
        compile_rule(found)
        assert parse(render(found)) == found


def read(text: str) -> Rule | RuleError:
    try:
        return v2.parse(text)
    except RuleError as error:
        return error


def test_the_column_inside_a_template() -> None:
    with pytest.raises(RuleError) as caught:
        v2.parse("Host(`a`) && Path(`/x`, `/{id:[0-9}`)")
    assert (caught.value.column, caught.value.width) == (30, 4)


def test_tcp() -> None:
    assert v2.parse("ClientIP(`::1`, `10.0.0.1`)", "tcp") == parse("ClientIP(`::1`) || ClientIP(`10.0.0.1`)", "tcp")
    assert v2.parse("HostSNI(`*`)", "tcp") == parse("HostSNI(`*`)", "tcp")


def test_server_names_and_protocols() -> None:
    assert v2.parse("HostSNI(`a`, `b`)", "tcp") == Or((Matcher("HostSNI", ("a",)), Matcher("HostSNI", ("b",))))
    assert v2.parse("HostSNIRegexp(`{sub:[a-z]+}.a.com`)", "tcp") == Matcher(
        "HostSNIRegexp", (r"(?i)^(?:[a-z]+)\.a\.com$",)
    )
    assert v2.parse("ALPN(`h2`, `imap`)", "tcp") == Or((Matcher("ALPN", ("h2",)), Matcher("ALPN", ("imap",))))
