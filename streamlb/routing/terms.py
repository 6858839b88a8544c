"""What follows from what: conditions in a normal form, and what is certain about two of them.

What lives here: `Term`, a matcher with one normalised value, negated or not; a rule as alternatives of terms;
`implies` and `excludes`, which say True only when it is certain. What must not: routers and their order (`shadow.py`).
Called by `shadow.py`. Specified by the meaning of the matchers in `matchers.py`.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_network
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from streamlb.routing.matchers import ANY_HOST, host_of, is_wildcard, wildcard_of
from streamlb.routing.pattern import searcher
from streamlb.routing.rule import And, Matcher, Not, Or, octets, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlb.routing.rule import Rule

MAX_CASES = 1000
"""Alternatives of one rule; a rule with more is not looked into."""
MAX_TERMS = 40
"""Conditions in one alternative."""


class Term(NamedTuple):
    """One condition. kind: the matcher's name, but `Wildcard`, `AnyHost` and `SniWildcard` for forms of Host, HostSNI.

    value: what is compared. key: the field's or the query's name, else empty.
    """

    kind: str
    value: Any
    key: bytes = b""
    negated: bool = False

    @property
    def positive(self) -> Term:
        return self._replace(negated=False)

    def __str__(self) -> str:
        kind = _SHOWN.get(self.kind, self.kind)
        values = [self.key] if self.key else []
        values.append(self.value if isinstance(self.value, bytes) else str(self.value).encode())
        shown = render(Matcher(kind, tuple(value.decode("utf-8", "surrogateescape") for value in values)))
        return f"!{shown}" if self.negated else shown


_SHOWN = {"Wildcard": "Host", "AnyHost": "Host", "SniWildcard": "HostSNI"}

Case = frozenset[Term]
"""Conditions that must all hold; the empty one always does."""


# --- rules to cases ----------------------------------------------------------------------------------------------


def cases_of(rule: Rule) -> list[Case] | None:
    """The rule as alternatives, one of which must hold; None when there would be too many to look into."""
    return _cases(rule, negated=False)


def _cases(rule: Rule, negated: bool) -> list[Case] | None:
    match rule:
        case Not(operand):
            return _cases(operand, not negated)
        case And(operands) | Or(operands):
            each = []
            for operand in operands:
                cases = _cases(operand, negated)
                if cases is None:
                    return None
                each.append(cases)
            return _all_of(each) if isinstance(rule, And) != negated else _any_of(each)
        case Matcher():
            terms = [term._replace(negated=negated) for term in _terms(rule)]
            if any(term.kind == "HostSNI" and term.value == ANY_HOST for term in terms):
                return [] if negated else [frozenset()]
            return _any_of([[frozenset([term])] for term in terms]) if not negated else _limited([frozenset(terms)])


def _any_of(each: list[list[Case]]) -> list[Case] | None:
    return _limited([case for cases in each for case in cases])


def _all_of(each: list[list[Case]]) -> list[Case] | None:
    count = 1
    for cases in each:
        count *= len(cases)
        if count > MAX_CASES:
            return None
    return _limited([frozenset[Term]().union(*chosen) for chosen in product(*each)])


def _limited(cases: list[Case]) -> list[Case] | None:
    if len(cases) > MAX_CASES or any(len(case) > MAX_TERMS for case in cases):
        return None
    return list(dict.fromkeys(cases))


def _terms(matcher: Matcher) -> Iterator[Term]:
    """The conditions of which a matcher asks one."""
    first, *more = matcher.values
    match matcher.name:
        case "Host":
            for value in matcher.values:
                host = host_of(value)
                yield Term("AnyHost" if host == ANY_HOST else "Wildcard" if is_wildcard(host) else "Host", host)
        case "HostSNI":
            host = host_of(first)
            yield Term("SniWildcard" if is_wildcard(host) else "HostSNI", host)
        case "Method":
            yield Term("Method", octets(first).upper())
        case "Header" | "HeaderRegexp" as kind:
            yield Term(kind, octets(more[0]), octets(first).lower())
        case "Query" | "QueryRegexp" as kind:
            yield Term(kind if more else "Query", octets(more[0]) if more else b"", octets(first))
        case "ClientIP":
            yield Term("ClientIP", ip_network(first, strict=False))
        case kind:
            yield Term(kind, octets(first))


# --- what is certain ---------------------------------------------------------------------------------------------


def implies(one: Term, other: Term) -> bool:
    """Whether every request for which `one` holds is certain to be one for which `other` holds."""
    if one == other:
        return True
    if one.negated:
        return other.negated and implies(other.positive, one.positive)
    if other.negated:
        return excludes(one, other.positive)
    rule = _IMPLIES.get((one.kind, other.kind))
    return rule is not None and one.key == other.key and rule(one.value, other.value)


def excludes(one: Term, other: Term) -> bool:
    """Whether it is certain that no request fulfils both."""
    if one.negated or other.negated:
        return one.negated != other.negated and (
            implies(one, other.positive) if other.negated else implies(other, one.positive)
        )
    rule = _EXCLUDES.get((one.kind, other.kind))
    if rule is not None:
        return rule(one.value, other.value)
    rule = _EXCLUDES.get((other.kind, one.kind))
    return rule is not None and rule(other.value, one.value)


def contradiction(case: Case) -> tuple[Term, Term] | None:
    """Two conditions of a case that exclude each other."""
    terms = sorted(case, key=str) if len(case) > 1 else []
    for place, one in enumerate(terms):
        for other in terms[:place]:
            if excludes(one, other):
                return other, one
    return None


def covers(wide: Case, narrow: Case) -> bool:
    """Whether every request of `narrow` is certain to be one of `wide`."""
    return all(any(implies(mine, term) for mine in narrow) for term in wide)


@lru_cache(maxsize=1024)
def _searcher(pattern: bytes) -> Callable[[bytes], bool]:
    return searcher(pattern)


def _found(value: bytes, pattern: bytes) -> bool:
    return _searcher(pattern)(value)


def _within(network: Any, other: Any) -> bool:
    return network.version == other.version and bool(network.subnet_of(other))


def _apart(network: Any, other: Any) -> bool:
    # Of two versions nothing is certain: an IPv4 client may come as an IPv6 one.
    return network.version == other.version and not network.overlaps(other)


_IMPLIES: dict[tuple[str, str], Callable[[Any, Any], bool]] = {
    ("Host", "Wildcard"): lambda host, wildcard: wildcard_of(host) == wildcard,
    ("Host", "AnyHost"): lambda host, _: True,
    ("Wildcard", "AnyHost"): lambda wildcard, _: True,
    ("Host", "HostRegexp"): _found,
    ("HostSNI", "SniWildcard"): lambda host, wildcard: wildcard_of(host) == wildcard,
    ("HostSNI", "HostSNIRegexp"): _found,
    ("Path", "PathPrefix"): lambda path, prefix: path.startswith(prefix),
    ("PathPrefix", "PathPrefix"): lambda path, prefix: path.startswith(prefix),
    ("Path", "PathRegexp"): _found,
    ("Header", "HeaderRegexp"): _found,
    ("HeaderRegexp", "HeaderRegexp"): lambda _, pattern: pattern == b"",
    ("Query", "QueryRegexp"): _found,
    ("QueryRegexp", "QueryRegexp"): lambda _, pattern: pattern == b"",
    ("ClientIP", "ClientIP"): _within,
}
"""By two kinds with the same key: whether the first value makes the second condition certain."""

_EXCLUDES: dict[tuple[str, str], Callable[[Any, Any], bool]] = {
    ("Host", "Host"): lambda host, other: host != other,
    ("Host", "Wildcard"): lambda host, wildcard: wildcard_of(host) != wildcard,
    ("Wildcard", "Wildcard"): lambda wildcard, other: wildcard != other,
    ("Host", "HostRegexp"): lambda host, pattern: not _found(host, pattern),
    ("HostSNI", "HostSNI"): lambda host, other: host != other,
    ("HostSNI", "SniWildcard"): lambda host, wildcard: wildcard_of(host) != wildcard,
    ("SniWildcard", "SniWildcard"): lambda wildcard, other: wildcard != other,
    ("HostSNI", "HostSNIRegexp"): lambda host, pattern: not _found(host, pattern),
    ("Path", "Path"): lambda path, other: path != other,
    ("Path", "PathPrefix"): lambda path, prefix: not path.startswith(prefix),
    ("PathPrefix", "PathPrefix"): lambda one, other: not one.startswith(other) and not other.startswith(one),
    ("Path", "PathRegexp"): lambda path, pattern: not _found(path, pattern),
    ("Method", "Method"): lambda method, other: method != other,
    ("ClientIP", "ClientIP"): _apart,
}
