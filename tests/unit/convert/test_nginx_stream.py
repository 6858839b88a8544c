"""`stream` as TCP and UDP."""

from __future__ import annotations

from typing import Any

from tests.unit.convert.asking import config_of, from_nginx, plain, reason


def stream(inside: str) -> Any:
    draft = from_nginx(f"stream {{ {inside} }}")
    config_of(draft)
    return plain(draft)


def test_tcp() -> None:
    found = stream(
        "upstream db { least_conn; server 10.0.0.1:5432 weight=2; server 10.0.0.2:5432 backup; }"
        "server { listen 5432; proxy_pass db; proxy_timeout 1h; proxy_connect_timeout 2s; proxy_protocol on; }"
    )
    assert found["tcp"]["routers"] == {
        "port-5432-db": {"rule": "HostSNI(`*`)", "service": "db", "entryPoints": ["port-5432"]}
    }
    main = found["tcp"]["services"]["db-main"]["loadBalancer"]
    assert main["servers"] == [{"address": "10.0.0.1:5432", "weight": 2}]
    assert (main["strategy"], main["idleTimeout"]) == ("leastconn", "3600s")
    assert found["tcp"]["serversTransports"]["stream"] == {"dialTimeout": "2s", "proxyProtocol": {"version": 1}}


def test_udp() -> None:
    found = stream("server { listen 53 udp; proxy_pass 10.0.0.1:53; proxy_timeout 5s; }")
    assert found["entryPoints"] == {"udp-53": {"address": ":53/udp", "udp": {"timeout": "5s"}}}
    assert found["udp"]["routers"] == {"udp-53-10.0.0.1-53": {"service": "10.0.0.1-53", "entryPoints": ["udp-53"]}}


def test_both_at_one_port() -> None:
    found = stream("server { listen 53; listen 53 udp; proxy_pass 10.0.0.1:53; }")
    assert set(found) == {"entryPoints", "tcp", "udp"}


def test_by_the_name_of_a_handshake() -> None:
    found = stream(
        "map $ssl_preread_server_name $to { hostnames; a.test 10.0.0.1:443; *.b.test 10.0.0.2:443;"
        " ~^c 10.0.0.3:443; .d.test 10.0.0.5:443; e.* 10.0.0.6:443; default 10.0.0.4:443; }"
        "server { listen 443; ssl_preread on; proxy_pass $to; }"
    )
    rules = [(router["rule"], router.get("tls")) for router in found["tcp"]["routers"].values()]
    passed = {"passthrough": True}
    assert rules == [
        ("HostSNI(`a.test`)", passed),
        ("HostSNIRegexp(`^.+\\.b\\.test$`)", passed),
        ("HostSNIRegexp(`^c`)", passed),
        ("HostSNIRegexp(`^(?:.+\\.)?d\\.test$`)", passed),
        ("HostSNIRegexp(`^e\\.`)", passed),
        ("HostSNI(`*`)", passed),
        ("HostSNI(`*`)", None),
    ]


def test_tls_that_ends_here() -> None:
    found = stream("server { listen 993 ssl; ssl_certificate_key x; proxy_pass 10.0.0.1:143; }")
    assert found["tcp"]["routers"]["port-993-10.0.0.1-143"]["tls"] == {}


def test_what_has_no_place() -> None:
    draft = from_nginx("stream { server { listen 1; return x; } server { listen 2; proxy_pass $x; } }")
    assert "nothing is passed on" in reason(draft, "server {")
    assert "only known with each" in reason(draft, "proxy_pass $x")
