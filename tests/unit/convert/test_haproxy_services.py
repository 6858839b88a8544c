"""Servers and how they are shared out, as services."""

from __future__ import annotations

from typing import Any

import pytest

from streamlb.convert.draft import ConvertError
from tests.unit.convert.asking import config_of, from_haproxy, plain, reason


def section(lines: str, mode: str = "http") -> Any:
    draft = from_haproxy(f"defaults\n mode {mode}\nfrontend f\n bind :80\n default_backend b\nbackend b\n{lines}")
    config_of(draft)
    return plain(draft)[mode]


def balancer(lines: str, mode: str = "http") -> Any:
    return section(lines, mode)["services"]["b"]["loadBalancer"]


def test_servers() -> None:
    found = balancer(" server a 10.0.0.1:80 weight 5 maxconn 9\n server b b.test:81\n server c 10.0.0.3:80 disabled")
    assert found["servers"] == [
        {"url": "http://10.0.0.1:80", "weight": 5, "maxConnections": 9},
        {"url": "http://b.test:81"},
    ]


def test_what_all_servers_have() -> None:
    found = balancer(" default-server weight 3 maxconn 5\n server a 10.0.0.1:80\n server b 10.0.0.2:80 weight 4")
    assert [server["weight"] for server in found["servers"]] == [3, 4]


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        ("roundrobin", {}),
        ("leastconn", {"strategy": "leastconn"}),
        ("source", {"strategy": "hrw"}),
        ("random(2)", {"strategy": "p2c"}),
        ("hdr(X-User)", {"strategy": "hrw", "hashBy": {"header": "X-User"}}),
        ("uri", {}),
    ],
)
def test_balance(balance: str, expected: dict[str, Any]) -> None:
    found = balancer(f" balance {balance}\n server a 10.0.0.1:80")
    assert {key: found[key] for key in ("strategy", "hashBy") if key in found} == expected


def test_cookie() -> None:
    found = balancer(" cookie SRV insert indirect nocache httponly secure domain .a.test\n server a 10.0.0.1:80")
    assert found["sticky"]["cookie"] == {"name": "SRV", "httpOnly": True, "secure": True, "domain": ".a.test"}


def test_checks() -> None:
    found = balancer(
        " option httpchk HEAD /up HTTP/1.0\n http-check expect status 200-204,301\n timeout check 1s\n"
        " server a 10.0.0.1:80 check inter 5s fall 4 port 81 slowstart 10s"
    )
    assert found["healthCheck"] == {
        "path": "/up",
        "method": "HEAD",
        "interval": "5s",
        "rise": 2,
        "fall": 4,
        "timeout": "1s",
        "port": 81,
        "status": ["200-204", "301"],
    }
    assert found["slowStart"] == "10s"


def test_newer_words_for_checks() -> None:
    found = balancer(
        " option httpchk\n http-check send meth GET uri /x\n http-check expect string ok\n server a 10.0.0.1:80 check"
    )
    assert (found["healthCheck"]["path"], found["healthCheck"]["body"]) == ("/x", "ok")


def test_a_check_that_only_connects() -> None:
    assert balancer(" server a 10.0.0.1:80 check", "tcp")["healthCheck"]["interval"] == "2s"
    draft = from_haproxy("listen b\n mode http\n bind :80\n server a 10.0.0.1:80 check")
    assert "only connects" in reason(draft, "server a")


def test_spare_servers_one_of_them_or_all() -> None:
    lines = " server a 10.0.0.1:80\n server b 10.0.0.2:80 backup\n server c 10.0.0.3:80 backup"
    found = section(lines)["services"]
    assert found["b"] == {"failover": {"service": "b-main", "fallback": "b-backup"}}
    assert len(found["b-backup"]["loadBalancer"]["servers"]) == 1
    found = section(f" option allbackups\n{lines}")["services"]
    assert len(found["b-backup"]["loadBalancer"]["servers"]) == 2


def test_how_servers_are_reached() -> None:
    found = section(
        " timeout connect 1s\n timeout server 5s\n server a 10.0.0.1:443 ssl verify none sni str(a.test) send-proxy-v2"
    )
    assert found["services"]["b"]["loadBalancer"]["servers"] == [{"url": "https://10.0.0.1:443"}]
    assert found["serversTransports"]["servers"] == {
        "forwardingTimeouts": {"dialTimeout": "1s", "responseHeaderTimeout": "5s", "readTimeout": "5s"},
        "proxyProtocol": {"version": 2},
        "insecureSkipVerify": True,
        "serverName": "a.test",
    }


def test_tcp_over_tls() -> None:
    found = section(" timeout server 1m\n timeout client 30s\n server a 10.0.0.1:443 ssl verify none", "tcp")
    assert found["services"]["b"]["loadBalancer"]["servers"] == [{"address": "10.0.0.1:443", "tls": True}]
    assert found["services"]["b"]["loadBalancer"]["idleTimeout"] == "30s"
    assert found["serversTransports"]["servers"] == {"tls": {"insecureSkipVerify": True}}


def test_what_has_no_place() -> None:
    draft = from_haproxy("listen b\n bind :80\n server a /x\n server b 10.0.0.1\n server c 10.0.0.1:80 track x/y")
    assert "Unix" in reason(draft, "server a")
    assert "without a port" in reason(draft, "server b")
    assert "in part: without track" in reason(draft, "server c")


@pytest.mark.parametrize("server", ["server a", "server a 10.0.0.1:80 weight x", "server a 10.0.0.1:80 check inter x"])
def test_what_cannot_be_read(server: str) -> None:
    with pytest.raises(ConvertError):
        balancer(f" option httpchk\n {server}")
