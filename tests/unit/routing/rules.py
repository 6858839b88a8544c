"""Random rules and requests, and a slow interpreter to compare with.

What lives here: Hypothesis strategies for the rule language and `matches`, which walks the tree for every request.
What must not: anything from `routing/matchers.py`: what is under test must not check itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import parse_qsl

from hypothesis import strategies as st

from streamlb.routing.rule import And, Matcher, Not, Or, Rule


@dataclass
class Ask:
    """A request to be routed."""

    host: bytes = b"example.com"
    path: bytes = b"/"
    method: bytes = b"GET"
    query: bytes = b""
    client: IPv4Address | IPv6Address = field(default_factory=lambda: IPv4Address("127.0.0.1"))
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    protocols: tuple[bytes, ...] = ()

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]


def matches(rule: Rule, request: Ask) -> bool:
    """What the rule says about the request, computed as its description reads."""
    match rule:
        case Not(operand):
            return not matches(operand, request)
        case And(operands):
            return all(matches(operand, request) for operand in operands)
        case Or(operands):
            return any(matches(operand, request) for operand in operands)
        case Matcher(name, values):
            return _matcher(name, values, request)


def _matcher(name: str, values: tuple[str, ...], request: Ask) -> bool:
    first = values[0]
    match name:
        case "Host":
            return any(_host(value.lower().rstrip("."), request.host.decode()) for value in values)
        case "HostRegexp":
            return re.search(first, request.host.decode()) is not None
        case "PathRegexp":
            return re.search(first, request.path.decode()) is not None
        case "Path":
            return request.path == first.encode()
        case "PathPrefix":
            return request.path[: len(first.encode())] == first.encode()
        case "Method":
            return request.method == first.upper().encode()
        case "Header":
            return any(k == first.lower().encode() and v == values[1].encode() for k, v in request.headers)
        case "HeaderRegexp":
            lower = first.lower().encode()
            return any(k == lower and re.search(values[1], v.decode()) for k, v in request.headers)
        case "QueryRegexp" if len(values) == 2:
            pairs = parse_qsl(request.query.decode(), keep_blank_values=True)
            return any(key == first and re.search(values[1], value) for key, value in pairs)
        case "Query" | "QueryRegexp":
            pairs = parse_qsl(request.query.decode(), keep_blank_values=True)
            return (first, values[1] if len(values) == 2 else "") in pairs
        case "ClientIP":
            return request.client in ip_network(first, strict=False)
        case "HostSNI":
            return first == "*" or _host(first.lower().rstrip("."), request.host.decode())
        case "HostSNIRegexp":
            return re.search(first, request.host.decode()) is not None
        case "ALPN":
            return first.encode() in request.protocols
        case _:
            raise AssertionError(name)


def _host(wanted: str, host: str) -> bool:
    if wanted == "*":
        return host != ""
    label, _, rest = host.partition(".")
    return host == wanted or (label != "" and wanted == f"*.{rest}" and "." in host)


HOSTS = ("a.com", "A.com", "b.com", "b.com.", "c.com", "x-1.d_e.org")
WILDCARDS = ("*.com", "*.COM.", "*.d_e.org", "*.a.com", "*.b.com", "*")
PATTERNS = (
    "", "^a", "a", "b$", r"^[a-c]+\.com$", r"\.", "(a|b)+c", "^/a", "^/.*b", "^.$", "[0-9]", "(?i)A", r"\.com$",
    r"(?i)^x\.A\.com$", r"[.]a[.]com$", r"^a\.com$|^b", r"(a|b)\.com$", r"\.d_e\.org$",
)  # fmt: skip
"""Patterns that Python reads as RE2 does."""
PATHS = ("/", "/a", "/a/", "/ab", "/b c", "/é")
METHODS = ("GET", "post", "PUT")
HEADERS = ("X-A", "x-b")
VALUES = ("", "1", "two words", 'say "x"', "back`tick", "a\\b")
QUERIES = ("k", "j", "é", "a b")
NETWORKS = ("10.0.0.0/8", "10.1.2.3", "127.0.0.0/8", "::1", "2001:db8::/32", "0.0.0.0/0")
CLIENTS = ("10.1.2.3", "10.9.9.9", "127.0.0.1", "192.0.2.1", "::1", "2001:db8::5")


def _one(name: str, *choices: tuple[str, ...]) -> st.SearchStrategy[Matcher]:
    return st.tuples(*(st.sampled_from(values) for values in choices)).map(lambda values: Matcher(name, values))


MATCHERS = st.one_of(
    st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3).map(lambda hosts: Matcher("Host", tuple(hosts))),
    _one("Host", HOSTS),
    st.lists(st.sampled_from(HOSTS + WILDCARDS), min_size=1, max_size=3).map(
        lambda hosts: Matcher("Host", tuple(hosts))
    ),
    _one("HostRegexp", PATTERNS),
    _one("PathRegexp", PATTERNS),
    _one("HeaderRegexp", HEADERS, PATTERNS),
    _one("QueryRegexp", QUERIES),
    _one("QueryRegexp", QUERIES, PATTERNS),
    _one("Path", PATHS),
    _one("PathPrefix", PATHS),
    _one("Method", METHODS),
    _one("Header", HEADERS, VALUES),
    _one("Query", QUERIES),
    _one("Query", QUERIES, VALUES),
    _one("ClientIP", NETWORKS),
)
TCP_MATCHERS = st.one_of(
    st.just(Matcher("HostSNI", ("*",))),
    _one("HostSNI", HOSTS + WILDCARDS),
    _one("HostSNIRegexp", PATTERNS),
    _one("ALPN", ("h2", "http/1.1")),
    _one("ClientIP", NETWORKS),
)


def _combined(operands: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    several = st.lists(operands, min_size=2, max_size=4).map(tuple)
    return st.one_of(operands.map(Not), several.map(And), several.map(Or))


RULES: st.SearchStrategy[Rule] = st.recursive(MATCHERS, _combined, max_leaves=8)
TCP_RULES: st.SearchStrategy[Rule] = st.recursive(TCP_MATCHERS, _combined, max_leaves=5)

_QUERY_TEXTS = ("", "k", "k=", "k=1", "j=two+words", "j=two%20words&k", "%c3%a9=1", "a+b", "a%20b=1", "k=2&k=1")

REQUESTS = st.builds(
    Ask,
    host=st.sampled_from(
        [h.lower().rstrip(".").encode() for h in HOSTS] + [b"", b"other.net", b"x.a.com", b"y.x.a.com", b".com"]
    ),
    path=st.sampled_from([p.encode() for p in PATHS] + [b"/a/b", b"*"]),
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"get"]),
    query=st.sampled_from([q.encode() for q in _QUERY_TEXTS]),
    client=st.sampled_from(CLIENTS).map(ip_address),
    headers=st.lists(
        st.tuples(st.sampled_from([b"x-a", b"x-b"]), st.sampled_from([v.encode() for v in VALUES])), max_size=3
    ),
)
CONNECTIONS = st.builds(
    Ask,
    host=st.sampled_from([h.lower().rstrip(".").encode() for h in HOSTS] + [b"", b"other.net", b"x.a.com"]),
    client=st.sampled_from(CLIENTS).map(ip_address),
    protocols=st.sampled_from([(), (b"h2",), (b"h2", b"http/1.1"), (b"imap",)]),
)
