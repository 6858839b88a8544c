"""What operators are told about two configurations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamlb.config.diff import MAX_DETAILS, Change, diff, texts
from streamlb.config.model import Config, HttpSection, LoadBalancer, Router, Server, Service
from streamlb.config.static import ServersTransport
from streamlb.config.tls import Certificate, ServedCertificate, Store, Tls
from tests.unit.config.asking import config_of

BASE = """
entryPoints: {web: {address: ":80"}, dns: {address: ":53/udp"}}
http:
  routers:
    shop: {rule: "Host(`shop.example`)", service: canary}
  services:
    canary: {weighted: {services: [{name: v1, weight: 3}, {name: v2}]}}
    copied: {mirroring: {service: v1, mirrors: [{name: v2, percent: 10}]}}
    v1: {loadBalancer: {servers: [{url: "http://10.0.0.1"}, {url: "http://10.0.0.2"}]}}
    v2: {loadBalancer: {servers: [{url: "http://10.0.0.3"}], healthCheck: {path: /, interval: 10s}}}
tcp:
  services: {db: {loadBalancer: {servers: [{address: "10.0.0.5:5432"}]}}}
  middlewares: {few: {inFlightConn: {amount: 3}}}
"""


def said(old: str, new: str, base: str = BASE) -> list[str]:
    """What is different after `old` was replaced by `new` in the text."""
    assert old in base
    return texts(diff(config_of(base), config_of(base.replace(old, new))))


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("", "", []),
        ('web: {address: ":80"}', 'shop: {address: ":80"}', ["- entry point web", "+ entry point shop"]),
        ('web: {address: ":80"}', 'web: {address: ":81"}', ["~ entry point web: address :80 -> :81"]),
        (
            'web: {address: ":80"}',
            'web: {address: ":80", transport: {lifeCycle: {graceTimeOut: 3s}}, http: {maxHeaderBytes: 2048}}',
            ["~ entry point web: transport.lifeCycle.graceTimeOut 10s -> 3s; http.maxHeaderBytes 32768 -> 2048"],
        ),
        (
            "Host(`shop.example`)",
            "Host(`a.example`)",
            ["~ http router shop: rule Host(`shop.example`) -> Host(`a.example`)"],
        ),
        ("canary}", "v1, priority: 5}", ["~ http router shop: service canary -> v1; priority 0 -> 5"]),
        ("service: canary}", "service: canary, tls: {}}", ["~ http router shop: tls added"]),
        ("weight: 3", "weight: 5", ["~ http service canary: weight of v1 3 -> 5"]),
        ("{name: v2}]}}", "{name: copied, weight: 2}]}}", [
            "~ http service canary: service v2 removed; service copied added with weight 2"]),
        ("percent: 10", "percent: 50", ["~ http service copied: percent of v2 10 -> 50"]),
        ("[{name: v1, weight: 3}, {name: v2}]", "[{name: v2}, {name: v1, weight: 3}]", [
            "~ http service canary: order of services changed"]),
        ("http://10.0.0.2", "http://10.0.0.9", [
            "~ http service v1: server http://10.0.0.2 removed; server http://10.0.0.9 added"]),
        ("interval: 10s", "interval: 500ms", ["~ http service v2: healthCheck.interval 10s -> 0.5s"]),
        (", healthCheck: {path: /, interval: 10s}", "", ["~ http service v2: healthCheck removed"]),
        ("path: /,", "path: /, headers: {Authorization: 'Basic x'},", [
            "~ http service v2: healthCheck.headers Authorization added"]),
        ("{weighted: {services: [{name: v1, weight: 3}, {name: v2}]}}", "{failover: {service: v1, fallback: v2}}", [
            "~ http service canary: weighted -> failover"]),
        ("amount: 3", "amount: 4", ["~ tcp middleware few: inFlightConn.amount 3 -> 4"]),
        ("tcp:", "workers: auto\ntcp:", ["~ workers: 1 -> auto"]),
        ("tcp:", "log: {level: DEBUG}\ntcp:", ["~ log: level INFO -> DEBUG"]),
        ("tcp:", "ping: {}\ntcp:", ["+ ping"]),
        ("tcp:", "tls: {options: {strict: {sniStrict: true}}}\ntcp:", ["+ TLS options strict"]),
    ],
)  # fmt: skip
def test_a_change_in_words(old: str, new: str, lines: list[str]) -> None:
    assert said(old, new) == lines


def test_there_and_back_is_all_that_was_there() -> None:
    config = config_of(BASE)
    empty = Config()
    come, gone = diff(empty, config), diff(config, empty)
    assert {change.sign for change in come} == {"+"}
    assert [change.what for change in come] == [change.what for change in gone]
    assert "+ tcp service db" in texts(come)


def certificate(*names: str, text: str = "x", key: str = "k") -> ServedCertificate:
    return ServedCertificate(cert_file=text, key_file=key, names=list(names), expires_at=86_400.0)


def test_certificates_are_known_by_their_hosts() -> None:
    old = Tls(certificates=[certificate("a.example"), certificate("gone.example"), certificate("k.example")])
    new = Tls(
        certificates=[
            certificate("k.example", key="other"),
            certificate("a.example", text="y"),
            certificate("1", "2", "3", "4"),
        ],
        stores={"default": Store(default_certificate=certificate())},
    )
    assert texts(diff(Config(tls=old), Config(tls=new))) == [
        "~ certificate for a.example: renewed, valid until 1970-01-02",
        "- certificate for gone.example",
        "~ certificate for k.example: its key or its stores have changed",
        "+ certificate for 1, 2, 3 and 1 more",
        "+ default certificate for no name",
    ]


def test_nothing_secret_is_told() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nsecret\n"
    checks = "{path: /, headers: {Authorization: %s}}"
    old = config_of(BASE.replace("{path: /, interval: 10s}", checks % "secret1"))
    new = config_of(BASE.replace("{path: /, interval: 10s}", checks % "secret2"))
    shown = Certificate(cert_file=pem, key_file="secret")
    new = replace(new, servers_transport=ServersTransport(root_cas=[pem], certificates=[shown]))
    lines = texts(diff(old, new))
    assert lines == [
        "~ http service v2: healthCheck.headers Authorization changed",
        "~ serversTransport: rootCAs changed; certificates changed",
    ]
    service = Service(load_balancer=LoadBalancer(servers=[Server(url="http://me:secret@a.example:81/x")]))
    [line] = texts(diff(Config(), Config(http=HttpSection(services={"a": service}))))
    assert "secret" not in line
    other = Service(load_balancer=LoadBalancer())
    [line] = texts(
        diff(Config(http=HttpSection(services={"a": other})), Config(http=HttpSection(services={"a": service})))
    )
    assert line == "~ http service a: server http://a.example:81/x added"


def test_a_line_is_a_line_whatever_it_tells() -> None:
    names = ["a\nb", "\x1b[31m", "x" * 500]
    routers = {name: Router(rule="x" * 1000, service=name) for name in names}
    others = {name: Router(rule="y\r\n" * 1000, service=name) for name in names}
    old, new = Config(http=HttpSection(routers=routers)), Config(http=HttpSection(routers=others))
    for change in [*diff(Config(), old), *diff(old, new)]:
        assert change.text.isprintable()
        assert len(change.text) < 1000


def test_who_has_changed_everything_reads_the_beginning() -> None:
    changes = [Change("+", f"http router {number}") for number in range(30)]
    assert texts(changes, 2) == ["+ http router 0", "+ http router 1", "and 28 more changes"]
    assert len(texts(changes, 30)) == 30
    details = tuple(str(number) for number in range(MAX_DETAILS + 2))
    assert Change("~", "a", details).text == f"~ a: {'; '.join(details[:MAX_DETAILS])}; 2 more"


def test_two_servers_of_one_name_are_no_riddle() -> None:
    twice = LoadBalancer(servers=[Server(url="http://a"), Server(url="http://a")])
    once = LoadBalancer(servers=[Server(url="http://a")])
    old, new = (Config(http=HttpSection(services={"a": Service(load_balancer=each)})) for each in (twice, once))
    assert texts(diff(old, new)) == ["~ http service a: servers changed"]
