"""Which routers look at what comes to an entry point, in the clear and over TLS, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlb.config.model import Config, HttpSection, LoadBalancer, Router, Section, Server, Service, TcpSection
from streamlb.config.observation import Observability, RouterObservability
from streamlb.config.static import EntryPoint, EntryPointHttp
from streamlb.config.tls import EntryPointTls, RedirectEntryPoint, Redirections, RouterTls
from streamlb.routing.router import HttpTable
from streamlb.runtime.build import build
from streamlb.runtime.registry import Registry
from tests.unit.routing.rules import Ask

if TYPE_CHECKING:
    from streamlb.runtime.snapshot import EntryPointTable

TLS = RouterTls()


def table(
    http: dict[str, tuple[str, RouterTls | None]] | None = None,
    tcp: dict[str, tuple[str, RouterTls | None]] | None = None,
    options: EntryPointHttp | None = None,
) -> EntryPointTable:
    """An entry point with routers by name: rule and TLS."""

    def routers(said: dict[str, tuple[str, RouterTls | None]] | None) -> dict[str, Router]:
        return {name: Router(rule=rule, service="app", tls=tls) for name, (rule, tls) in (said or {}).items()}

    servers = Service(load_balancer=LoadBalancer(servers=[Server(url="http://a", address="a:1")]))
    config = Config(
        entry_points={"web": EntryPoint(address=":1", http=options or EntryPointHttp())},
        http=HttpSection(routers=routers(http), services={"app": servers}),
        tcp=TcpSection(routers=routers(tcp), services={"app": servers}),
    )
    return build(config, Registry()).entry_points["web"]


def tables(made: EntryPointTable) -> str:
    return " ".join(name for name in ("http", "https", "tcp", "tcp_tls") if getattr(made, name) is not None)


def test_a_router_is_for_tls_or_not() -> None:
    plain, secure = ("PathPrefix(`/`)", None), ("PathPrefix(`/`)", TLS)
    raw, over_tls = ("HostSNI(`*`)", None), ("HostSNI(`*`)", TLS)
    assert tables(table()) == "http"
    assert tables(table({"a": plain})) == "http"
    assert tables(table({"a": secure})) == "https"
    assert tables(table({"a": plain, "b": secure})) == "http https"
    assert tables(table(tcp={"a": raw})) == "tcp"
    assert tables(table(tcp={"a": over_tls})) == "tcp_tls"
    assert tables(table({"a": plain, "b": secure}, {"a": raw, "b": over_tls})) == "http https tcp tcp_tls"
    assert [table({"a": plain}).speaks_tls, table({"a": secure}).speaks_tls] == [False, True]
    assert table(tcp={"a": over_tls}).speaks_tls


def test_an_entry_point_for_tls() -> None:
    options = EntryPointHttp(tls=EntryPointTls(options="strict"))
    assert tables(table(options=options)) == "https"
    made = table({"a": ("Host(`a`)", None), "b": ("Host(`b`)", RouterTls(options="own"))}, options=options)
    assert made.http is None
    assert [made.plan.options_of(host) for host in (b"a", b"b")] == ["strict", "own"]


def test_a_redirecting_entry_point() -> None:
    redirections = Redirections(entry_point=RedirectEntryPoint(to=":443"))
    made = table({"a": ("Host(`a`)", None)}, options=EntryPointHttp(redirections=redirections))
    assert made.http is not None
    route = made.http.route(Ask(host=b"a"))
    assert route is not None
    assert route.local is not None
    assert tables(table(options=EntryPointHttp(redirections=redirections))) == "http"
    over_tls = EntryPointHttp(redirections=redirections, tls=EntryPointTls())
    assert tables(table(options=over_tls)) == "https"


def taker(made: EntryPointTable, host: bytes, *protocols: bytes) -> str | None:
    found = made.take_tls(Ask(host=host, protocols=protocols))
    return "https" if isinstance(found, HttpTable) else found.name if found is not None else None


@pytest.mark.parametrize(
    ("https", "tcp", "host", "expected"),
    [
        ("Host(`a.com`)", "HostSNI(`a.com`)", b"a.com", "https"),
        ("Host(`*.a.com`)", "HostSNI(`x.a.com`)", b"x.a.com", "https"),
        ("Host(`b.com`)", "HostSNI(`a.com`)", b"a.com", "db"),
        ("Path(`/`)", "HostSNI(`a.com`)", b"a.com", "db"),
        (r"HostRegexp(`^.+\.a\.com$`)", "HostSNI(`*.a.com`)", b"x.a.com", "db"),
        ("Path(`/`)", "HostSNI(`a.com`)", b"b.com", "https"),
        ("Path(`/`)", "HostSNI(`*`)", b"a.com", "https"),
        (r"HostRegexp(`^.+\.a\.com$`)", "HostSNI(`*`)", b"b.com", "https"),
        ("Host(`a.com`)", "HostSNI(`*`)", b"b.com", "db"),
        ("Host(`a.com`)", "HostSNI(`*`)", b"", "db"),
        ("Host(`a.com`)", "HostSNI(`c.com`)", b"b.com", "https"),
        ("Path(`/`)", "HostSNI(`*`) && ALPN(`imap`)", b"b.com", "db"),
        ("Path(`/`)", "ClientIP(`10.0.0.0/8`)", b"b.com", "https"),
    ],
)
def test_the_narrower_one_takes_it_then_https(https: str, tcp: str, host: bytes, expected: str) -> None:
    made = table({"web": (https, TLS)}, {"db": (tcp, TLS)})
    assert taker(made, host, b"imap") == expected


def test_with_tcp_routers_alone_nobody_may_want_it() -> None:
    made = table(tcp={"db": ("HostSNI(`a.com`)", TLS)})
    assert taker(made, b"a.com") == "db"
    assert taker(made, b"b.com") is None
    assert taker(table({"plain": ("Path(`/`)", None)}), b"b.com") is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [("", ""), ("default", ""), ("default@file", ""), ("mutual", "mutual"), ("mutual@file", "mutual")],
)
def test_options_by_any_of_their_names(written: str, meant: str) -> None:
    made = table({"a": ("Host(`a`)", RouterTls(options=written))}, options=EntryPointHttp())
    assert made.https is not None
    assert [route.tls.options for route in made.https.routes] == [meant]
    everywhere = table({"a": ("Host(`a`)", None)}, options=EntryPointHttp(tls=EntryPointTls(options=written)))
    assert everywhere.plan.options_of(b"a") == (meant or "default")


def test_what_is_told_of_a_router_depends_on_where_it_is_met() -> None:
    quiet, loud = Observability(access_logs=False), Observability()
    servers = Service(load_balancer=LoadBalancer(servers=[Server(url="http://a", address="a:1")]))
    config = Config(
        entry_points={
            "quiet": EntryPoint(address=":1", observability=quiet),
            "loud": EntryPoint(address=":2", observability=loud),
            "dns": EntryPoint(address=":3/udp", observability=quiet),
        },
        http=HttpSection(
            routers={
                "says": Router(rule="Path(`/a`)", service="app", observability=RouterObservability(access_logs=True)),
                "says-not": Router(rule="Path(`/b`)", service="app"),
            },
            services={"app": servers},
        ),
        udp=Section(routers={"dns": Router(service="app")}, services={"app": servers}),
    )
    entry_points = build(config, Registry()).entry_points
    told = {}
    for name in ("quiet", "loud"):
        http = entry_points[name].http
        assert http is not None
        told[name] = {route.name: route.observed.access_logs for route in http.routes}
    assert told == {"quiet": {"says": True, "says-not": False}, "loud": {"says": True, "says-not": True}}
    dns = entry_points["dns"].udp_route
    assert dns is not None
    assert not dns.observed.access_logs
