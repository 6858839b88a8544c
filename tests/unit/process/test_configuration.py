"""The rule language handed to the configuration check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.selection import Node, Selection
from streamlb.config.address import parse_entry_point
from streamlb.config.check import load_text
from streamlb.config.tls import ClientAuth, TlsOptions
from streamlb.config.transports import PemFault
from streamlb.errors import ConfigError
from streamlb.net.address import parse_address
from streamlb.process.configuration import add_default_certificate, check_pem, check_rule, check_tls_options, load
from streamlb.runtime.build import build
from streamlb.runtime.registry import Registry
from tests.support.certificates import authority

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("rule", "protocol"),
    [("Host(`a`) && !Path(`/x`)", "http"), ("HostSNI(`*`)", "tcp"), ("ClientIP(`10.0.0.0/8`)", "tcp")],
)
def test_good_rules(rule: str, protocol: str) -> None:
    assert check_rule(rule, protocol) is None


@pytest.mark.parametrize(
    ("rule", "protocol", "column"),
    [
        ("Path(`/`) && Hots(`a`)", "http", 13),
        ("Path(`x`)", "http", 5),
        ("ClientIP(`10.0.0.0/99`)", "http", 9),
        ("Host(`a`) &&", "http", 12),
        ("ClientIP(`::1`) || HostSNI(`db.example.com`)", "tcp", 19),
        ("Host(`a`)", "tcp", 0),
    ],
)
def test_faults_carry_the_column_inside_the_rule(rule: str, protocol: str, column: int) -> None:
    fault = check_rule(rule, protocol)
    assert fault
    assert fault.column == column
    assert fault.reason


def test_a_router_for_tls_may_look_at_the_handshake() -> None:
    rule = "HostSNI(`db.example.com`) && ALPN(`h2`)"
    assert check_rule(rule, "tcp", "v3", True) is None
    fault = check_rule(rule, "tcp")
    assert fault
    assert (fault.column, fault.width) == (0, len("HostSNI"))
    assert "passthrough" in fault.suggestion


def test_a_file_is_checked_with_the_rule_language(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(
        'entryPoints: {web: {address: ":80"}}\n'
        "http:\n"
        '  routers: {r: {rule: "Path(`/`) && Hots(`a`)", service: s}}\n'
        "  services: {s: {loadBalancer: {servers: [{url: 'http://a'}]}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    [problem] = caught.value.problems
    assert (problem.position.line, problem.position.column, problem.width) == (3, 37, 4)
    assert problem.suggestion == "did you mean `Host`?"


HOSTS = st.sampled_from(
    ["", "127.0.0.1", "localhost", "my_host.example.com", "[::1]", "[::]", "[fe80::1%eth0]", "a.b."]
)


@given(HOSTS, st.integers(1, 65535), st.sampled_from(["", "/tcp", "/udp", "/UDP"]))
def test_what_is_valid_can_be_listened_on(host: str, port: int, network: str) -> None:
    text = f"{host}:{port}{network}"
    checked, used = parse_entry_point(text), parse_address(text)
    assert (checked.host, checked.port, checked.network) == (used.host, used.port, used.kind)


@given(HOSTS.filter(bool), st.integers(1, 65535))
def test_what_is_valid_can_be_dialled(host: str, port: int) -> None:
    http = f"{host}:{port}"
    config = load_text(
        "entryPoints: {web: {address: ':1'}, dns: {address: ':1/udp'}}\n"
        f"http: {{services: {{s: {{loadBalancer: {{servers: [{{url: 'HTTP://{http}/x'}}, {{url: 'http://{host}'}}]}}}}}}}}\n"
        f"tcp: {{services: {{s: {{loadBalancer: {{servers: [{{address: '{http}'}}]}}}}}}}}\n"
        "http2: {}\n".replace("http2: {}\n", "")
    ).config
    services = build(config, Registry()).services
    assert picked(services["tcp", "s"]) == [(host.strip("[]"), port)]
    assert picked(services["http", "s"]) == [(host.strip("[]"), port), (host.strip("[]"), 80)]


def picked(node: Node) -> list[tuple[str, int]]:
    """Host and port of the servers of a load balancer of one or two."""
    want, found = Selection(), []
    while server := node.pick(want):
        found.append((server.host, server.port))
        want.retry(server)
    return found


def test_a_file_is_checked_with_the_pattern_language(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(
        'entryPoints: {web: {address: ":80"}}\n'
        "http:\n"
        "  services:\n"
        "    s:\n"
        "      loadBalancer:\n"
        "        servers: [{url: 'http://a'}]\n"
        "        healthCheck: {path: /h, body: '/(a/'}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    [problem] = caught.value.problems
    assert (problem.position.line, problem.position.column) == (7, 39)
    assert problem.reason == "a `(` of the pattern is never closed"
    path.write_text(path.read_text().replace("/(a/", "/(a)$/"))
    assert load(path).notes == []


TLS = """
entryPoints: {web: {address: ":80"}, secure: {address: ":443", %s}}
http:
  routers: {r: {rule: "Host(`a`)", service: s, entryPoints: [web]%s}}
  services: {s: {loadBalancer: {servers: [{url: "http://a"}]}}}
