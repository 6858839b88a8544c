"""Servers that are a name with several addresses (`resolve: all`): one server for each of them.

What lives here: which names a configuration wants looked up, and what it is once their addresses are known.
What must not: looking anything up (`process/resolving.py`). Specified in docs/reference.md, "Names".
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from streamlb.config.address import Address, parse_server, parse_url
from streamlb.config.model import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlb.config.model import Config, Section, Server, Service

    AnySection = TypeVar("AnySection", bound=Section)

MAX_ADDRESSES = 64
"""Servers that one name can become; the rest of its addresses are left alone."""


def names_of(config: Config) -> list[str]:
    """The names to be looked up, each once."""
    found: dict[str, None] = {}
    for protocol in PROTOCOLS:
        for service in config.section(protocol).services.values():
            for server in service.load_balancer.servers if service.load_balancer else []:
                where = _where(protocol, server)
                if where is not None:
                    found[where.host] = None
    return list(found)


def resolved(config: Config, addresses: Mapping[str, Sequence[str]]) -> Config:
    """The configuration with a server for each numeric address; names without any stay as they are."""
    return replace(
        config,
        http=_section("http", config.http, addresses),
        tcp=_section("tcp", config.tcp, addresses),
        udp=_section("udp", config.udp, addresses),
    )


def _section(protocol: str, section: AnySection, addresses: Mapping[str, Sequence[str]]) -> AnySection:
    services = {name: _service(protocol, service, addresses) for name, service in section.services.items()}
    return replace(section, services=services)


def _service(protocol: str, service: Service, addresses: Mapping[str, Sequence[str]]) -> Service:
    balancer = service.load_balancer
    if balancer is None or all(server.resolve == "one" for server in balancer.servers):
        return service
    servers = [each for server in balancer.servers for each in _servers(protocol, server, addresses)]
    return replace(service, load_balancer=replace(balancer, servers=servers))


def _servers(protocol: str, server: Server, addresses: Mapping[str, Sequence[str]]) -> list[Server]:
    where = _where(protocol, server)
    found = addresses.get(where.host, ())[:MAX_ADDRESSES] if where is not None else ()
    if where is None or not found:
        return [server]
    if protocol == "http":
        return [replace(server, address=address) for address in found]
    return [replace(server, address=str(Address(address, where.port)), tls_name=where.host) for address in found]


def _where(protocol: str, server: Server) -> Address | None:
    """Where a server is, if that is a name to be looked up."""
    if server.resolve == "one" or server.url.startswith("unix:"):
        return None
    address = parse_url(server.url).address if protocol == "http" else parse_server(server.address, protocol)
    return None if address.is_numeric else address
