"""What a rule means: a tree becomes a closure over a request.

What lives here: the meaning of each matcher, bytes all the way, and of `&&`, `||`, `!`.
What must not: grammar (`rule.py`), the order of routers (`router.py`). Called by `router.py`.
Specified by Traefik's reference page on rules and priority (v3 syntax; `v2.py` turns older rules into it).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import unquote_to_bytes

from streamlb.routing.pattern import searcher
from streamlb.routing.rule import And, Matcher, Not, Or, octets

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.routing.rule import Rule

ClientAddress = IPv4Address | IPv6Address


class Request(Protocol):
    """What a rule may ask of a request.

    host: lower case, without port and trailing dot. path: percent-decoded for matching. query: raw, without `?`.
    client: the peer's address.
    """

    @property
    def method(self) -> bytes: ...
    @property
    def host(self) -> bytes: ...
    @property
    def path(self) -> bytes: ...
    @property
    def query(self) -> bytes: ...
    @property
    def client(self) -> ClientAddress: ...

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of that name (lower case)."""
        ...


class Connection(Protocol):
    """What a rule may ask of a TCP connection.

    client: the peer's address. host: the server name of its ClientHello, lower case, without trailing dot, empty for
    none. protocols: those its ALPN offers.
    """

    @property
    def client(self) -> ClientAddress: ...
    @property
    def host(self) -> bytes: ...
    @property
    def protocols(self) -> tuple[bytes, ...]: ...


T = TypeVar("T")

if TYPE_CHECKING:
    Test = Callable[[T], bool]


def compile_rule(rule: Rule) -> Test[Request]:
    """The test of an HTTP router's rule."""
    return _compile(rule, _http_leaf)


def compile_tcp(rule: Rule) -> Test[Connection]:
    """The test of a TCP router's rule."""
    return _compile(rule, _tcp_leaf)


def host_of(value: str) -> bytes:
    """A Host matcher's value as `Request.host` would say it; a wildcard keeps its star."""
    host = octets(value).lower().removesuffix(b".")
    return b"[" + host + b"]" if b":" in host and not host.startswith(b"[") else host


def _compile(rule: Rule, leaf: Callable[[Matcher], Test[T]]) -> Test[T]:
    match rule:
        case Matcher():
            return leaf(rule)
        case Not(operand):
            return _not(_compile(operand, leaf))
        case And(operands):
            return _and([_compile(operand, leaf) for operand in operands])
        case Or(operands):
            return _or([_compile(operand, leaf) for operand in operands])


def _not(test: Test[T]) -> Test[T]:
    return lambda subject: not test(subject)


def _and(tests: list[Test[T]]) -> Test[T]:
    if len(tests) == 2:
        first, second = tests
        return lambda subject: first(subject) and second(subject)
    if len(tests) == 3:
        first, second, third = tests
        return lambda subject: first(subject) and second(subject) and third(subject)
    fixed = tuple(tests)

    def all_match(subject: T) -> bool:
        for test in fixed:  # noqa: SIM110 - a generator would cost more than the tests.
            if not test(subject):
                return False
        return True

    return all_match


def _or(tests: list[Test[T]]) -> Test[T]:
    if len(tests) == 2:
        first, second = tests
        return lambda subject: first(subject) or second(subject)
    fixed = tuple(tests)

    def any_matches(subject: T) -> bool:
        for test in fixed:  # noqa: SIM110 - a generator would cost more than the tests.
            if test(subject):
                return True
        return False

    return any_matches


# --- leaves ------------------------------------------------------------------------------------------------------


def _http_leaf(matcher: Matcher) -> Test[Request]:
    return _HTTP[matcher.name](*matcher.values)


def _tcp_leaf(matcher: Matcher) -> Test[Connection]:
    return _TCP[matcher.name](*matcher.values)


def _host(*values: str) -> Test[Request]:
    hosts = frozenset(host_of(value) for value in values)
    if ANY_HOST in hosts:
        return lambda request: request.host != b""
    exact = frozenset(host for host in hosts if not is_wildcard(host))
    if exact == hosts:
        if len(hosts) == 1:
            [only] = hosts
            return lambda request: request.host == only
        return lambda request: request.host in hosts
    return lambda request: request.host in exact or wildcard_of(request.host) in hosts


