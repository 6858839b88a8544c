"""The tables: the order of routers, and an index that finds what a search through all of them finds."""

from __future__ import annotations

import timeit
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.routing.router import HttpTable, Router, Rules, TcpTable, asks_for_tls, hosts_of
from streamlb.routing.rule import And, Matcher, Not, Or, Rule, parse, render
from tests.unit.routing.rules import CONNECTIONS, HOSTS, PATHS, REQUESTS, RULES, TCP_RULES, WILDCARDS, Ask, matches


def found(table: HttpTable, request: Ask) -> str | None:
    route = table.route(request)
    return route.name if route else None


def table(*rules: str | tuple[str, int]) -> HttpTable:
    """Routers named after their place."""
    pairs = [(rule, 0) if isinstance(rule, str) else rule for rule in rules]
    return HttpTable(Router(str(n), rule, f"service {n}", priority) for n, (rule, priority) in enumerate(pairs))


def test_nothing_matches() -> None:
    assert HttpTable().route(Ask()) is None
    assert table("Host(`a`)").route(Ask()) is None
    assert table("Host(`a`) && Host(`b`)").route(Ask(host=b"a")) is None


def test_a_route_leads_to_its_service() -> None:
    route = table("Host(`example.com`)").route(Ask())
    assert route is not None
    assert (route.name, route.service, repr(route)) == ("0", "service 0", "Route(0)")


def test_the_longer_rule_wins() -> None:
    routers = table("PathPrefix(`/`)", "Host(`example.com`)", "Host(`example.com`) && PathPrefix(`/api`)")
    assert found(routers, Ask(path=b"/api/x")) == "2"
    assert found(routers, Ask(path=b"/x")) == "1"
    assert found(routers, Ask(host=b"other")) == "0"


def test_a_priority_wins_over_length() -> None:
    routers = table(("PathPrefix(`/`)", 100), "Host(`example.com`)", ("PathPrefix(`/a`)", -1))
    assert found(routers, Ask()) == "0"
    assert [route.name for route in routers.routes] == ["0", "1", "2"]


def test_a_router_without_host_between_those_with_one() -> None:
    routers = table(("Host(`a`)", 1), ("Method(`PUT`)", 2), ("Host(`a`) && Path(`/x`)", 3))
    assert found(routers, Ask(host=b"a")) == "0"
    assert found(routers, Ask(host=b"a", method=b"PUT")) == "1"
    assert found(routers, Ask(host=b"a", method=b"PUT", path=b"/x")) == "2"


def test_hosts_with_conditions_of_their_own() -> None:
    routers = table("Host(`a`) || Host(`b`) && Path(`/x`)")
    assert found(routers, Ask(host=b"a")) == "0"
    assert found(routers, Ask(host=b"b")) is None
    assert found(routers, Ask(host=b"b", path=b"/x")) == "0"
    either = table("(Host(`a`) || Host(`b`)) && Path(`/x`)")
    assert found(either, Ask(host=b"b")) is None
    assert found(either, Ask(host=b"b", path=b"/x")) == "0"


def test_wildcards_keep_their_place() -> None:
    routers = table(
        ("Host(`*.a.com`)", 2), ("Host(`x.a.com`)", 1), ("Host(`*.a.com`) && Path(`/x`)", 4), ("Path(`/x`)", 3)
    )
    assert found(routers, Ask(host=b"x.a.com")) == "0"
    assert found(routers, Ask(host=b"x.a.com", path=b"/x")) == "2"
    assert found(routers, Ask(host=b"a.com", path=b"/x")) == "3"
    assert found(routers, Ask(host=b"a.com")) is None
    assert found(table(("Host(`*`)", 1), ("Host(`*.a`)", 2), ("Host(`x.a`)", 3)), Ask(host=b"x.a")) == "2"


def test_a_rule_in_the_words_of_version_2() -> None:
    routers = HttpTable([Router("a", "Path(`/{id:[0-9]+}`) && Method(`GET`, `PUT`)", None, syntax="v2")])
    assert found(routers, Ask(path=b"/12")) == "a"
    assert found(routers, Ask(path=b"/x")) is None


def test_ties_are_broken_by_configuration_order() -> None:
    assert found(table("Path(`/a`)", "Path(`/a`)"), Ask(path=b"/a")) == "0"
    assert found(table("PathPrefix(`/a`)", "Host(`example.co`)"), Ask(path=b"/a")) == "0"


def test_length_is_counted_in_bytes() -> None:
    routers = table("PathPrefix(`/`) && !Path(`/xx`)", "PathPrefix(`/`) && !Path(`/é`)")
    assert found(routers, Ask()) == "0"
    assert found(table("PathPrefix(`/`) && !Path(`/x`)", "PathPrefix(`/`) && !Path(`/é`)"), Ask()) == "1"


