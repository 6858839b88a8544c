"""From the model to the world: addresses, trees, cookies, tables, reloads, and our own bugs named."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.balance.failover import Failover
from streamlb.balance.selection import Selection, Server
from streamlb.balance.tree import Balancer, Mirror
from streamlb.config.model import (
    Config,
    Cookie,
    Criterion,
    FailoverErrors,
    HttpSection,
    LoadBalancer,
    MirrorChild,
    Mirroring,
    Override,
    Router,
    Section,
    Service,
    Sticky,
    TcpSection,
    Weighted,
    WeightedChild,
)
from streamlb.config.model import Failover as ConfiguredFailover
from streamlb.config.model import Server as ConfiguredServer
from streamlb.config.static import EntryPoint, ServersTransport, TcpServersTransport
from streamlb.errors import InternalError
from streamlb.runtime.build import MAX_DEPTH, MAX_REPEATED_BODY, build
from streamlb.runtime.registry import Registry
from tests.unit.routing.rules import Ask

if TYPE_CHECKING:
    from streamlb.runtime.snapshot import Runtime

WEB = {"web": EntryPoint(address="127.0.0.1:8000")}


def urls(*servers: str, **options: Any) -> Service:
    return Service(load_balancer=LoadBalancer(servers=[ConfiguredServer(url=url) for url in servers], **options))


def addresses(*servers: str) -> Service:
    return Service(load_balancer=LoadBalancer(servers=[ConfiguredServer(address=each) for each in servers]))


def weighted(*children: tuple[str, int], cookie: Cookie | None = None) -> Service:
    return Service(
        weighted=Weighted(
            services=[WeightedChild(name=name, weight=weight) for name, weight in children],
            sticky=Sticky(cookie=cookie) if cookie else None,
        )
    )


def mirroring(main: str, *mirrors: tuple[str, int], **options: Any) -> Service:
    children = [MirrorChild(name=name, percent=percent) for name, percent in mirrors]
    return Service(mirroring=Mirroring(service=main, mirrors=children, **options))


def http(services: dict[str, Service], **routers: Router) -> Config:
    return Config(entry_points=dict(WEB), http=HttpSection(routers=routers, services=services))


def picked(node: Any, count: int = 1, cookie: bytes = b"") -> list[str]:
    return [server.name for _ in range(count) if (server := node.pick(Selection(cookie)))]


# --- servers ---


@pytest.mark.parametrize(
    ("url", "host", "port", "field"),
    [
        ("http://127.0.0.1:8081", "127.0.0.1", 8081, b"127.0.0.1:8081"),
        ("http://127.0.0.1:8081/ignored?x", "127.0.0.1", 8081, b"127.0.0.1:8081"),
        ("http://app.internal", "app.internal", 80, b"app.internal"),
        ("http://app.internal:80/", "app.internal", 80, b"app.internal"),
        ("HTTP://App.Internal:81", "app.internal", 81, b"app.internal:81"),
        ("http://[::1]:8081", "::1", 8081, b"[::1]:8081"),
        ("http://[::1]", "::1", 80, b"[::1]"),
        ("http://user:secret@a:81", "a", 81, b"a:81"),
    ],
)
def test_http_servers(url: str, host: str, port: int, field: bytes) -> None:
    world = build(http({"passing": urls(url), "naming": urls(url, pass_host_header=False)}), Registry())
    passing = world.services["http", "passing"].pick(Selection())
    naming = world.services["http", "naming"].pick(Selection())
    assert isinstance(passing, Server)
    assert isinstance(naming, Server)
    assert (passing.name, passing.host, passing.port, passing.service) == (url, host, port, "passing")
    assert (passing.host_field, naming.host_field) == (None, field)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("127.0.0.1:6379", "127.0.0.1", 6379), ("[::1]:53", "::1", 53), ("db.internal:5432", "db.internal", 5432)],
)
def test_tcp_and_udp_servers(protocol: str, address: str, host: str, port: int) -> None:
    config = Config()
    config.section(protocol).services["db"] = addresses(address)
    server = build(config, Registry()).services[protocol, "db"].pick(Selection())
    assert isinstance(server, Server)
    assert (server.name, server.host, server.port, server.host_field) == (address, host, port, None)


@pytest.mark.parametrize("url", ["", "ftp://a", "a:80", "http://", "http://a:x", "http://a:70000", "http://[::1"])
def test_an_impossible_url_is_our_bug(url: str) -> None:
    with pytest.raises(InternalError, match="server url"):
        build(http({"app": urls(url)}), Registry())


@pytest.mark.parametrize("address", ["", "a", "a:", ":80", "a:x", "a:70000", "a:²"])
def test_an_impossible_address_is_our_bug(address: str) -> None:
    with pytest.raises(InternalError, match="server address"):
        build(Config(tcp=TcpSection(services={"db": addresses(address)})), Registry())


# --- trees ---


def test_the_tutorial() -> None:
    services = {
        "wrr": weighted(("myapp1", 1), ("myapp2", 2)),
        "mirror": mirroring("myapp1", ("myapp2", 50), mirror_body=False, max_body_size=7),
        "myapp1": urls("http://a:1"),
        "myapp2": urls("http://b:2"),
    }
    world = build(http(services), Registry(), version=3)
    assert world.version == 3
    assert picked(world.services["http", "wrr"], 6) == ["http://a:1", "http://b:2", "http://b:2"] * 2
    want = Selection()
    assert world.services["http", "mirror"].pick(want) is not None
    (order,) = want.mirrors
    assert (order.name, order.mirror_body, order.max_body_size) == ("myapp2", False, 7)
    assert order.service is world.services["http", "myapp2"]


def test_server_weights() -> None:
    servers = [ConfiguredServer(url="http://a", weight=0), ConfiguredServer(url="http://b", weight=2)]
    config = http({"app": Service(load_balancer=LoadBalancer(servers=servers))})
    assert picked(build(config, Registry()).services["http", "app"], 3) == ["http://b"] * 3


def test_a_service_without_servers_is_down() -> None:
    node = build(http({"app": urls()}), Registry()).services["http", "app"]
    assert not node.up
    assert picked(node) == []


def test_a_server_in_maintenance_is_in_nobody_s_tree() -> None:
    config = http({"app": urls("http://h:1", "http://h:2", on_all_down="failOpen", sticky=Sticky())})
    registry = Registry()
    build(config, registry)
    config.http.services["app"].load_balancer.servers[0].in_maintenance = True  # type: ignore[union-attr]
    node = build(config, registry).services["http", "app"]
    assert picked(node, 2) == ["http://h:2", "http://h:2"]
    assert list(registry.parked) == [("http", "app", "http://h:1")]


def test_a_shared_service_is_one_node() -> None:
    services = {"one": weighted(("app", 1)), "other": weighted(("app", 1)), "app": urls("http://a", "http://b")}
    world = build(http(services), Registry())
    one, other = world.services["http", "one"], world.services["http", "other"]
    assert picked(one) + picked(other) + picked(one) == ["http://a", "http://b", "http://a"]


def test_protocols_are_apart() -> None:
    services = {"app": addresses("127.0.0.1:1")}
    world = build(Config(tcp=TcpSection(services=services), udp=Section(services=services)), Registry())
    assert world.services["tcp", "app"] is not world.services["udp", "app"]
    tcp, udp = world.services["tcp", "app"].pick(Selection()), world.services["udp", "app"].pick(Selection())
    assert tcp
    assert udp
    assert tcp.state is not udp.state


def test_references_stay_with_their_provider() -> None:
    crd = "@kubernetescrd"
    services = {
        f"default-wrr{crd}": weighted(("default-myapp1-80", 1), ("own@file", 1)),
        f"default-myapp1-80{crd}": urls("http://crd"),
        "default-myapp1-80": urls("http://wrong"),
        "own": urls("http://own"),
    }
    router = Router(rule="Host(`example.com`)", service="default-wrr")
    config = Config(entry_points=WEB, http=HttpSection(services=services, routers={f"default-r{crd}": router}))
    world = build(config, Registry())
    assert picked(world.services["http", f"default-wrr{crd}"], 2) == ["http://crd", "http://own"]
    table = world.entry_points["web"].http
    assert table is not None
    assert [(route.name, route.service.name) for route in table.routes] == [(f"default-r{crd}", f"default-wrr{crd}")]


def test_a_missing_mirror_does_not_hurt() -> None:
    services = {"m": mirroring("app", ("gone", 100), ("copy", 100)), "app": urls("http://a"), "copy": urls("http://c")}
    node = build(http(services), Registry()).services["http", "m"]
    want = Selection()
    assert node.pick(want) is not None
    assert [order.name for order in want.mirrors] == ["copy"]


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ({"a": weighted(("b", 1)), "b": weighted(("a", 1))}, "http service a contains itself"),
        ({"a": mirroring("b", ("a", 1)), "b": urls()}, "http service a contains itself"),
        ({"a": weighted(("b", 1))}, "http service b does not exist"),
        ({"a": mirroring("b")}, "http service b does not exist"),
        ({"a": Service()}, "http service a is of no kind"),
    ],
)
def test_an_impossible_tree_is_our_bug(services: dict[str, Service], message: str) -> None:
    with pytest.raises(InternalError, match=message):
        build(http(services), Registry())


def chain(length: int) -> dict[str, Service]:
    return {"0": urls("http://a")} | {str(n): weighted((str(n - 1), 1)) for n in range(1, length)}


def test_depth_is_bounded() -> None:
    deepest_first = dict(reversed(chain(MAX_DEPTH).items()))
    world = build(http(deepest_first), Registry())
    top = world.services["http", str(MAX_DEPTH - 1)]
    leaf = world.services["http", "0"].pick(Selection())
    assert leaf is not None
    assert top.pick(Selection()) is leaf
    leaf.set_up(False)
    assert not top.up
    with pytest.raises(InternalError, match="deeper than"):
        build(http(dict(reversed(chain(MAX_DEPTH + 1).items()))), Registry())


def test_depth_does_not_depend_on_the_order_of_services() -> None:
    with pytest.raises(InternalError, match="deeper than"):
        build(http(chain(MAX_DEPTH + 1)), Registry())


# --- stickiness ---


def test_sticky_weighted() -> None:
    cookie = Cookie(name="lvl1", secure=True, http_only=True, same_site="none", max_age=9, path="/p", domain="a.b")
    services = {
        "wrr": weighted(("default-myapp1-80", 1), ("default-myapp2-80", 1), cookie=cookie),
        "default-myapp1-80": urls("http://a"),
        "default-myapp2-80": urls("http://b"),
    }
    node = build(http(services), Registry()).services["http", "wrr"]
    assert picked(node, 2, b"lvl1=default-myapp2-80") == ["http://b", "http://b"]
    want = Selection()
    node.pick(want)
    assert want.cookies == [b"lvl1=9c95d45b96623357; Path=/p; Domain=a.b; Max-Age=9; HttpOnly; Secure; SameSite=None"]


def test_sticky_servers_and_a_generated_name() -> None:
    config = http({"service1": urls("http://10.0.0.1:80", "http://b", sticky=Sticky())})
    node = build(config, Registry()).services["http", "service1"]
    want = Selection()
    node.pick(want)
    assert want.cookies == [b"_4a6ce=df5bd2f9c0180410; Path=/"]


def test_a_generated_name_knows_the_provider() -> None:
    name = "default-wrr@kubernetescrd"
    services = {name: weighted(("app", 1), cookie=Cookie()), "app@kubernetescrd": urls("http://a")}
    want = Selection()
    build(http(services), Registry()).services["http", name].pick(want)
    assert want.cookies[0].startswith(b"_35cca=")


def test_the_child_is_named_in_the_cookie_without_its_provider() -> None:
    services = {"wrr": weighted(("app@file", 1), cookie=Cookie(name="c")), "app": urls("http://a")}
    want = Selection(b"c=app")
    build(http(services), Registry()).services["http", "wrr"].pick(want)
    assert len(want.cookies) == 1


def test_no_cookies_but_for_http() -> None:
    services = {"db": addresses("127.0.0.1:1")}
    assert services["db"].load_balancer is not None
    services["db"].load_balancer.sticky = Sticky()
    want = Selection()
    build(Config(tcp=TcpSection(services=services)), Registry()).services["tcp", "db"].pick(want)
    assert want.cookies == []


# --- workers ---


def test_workers_share_the_block() -> None:
    services = {"app": urls("http://a", "http://b"), "m": mirroring("app", ("app", 50))}
    worlds = [build(http(services), Registry(), worker=k, workers=2) for k in range(2)]
    assert [picked(world.services["http", "app"]) for world in worlds] == [["http://a"], ["http://b"]]
    noted = []
    for world in worlds:
        wants = [Selection() for _ in range(2)]
        for want in wants:
            world.services["http", "m"].pick(want)
        noted.append([len(want.mirrors) for want in wants])
    assert noted == [[1, 0], [0, 1]]


# --- entry points ---


def rule(text: str, *entry_points: str, service: str = "app", priority: int = 0) -> Router:
    return Router(rule=text, service=service, entry_points=list(entry_points), priority=priority)


def test_http_tables() -> None:
    config = http({"app": urls("http://a")}, r=rule("Host(`example.com`)"), s=rule("PathPrefix(`/`)", priority=1))
    world = build(config, Registry())
    table = world.entry_points["web"]
    assert (table.name, table.options, table.tcp, table.udp) == ("web", config.entry_points["web"], None, None)
    assert table.http is not None
    route = table.http.route(Ask())
    assert route is not None
    assert route.name == "r"
    assert route.service is world.services["http", "app"]
    other = table.http.route(Ask(host=b"other"))
    assert other is not None
    assert other.name == "s"


def test_routers_join_the_entry_points_of_their_kind() -> None:
    everything = Config(
        entry_points={
            "web": EntryPoint(address=":80"),
            "db": EntryPoint(address=":81/tcp"),
            "dns": EntryPoint(address=":53/udp"),
            "log": EntryPoint(address=":514/UDP"),
            "idle": EntryPoint(address=":82"),
            "quiet": EntryPoint(address=":55/udp"),
        },
        http=HttpSection(services={"app": urls("http://a")}, routers={"h": rule("Path(`/`)", "web")}),
        tcp=TcpSection(services={"app": addresses("a:1")}, routers={"t": rule("HostSNI(`*`)", "db")}),
        udp=Section(services={"app": addresses("a:1")}, routers={"u": rule("", "dns"), "v": rule("", "log", "dns")}),
    )
    world = build(everything, Registry())
    kinds = {name: (bool(t.http), bool(t.tcp), bool(t.udp)) for name, t in world.entry_points.items()}
    assert kinds == {
        "web": (True, False, False),
        "db": (False, True, False),
        "dns": (False, False, True),
        "log": (False, False, True),
        "idle": (True, False, False),
        "quiet": (False, False, False),
    }
    assert world.entry_points["dns"].udp is world.services["udp", "app"]
    idle = world.entry_points["idle"].http
    assert idle is not None
    assert idle.route(Ask()) is None


def test_routers_without_entry_points_join_all_of_their_kind() -> None:
    config = Config(
        entry_points={"a": EntryPoint(address=":1"), "b": EntryPoint(address=":2"), "c": EntryPoint(address=":3/udp")},
        http=HttpSection(services={"app": urls("http://a")}, routers={"h": rule("Path(`/`)")}),
        tcp=TcpSection(services={"app": addresses("a:1")}, routers={"t": rule("ClientIP(`10.0.0.0/8`)")}),
        udp=Section(services={"app": addresses("a:1")}, routers={"u": rule("")}),
    )
    world = build(config, Registry())
    for name in "ab":
        table = world.entry_points[name]
        assert table.http is not None
        assert table.tcp is not None
        assert table.http.route(Ask()) is not None
        assert table.tcp.route(Ask(client=ip_address("10.0.0.1"))) is not None
        assert table.tcp.route(Ask(client=ip_address("11.0.0.1"))) is None
        assert table.udp is None
    assert world.entry_points["c"].udp is world.services["udp", "app"]


@pytest.mark.parametrize(
    ("router", "message"),
    [
        (rule("Path(`/`)", "nowhere"), "http router r: entry point nowhere does not exist"),
        (rule("Path(`/`)", service="gone"), "http router r: service gone does not exist"),
    ],
)
def test_an_impossible_router_is_our_bug(router: Router, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        build(http({"app": urls("http://a")}, r=router), Registry())


# --- reloads ---


def test_a_reload_keeps_states_and_positions() -> None:
    services = {
        "wrr": weighted(("one", 1), ("two", 2)),
        "m": mirroring("one", ("two", 50)),
        "one": urls("http://a"),
        "two": urls("http://b", "http://c"),
    }
    registry = Registry()
    before = build(http(services), registry)
    assert picked(before.services["http", "wrr"], 2) == ["http://a", "http://b"]
    want = Selection()
    a = before.services["http", "m"].pick(want)
    assert a is not None
    assert len(want.mirrors) == 1
    a.pool = pool = object()

    after = build(http({**services, "new": urls("http://d")}), registry)
    assert picked(after.services["http", "wrr"], 2) == ["http://c", "http://a"]
    want = Selection()
    same = after.services["http", "m"].pick(want)
    assert same is not None
    assert want.mirrors == []
    assert same is not a
    assert same.state is a.state
    assert same.pool is pool


def test_a_reload_does_not_raise_the_dead() -> None:
    services = {"wrr": weighted(("one", 1), ("two", 1)), "one": urls("http://a"), "two": urls("http://b")}
    registry = Registry()
    dead = build(http(services), registry).services["http", "one"].pick(Selection())
    assert dead is not None
    dead.set_up(False)
    world = build(http(services), registry)
    assert not world.services["http", "one"].up
    assert picked(world.services["http", "wrr"], 2) == ["http://b", "http://b"]


def test_servers_that_left_are_retired() -> None:
    registry = Registry()
    gone = build(http({"app": urls("http://a")}), registry).services["http", "app"].pick(Selection())
    assert gone is not None
    build(http({"app": urls("http://b")}), registry)
    assert registry.retired == [gone.state]


def test_a_failed_build_leaves_the_registry_alone() -> None:
    registry = Registry()
    first = build(http({"app": urls("http://a", "http://b")}), registry)
    assert picked(first.services["http", "app"]) == ["http://a"]
    with pytest.raises(InternalError):
        build(http({"app": urls("http://c"), "bad": weighted(("gone", 1))}), registry)
    again = build(http({"app": urls("http://a", "http://b")}), registry)
    assert picked(again.services["http", "app"]) == ["http://b"]
    assert registry.retired == []


def test_nodes_are_of_the_tree() -> None:
    world = build(http({"a": urls("http://a"), "m": mirroring("a")}), Registry())
    assert isinstance(world.services["http", "a"], Balancer)
    assert isinstance(world.services["http", "m"], Mirror)


def test_failover() -> None:
    errors = FailoverErrors(status=["429", "500-502"])
    services = {
        "app": Service(failover=ConfiguredFailover(service="a", fallback="b", errors=errors)),
        "large": Service(
            failover=ConfiguredFailover(
                service="a", fallback="app", errors=FailoverErrors(status=["503"], max_request_body_bytes=0)
            )
        ),
        "a": urls("http://a"),
        "b": urls("http://b"),
    }
    world = build(http(services), Registry())
    app, large = world.services["http", "app"], world.services["http", "large"]
    assert isinstance(app, Failover)
    assert isinstance(large, Failover)
    assert app.order.statuses == {429, 500, 501, 502}
    assert (app.order.max_body_size, large.order.max_body_size) == (MAX_REPEATED_BODY, 0)
    assert (app.order.service, large.order.service) == (world.services["http", "b"], app)
    assert picked(app) == ["http://a"]


def test_overrides() -> None:
    service = weighted(("a", 1), ("b", 0))
    assert service.weighted is not None
    service.weighted.overrides = [
        Override(service="b", cookie=Criterion(name="canary", value="always")),
        Override(service="b@file", header=Criterion(name="X-Canary")),
    ]
    world = build(http({"app": service, "a": urls("http://a"), "b": urls("http://b")}), Registry())
    app = world.services["http", "app"]
    assert picked(app, 2) == ["http://a", "http://a"]
    assert picked(app, 2, b"canary=always") == ["http://b", "http://b"]
    asked = Selection(b"", b"", Ask(headers=[(b"x-canary", b"1")]))
    assert str(app.pick(asked)) == "Server(http://b)"


def test_rules_are_read_in_their_routers_syntax() -> None:
    config = http(
        {"app": urls("http://127.0.0.1:1")},
        old=Router(service="app", rule="Method(`PUT`, `POST`)", rule_syntax="v2"),
        plain=Router(service="app", rule="Path(`/{id}`)"),
    )
    config.core.default_rule_syntax = "v2"
    table = build(config, Registry()).entry_points["web"].http
    assert table is not None
    names = [route.name if route else None for route in (table.route(Ask(method=b"PUT")), table.route(Ask(path=b"/x")))]
    assert names == ["old", "plain"]


# --- transports --------------------------------------------------------------------------------------------------


def with_transport(name: str, transport: ServersTransport) -> Config:
    services = {"app": urls("https://a", servers_transport=name), "plain": urls("http://a")}
    return Config(
        entry_points=dict(WEB), http=HttpSection(services=services, servers_transports={"internal": transport})
    )


def server_of(world: Runtime, service: str) -> Server:
    server = world.services["http", service].pick(Selection())
    assert server
    return server


def test_servers_are_reached_by_the_transport_of_their_service() -> None:
    transport = ServersTransport(server_name="b")
    config = with_transport("internal", transport)
    world = build(config, Registry())
    assert server_of(world, "app").state.transport is transport
    assert server_of(world, "plain").state.transport is config.servers_transport
    assert (server_of(world, "app").port, server_of(world, "app").tls_name) == (443, "a")
    assert (server_of(world, "plain").port, server_of(world, "plain").tls_name) == (80, "")
    with pytest.raises(InternalError, match="http transport other does not exist"):
        build(with_transport("other", transport), Registry())


def test_tcp_servers_have_transports_of_their_own() -> None:
    services = {"db": addresses("a:1"), "far": addresses("a:1")}
    assert services["far"].load_balancer
    services["far"].load_balancer.servers_transport = "slow"
    section = TcpSection(services=services, servers_transports={"slow": TcpServersTransport(dial_timeout=60)})
    world = build(Config(tcp=section, tcp_servers_transport=TcpServersTransport(dial_timeout=5)), Registry())
    picked = [world.services["tcp", name].pick(Selection()) for name in ("db", "far")]
    assert [server.state.transport.dial_timeout for server in picked if server] == [5, 60]


def test_other_timeouts_leave_connections_alone_and_another_certificate_does_not() -> None:
    registry = Registry()
    first = server_of(build(with_transport("internal", ServersTransport()), registry), "app").state
    patient = ServersTransport(max_idle_conns_per_host=1)
    second = server_of(build(with_transport("internal", patient), registry), "app").state
    assert second is first
    assert second.transport is patient
    assert registry.retired == []
    third = server_of(build(with_transport("internal", ServersTransport(server_name="b")), registry), "app").state
    assert third is not first
    assert registry.retired == [first]


def test_a_server_made_of_a_name_keeps_what_its_url_says() -> None:
    one = ConfiguredServer(url="https://a.test:8443", address="10.0.0.1")
    services = {"app": Service(load_balancer=LoadBalancer(servers=[one], pass_host_header=False))}
    server = server_of(build(http(services), Registry()), "app")
    assert (server.name, server.host, server.port) == ("https://a.test:8443 (10.0.0.1)", "10.0.0.1", 8443)
    assert (server.tls_name, server.host_field) == ("a.test", b"a.test:8443")
