"""Rules for strategies: which mean something where, and what can be hashed."""

from __future__ import annotations

import pytest

from tests.unit.config.asking import UDP, WEB, config_of, lines_of

HTTP = WEB + "http:\n  services:\n"
TCP = WEB + "tcp:\n  services:\n"
DNS = UDP + "udp:\n  services:\n"
LEAD = "4:20 http.services.s.loadBalancer"


@pytest.mark.parametrize("strategy", ["wrr", "p2c", "hrw", "leasttime", "LeastTime"])
def test_strategies(strategy: str) -> None:
    text = f"    s: {{loadBalancer: {{strategy: {strategy}, onAllDown: failOpen, servers: [{{url: 'http://a'}}]}}}}\n"
    [service] = config_of(HTTP + text).http.services.values()
    assert service.load_balancer is not None
    assert (service.load_balancer.strategy, service.load_balancer.on_all_down) == (strategy.lower(), "failOpen")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            "strategy: p2p",
            f'{LEAD}.strategy | expected one of `wrr`, `p2c`, `leastconn`, `hrw`, `leasttime`, got the text "p2p" | '
            "did you mean `p2c`?",
        ),
        (
            "onAllDown: 500",
            f"{LEAD}.onAllDown | expected one of `503`, `failOpen`, got the number 500 | ",
        ),
        (
            "hashBy: {header: X-User}",
            f"{LEAD}.hashBy | nothing is hashed by the strategy `wrr` | `strategy: hrw` hashes",
        ),
        (
            "hashBy: {}, strategy: hrw",
            f"{LEAD}.hashBy | what is hashed is a `header` or a `cookie`; neither is given | "
            "without `hashBy` the client's address is hashed",
        ),
        (
            "hashBy: {header: a, cookie: b}, strategy: hrw",
            f"{LEAD}.hashBy | what is hashed is a `header` or a `cookie`; both are given | remove one",
        ),
        (
            "hashBy: {cookie: 'a b'}, strategy: hrw",
            "4:37 http.services.s.loadBalancer.hashBy.cookie | "
            "a cookie's name takes letters, digits and !#$%&'*+-.^_`|~ only | ",
        ),
        (
            "hashBy: {header: ''}, strategy: hrw",
            "4:37 http.services.s.loadBalancer.hashBy.header | "
            "a header's name takes letters, digits and !#$%&'*+-.^_`|~ only | ",
        ),
    ],
)
def test_what_is_refused(options: str, line: str) -> None:
    lines = lines_of(f"{HTTP}    s: {{loadBalancer: {{{options}, servers: [{{url: 'http://a'}}]}}}}\n")
    assert [_without_place(each) for each in lines] == [_without_place(line)]


def _without_place(line: str) -> str:
    return line.partition(" ")[2]


@pytest.mark.parametrize(("base", "protocol"), [(TCP, "tcp"), (DNS, "udp")])
def test_tcp_and_udp(base: str, protocol: str) -> None:
    server = "servers: [{address: 'a:1'}]"
    for strategy in ("wrr", "p2c", "hrw"):
        assert lines_of(f"{base}    s: {{loadBalancer: {{strategy: {strategy}, {server}}}}}\n") == []
    leasttime = lines_of(f"{base}    s: {{loadBalancer: {{strategy: leasttime, {server}}}}}\n")
    refused = "4:34 udp.services.s.loadBalancer.strategy | datagrams have no answers whose time could be taken | "
    assert leasttime == ([] if protocol == "tcp" else [refused + "`p2c` looks at the flows each server has"])
    [hashed] = lines_of(f"{base}    s: {{loadBalancer: {{strategy: hrw, hashBy: {{header: a}}, {server}}}}}\n")
    assert "only HTTP requests have fields and cookies; here the client's address is hashed" in hashed


def test_highest_random_weight() -> None:
    app = "    app: {loadBalancer: {servers: [{url: 'http://a'}]}}\n"
    kind = "highestRandomWeight: {services: [{name: app, weight: 2}], healthCheck: {}, hashBy: {cookie: user}}"
    service = config_of(f"{HTTP}    s: {{{kind}}}\n{app}").http.services["s"]
    assert service.highest_random_weight is not None
    assert service.highest_random_weight.hash_by is not None
    assert service.highest_random_weight.hash_by.cookie == "user"
    [line] = lines_of(f"{HTTP}    s: {{highestRandomWeight: {{services: [{{name: ap}}]}}}}\n{app}")
    assert "s.highestRandomWeight.services[0].name | unknown service `ap` | did you mean `app`?" in line
    [cycle] = lines_of(f"{HTTP}    s: {{highestRandomWeight: {{services: [{{name: s}}]}}}}\n")
    assert "the services form a cycle" in cycle


def test_a_health_check_of_services_takes_nothing() -> None:
    app = "    app: {loadBalancer: {servers: [{url: 'http://a'}]}}\n"
    text = f"{HTTP}    s: {{weighted: {{services: [{{name: app}}], healthCheck: {{}}}}}}\n{app}"
    assert lines_of(text) == []
    [line] = lines_of(text.replace("healthCheck: {}", "healthCheck: {path: /}"))
    assert line.endswith("unknown key `path` | nothing goes in here: write `{}`")
