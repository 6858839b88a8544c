"""The tables of an entry point: which router takes a request or a connection.

What lives here: the order of routers and the index that makes thousands of hosts as cheap as ten.
What must not: what a rule means (`matchers.py`), what a service is. Built by `runtime/build.py`, asked by `proxy`.
Specified by Traefik's reference page on rules and priority.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from streamlb.routing import rule as language
from streamlb.routing import v2
from streamlb.routing.matchers import ANY_HOST, compile_rule, compile_tcp, host_of, is_wildcard, wildcard_of
from streamlb.routing.pattern import literal_ending
from streamlb.routing.rule import And, Matcher, Not, Or, octets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamlb.routing.rule import Rule


class Router(NamedTuple):
    """A router to be put into a table; `priority` 0 means the length of the rule, `syntax` is `v3` or `v2`.

    What nobody here looks at: limits, what the router says about timeouts; tls, what about TLS, None in the clear;
    gates, what a TCP connection must get past; local, what answers requests instead of a service;
    observed, what logs, metrics and traces tell of it.
    """

    name: str
    rule: str
    service: Any
    priority: int = 0
    syntax: str = "v3"
    limits: Any = None
    tls: Any = None
    gates: Any = None
    local: Any = None
    observed: Any = None


class Route:
    """Where a router leads: `name` of the router, `service` the node that picks a server; the rest as in `Router`.

    hosts: the only ones it can match, see `hosts_of`. is_catch_all: a TCP router that takes what nobody else wants.
    """

    __slots__ = ("gates", "hosts", "is_catch_all", "limits", "local", "name", "observed", "service", "tls")

    def __init__(self, router: Router, hosts: frozenset[bytes] | None = None, *, is_catch_all: bool = False) -> None:
        self.name = router.name
        self.service = router.service
        self.limits = router.limits
        self.tls = router.tls
        self.gates = router.gates
        self.local = router.local
        self.observed = router.observed
        self.hosts = hosts
        self.is_catch_all = is_catch_all

    def __repr__(self) -> str:
        return f"Route({self.name})"


def parse(text: str, protocol: str, syntax: str) -> Rule:
    """The tree of a router's rule in today's matchers; raises RuleError."""
    return v2.parse(text, protocol) if syntax == "v2" else language.parse(text, protocol)


class Read(NamedTuple):
    """What a rule says: its tree, the only hosts it can match (see `hosts_of`), and what else to ask; None: nothing."""

    rule: Rule
    hosts: frozenset[bytes] | None
    is_catch_all: bool
    test: Callable[[Any], bool] | None


class Rules:
    """Rules by protocol, syntax and text: to read one takes longer than all else about its router.

    former: those that were read for the tables before; of these only the ones that are asked for again are kept.
    """

    __slots__ = ("_former", "_known")

    def __init__(self, former: Rules | None = None) -> None:
        self._former = former._known if former is not None else {}
        self._known: dict[tuple[str, str, str], Read] = {}

    def read(self, text: str, protocol: str, syntax: str) -> Read:
        """What the rule says. Raises RuleError."""
        key = protocol, syntax, text
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._former.get(key) or _read(*key)
        return found

    def settle(self) -> None:
        """All has been asked for: forget the rest."""
        self._former = {}


def _read(protocol: str, syntax: str, text: str) -> Read:
    rule = parse(text, protocol, syntax)
    hosts = hosts_of(rule)
    is_catch_all = rule == _ANY_CONNECTION
    left = None if is_catch_all else rule if hosts is None else _without_host(rule)
    compiled: Callable[[Rule], Callable[[Any], bool]] = compile_tcp if protocol == "tcp" else compile_rule
    return Read(rule, hosts, is_catch_all, None if left is None else compiled(left))


class _Entry(NamedTuple):
    """A router in its place: `rank` 0 is tried first; `test` None is known to match."""

    rank: int
    test: Callable[[Any], bool] | None
    route: Route


class _Table:
    """The routers of one protocol on one entry point.

    Routers that can only match certain hosts, wildcards or endings of hosts are found by host, the rest is tried in
    order; of the first matches the one of best rank wins, which is what trying all routers in order would find.
    """

    __slots__ = ("_by_ending", "_by_host", "_longest", "_rest", "routes")

    def __init__(self, routers: Iterable[Router], protocol: str, rules: Rules) -> None:
        by_host: dict[bytes, list[_Entry]] = {}
        by_ending: dict[bytes, list[_Entry]] = {}
        rest: list[_Entry] = []
        routes: list[Route] = []
        read = [(router, rules.read(router.rule, protocol, router.syntax)) for router in routers]
        read.sort(key=lambda pair: -priority_of(pair[0], pair[1].rule))
        for rank, (router, (_, hosts, is_catch_all, test)) in enumerate(read):
            route = Route(router, hosts, is_catch_all=is_catch_all)
            routes.append(route)
            entry = _Entry(rank, test, route)
            if hosts is None:
                rest.append(entry)
                continue
            for host in hosts:
                index = by_ending if is_wildcard(host) or is_ending(host) else by_host
                index.setdefault(host, []).append(entry)
        self.routes = tuple(routes)
        self._by_host = {host: tuple(entries) for host, entries in by_host.items()}
        self._by_ending = {ending: tuple(entries) for ending, entries in by_ending.items()}
        self._longest = max(map(len, filter(is_ending, by_ending)), default=0)
        self._rest = tuple(rest)

    def route(self, subject: Any) -> Route | None:
        """The first router by priority that matches; None is nobody. Hot."""
        best: Route | None = None
        best_rank = len(self.routes)
        for rank, test, route in self._by_host.get(subject.host, ()):
            if test is None or test(subject):
                best = route
                best_rank = rank
                break
        if self._by_ending:
            for key in self._keys(subject.host):
                for rank, test, route in self._by_ending.get(key, ()):
                    if rank > best_rank:
                        break
                    if test is None or test(subject):
                        best = route
                        best_rank = rank
                        break
        for rank, test, route in self._rest:
            if rank > best_rank:
                break
            if test is None or test(subject):
                return route
        return best

    def names(self, host: bytes) -> bool:
        """Whether a router asks for this host, by its name or by a wildcard."""
        return host in self._by_host or wildcard_of(host) in self._by_ending

    @property
    def takes_any(self) -> bool:
        """Whether a router asks for no host in particular."""
        return bool(self._rest or self._longest)

    def _keys(self, host: bytes) -> list[bytes]:
        """The wildcard of a host, and its endings that are not longer than any known."""
        keys = [wildcard_of(host)]
        if self._longest == 0:
            return keys
        dot = host.find(b".", max(0, len(host) - self._longest))
        while dot >= 0:
            keys.append(host[dot:])
            dot = host.find(b".", dot + 1)
        return keys


class HttpTable(_Table):
    """The HTTP routers of one entry point, those in the clear or those over TLS; asked with a `Request`."""

    __slots__ = ()

    def __init__(self, routers: Iterable[Router] = (), rules: Rules | None = None) -> None:
        super().__init__(routers, "http", rules or Rules())


class TcpTable(_Table):
    """The TCP routers of one entry point, those in the clear or those over TLS; asked with a `Connection`."""

    __slots__ = ()

    def __init__(self, routers: Iterable[Router] = (), rules: Rules | None = None) -> None:
        super().__init__(routers, "tcp", rules or Rules())


def priority_of(router: Router, rule: Rule) -> int:
    """The configured priority, else the rule's length in bytes; a catch-all of TCP comes last."""
    if router.priority != 0:
        return router.priority
    if rule == _ANY_CONNECTION:
        return -1
    return len(router.rule.encode())


