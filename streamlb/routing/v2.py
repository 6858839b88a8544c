"""Rules in Traefik 2's words (`ruleSyntax: v2`) as trees of today's matchers.

What lives here: what each matcher of version 2 means in terms of version 3, so that everything behind knows only one.
What must not: grammar (`rule.py`), meaning (`matchers.py`), braces (`template.py`). Called by `router.py`.
Specified by Traefik 2's routers page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.routing import rule as language
from streamlb.routing.rule import And, Matcher, Not, Or
from streamlb.routing.template import HOST, PATH, PREFIX, QUERY, has_patterns, to_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.routing.rule import Rule


def parse(text: str, protocol: str = "http") -> Rule:
    """The tree of a rule in Traefik 2's words, with Traefik 3's matchers; raises RuleError."""
    return _rewrite(language.parse(text, protocol, "v2"))


def _rewrite(rule: Rule) -> Rule:
    match rule:
        case Matcher(name, values, column):
            return _MEANINGS[name](values, column)
        case Not(operand):
            return Not(_rewrite(operand))
        case And(operands):
            return And(tuple(_rewrite(operand) for operand in operands))
        case Or(operands):
            return Or(tuple(_rewrite(operand) for operand in operands))


def _any(rules: list[Rule]) -> Rule:
    return rules[0] if len(rules) == 1 else Or(tuple(rules))


def _all(rules: list[Rule]) -> Rule:
    return rules[0] if len(rules) == 1 else And(tuple(rules))


Values = tuple[str, ...]

if TYPE_CHECKING:
    Meaning = Callable[[Values, int], Rule]


def _each(name: str) -> Meaning:
    """One of the values."""
    return lambda values, column: _any([Matcher(name, (value,), column) for value in values])


def _hosts(values: Values, column: int) -> Rule:
    return Matcher("Host", values, column)


def _host_patterns(values: Values, column: int) -> Rule:
    return _any([Matcher("HostRegexp", (to_pattern(value, HOST),), column) for value in values])


def _sni_patterns(values: Values, column: int) -> Rule:
    return _any([Matcher("HostSNIRegexp", (to_pattern(value, HOST),), column) for value in values])


def _paths(values: Values, column: int) -> Rule:
    return _any(
        [
            Matcher("PathRegexp", (to_pattern(value, PATH),), column)
            if has_patterns(value)
            else Matcher("Path", (value,), column)
            for value in values
        ]
    )


def _prefixes(values: Values, column: int) -> Rule:
    return _any(
        [
            Matcher("PathRegexp", (to_pattern(value, PREFIX),), column)
            if has_patterns(value)
            else Matcher("PathPrefix", (value,), column)
            for value in values
        ]
    )


def _headers(values: Values, column: int) -> Rule:
    """Pairs, all of which must hold; an empty value asks only for the field to be there."""
    return _all(
        [
            Matcher("Header", (name, value), column) if value else Matcher("HeaderRegexp", (name, ""), column)
            for name, value in zip(values[::2], values[1::2], strict=True)
        ]
    )


def _header_patterns(values: Values, column: int) -> Rule:
    pairs = zip(values[::2], values[1::2], strict=True)
    return _all([Matcher("HeaderRegexp", (name, value), column) for name, value in pairs])


def _queries(values: Values, column: int) -> Rule:
    """`key=value`, all of which must hold; an empty value asks only for the key to be there."""
    rules: list[Rule] = []
    for key, _, value in (each.partition("=") for each in values):
        if value and not has_patterns(value):
            rules.append(Matcher("Query", (key, value), column))
        else:
            rules.append(Matcher("QueryRegexp", (key, to_pattern(value, QUERY) if value else ""), column))
    return _all(rules)


_MEANINGS: dict[str, Meaning] = {
    "Host": _hosts,
    "HostHeader": _hosts,
    "HostRegexp": _host_patterns,
    "Path": _paths,
    "PathPrefix": _prefixes,
    "Method": _each("Method"),
    "Headers": _headers,
    "HeadersRegexp": _header_patterns,
    "Query": _queries,
    "ClientIP": _each("ClientIP"),
    "HostSNI": _each("HostSNI"),
    "HostSNIRegexp": _sni_patterns,
    "ALPN": _each("ALPN"),
}