@pytest.mark.parametrize(
    ("rule", "hosts"),
    [
        ("Host(`A`)", {b"a"}),
        ("Host(`a`, `b.`)", {b"a", b"b"}),
        ("Host(`a`) && Path(`/`)", {b"a"}),
        ("Path(`/`) && (Host(`a`) || Host(`b`))", {b"a", b"b"}),
        ("Host(`a`, `b`) && Host(`b`, `c`)", {b"b"}),
        ("Host(`a`) && Host(`b`)", set()),
        ("Host(`a`) && !Host(`b`)", {b"a"}),
        ("Host(`a`) && Path(`/`) || Host(`b`)", {b"a", b"b"}),
        ("Host(`*.a`)", {b"*.a"}),
        (r"HostRegexp(`^.+\.a\.com$`)", {b".a.com"}),
        (r"HostRegexp(`a.com$`)", None),
        (r"HostRegexp(`\.a$`) && Host(`x.a`, `y.b`)", {b"x.a"}),
        (r"HostRegexp(`\.a$`) && Host(`*.x.a`, `*.a`, `*.b`)", {b"*.x.a", b"*.a"}),
        (r"HostRegexp(`\.x\.a$`) && Host(`*.a`)", set()),
        (r"HostRegexp(`\.x\.a$`) && HostRegexp(`\.a$`)", {b".x.a"}),
        (r"HostRegexp(`\.a$`) || Host(`b`)", {b".a", b"b"}),
        ("Host(`*`)", None),
        ("Host(`a`, `*`)", None),
        ("Host(`*`) && Host(`a`)", {b"a"}),
        ("Host(`*.a`, `b`) && Host(`x.a`, `b`, `c`)", {b"x.a", b"b"}),
        ("Host(`x.a`, `b`) && Host(`*.a`)", {b"x.a"}),
        ("Host(`*.a`) && Host(`*.a`, `*.b`)", {b"*.a"}),
        ("Host(`*.a`) && Host(`*.x.a`)", set()),
        ("Host(`*.a`) || Host(`x.a`)", {b"*.a", b"x.a"}),
        ("Host(`a`) || Path(`/`)", None),
        ("!Host(`a`)", None),
        ("Path(`/`)", None),
    ],
)
def test_the_hosts_of_a_rule(rule: str, hosts: set[bytes] | None) -> None:
    assert hosts_of(parse(rule)) == hosts


def searched(rules: list[tuple[Rule, int]], request: Ask) -> str | None:
    """The router found by trying all of them in order."""
    order = sorted(range(len(rules)), key=lambda n: -(rules[n][1] or len(render(rules[n][0]).encode())))
    return next((str(n) for n in order if matches(rules[n][0], request)), None)


PRIORITIES = st.sampled_from([0, 0, 0, 1, 20, -3])


def _combine(several: tuple[Rule, ...]) -> st.SearchStrategy[Rule]:
    return st.sampled_from([And(several), Or(several), Not(several[0])])


HOST_RULES: st.SearchStrategy[Rule] = st.recursive(
    st.one_of(
        st.sampled_from(HOSTS + WILDCARDS).map(lambda host: Matcher("Host", (host,))),
        st.sampled_from(PATHS).map(lambda path: Matcher("PathPrefix", (path,))),
    ),
    lambda operands: st.lists(operands, min_size=2, max_size=3).map(tuple).flatmap(_combine),
    max_leaves=6,
)


@given(
    rules=st.lists(st.tuples(st.one_of(RULES, HOST_RULES), PRIORITIES), max_size=10),
    requests=st.lists(REQUESTS, min_size=1, max_size=8),
)
@settings(max_examples=300)
def test_the_index_finds_what_a_search_finds(rules: list[tuple[Rule, int]], requests: list[Ask]) -> None:
    routers = table(*((render(rule), priority) for rule, priority in rules))
    for request in requests:
        assert found(routers, request) == searched(rules, request)


@pytest.mark.parametrize(
    "shape", ["Host(`h{}.com`)", "Host(`*.h{}.com`)", "Host(`x.h{}.com`) && Path(`/`)", "HostRegexp(`[.]h{}[.]com$`)"]
)
def test_ten_thousand_hosts_cost_as_much_as_ten(shape: str) -> None:
    few = table(*(shape.format(n) for n in range(10)))
    many = table(*(shape.format(n) for n in range(10_000)))
    request = Ask(host=b"h7.com" if shape.startswith("Host(`h{}") else b"x.h7.com")
    assert found(few, request) == found(many, request) == "7"

    def cost(of: HttpTable) -> float:
        return min(timeit.repeat(lambda: of.route(request), number=2000, repeat=7))

    # A search would cost a thousand times as much; the margin is for a busy machine.
    assert cost(many) < 20 * cost(few)


# --- TCP ---

CLIENT = ip_address("10.1.2.3")


def tcp(*rules: str | tuple[str, int]) -> TcpTable:
    pairs = [(rule, 0) if isinstance(rule, str) else rule for rule in rules]
    return TcpTable(Router(str(n), rule, None, priority) for n, (rule, priority) in enumerate(pairs))


def taker(table: TcpTable, client: str = "10.1.2.3", host: str = "", *protocols: bytes) -> str | None:
    route = table.route(Ask(client=ip_address(client), host=host.encode(), protocols=protocols))
    return route.name if route else None


