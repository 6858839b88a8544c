"""What is to be probed, according to a configuration."""

from __future__ import annotations

from streamlb.config.model import Config, HealthCheck, LoadBalancer, Section, Server, Service, Weighted
from streamlb.health.checks import plan


def balancer(*servers: Server, check: HealthCheck | None) -> Service:
    return Service(load_balancer=LoadBalancer(servers=list(servers), health_check=check))


def test_every_server_of_a_service_with_a_check_once() -> None:
    http, tcp, udp = HealthCheck(path="/h"), HealthCheck(port=99), HealthCheck(send="x")
    url = Server(url="http://a.test")
    config = Config(
        http=Section(
            services={
                "one": balancer(url, Server(url="http://[::1]:8080/x", weight=0), url, check=http),
                "two": balancer(url, check=http),
                "none": balancer(url, check=None),
                "tree": Service(weighted=Weighted()),
            }
        ),
        tcp=Section(services={"one": balancer(Server(address="b:1"), Server(address="[::1]:2"), check=tcp)}),
        udp=Section(services={"one": balancer(Server(address="127.0.0.1:53"), check=udp)}),
    )
    found = {check.key: (check.host, check.port, check.authority, check.options) for check in plan(config)}
    assert found == {
        ("http", "one", "http://a.test"): ("a.test", 80, "a.test", http),
        ("http", "one", "http://[::1]:8080/x"): ("::1", 8080, "[::1]:8080", http),
        ("http", "two", "http://a.test"): ("a.test", 80, "a.test", http),
        ("tcp", "one", "b:1"): ("b", 99, "b:99", tcp),
        ("tcp", "one", "[::1]:2"): ("::1", 99, "[::1]:99", tcp),
        ("udp", "one", "127.0.0.1:53"): ("127.0.0.1", 53, "127.0.0.1:53", udp),
    }