"""


@pytest.mark.parametrize(
    ("entry_point", "router", "needed"),
    [("", "", False), ("http: {tls: {}}", "", True), ("", ", tls: {}", True)],
)
def test_a_default_certificate(tmp_path: Path, entry_point: str, router: str, needed: bool) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(TLS % (entry_point, router))
    config = load(path).config
    assert add_default_certificate(config) is needed
    assert bool(config.tls.stores) is needed
    assert add_default_certificate(config) is False


def test_tls_options_that_openssl_cannot_do() -> None:
    options = TlsOptions(cipher_suites=["TLS_RSA_WITH_RC4_128_SHA"], curve_preferences=["CurveP384", "CurveP256"])
    assert [place for place, *_ in check_tls_options(options)] == [("cipherSuites", 0), ("curvePreferences", 1)]
    asking = TlsOptions(client_auth=ClientAuth(client_auth_type="RequireAnyClientCert"))
    [(place, reason, _)] = check_tls_options(asking)
    assert place == ("clientAuth", "clientAuthType")
    assert "cannot be honoured" in reason


def test_options_that_do_not_prevail(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(
        'entryPoints: {web: {address: ":443", http: {tls: {options: one}}}, other: {address: ":444"}}\n'
        "tls: {options: {one: {}, two: {}}}\n"
        "http:\n"
        "  services: {s: {loadBalancer: {servers: [{url: 'http://a'}]}}}\n"
        "  routers:\n"
        '    a: {rule: "Host(`a.com`)", service: s, entryPoints: [web]}\n'
        '    b: {rule: "Host(`a.com`) && Path(`/b`)", service: s, entryPoints: [web], tls: {options: two}}\n'
        '    c: {rule: "Host(`c.com`)", service: s, tls: {options: two}}\n'
        '    d: {rule: "Path(`/d`)", service: s, entryPoints: [other], tls: {options: two}}\n'
        '    e: {rule: "Path(`/e`)", service: s, entryPoints: [other], tls: {options: one}}\n'
    )
    assert [(note.path, note.reason) for note in load(path).notes] == [
        (f"http.routers.{name}.tls.options", f"the options `default` are used {where} do not agree")
        for name, where in (
            ("b", "for `a.com`: routers of `web`"),
            ("d", "where no router names the host: routers of `other`"),
            ("e", "where no router names the host: routers of `other`"),
        )
    ]


def test_names_that_are_nearly_right() -> None:
    options = TlsOptions(cipher_suites=["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265"], curve_preferences=["CurveP265"])
    suggestions = [suggestion for *_, suggestion in check_tls_options(options)]
    assert suggestions == ["did you mean `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`?", "did you mean `CurveP256`?"]


def test_the_key_of_another_certificate_of_the_chain() -> None:
    leaf, ca = authority().certificate("a.test"), authority().pair
    assert check_pem(leaf.text + ca.text, leaf.key.read_text()) is None
    fault = check_pem(ca.text + leaf.text, leaf.key.read_text())
    assert fault == PemFault("this key is that of certificate 2 of the chain, which has to come first", of_key=True)
