"""What is to be probed: the servers of all load balancers that have a health check.

What lives here: `Check`, `Result`, and `plan`, which reads the configuration. What must not: sockets, time.
Called by `prober.py`. Specified in docs/reference.md ("Health") and by Traefik's health check pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from streamlb.config.model import PROTOCOLS, qualify

if TYPE_CHECKING:
    from streamlb.config.model import Config, HealthCheck, LoadBalancer, Server
    from streamlb.config.static import ServersTransport

DEFAULT_PORTS = {"http": 80, "https": 443}

Key = tuple[str, str, str]
"""Protocol, service, server: by this a server is known in all processes."""


@dataclass(frozen=True, slots=True)
class Check:
    """One server to be probed again and again.

    host, port: where; `port` of the options is already in it. HTTP: scheme; name, the host of the server's URL;
    transport, how servers are spoken to over TLS.
    """

    key: Key
    host: str
    port: int
    options: HealthCheck
    scheme: str = ""
    name: str = ""
    transport: ServersTransport | None = None

    @property
    def origin(self) -> str:
        """Where requests go, as a URL without a path."""
        host = f"[{self.name}]" if ":" in self.name else self.name
        port = "" if self.port == DEFAULT_PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


class Result(NamedTuple):
    """What a probe found. good: None when it could not be made, which is no fault of the server."""

    good: bool | None
    reason: str


def plan(config: Config) -> list[Check]:
    """Every server that a health check asks for, once per service."""
    checks: dict[Key, Check] = {}
    for protocol in PROTOCOLS:
        for name, service in config.section(protocol).services.items():
            balancer = service.load_balancer
            if balancer is None or balancer.health_check is None:
                continue
            transport = _transport(config, name, balancer) if protocol == "http" else None
            for server in balancer.servers:
                key = (protocol, name, server.name)
                checks[key] = _check(key, server, balancer.health_check, transport)
    return list(checks.values())


def _check(key: Key, server: Server, options: HealthCheck, transport: ServersTransport | None) -> Check:
    if transport is None:
        where = urlsplit(f"tcp://{server.address}")
        return Check(key, where.hostname or "", options.port or where.port or 0, options)
    where = urlsplit(server.url)
    name = where.hostname or ""
    scheme = options.scheme or where.scheme
    # With a scheme of its own a check goes where that scheme's servers are, unless the URL names a port.
    port = options.port or where.port or DEFAULT_PORTS[scheme]
    return Check(key, server.address or name, port, options, scheme, name, transport)


def _transport(config: Config, service: str, balancer: LoadBalancer) -> ServersTransport:
    if not balancer.servers_transport:
        return config.servers_transport
    return config.http.servers_transports[qualify(balancer.servers_transport, service)]
