"""Rules put together from what other proxies ask for.

What lives here: matchers with quoted values, `&&`, `||` and `!` with as few parentheses as needed, patterns that
RE2 reads.
What must not: what other proxies' words mean. Specified by docs/reference.md ("Rules").
"""

from __future__ import annotations

from dataclasses import dataclass

from streamlb.routing.pattern import PatternError, escape, searcher

EVERYTHING = "PathPrefix(`/`)"
EVERY_CONNECTION = "HostSNI(`*`)"


class NoRule(Exception):
    """What is asked for cannot be said in a rule; the message says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule and how strongly its parts hold together: 0 for `||`, 1 for `&&`, 2 for a single condition."""

    text: str
    strength: int = 2

    def __str__(self) -> str:
        return self.text


def matcher(name: str, *values: str) -> Rule:
    """``Name(`value`, ...)``."""
    return Rule(f"{name}({', '.join(_quoted(value) for value in values)})")


def _quoted(value: str) -> str:
    if not value.isprintable():
        raise NoRule("a rule holds no control characters")
    if "`" not in value:
        return f"`{value}`"
    raise NoRule("a value with a backtick")


def any_of(rules: list[Rule]) -> Rule:
    return _joined(rules, "||", 0)


def all_of(rules: list[Rule]) -> Rule:
    return _joined(rules, "&&", 1)


def none_of(rule: Rule) -> Rule:
    return Rule(f"!{rule}") if rule.strength == 2 and not rule.text.startswith("!") else Rule(f"!({rule})")


def _joined(rules: list[Rule], sign: str, strength: int) -> Rule:
    unique = list(dict.fromkeys(rules))
    if len(unique) == 1:
        return unique[0]
    parts = [f"({rule})" if rule.strength < strength else str(rule) for rule in unique]
    return Rule(f" {sign} ".join(parts), strength)


def hosts(names: list[str]) -> Rule:
    """One of several hosts, wildcards of one label among them."""
    return matcher("Host", *names)


def pattern(name: str, text: str, *keys: str, ignore_case: bool = False) -> Rule:
    """A matcher with a regular expression. Raises NoRule where RE2 does not read it."""
    expression = f"(?i){text}" if ignore_case and not text.startswith("(?i)") else text
    try:
        searcher(expression.encode())
    except PatternError as error:
        raise NoRule(f"the regular expression is not RE2's: {error}") from None
    return matcher(name, *keys, expression)


def literal(text: str) -> str:
    """A text as a part of a regular expression."""
    return escape(text)
