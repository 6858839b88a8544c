"""How TCP servers are reached: what a transport says, what a load balancer says over it."""

from __future__ import annotations

from streamlb.balance.selection import Server
from streamlb.balance.tree import Balancer
from streamlb.config.model import Config, LoadBalancer, Service, TcpSection
from streamlb.config.model import Server as ConfiguredServer
from streamlb.config.static import TcpServersTransport
from streamlb.config.tls import ClientTls, SentProxyProtocol
from streamlb.runtime.build import build
from streamlb.runtime.limits import ANY_TIME
from streamlb.runtime.reach import Reach, reach_of
from streamlb.runtime.registry import Registry


def test_the_defaults() -> None:
    assert reach_of(TcpServersTransport(), LoadBalancer()) == Reach(30.0, 15.0, 3600.0, ANY_TIME, 0, ClientTls())


def test_no_keep_alive_is_the_default_one() -> None:
    assert reach_of(TcpServersTransport(dial_keep_alive=0.0), LoadBalancer()).keep_alive == 15.0


def test_what_a_transport_says() -> None:
    tls = ClientTls(server_name="db")
    transport = TcpServersTransport(
        dial_timeout=0.0,
        dial_keep_alive=-1.0,
        termination_delay=-1.0,
        proxy_protocol=SentProxyProtocol(version=1),
        tls=tls,
    )
    assert reach_of(transport, LoadBalancer(idle_timeout=5.0)) == Reach(0.0, -1.0, ANY_TIME, 5.0, 1, tls)


def test_the_older_words_of_a_load_balancer_win() -> None:
    transport = TcpServersTransport(termination_delay=9.0, proxy_protocol=SentProxyProtocol(version=1))
    made = reach_of(transport, LoadBalancer(termination_delay=100, proxy_protocol=SentProxyProtocol()))
    assert (made.half_closed, made.proxy_version) == (0.1, 2)
    assert reach_of(transport, LoadBalancer(termination_delay=-1)).half_closed == ANY_TIME
    assert reach_of(transport, LoadBalancer(termination_delay=0)).half_closed == 0


def servers(*configured: ConfiguredServer, transport: str = "") -> list[Server]:
    balancer = LoadBalancer(servers=list(configured), servers_transport=transport)
    transports = {"slow": TcpServersTransport(dial_timeout=99.0)}
    section = TcpSection(services={"db": Service(load_balancer=balancer)}, servers_transports=transports)
    node = build(Config(tcp=section), Registry()).services["tcp", "db"]
    assert isinstance(node, Balancer)
    return [child.node for child in node.children if isinstance(child.node, Server)]


def test_every_server_knows() -> None:
    (server,) = servers(ConfiguredServer(address="db:1"), transport="slow")
    assert server.limits.dial == 99.0
    assert server.tls_name == ""


def test_whose_certificate_is_right() -> None:
    made = servers(
        ConfiguredServer(address="db.example.com.:1", tls=True),
        ConfiguredServer(address="10.0.0.1:1", tls=True),
        ConfiguredServer(address="10.0.0.2:1", tls=True, tls_name="db.example.com"),
        ConfiguredServer(address="10.0.0.3:1", tls_name="db.example.com"),
    )
    assert [each.tls_name for each in made] == ["db.example.com", "10.0.0.1", "db.example.com", ""]
