"""What is to be probed: the servers of all load balancers that have a health check.

What lives here: `Check`, `Result`, and `plan`, which reads the configuration. What must not: sockets, time.
Called by `prober.py`. Specified in docs/reference.md ("Health") and by Traefik's health check pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from streamlb.config.model import PROTOCOLS

if TYPE_CHECKING:
    from streamlb.config.model import Config, HealthCheck

Key = tuple[str, str, str]
"""Protocol, service, server: by this a server is known in all processes."""


@dataclass(frozen=True, slots=True)
class Check:
    """One server to be probed again and again. host, port: where; `port` of the options is already in it."""

    key: Key
    host: str
    port: int
    options: HealthCheck

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"


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
                key = (protocol, name, server.url or server.address)
                host, port = _where(key[2])
                checks[key] = Check(key, host, balancer.health_check.port or port, balancer.health_check)
    return list(checks.values())


def _where(server: str) -> tuple[str, int]:
    """Host and port of `http://host[:port]` or `host:port`."""
    parts = urlsplit(server if "://" in server else f"tcp://{server}")
    default = 443 if parts.scheme == "https" else 80
    return parts.hostname or "", default if parts.port is None else parts.port