_ANY_CONNECTION = Matcher("HostSNI", ("*",))


def in_order(routers: Iterable[Router], protocol: str) -> list[tuple[Router, Rule]]:
    """Highest priority first, ties in configuration order."""
    parsed = [(router, parse(router.rule, protocol, router.syntax)) for router in routers]
    return sorted(parsed, key=lambda pair: -priority_of(*pair))


def hosts_of(rule: Rule) -> frozenset[bytes] | None:
    """The only hosts, wildcards (`*.a.com`) and endings (`.a.com`) that a rule can match, None if it does not say."""
    match rule:
        case Matcher("Host" | "HostSNI", values):
            hosts = frozenset(host_of(value) for value in values)
            return None if ANY_HOST in hosts else hosts
        case Matcher("HostRegexp" | "HostSNIRegexp", (pattern,)):
            ending = octets(literal_ending(pattern))
            return frozenset({ending}) if ending else None
        case And(operands):
            known = [hosts for hosts in map(hosts_of, operands) if hosts is not None]
            return reduce(_common, known) if known else None
        case Or(operands):
            each = [hosts_of(operand) for operand in operands]
            sets = [hosts for hosts in each if hosts is not None]
            return frozenset.union(*sets) if len(sets) == len(each) else None
        case Not() | Matcher():
            return None


def asks_for_tls(rule: Rule) -> Matcher | None:
    """The first matcher that asks for what only a TLS handshake tells."""
    match rule:
        case Matcher("HostSNI", values):
            return None if ANY_HOST in map(host_of, values) else rule
        case Matcher("HostSNIRegexp" | "ALPN"):
            return rule
        case Matcher():
            return None
        case Not(operand):
            return asks_for_tls(operand)
        case And(operands) | Or(operands):
            return next(filter(None, map(asks_for_tls, operands)), None)


def is_ending(host: bytes) -> bool:
    return host.startswith(b".")


def _common(some: frozenset[bytes], others: frozenset[bytes]) -> frozenset[bytes]:
    """What two sets of hosts, wildcards and endings have in common: the narrower of each two that meet."""
    return frozenset({host for host in some if _is_in(host, others)} | {host for host in others if _is_in(host, some)})


def _is_in(host: bytes, others: frozenset[bytes]) -> bool:
    """Whether one of the others is as wide as `host`, which may be a wildcard or an ending itself."""
    if host in others or wildcard_of(host) in others:
        return True
    dot = host.find(b".")
    while dot >= 0:
        if host[dot:] in others:
            return True
        dot = host.find(b".", dot + 1)
    return False


def _without_host(rule: Rule) -> Rule | None:
    """What is left to test once the host is known to be one of `hosts_of(rule)`; None is nothing."""
    match rule:
        case Matcher("Host" | "HostSNI", values) if not any(host_of(value) == ANY_HOST for value in values):
            return None
        case And(operands):
            left = [rest for operand in operands if (rest := _without_host(operand)) is not None]
            if not left:
                return None
            return left[0] if len(left) == 1 else And(tuple(left))
        case Or(operands) if all(_without_host(operand) is None for operand in operands):
            return None
        case _:
            return rule
