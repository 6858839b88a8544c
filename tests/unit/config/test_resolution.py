"""`resolve: all`: what is looked up, and what the configuration is with the addresses."""

from __future__ import annotations

from streamlb.config.model import Server
from streamlb.config.resolution import MAX_ADDRESSES, names_of, resolved
from tests.unit.config.asking import config_of, lines_of, notes_of

TEXT = """
entryPoints: {web: {address: ":80"}, dns: {address: ":53/udp"}}
http:
  services:
    app:
      loadBalancer:
        servers:
          - {url: "https://app.internal:8443", weight: 3, resolve: all}
          - {url: "http://other.internal"}
    same: {loadBalancer: {servers: [{url: "http://app.internal", resolve: all}]}}
    both: {weighted: {services: [{name: app}, {name: same}]}}
tcp: {services: {db: {loadBalancer: {servers: [{address: "db.internal:5432", resolve: all}]}}}}
udp: {services: {dns: {loadBalancer: {servers: [{address: "ns.internal:53", resolve: all}]}}}}
"""


def servers(config: object, protocol: str, service: str) -> list[Server]:
    balancer = getattr(config, protocol).services[service].load_balancer
    assert balancer
    found: list[Server] = balancer.servers
    return found


def test_each_name_is_looked_up_once_and_only_if_it_wants_to() -> None:
    assert names_of(config_of(TEXT)) == ["app.internal", "db.internal", "ns.internal"]


def test_a_server_for_each_address() -> None:
    before = config_of(TEXT)
    addresses = {"app.internal": ["10.0.0.1", "fd00::1"], "db.internal": ["10.0.0.3", "fd00::3"]}
    after = resolved(before, addresses)
    one, two, other = servers(after, "http", "app")
    assert (one.url, one.address, one.weight) == ("https://app.internal:8443", "10.0.0.1", 3)
    assert (two.url, two.address) == ("https://app.internal:8443", "fd00::1")
    assert one.name == "https://app.internal:8443 (10.0.0.1)"
    assert other == Server(url="http://other.internal")
    assert [server.address for server in servers(after, "tcp", "db")] == ["10.0.0.3:5432", "[fd00::3]:5432"]
    assert servers(after, "udp", "dns") == servers(before, "udp", "dns")
    assert after.http.services["both"] is before.http.services["both"]
    assert len(servers(before, "http", "app")) == 2


def test_a_name_without_addresses_stays_as_it_is() -> None:
    config = config_of(TEXT)
    assert resolved(config, {}) == config


def test_a_name_does_not_become_any_number_of_servers() -> None:
    many = {"db.internal": [f"10.0.{number // 250}.{number % 250}" for number in range(1000)]}
    assert len(servers(resolved(config_of(TEXT), many), "tcp", "db")) == MAX_ADDRESSES


def test_an_address_needs_no_lookup() -> None:
    servers = 'servers: [{address: "[::1]:1", resolve: all}]'
    text = f'entryPoints: {{web: {{address: ":80"}}}}\ntcp: {{services: {{s: {{loadBalancer: {{{servers}}}}}}}}}\n'
    assert names_of(config_of(text)) == []
    assert notes_of(text) == [
        "2:68 tcp.services.s.loadBalancer.servers[0].resolve | `::1` is an address: there is nothing to resolve | "
    ]


def test_other_words() -> None:
    [line] = lines_of(TEXT.replace("resolve: all}\n          -", "resolve: al}\n          -"))
    assert "expected one of `one`, `all`" in line


def test_a_certificate_must_have_the_name_not_the_address() -> None:
    server = "{address: 'db.example.com:5432', resolve: all, tls: true}"
    text = (
        f"entryPoints: {{db: {{address: ':80'}}}}\ntcp: {{services: {{s: {{loadBalancer: {{servers: [{server}]}}}}}}}}"
    )
    made = resolved(config_of(text), {"db.example.com": ["10.0.0.1", "2001:db8::1"]})
    balancer = made.tcp.services["s"].load_balancer
    assert balancer is not None
    assert [(each.address, each.tls_name) for each in balancer.servers] == [
        ("10.0.0.1:5432", "db.example.com"),
        ("[2001:db8::1]:5432", "db.example.com"),
    ]
