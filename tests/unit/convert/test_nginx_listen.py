"""`listen` as entry points."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.convert.asking import from_nginx, plain, reason

ANYWHERE = "location / { proxy_pass http://10.0.0.1; }"


def entry_points(*servers: str) -> Any:
    return plain(from_nginx("http { " + "".join(f"server {{ {each} {ANYWHERE} }}" for each in servers) + " }"))


@pytest.mark.parametrize(
    ("listen", "name", "address"),
    [
        ("80", "web", ":80"),
        ("*:443", "websecure", ":443"),
        ("[::]:8080", "port-8080", ":8080"),
        ("127.0.0.1:80", "web-127.0.0.1", "127.0.0.1:80"),
        ("127.0.0.1", "web-127.0.0.1", "127.0.0.1:80"),
        ("[::1]:81", "port-81---1", "[::1]:81"),
    ],
)
def test_addresses(listen: str, name: str, address: str) -> None:
    assert entry_points(f"listen {listen};")["entryPoints"] == {name: {"address": address}}


def test_one_entry_point_for_all_addresses_of_a_port() -> None:
    found = entry_points("listen 80; listen [::]:80 default_server;", "listen 127.0.0.1:80; server_name a;")
    assert list(found["entryPoints"]) == ["web"]


def test_without_a_word_it_is_port_80() -> None:
    assert entry_points("")["entryPoints"] == {"web": {"address": ":80"}}


def test_sockets_are_left() -> None:
    draft = from_nginx(f"http {{ server {{ listen unix:/x; listen 80; {ANYWHERE} }} }}")
    assert "addresses and ports only" in reason(draft, "listen unix")


def test_certificates_and_options() -> None:
    found = entry_points(
        "listen 443 ssl; server_name a; ssl_certificate a.pem; ssl_certificate_key a.key; ssl_protocols TLSv1.3;",
        "listen 443 ssl; server_name b; ssl_certificate b.pem; ssl_certificate_key b.key;"
        "ssl_client_certificate ca.pem; ssl_verify_client optional;",
    )
    assert found["entryPoints"]["websecure"]["http"] == {"tls": {}}
    pairs = [{"certFile": f"{name}.pem", "keyFile": f"{name}.key"} for name in "ab"]
    assert found["tls"]["certificates"] == pairs
    assert found["tls"]["stores"]["default"]["defaultCertificate"] == pairs[0]
    routers = found["http"]["routers"]
    assert [router["tls"]["options"] for router in routers.values() if "tls" in router] == ["nginx", "nginx-2", "nginx"]
    assert found["tls"]["options"]["nginx-2"]["clientAuth"] == {
        "caFiles": ["ca.pem"],
        "clientAuthType": "VerifyClientCertIfGiven",
    }


def test_old_versions_of_tls_are_told() -> None:
    draft = from_nginx(
        "server { listen 443 ssl; ssl_certificate a; ssl_certificate_key b; ssl_protocols TLSv1.1 TLSv1.2;"
        + ANYWHERE
        + "}"
    )
    assert "below 1.2" in reason(draft, "ssl_protocols")


def test_who_is_believed() -> None:
    found = entry_points("listen 80 proxy_protocol; set_real_ip_from 10.0.0.0/8;", "listen 81 proxy_protocol;")
    assert found["entryPoints"]["web"]["proxyProtocol"] == {"trustedIPs": ["10.0.0.0/8"]}
    assert found["entryPoints"]["port-81"]["proxyProtocol"] == {"insecure": True}


def test_patience_with_clients() -> None:
    found = entry_points("keepalive_timeout 1m; client_body_timeout 5; keepalive_requests 9;")
    assert found["entryPoints"]["web"]["transport"] == {
        "respondingTimeouts": {"readTimeout": "5s", "idleTimeout": "60s"},
        "keepAliveMaxRequests": 9,
    }
