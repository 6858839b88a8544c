"""What is certain about conditions: never more than the matchers do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from streamlb.routing.rule import Rule, parse
from streamlb.routing.terms import MAX_CASES, MAX_TERMS, Term, cases_of, contradiction, covers, excludes, implies
from tests.unit.routing.rules import MATCHERS, REQUESTS, RULES, Ask, matches


def term(text: str) -> Term:
    cases = cases_of(parse(text))
    assert cases is not None
    [[found]] = cases
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Host(`A.com.`)", "Host(`a.com`)"),
        ("Host(`x.a.com`)", "Host(`*.a.com`)"),
        ("Host(`a`)", "Host(`*`)"),
        ("Host(`*.a`)", "Host(`*`)"),
        ("Host(`x.a.com`)", r"HostRegexp(`^x\.`)"),
        ("Host(`x.a.com`)", "!Host(`y.a.com`)"),
        ("Host(`x.a.com`)", r"!HostRegexp(`^y\.`)"),
        ("!Host(`*.a.com`)", "!Host(`x.a.com`)"),
        ("Path(`/a/b`)", "PathPrefix(`/a`)"),
        ("PathPrefix(`/ab`)", "PathPrefix(`/a`)"),
        ("PathPrefix(`/ab`)", "!PathPrefix(`/b`)"),
        ("PathPrefix(`/ab`)", "!Path(`/a`)"),
        ("Path(`/a.png`)", "PathRegexp(`png$`)"),
        ("Method(`get`)", "Method(`GET`)"),
        ("Method(`GET`)", "!Method(`PUT`)"),
        ("Header(`X`, `v1`)", "HeaderRegexp(`x`, `^v`)"),
        ("HeaderRegexp(`X`, `^v`)", "HeaderRegexp(`x`, ``)"),
        ("Query(`k`, `1`)", "QueryRegexp(`k`, `[0-9]`)"),
        ("Query(`k`)", "Query(`k`, ``)"),
        ("QueryRegexp(`k`)", "Query(`k`)"),
        ("ClientIP(`10.1.0.0/16`)", "ClientIP(`10.0.0.0/8`)"),
        ("ClientIP(`10.1.2.3/8`)", "ClientIP(`10.0.0.0/8`)"),
        ("ClientIP(`10.1.0.0/16`)", "!ClientIP(`10.2.0.0/16`)"),
    ],
)
def test_what_follows(one: str, other: str) -> None:
    assert implies(term(one), term(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Host(`*.a.com`)", "Host(`x.a.com`)"),
        ("Host(`y.x.a.com`)", "Host(`*.a.com`)"),
        ("HostRegexp(`a`)", "Host(`a`)"),
        ("!Host(`a`)", "Host(`b`)"),
        ("!Host(`a`)", "!Host(`*.a`)"),
        ("PathPrefix(`/a`)", "Path(`/a`)"),
        ("PathPrefix(`/a`)", "!Path(`/ab`)"),
        ("Header(`X`, `v1`)", "HeaderRegexp(`Y`, `^v`)"),
        ("Header(`X`, `1`)", "!Header(`X`, `2`)"),
        ("Query(`k`, `1`)", "!Query(`k`, `2`)"),
        ("ClientIP(`::/0`)", "!ClientIP(`10.0.0.0/8`)"),
        ("ClientIP(`10.0.0.0/8`)", "!ClientIP(`::ffff:0:0/96`)"),
    ],
)
def test_what_does_not(one: str, other: str) -> None:
    assert not implies(term(one), term(other))


@given(one=MATCHERS, other=MATCHERS, request_=REQUESTS)
@settings(max_examples=500)
def test_nothing_is_said_that_is_not_so(one: Rule, other: Rule, request_: Ask) -> None:
    for first in cases_of(one) or ():
        for second in cases_of(other) or ():
            [mine], [theirs] = first, second
            holds, holds_too = says(mine, request_), says(theirs, request_)
            assert not (implies(mine, theirs) and holds and not holds_too)
            assert not (excludes(mine, theirs) and holds and holds_too)
            assert excludes(mine, theirs) == excludes(theirs, mine)


def says(term: Term, request: Ask) -> bool:
    return matches(parse(str(term)), request)


@given(rule=RULES, request_=REQUESTS)
@settings(max_examples=300)
def test_cases_are_the_rule(rule: Rule, request_: Ask) -> None:
    cases = cases_of(rule)
    if cases is not None:
        held = [case for case in cases if all(says(term, request_) for term in case)]
        assert bool(held) == matches(rule, request_)
        assert not any(contradiction(case) for case in held)


@given(one=RULES, other=RULES, request_=REQUESTS)
def test_a_case_that_covers_another_holds_with_it(one: Rule, other: Rule, request_: Ask) -> None:
    for wide in cases_of(one) or ():
        for narrow in cases_of(other) or ():
            if covers(wide, narrow) and all(says(term, request_) for term in narrow):
                assert all(says(term, request_) for term in wide)


def test_what_is_too_much_is_left_alone() -> None:
    either = " && ".join(f"(Path(`/{n}a`) || Path(`/{n}b`))" for n in range(10))
    assert cases_of(parse(either)) is None
    assert len(cases_of(parse(f"Host({', '.join(f'`{n}`' for n in range(MAX_CASES))})")) or ()) == MAX_CASES
    assert cases_of(parse(" && ".join(f"!Path(`/{n}`)" for n in range(MAX_TERMS + 1)))) is None


def test_a_catch_all_has_no_condition() -> None:
    assert cases_of(parse("HostSNI(`*`)", "tcp")) == [frozenset()]
    assert cases_of(parse("!HostSNI(`*`)", "tcp")) == []
