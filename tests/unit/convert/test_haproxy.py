"""HAProxy's configuration as ours: what is bound, and who gets what."""

from __future__ import annotations

import random
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.convert import haproxy
from streamlb.convert.draft import ConvertError
from tests.support.foreign import HAPROXY
from tests.unit.convert.asking import config_of, from_haproxy, plain, reason

SERVERS = "backend a\n mode http\n server a 10.0.0.1:80\nbackend b\n mode http\n server b 10.0.0.2:80\n"


def entry(lines: str) -> Any:
    draft = from_haproxy(f"frontend f\n mode http\n{lines}\n{SERVERS}")
    return plain(draft)


def test_addresses() -> None:
    found = entry(" bind *:80,127.0.0.1:81\n bind [::]:82\n bind :::83 v4v6\n bind ::1:84\n default_backend a")
    addresses = [each["address"] for each in found["entryPoints"].values()]
    assert addresses == [":80", "127.0.0.1:81", ":82", ":83", "[::1]:84"]


def test_rules_in_their_order() -> None:
    found = entry(" bind :80\n use_backend b if { path /a }\n use_backend a if { path_beg /b }\n default_backend b")
    routers = sorted(found["http"]["routers"].values(), key=lambda router: -router["priority"])
    assert [(router["rule"], router["service"]) for router in routers] == [
        ("Path(`/a`)", "b"),
        ("PathPrefix(`/b`)", "a"),
        ("PathPrefix(`/`)", "b"),
    ]


def test_limits_and_patience() -> None:
    found = entry(
        " bind :80\n maxconn 9\n timeout client 5s\n timeout http-request 1s\n timeout tunnel 1h\n default_backend a"
    )
    assert found["entryPoints"]["f"]["transport"] == {
        "maxConnections": 9,
        "respondingTimeouts": {
            "readHeaderTimeout": "1s",
            "readTimeout": "5s",
            "writeTimeout": "5s",
            "idleTimeout": "1s",
        },
    }
    assert found["http"]["routers"]["f-a"]["timeouts"] == {"idle": "3600s"}


def test_tls() -> None:
    draft = from_haproxy(
        "frontend f\n mode http\n bind :443 ssl crt a.pem crt b.pem crt dir/ alpn h2 accept-proxy\n default_backend a\n"
        + SERVERS
    )
    found = plain(draft)
    assert found["entryPoints"]["f"]["http"] == {"tls": {}}
    assert found["entryPoints"]["f"]["proxyProtocol"] == {"insecure": True}
    assert [pair["certFile"] for pair in found["tls"]["certificates"]] == ["a.pem", "b.pem"]
    reasons = " ".join(each.reason for each in draft.left)
    assert "files in dir/ are not known" in reasons
    assert "HTTP/1.1" in reasons


def test_redirections() -> None:
    both = " bind :80\n bind :443 ssl crt a\n"
    for line in (
        "redirect scheme https if !{ ssl_fc }",
        "http-request redirect scheme https code 301 unless { ssl_fc }",
    ):
        found = entry(f"{both} {line}\n default_backend a")
        to = found["entryPoints"]["f-80"]["http"]["redirections"]["entryPoint"]
        assert (to["to"], to["permanent"]) == ("f-443", "301" in line)
        assert [router["entryPoints"] for router in found["http"]["routers"].values()] == [["f-443"]]
    found = entry(" bind :80\n redirect scheme https")
    assert found["entryPoints"]["f"]["http"]["redirections"]["entryPoint"]["to"] == ":443"
    found = entry(f"{both} redirect scheme https if {{ path /a }}\n default_backend a")
    assert "http" not in found["entryPoints"]["f-80"]


def test_tcp_by_name_and_in_the_clear() -> None:
    text = "frontend f\n bind :1\n use_backend a if { req_ssl_sni x }\n default_backend b\n"
    draft = from_haproxy(text + SERVERS.replace(" mode http\n", ""))
    config_of(draft)
    routers = plain(draft)["tcp"]["routers"].values()
    assert [(router["rule"], router.get("tls")) for router in routers] == [
        ("HostSNI(`x`)", {"passthrough": True}),
        ("HostSNI(`*`)", {"passthrough": True}),
        ("HostSNI(`*`)", None),
    ]


def test_what_has_no_place() -> None:
    draft = from_haproxy(
        "frontend f\n mode http\n bind /sock\n bind :80\n bind :80\n bind :1000-1010\n"
        " use_backend %[path] if { path /a }\n use_backend a if { lua.x }\n" + SERVERS
    )
    assert "addresses and single ports" in reason(draft, "bind /sock")
    assert "addresses and single ports" in reason(draft, "bind :1000")
    assert "taken" in reason(draft, "bind :80")
    assert "no server" in reason(draft, "use_backend %")
    assert "what comes next" in reason(draft, "use_backend a if")


def test_a_mode_that_is_not_there() -> None:
    assert "no mode `log`" in reason(from_haproxy("frontend f\n mode log\n bind :1\n"), "frontend f")


def test_the_sample_is_valid() -> None:
    draft = from_haproxy(HAPROXY.replace(" ssl crt COMBINED", ""))
    assert len(config_of(draft).http.routers) == 8
    assert all(each.reason for each in draft.left)


def test_every_line_is_used_or_left() -> None:
    draft = from_haproxy(HAPROXY)
    left = {each.text for each in draft.left}
    for line in ("global", "maxconn 256", "log /dev/null local0", "option forwardfor", "retries 1"):
        assert line in left


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_whatever_is_missing_nothing_breaks(seed: int) -> None:
    chance = random.Random(seed)
    words = re.findall(r"\n *|[^\s]+", HAPROXY)
    for _ in range(chance.randrange(1, 12)):
        at = chance.randrange(len(words))
        words[at] = chance.choice(["", "\n", "x", "0", "-1", "{", "}", "!", words[chance.randrange(len(words))]])
    try:
        draft = haproxy.convert(" ".join(words), "x")
    except ConvertError:
        return
    plain(draft)


def test_where_relative_paths_begin() -> None:
    draft = from_haproxy(
        "global\n crt-base /etc/crt\n ca-base /etc/ca\nlisten a\n mode http\n bind :443 ssl crt a.pem crt /b.pem\n"
        " server a 10.0.0.1:443 ssl verify required ca-file ca.pem\n"
    )
    found = plain(draft)
    assert [pair["certFile"] for pair in found["tls"]["certificates"]] == ["/etc/crt/a.pem", "/b.pem"]
    assert found["http"]["serversTransports"]["servers"]["rootCAs"] == ["/etc/ca/ca.pem"]