def test_the_catch_all_comes_last() -> None:
    routers = tcp("HostSNI(`*`)", "ClientIP(`10.0.0.0/8`)")
    assert [(route.name, route.is_catch_all) for route in routers.routes] == [("1", False), ("0", True)]
    assert taker(routers) == "1"
    assert taker(routers, "::1") == "0"


def test_the_catch_all_is_below_any_positive_priority() -> None:
    assert taker(tcp("HostSNI(`*`)", ("ClientIP(`10.0.0.0/8`)", 1))) == "1"


def test_a_catch_all_with_a_priority_does_not() -> None:
    assert taker(tcp("ClientIP(`10.0.0.0/8`)", ("HostSNI(`*`)", 1000))) == "1"


def test_no_tcp_router_matches() -> None:
    assert taker(TcpTable()) is None
    assert taker(tcp("ClientIP(`::1`)")) is None


def test_server_names() -> None:
    routers = tcp("HostSNI(`DB.example.com.`)", "HostSNI(`*.example.com`)", r"HostSNIRegexp(`^[a-z]+\.net$`)")
    assert taker(routers, host="db.example.com") == "0"
    assert taker(routers, host="www.example.com") == "1"
    assert taker(routers, host="example.com") is None
    assert taker(routers, host="a.b.example.com") is None
    assert taker(routers, host="some.net") == "2"
    assert taker(routers, host="") is None
    assert taker(tcp("HostSNI(`*`)"), host="") == "0"


def test_protocols() -> None:
    routers = tcp("ALPN(`h2`)", "HostSNI(`a.com`) && !ALPN(`imap`)")
    assert taker(routers, "::1", "", b"http/1.1", b"h2") == "0"
    assert taker(routers, "::1", "a.com") == "1"
    assert taker(routers, "::1", "a.com", b"imap") is None


def test_which_hosts_a_table_names() -> None:
    routers = tcp("HostSNI(`a.com`)", "HostSNI(`*.b.com`)", r"HostSNIRegexp(`^x\.c\.com$`)")
    assert [routers.names(host) for host in (b"a.com", b"x.b.com", b"x.c.com", b"")] == [True, True, False, False]
    assert routers.takes_any
    assert not tcp("HostSNI(`a.com`)", "HostSNI(`*.b.com`)").takes_any
    assert tcp("ALPN(`h2`)").takes_any


def test_ten_thousand_server_names_are_as_fast_as_ten() -> None:
    few = tcp(*(f"HostSNI(`h{n}.com`)" for n in range(10)))
    many = tcp(*(f"HostSNI(`h{n}.com`)" for n in range(10_000)))
    connection = Ask(client=CLIENT, host=b"h7.com")

    def cost(table: TcpTable) -> float:
        return min(timeit.repeat(lambda: table.route(connection), number=1000, repeat=5))

    assert cost(many) < 20 * cost(few)


@given(rules=st.lists(TCP_RULES, max_size=6), connection=CONNECTIONS)
def test_tcp_equals_a_search(rules: list[Rule], connection: Ask) -> None:
    texts = [render(rule) for rule in rules]
    order = sorted(range(len(rules)), key=lambda n: 1 if texts[n] == "HostSNI(`*`)" else -len(texts[n].encode()))
    expected = next((str(n) for n in order if matches(rules[n], connection)), None)
    route = tcp(*texts).route(connection)
    assert (route.name if route else None) == expected


@pytest.mark.parametrize(
    ("text", "asking"),
    [
        ("HostSNI(`*`)", None),
        ("HostSNI(`*`) || ClientIP(`::1`)", None),
        ("ClientIP(`::1`) && !HostSNI(`a.com`)", "HostSNI"),
        ("HostSNI(`*`) && ALPN(`h2`)", "ALPN"),
        ("HostSNIRegexp(`a`)", "HostSNIRegexp"),
    ],
)
def test_what_only_a_handshake_tells(text: str, asking: str | None) -> None:
    found = asks_for_tls(parse(text, "tcp"))
    assert (found.name if found else None) == asking


def test_a_rule_is_read_once_and_forgotten_when_nobody_asks_again() -> None:
    first = Rules()
    one, other = (first.read(f"Host(`{host}`)", "http", "v3") for host in ("a.example", "b.example"))
    assert first.read("Host(`a.example`)", "http", "v3") is one
    assert (one.hosts, one.test) == (frozenset({b"a.example"}), None)
    first.settle()
    second = Rules(first)
    assert second.read("Host(`a.example`)", "http", "v3") is one
    second.settle()
    assert Rules(second).read("Host(`b.example`)", "http", "v3") is not other


def test_a_rule_is_another_one_in_another_protocol_or_syntax() -> None:
    rules = Rules()
    assert rules.read("ClientIP(`10.0.0.1`)", "http", "v3") is not rules.read("ClientIP(`10.0.0.1`)", "tcp", "v3")
    assert rules.read("HostSNI(`*`)", "tcp", "v3").is_catch_all
