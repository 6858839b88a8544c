"""What is to be probed: the servers of all load balancers that have a health check.

What lives here: `Check`, `Result`, and `plan`, which reads the configuration. What must not: sockets, time.
Called by `prober.py`. Specified in docs/reference.md ("Health") and by Traefik's health check pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from streamlb.config.model import PROTOCOLS, qualify
from streamlb.runtime.reach import reach_of

if TYPE_CHECKING:
    from streamlb.config.model import Config, HealthCheck, LoadBalancer, Server
    from streamlb.config.static import ServersTransport, TcpServersTransport
    from streamlb.config.tls import ClientTls
    from streamlb.runtime.reach import Reach

DEFAULT_PORTS = {"http": 80, "https": 443}

Key = tuple[str, str, str]
"""Protocol, service, server: by this a server is known in all processes."""


@dataclass(frozen=True, slots=True)
class Check:
    """One server to be probed again and again.

    host, port: where; `port` of the options is already in it. HTTP: scheme; transport, how servers are spoken to over
    TLS. name: the host of the server's URL or, where TLS is spoken, of its address.
    proxy_version: of the PROXY header the server wants, 0 for none. tls: how it is spoken to a TCP server, if it is.
    """

    key: Key
    host: str
    port: int
    options: HealthCheck
    scheme: str = ""
    name: str = ""
    transport: ServersTransport | None = None
    proxy_version: int = 0
    tls: ClientTls | None = None

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
            for server in balancer.servers:
                key = (protocol, name, server.name)
                if protocol == "http":
                    transport = _http_transport(config, name, balancer)
                    checks[key] = _http_check(key, server, balancer.health_check, transport)
                else:
                    reach = reach_of(_tcp_transport(config, name, balancer), balancer)
                    checks[key] = _raw_check(key, server, balancer.health_check, reach)
    return list(checks.values())


def _raw_check(key: Key, server: Server, options: HealthCheck, reach: Reach) -> Check:
    where = urlsplit(f"tcp://{server.address}")
    host, port = where.hostname or "", options.port or where.port or 0
    if key[0] == "udp":
        return Check(key, host, port, options)
    tls = reach.tls if server.tls else None
    name = (server.tls_name or host).rstrip(".") if tls is not None else ""
    return Check(key, host, port, options, name=name, proxy_version=reach.proxy_version, tls=tls)


def _http_check(key: Key, server: Server, options: HealthCheck, transport: ServersTransport) -> Check:
    version = transport.proxy_protocol.version if transport.proxy_protocol is not None else 0
    if server.url.startswith("unix:"):
        path = server.url.removeprefix("unix:")
        return Check(key, path, DEFAULT_PORTS["http"], options, "http", "localhost", transport, version)
    where = urlsplit(server.url)
    name = where.hostname or ""
    scheme = options.scheme or where.scheme
    # With a scheme of its own a check goes where that scheme's servers are, unless the URL names a port.
    port = options.port or where.port or DEFAULT_PORTS[scheme]
    return Check(key, server.address or name, port, options, scheme, name, transport, version)


def _tcp_transport(config: Config, service: str, balancer: LoadBalancer) -> TcpServersTransport:
    if not balancer.servers_transport:
        return config.tcp_servers_transport
    return config.tcp.servers_transports[qualify(balancer.servers_transport, service)]


def _http_transport(config: Config, service: str, balancer: LoadBalancer) -> ServersTransport:
    if not balancer.servers_transport:
        return config.servers_transport
    return config.http.servers_transports[qualify(balancer.servers_transport, service)]
