"""What is to be probed, according to a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from streamlb.config.model import (
    Config,
    HealthCheck,
    HttpSection,
    LoadBalancer,
    Section,
    Server,
    Service,
    TcpSection,
    Weighted,
)
from streamlb.config.static import ServersTransport
from streamlb.health.checks import plan


def balancer(*servers: Server, check: HealthCheck | None) -> Service:
    return Service(load_balancer=LoadBalancer(servers=list(servers), health_check=check))


def test_every_server_of_a_service_with_a_check_once() -> None:
    http, tcp, udp = HealthCheck(path="/h"), HealthCheck(port=99), HealthCheck(send="x")
    url = Server(url="http://a.test")
    config = Config(
        http=HttpSection(
            services={
                "one": balancer(url, Server(url="http://[::1]:8080/x", weight=0), url, check=http),
                "two": balancer(url, check=http),
                "none": balancer(url, check=None),
                "tree": Service(weighted=Weighted()),
            }
        ),
        tcp=TcpSection(services={"one": balancer(Server(address="b:1"), Server(address="[::1]:2"), check=tcp)}),
        udp=Section(services={"one": balancer(Server(address="127.0.0.1:53"), check=udp)}),
    )
    found = {check.key: (check.host, check.port, check.origin, check.options) for check in plan(config)}
    assert found == {
        ("http", "one", "http://a.test"): ("a.test", 80, "http://a.test", http),
        ("http", "one", "http://[::1]:8080/x"): ("::1", 8080, "http://[::1]:8080", http),
        ("http", "two", "http://a.test"): ("a.test", 80, "http://a.test", http),
        ("tcp", "one", "b:1"): ("b", 99, "://:99", tcp),
        ("tcp", "one", "[::1]:2"): ("::1", 99, "://:99", tcp),
        ("udp", "one", "127.0.0.1:53"): ("127.0.0.1", 53, "://:53", udp),
    }


@pytest.mark.parametrize(
    ("url", "options", "origin"),
    [
        ("https://a.test", {}, "https://a.test"),
        ("https://a.test:8443/x", {}, "https://a.test:8443"),
        ("http://a.test", {"scheme": "https"}, "https://a.test"),
        ("https://a.test", {"scheme": "http"}, "http://a.test"),
        ("http://a.test:8080", {"scheme": "https"}, "https://a.test:8080"),
        ("https://a.test", {"port": 9443}, "https://a.test:9443"),
        ("http://a.test", {"port": 443}, "http://a.test:443"),
    ],
)
def test_where_a_check_goes(url: str, options: dict[str, Any], origin: str) -> None:
    check = HealthCheck(path="/h", **options)
    [found] = plan(Config(http=HttpSection(services={"s": balancer(Server(url=url), check=check)})))
    assert (found.origin, found.host, found.name) == (origin, "a.test", "a.test")


def test_an_address_of_a_name_is_asked_under_the_name_and_by_the_service_s_transport() -> None:
    server = Server(url="https://a.test", address="10.0.0.1", resolve="all")
    service = balancer(server, check=HealthCheck(path="/h"))
    assert service.load_balancer is not None
    service.load_balancer.servers_transport = "mine"
    mine = ServersTransport(server_name="b.test")
    [found] = plan(Config(http=HttpSection(services={"s": service}, servers_transports={"mine": mine})))
    assert found.key == ("http", "s", "https://a.test (10.0.0.1)")
    assert (found.host, found.port, found.origin, found.transport) == ("10.0.0.1", 443, "https://a.test", mine)
