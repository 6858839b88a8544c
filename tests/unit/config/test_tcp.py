"""TCP's own options: middlewares, who names them, and load balancers of other protocols that lack them."""

from __future__ import annotations

import pytest

from tests.unit.config.asking import UDP, WEB, lines_of

ROUTER = (
    "tcp:\n  routers: {{a: {{rule: 'HostSNI(`*`)', service: s, middlewares: [{}]}}}}\n"
    "  services: {{s: {{loadBalancer: {{servers: [{{address: 'a:1'}}]}}}}}}\n  middlewares: {{{}}}\n"
)


def with_middlewares(named: str, defined: str) -> list[str]:
    return lines_of(WEB + ROUTER.format(named, defined))


def test_good_ones() -> None:
    defined = "office: {ipAllowList: {sourceRange: [10.0.0.0/8, '::1']}}, few: {inFlightConn: {amount: 3}}"
    assert with_middlewares("office, few, office@file", defined) == []


@pytest.mark.parametrize(
    ("defined", "line"),
    [
        ("m: {}", "5:17 tcp.middlewares.m | the middleware has no kind | one of ipAllowList, inFlightConn"),
        (
            "m: {ipAllowList: {sourceRange: [a]}, inFlightConn: {amount: 1}}",
            "5:17 tcp.middlewares.m | a middleware is of one kind, this one has `ipAllowList` and `inFlightConn` | "
            "make two middlewares",
        ),
        (
            "m: {ipAllowList: {sourceRange: [10.0.0.0/33]}}",
            "5:49 tcp.middlewares.m.ipAllowList.sourceRange[0] | "
            "`10.0.0.0/33` is neither an IP address nor a range like `10.0.0.0/8` | ",
        ),
        (
            "m: {ipAllowList: {sourceRange: []}}",
            "5:35 tcp.middlewares.m.ipAllowList.sourceRange | nobody would get in: there is no range | "
            "for example `[10.0.0.0/8]`",
        ),
        (
            "m: {inFlightConn: {amount: 0}}",
            "5:44 tcp.middlewares.m.inFlightConn.amount | expected a whole number, 1 or more, got the number 0 | ",
        ),
        (
            "m: {ipWhiteList: {sourceRange: []}}",
            "5:21 tcp.middlewares.m.ipWhiteList | Traefik's `ipWhiteList` is not supported by streamlb yet | "
            "`ipAllowList` is its name now",
        ),
        (
            "m: {inFlightConn: {amount: 1}}, m@b: {inFlightConn: {amount: 1}}",
            "5:49 tcp.middlewares.m@b | a name cannot hold `@`: it separates a name from its provider | ",
        ),
    ],
)
def test_what_is_wrong_with_a_middleware(defined: str, line: str) -> None:
    assert with_middlewares("m", defined) == [line]


def test_a_middleware_that_is_not_there() -> None:
    assert with_middlewares("ofice, x", "office: {inFlightConn: {amount: 1}}") == [
        "3:65 tcp.routers.a.middlewares[0] | unknown middleware `ofice` | did you mean `office`?",
        "3:72 tcp.routers.a.middlewares[1] | unknown middleware `x` | define it under `tcp.middlewares`",
    ]


@pytest.mark.parametrize("key", ["proxyProtocol: {}", "terminationDelay: 100", "idleTimeout: 3s"])
@pytest.mark.parametrize("protocol", ["http", "udp"])
def test_what_only_tcp_servers_have(protocol: str, key: str) -> None:
    server = "url: 'http://a:1'" if protocol == "http" else "address: 'a:1'"
    entry_points = WEB if protocol == "http" else UDP
    balancer = f"{{loadBalancer: {{{key}, servers: [{{{server}}}]}}}}"
    [line] = lines_of(f"{entry_points}{protocol}: {{services: {{s: {balancer}}}}}\n")
    assert f" {protocol}.services.s.loadBalancer.{key.partition(':')[0]} | " in line
    assert lines_of(f"{WEB}tcp: {{services: {{s: {balancer.replace(server, 'address: a:1')}}}}}\n") == []


@pytest.mark.parametrize(("protocol", "advice"), [("http", '`url: "https://..."`'), ("udp", "remove it")])
def test_tls_is_said_to_tcp_servers_only(protocol: str, advice: str) -> None:
    server = "url: 'http://a:1'" if protocol == "http" else "address: 'a:1'"
    entry_points = WEB if protocol == "http" else UDP
    text = "{}{}: {{services: {{s: {{loadBalancer: {{servers: [{{{}, tls: true}}]}}}}}}}}\n"
    [line] = lines_of(text.format(entry_points, protocol, server))
    assert f" {protocol}.services.s.loadBalancer.servers[0].tls | " in line
    assert line.endswith(advice)
    assert lines_of(text.format(WEB, "tcp", "address: 'a:1'")) == []
