"""Upstreams and shares as services."""

from __future__ import annotations

from typing import Any

import pytest

from streamlb.convert.draft import ConvertError
from tests.unit.convert.asking import from_nginx, plain, reason

SERVER = "server {{ listen 80; location / {{ {} }} }}"


def services(upstream: str, location: str = "proxy_pass http://u;") -> Any:
    draft = from_nginx(f"http {{ {upstream} {SERVER.format(location)} }}")
    return plain(draft)["http"]["services"]


def balancer(inside: str) -> Any:
    return services(f"upstream u {{ {inside} }}")["u"]["loadBalancer"]


def test_servers_with_all_they_may_say() -> None:
    found = balancer("server a:81 weight=5 max_conns=9; server 10.0.0.1 max_fails=3 fail_timeout=1m; server b down;")
    assert found["servers"] == [
        {"url": "http://a:81", "weight": 5, "maxConnections": 9, "resolve": "all"},
        {"url": "http://10.0.0.1:80"},
    ]
    assert found["passiveHealthCheck"] == {"maxFailedAttempts": 3, "failureWindow": "60s"}
    assert found["passHostHeader"] is False


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        ("least_conn;", {"strategy": "leastconn"}),
        ("ip_hash;", {"strategy": "hrw"}),
        ("hash $remote_addr consistent;", {"strategy": "hrw"}),
        ("hash $http_x_user;", {"strategy": "hrw", "hashBy": {"header": "x-user"}}),
        ("hash $cookie_id;", {"strategy": "hrw", "hashBy": {"cookie": "id"}}),
        ("random two least_conn;", {"strategy": "p2c"}),
        ("hash $request_uri;", {}),
    ],
)
def test_strategies(directive: str, expected: dict[str, Any]) -> None:
    found = balancer(f"{directive} server 10.0.0.1;")
    assert {key: found[key] for key in ("strategy", "hashBy") if key in found} == expected


def test_spare_servers_are_a_fallback() -> None:
    found = services("upstream u { server 10.0.0.1; server 10.0.0.2 backup; }")
    assert found["u"] == {"failover": {"service": "u-main", "fallback": "u-backup"}}
    assert found["u-backup"]["loadBalancer"]["servers"] == [{"url": "http://10.0.0.2:80"}]


def test_shares_by_what_they_hash() -> None:
    upstreams = "upstream a { server 10.0.0.1; } upstream b { server 10.0.0.2; }"
    split = 'split_clients "%s" $v { 5%% a; 0.5%% b; * b; }'
    shares = [{"name": "a", "weight": 1}, {"name": "b", "weight": 19}]
    found = services(upstreams + split % "${remote_addr}x", "proxy_pass http://$v;")
    assert found["v"] == {"highestRandomWeight": {"services": shares}}
    found = services(upstreams + split % "$cookie_user", "proxy_pass http://$v;")
    assert found["v"]["highestRandomWeight"]["hashBy"] == {"cookie": "user"}
    found = services(upstreams + split % "$request_id", "proxy_pass http://$v;")
    assert found["v"] == {"weighted": {"services": shares}}


def test_the_same_servers_asked_otherwise_are_another_service() -> None:
    locations = "proxy_pass http://u; } location /b { proxy_set_header Host $host; proxy_pass http://u;"
    found = services("upstream u { server 10.0.0.1; }", locations)
    assert found["u"]["loadBalancer"]["passHostHeader"] is False
    assert "passHostHeader" not in found["u-2"]["loadBalancer"]


def test_what_has_no_place() -> None:
    draft = from_nginx("http { upstream u { server unix:/x; server 10.0.0.1; hash $uri; } " + SERVER.format(
        "proxy_pass http://u;") + "}")  # fmt: skip
    assert "Unix" in reason(draft, "server unix:/x")
    assert "hashing by $uri" in reason(draft, "hash")


@pytest.mark.parametrize(
    "upstream", ["server a weight=x;", "server a max_fails=-1;", "server a max_fails=1 fail_timeout=soon;", "server;"]
)
def test_what_is_no_number(upstream: str) -> None:
    with pytest.raises(ConvertError):
        balancer(upstream)
