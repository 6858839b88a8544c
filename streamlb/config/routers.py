"""What must hold for routers beyond the types of their options.

What lives here: services and entry points they name, rules, what is legal for which protocol.
What must not: the rule language; whoever may import it hands in a check for rules (`CheckRule`).
Called by `check.py` with everything the providers gave. Specified by Traefik's routers pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from streamlb.config.internal import needs_entry_point
from streamlb.config.model import PROTOCOLS, tls_options_named
from streamlb.config.near import nearest
from streamlb.config.observation import INTERNAL_ENTRY_POINT
from streamlb.config.services import check_reference
from streamlb.config.tree import Scalar

if TYPE_CHECKING:
    from streamlb.config.model import Config, Router
    from streamlb.config.reading import Path, Reading
    from streamlb.config.static import EntryPoint
    from streamlb.errors import Problem


@dataclass(frozen=True, slots=True)
class RuleFault:
    """What is wrong with a rule; `column` counts characters of the rule from 0, `width` of them are marked."""

    reason: str
    column: int
    suggestion: str = ""
    width: int = 1


@dataclass(frozen=True, slots=True)
class RuledRouter:
    """What decides which router takes a request: the rule, and the priority as configured (0 is the rule's length)."""

    name: str
    rule: str
    priority: int
    syntax: str


@dataclass(frozen=True, slots=True)
class HiddenRouter:
    """A router that is never reached: routers tried before it take all that it would match, or its rule cannot match.

    by: those routers, in order, with the priority each has. contradiction: two conditions of the rule that exclude each
    other. but_asterisk: an `OPTIONS *` may reach it.
    """

    name: str
    by: tuple[tuple[str, int], ...] = ()
    contradiction: tuple[str, str] | None = None
    but_asterisk: bool = False


CheckRule = Callable[[str, str, str, bool], RuleFault | None]
"""`(rule, protocol, syntax, whether the router is one for TLS)` to what is wrong with it."""

FindHidden = Callable[[list[RuledRouter], str], list[HiddenRouter]]
"""`(routers of an entry point, protocol)` to those that are certain never to be reached."""


class SecureRouter(NamedTuple):
    """What decides about the TLS options of an HTTP router: its name, rule and syntax, and those it names."""

    name: str
    rule: str
    syntax: str
    options: str


FindDisputed = Callable[[list[SecureRouter]], dict[str, str]]
"""`(HTTPS routers of an entry point)` to those whose TLS options do not prevail, each with a host for which they do
not; the host is empty where that is any host that nobody names."""

NETWORK = {"http": "tcp", "tcp": "tcp", "udp": "udp"}
"""Which kind of entry point a router needs."""

NEEDS = {"http": "an HTTP router needs", "tcp": "a TCP router needs", "udp": "a UDP router needs"}

EXAMPLE_RULE = {"http": "PathPrefix(`/`)", "tcp": "HostSNI(`*`)"}
"""Rules that match everything."""

NOT_FOR_UDP = {
    "rule": "a UDP router has no rule: it takes every datagram of its entry point",
    "priority": "a UDP router has no priority: it is the only one of its entry point",
    "ruleSyntax": "a UDP router has no rule that could be written in any syntax",
    "tls": "TLS is for TCP connections",
    "middlewares": "a UDP router has no middlewares",
}

CATCH_ALL = re.compile(r"\s*HostSNI\s*\(\s*[`\"]\*[`\"]\s*\)\s*", re.IGNORECASE)


def check(config: Config, reading: Reading, check_rule: CheckRule | None) -> None:
    udp_taken: dict[str, str] = {}  # entry point -> its UDP router
    for protocol in PROTOCOLS:
        for name, router in config.section(protocol).routers.items():
            path: Path = (protocol, "routers", name)
            if reading.is_broken(path):
                continue
            if not reading.is_broken((*path, "service")):
                check_reference(protocol, name, router.service, (*path, "service"), config, reading)
            joined = _check_entry_points(protocol, path, router, config, reading)
            if protocol == "udp":
                _check_udp(name, path, joined, udp_taken, reading)
            else:
                _check_rule(protocol, path, router, config, reading, check_rule)
                _check_tls(protocol, path, router, reading)
    _note_shadowed(config, reading)


def entry_points_of(protocol: str, router: Router, config: Config) -> list[str]:
    """The entry points a router joins: those it names, or else all of its kind but the internal one."""
    network = NETWORK[protocol]
    every = [name for name, entry_point in config.entry_points.items() if entry_point.kind == network]
    if router.entry_points:
        return [name for name in router.entry_points if name in every]
    return [name for name in every if router.joins(name)]


def is_for_tls(protocol: str, router: Router, entry_point: EntryPoint) -> bool:
    """Whether a router takes TLS connections of an entry point; it takes either those or those in the clear."""
    return router.tls is not None or (protocol == "http" and entry_point.http.tls is not None)


def _check_entry_points(
    protocol: str, path: Path, router: Router, config: Config, reading: Reading
) -> list[tuple[str, Path]]:
    """The entry points joined, each with the place that says so."""
    network = NETWORK[protocol]
    if reading.is_broken(("entryPoints",)) or reading.is_broken((*path, "entryPoints")):
        return []
    if not router.entry_points:
        joined = entry_points_of(protocol, router, config)
        if not joined:
            example = '":53/udp"' if network == "udp" else '":80"'
            reason = f"{NEEDS[protocol]} a {network.upper()} entry point; there is none"
            reading.error((*path, "entryPoints"), reason, f"add one with an address like {example}", at_key=True)
        return [(name, path) for name in joined]
    good: list[tuple[str, Path]] = []
    for index, name in enumerate(router.entry_points):
        where = (*path, "entryPoints", index)
        entry_point = config.entry_points.get(name)
        if entry_point is None and name == INTERNAL_ENTRY_POINT and network == "tcp" and needs_entry_point(config):
            continue
        if entry_point is None:
            guess = nearest(name, config.entry_points)
            known = ", ".join(f"`{known}`" for known in list(config.entry_points)[:10])
            suggestion = f"did you mean `{guess}`?" if guess else f"there are: {known}"
            reading.error(where, f"unknown entry point `{name}`", suggestion)
        elif reading.is_broken(("entryPoints", name, "address")):
            continue
        elif entry_point.kind != network:
            kind = entry_point.kind.upper()
            reading.error(where, f"`{name}` is a {kind} entry point; {NEEDS[protocol]} a {network.upper()} one")
        else:
            good.append((name, where))
    return good


def _check_udp(name: str, path: Path, joined: list[tuple[str, Path]], taken: dict[str, str], reading: Reading) -> None:
    for key, reason in NOT_FOR_UDP.items():
        if reading.has((*path, key)):
            reading.error((*path, key), reason, "remove it", at_key=True)
    for entry_point, where in joined:
        other = taken.setdefault(entry_point, name)
        if other != name:
            line = reading.line_of(("udp", "routers", other), where)
            reason = f"a UDP entry point has one router; `{entry_point}` already has `{other}` in {line}"
            reading.error(where, reason, "split by a `weighted` service", at_key=where == path)


def _check_tls(protocol: str, path: Path, router: Router, reading: Reading) -> None:
    where = (*path, "tls", "passthrough")
    if router.tls is None or not router.tls.passthrough or reading.is_broken(where):
        return
    if protocol == "http":
        reading.error(where, "an HTTP router has to see the requests", "make it a TCP router with HostSNI")
    elif router.tls.options:
        reading.note(
            (*path, "tls", "options"), "with `passthrough` the server decides about TLS: options have no effect"
        )


# --- rules -------------------------------------------------------------------------------------------------------


def _check_rule(
    protocol: str, path: Path, router: Router, config: Config, reading: Reading, check_rule: CheckRule | None
) -> None:
    where = (*path, "rule")
    if reading.is_broken(where):
        return
    if not router.rule.strip():
        example = f'rule: "{EXAMPLE_RULE[protocol]}"'
        reason = "the router has no rule" if not reading.has(where) else "the rule is empty"
        reading.error(where, reason, f"to match everything: {example}", at_key=not reading.has(where))
        return
    # A `tls` that cannot be read is no reason to say that there is none.
    is_tls = router.tls is not None or reading.is_broken((*path, "tls"))
    fault = check_rule(router.rule, protocol, config.syntax_of(router), is_tls) if check_rule else None
    if fault:
        reading.broken.add(where)
        reading.problems.append(rule_problem(where, fault, router.rule, reading))


def rule_problem(where: Path, fault: RuleFault, rule: str, reading: Reading) -> Problem:
    """A problem that marks the place inside the rule, as far as the rule was written in one line."""
    place = reading.place(where)
    node = place.node
    if isinstance(node, Scalar) and where in reading.places:
        spot = node.spot(fault.column)
        if spot:
            line, column = spot
            return node.source.problem(line, column, place.label, fault.reason, fault.suggestion, fault.width)
    shown = f"{fault.reason} (at character {fault.column + 1} of the rule)"
    return node.source.problem(node.line, node.column, place.label, shown, fault.suggestion, node.width)


# --- routers that are never reached ------------------------------------------------------------------------------

MANY = 3  # names in one note


def note_hidden(config: Config, reading: Reading, find_hidden: FindHidden) -> None:
    """Say which routers of a valid configuration no request can reach on any of their entry points."""
    for protocol, unit in (("http", "request"), ("tcp", "connection")):
        routers = config.section(protocol).routers
        joined = {
            name: [(each, is_for_tls(protocol, router, config.entry_points[each])) for each in found]
            for name, router in routers.items()
            for found in [entry_points_of(protocol, router, config)]
        }
        groups = {
            (entry_point, is_tls): tuple(name for name, each in joined.items() if (entry_point, is_tls) in each)
            for entry_point in config.entry_points
            for is_tls in (False, True)
        }
        hidden: dict[tuple[str, ...], dict[str, HiddenRouter]] = {}
        for names in set(groups.values()):
            ruled = [
                RuledRouter(name, routers[name].rule, routers[name].priority, config.syntax_of(routers[name]))
                for name in names
            ]
            hidden[names] = {each.name: each for each in find_hidden(ruled, protocol)}
        for name, places in joined.items():
            found_hidden = [hidden[groups[place]].get(name) for place in places]
            if found_hidden and found_hidden[0] and all(found_hidden):
                _note_one(found_hidden[0], (protocol, "routers", name), routers, unit, reading)


def note_disputed(config: Config, reading: Reading, find_disputed: FindDisputed) -> None:
    """Say which routers do not get the TLS options they name."""
    told = set()
    for entry_point, options in config.entry_points.items():
        routers = [
            SecureRouter(name, router.rule, config.syntax_of(router), _options_of(router, options))
            for name, router in config.http.routers.items()
            if entry_point in entry_points_of("http", router, config) and is_for_tls("http", router, options)
        ]
        for name, host in find_disputed(routers).items() if len({each.options for each in routers}) > 1 else ():
            path: Path = ("http", "routers", name, "tls", "options")
            if name not in told and reading.has(path):
                told.add(name)
                whom = f"for `{host}`" if host else "where no router names the host"
                reason = f"the options `default` are used {whom}: routers of `{entry_point}` do not agree"
                reading.note(path, reason, "options go by host: give all its routers the same")


def _options_of(router: Router, entry_point: EntryPoint) -> str:
    if router.tls is None and entry_point.http.tls is not None:
        return tls_options_named(entry_point.http.tls.options)
    return tls_options_named(router.tls.options if router.tls is not None else "")


def _note_one(hidden: HiddenRouter, path: Path, routers: dict[str, Router], unit: str, reading: Reading) -> None:
    if not hidden.by:
        reason = f"no {unit} can match this rule"
        if hidden.contradiction:
            one, other = hidden.contradiction
            reason += f": {one} and {other} exclude each other"
        reading.note((*path, "rule"), reason, "`||` if one of them is enough", at_key=False)
        return
    reached = f"no {unit} but `OPTIONS *` reaches" if hidden.but_asterisk else f"no {unit} reaches"
    first = hidden.by[0][0]
    if len(hidden.by) == 1:
        who = f"`{first}` ({reading.line_of((path[0], 'routers', first), path)})"
        if routers[first].rule == routers[hidden.name].rule:
            reading.note(path, f"{reached} this router: {who} has the same rule", "remove one of the two")
            return
        reason = f"{reached} this router: {who} is tried before it and takes all that it would match"
    else:
        names = ", ".join(f"`{name}`" for name, _ in hidden.by[:MANY])
        more = f" and {len(hidden.by) - MANY} more" if len(hidden.by) > MANY else ""
        reason = f"{reached} this router: {names}{more} are tried before it and take all that it would match"
    highest = max(priority for _, priority in hidden.by)
    reading.note(path, reason, f"a `priority` above {highest} puts it first")


def _note_shadowed(config: Config, reading: Reading) -> None:
    """A TCP router that takes every connection leaves nothing to the HTTP routers of its entry point."""
    greedy = {
        entry_point: name
        for name, router in config.tcp.routers.items()
        if router.tls is None and CATCH_ALL.fullmatch(router.rule)
        for entry_point in entry_points_of("tcp", router, config)
    }
    if not greedy:
        return
    for name, router in config.http.routers.items():
        path: Path = ("http", "routers", name)
        for entry_point in entry_points_of("http", router, config):
            in_the_clear = not is_for_tls("http", router, config.entry_points[entry_point])
            if entry_point in greedy and in_the_clear and not reading.is_broken(path):
                reason = f"no request reaches this router on `{entry_point}`: TCP router `{greedy[entry_point]}` takes"
                reading.note(path, f"{reason} every connection there", "give the routers separate `entryPoints`")
                break
