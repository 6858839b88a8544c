"""nginx's http: who gets which requests, in which order, and what is left."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.convert import nginx
from streamlb.convert.draft import ConvertError
from streamlb.convert.nginx_text import parse
from tests.support.foreign import NGINX
from tests.unit.convert.asking import config_of, from_nginx, plain, reason


def rules(text: str) -> list[tuple[str, str]]:
    """Rules with their services, in the order they are tried."""
    routers = plain(from_nginx(text))["http"]["routers"].values()
    ordered = sorted(routers, key=lambda router: -router["priority"])
    return [(router["rule"], router["service"]) for router in ordered]


def server(inside: str, listen: str = "80") -> str:
    return f"server {{ listen {listen}; {inside} }}"


def passing(path: str, number: int) -> str:
    return f"location {path} {{ proxy_pass http://10.0.0.{number}; }}"


def test_locations_in_the_order_nginx_looks_at_them() -> None:
    locations = [passing("/", 1), passing("/api", 2), passing("/api/v1", 3), passing("= /api", 4)]
    locations += [passing(r"~ \.png$", 5), passing(r"~* \.gif$", 6), passing("^~ /api/s/", 7)]
    assert rules(server(" ".join(locations))) == [
        ("Path(`/api`)", "10.0.0.4"),
        ("PathPrefix(`/api/s/`)", "10.0.0.7"),
        ("PathRegexp(`\\.png$`)", "10.0.0.5"),
        ("PathRegexp(`(?i)\\.gif$`)", "10.0.0.6"),
        ("PathPrefix(`/api/v1`)", "10.0.0.3"),
        ("PathPrefix(`/api`)", "10.0.0.2"),
        ("PathPrefix(`/`)", "10.0.0.1"),
    ]


def test_a_longer_prefix_takes_from_one_without_patterns() -> None:
    found = rules(server(passing("^~ /a", 1) + passing("/a/b", 2)))
    assert found[0] == ("PathPrefix(`/a`) && !PathPrefix(`/a/b`)", "10.0.0.1")


def test_hosts_in_the_order_nginx_looks_at_them() -> None:
    text = (
        server(passing("/", 1))
        + server("server_name *.a.test;" + passing("/", 2))
        + server("server_name b.a.test;" + passing("/x", 3))
        + server("server_name *.b.a.test;" + passing("/", 4))
        + server("server_name ~^c;" + passing("/", 5))
        + server("server_name d.*;" + passing("/", 6))
        + server("server_name .e.test;" + passing("/", 7))
    )
    exact = "Host(`b.a.test`)"
    assert rules(text) == [
        (f"{exact} && PathPrefix(`/x`)", "10.0.0.3"),
        (f"HostRegexp(`^.+\\.b\\.a\\.test$`) && !{exact}", "10.0.0.4"),
        (f"HostRegexp(`^.+\\.a\\.test$`) && !{exact}", "10.0.0.2"),
        (f"HostRegexp(`^(?:.+\\.)?e\\.test$`) && !{exact}", "10.0.0.7"),
        (f"HostRegexp(`^d\\.`) && !{exact}", "10.0.0.6"),
        (f"HostRegexp(`^c`) && !{exact}", "10.0.0.5"),
        (f"!{exact}", "10.0.0.1"),
    ]


def test_who_is_alone_takes_all_hosts() -> None:
    assert rules(server("server_name a.test;" + passing("/", 1))) == [("PathPrefix(`/`)", "10.0.0.1")]


def test_paths_that_would_be_rewritten_are_left() -> None:
    text = server(
        "location /a/ { proxy_pass http://10.0.0.1/; } location /b/ { proxy_pass http://10.0.0.1/b/; }"
        "location / { proxy_pass http://10.0.0.1/app/; }"
    )
    draft = from_nginx(text)
    assert "does not rewrite" in reason(draft, "location /a/")
    found = plain(draft)["http"]
    assert [router["rule"] for router in found["routers"].values()] == ["PathPrefix(`/b/`)", "PathPrefix(`/`)"]
    [kept] = found["services"]["10.0.0.1-2"]["loadBalancer"]["servers"]
    assert kept == {"url": "http://10.0.0.1:80/app", "preservePath": True}


def test_mirrors() -> None:
    text = server(
        "location / { mirror /m; mirror_request_body off; proxy_pass http://10.0.0.1; }"
        "location = /m { internal; proxy_pass http://10.0.0.2$request_uri; } location /x { mirror /no; }"
    )
    found = plain(from_nginx(text))["http"]
    assert found["services"]["10.0.0.1-mirrored"]["mirroring"] == {
        "service": "10.0.0.1",
        "mirrors": [{"name": "10.0.0.2", "percent": 100}],
        "mirrorBody": False,
    }
    assert len(found["routers"]) == 1


def test_servers_over_tls() -> None:
    text = server(
        "location / { proxy_pass https://a.test; } location /b { proxy_ssl_verify on; proxy_ssl_name b;"
        "proxy_ssl_trusted_certificate ca.pem; proxy_connect_timeout 2; proxy_pass https://b.test; }"
    )
    assert plain(from_nginx(text))["http"]["serversTransports"] == {
        "https": {"insecureSkipVerify": True},
        "https-2": {"forwardingTimeouts": {"dialTimeout": "2s"}, "rootCAs": ["ca.pem"], "serverName": "b"},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (server("return 301 https://$host$request_uri;"), {"to": ":443", "scheme": "https", "permanent": True}),
        (
            server("location / { return 302 https://$server_name:8443$request_uri; }"),
            {"to": ":8443", "scheme": "https", "permanent": False},
        ),
        (
            server("return 301 https://$host$request_uri;") + server("server_name a;" + passing("/", 1)),
            {"to": ":443", "scheme": "https", "permanent": True, "priority": 1},
        ),
    ],
)
def test_redirections(text: str, expected: dict[str, Any]) -> None:
    found = plain(from_nginx(text))
    assert found["entryPoints"]["web"]["http"]["redirections"]["entryPoint"] == expected


def test_a_redirection_beside_the_default_server_is_left() -> None:
    text = server(passing("/", 1)) + server("server_name a; return 301 https://$host$request_uri;")
    draft = from_nginx(text)
    assert "whole entry points" in reason(draft, "return")
    assert "http" not in plain(draft)["entryPoints"]["web"]


def test_every_directive_is_used_or_left() -> None:
    draft = from_nginx(NGINX)
    root = parse(NGINX)
    told = {each.place for each in draft.left} | set(re.findall(r"# (line \d+)$", draft.text(), re.MULTILINE))
    assert {each.place for each in root.walk() if each.name in ("user", "pid", "daemon", "error_log")} <= told
    assert all(each.reason for each in draft.left)


def test_the_sample_is_valid() -> None:
    config = config_of(from_nginx(re.sub("ssl_certificate.*;|ssl_protocols.*;", "", NGINX)))
    assert len(config.http.routers) > 10


def test_a_file_of_conf_d_is_read_as_inside_http() -> None:
    assert rules("upstream u { server 10.0.0.1; } " + server("location / { proxy_pass http://u; }")) == [
        ("PathPrefix(`/`)", "u")
    ]


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_whatever_is_missing_nothing_breaks(seed: int) -> None:
    chance = random.Random(seed)
    words = re.findall(r"[{};]|[^\s{};]+|\n", NGINX)
    for _ in range(chance.randrange(1, 12)):
        at = chance.randrange(len(words))
        words[at] = chance.choice(["", ";", "x", "0", "-1", "{", "}", words[chance.randrange(len(words))]])
    try:
        draft = nginx.convert(" ".join(words), "x")
    except ConvertError:
        return
    plain(draft)