ANY_HOST = b"*"


def is_wildcard(host: bytes) -> bool:
    return host.startswith(b"*.")


def wildcard_of(host: bytes) -> bytes:
    """The only wildcard that a host can match, `*.example.com` for `www.example.com`; empty when it has no dot."""
    dot = host.find(b".")
    return b"*" + host[dot:] if dot > 0 else b""


def _host_regexp(pattern: str) -> Test[Request]:
    matches = searcher(octets(pattern))
    return lambda request: matches(request.host)


def _path(value: str) -> Test[Request]:
    path = octets(value)
    return lambda request: request.path == path


def _path_prefix(value: str) -> Test[Request]:
    prefix = octets(value)
    return lambda request: request.path.startswith(prefix)


def _path_regexp(pattern: str) -> Test[Request]:
    matches = searcher(octets(pattern))
    return lambda request: matches(request.path)


def _method(value: str) -> Test[Request]:
    method = octets(value).upper()
    return lambda request: request.method == method


def _header(name: str, value: str) -> Test[Request]:
    field_name, wanted = octets(name).lower(), octets(value)
    return lambda request: wanted in request.values(field_name)


def _header_regexp(name: str, pattern: str) -> Test[Request]:
    field_name, matches = octets(name).lower(), searcher(octets(pattern))
    return lambda request: any(map(matches, request.values(field_name)))


def _query(key: str, value: str = "") -> Test[Request]:
    wanted = (octets(key), octets(value))
    return lambda request: wanted in query_pairs(request.query)


def _query_regexp(key: str, pattern: str | None = None) -> Test[Request]:
    if pattern is None:
        return _query(key)
    wanted, matches = octets(key), searcher(octets(pattern))
    return lambda request: any(name == wanted and matches(value) for name, value in query_pairs(request.query))


def _client_ip(value: str) -> Test[Any]:
    test = client_in(value)
    return lambda subject: test(subject.client)


def _host_sni(value: str) -> Test[Connection]:
    if value == "*":
        return lambda connection: True
    host = host_of(value)
    if is_wildcard(host):
        return lambda connection: wildcard_of(connection.host) == host
    return lambda connection: connection.host == host


def _host_sni_regexp(pattern: str) -> Test[Connection]:
    matches = searcher(octets(pattern))
    return lambda connection: matches(connection.host)


def _alpn(value: str) -> Test[Connection]:
    protocol = octets(value)
    return lambda connection: protocol in connection.protocols


_HTTP: dict[str, Callable[..., Test[Request]]] = {
    "Host": _host,
    "HostRegexp": _host_regexp,
    "Path": _path,
    "PathPrefix": _path_prefix,
    "PathRegexp": _path_regexp,
    "Method": _method,
    "Header": _header,
    "HeaderRegexp": _header_regexp,
    "Query": _query,
    "QueryRegexp": _query_regexp,
    "ClientIP": _client_ip,
}
_TCP: dict[str, Callable[..., Test[Connection]]] = {
    "HostSNI": _host_sni,
    "HostSNIRegexp": _host_sni_regexp,
    "ALPN": _alpn,
    "ClientIP": _client_ip,
}


def client_in(text: str) -> Test[ClientAddress]:
    """Whether an address is in a range (or is the address) `text`; an IPv4 client of an IPv6 socket is one too."""
    network = ip_network(text, strict=False)
    version, mask, base = network.version, int(network.netmask), int(network.network_address)

    def matches(client: ClientAddress) -> bool:
        if client.version == version:
            return int(client) & mask == base
        mapped = client.ipv4_mapped if isinstance(client, IPv6Address) else None
        return mapped is not None and int(mapped) & mask == base

    return matches


_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def query_pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    """The decoded keys and values; those with a broken escape are left out, `;` separates as `&` does."""
    pairs = []
    for part in query.replace(b";", b"&").split(b"&"):
        if not part or (b"%" in part and _BAD_ESCAPE.search(part)):
            continue
        key, _, value = part.replace(b"+", b" ").partition(b"=")
        pairs.append((unquote_to_bytes(key), unquote_to_bytes(value)))
    return pairs
