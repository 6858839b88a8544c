"""The validated configuration as plain data: what the user's YAML means, defaults filled in.

What lives here: dataclasses with Traefik's names (snake_case here, camelCase in YAML), their defaults and ranges.
What must not: validation code, file access, heavy imports; workers load this module to decode what the control
process sends them. Validated by `config/check.py` (pydantic reads these classes), compiled by `runtime/build.py`.
Specified by Traefik's reference pages of entry points, routers and services.

Seconds are floats, sizes are bytes. Names of routers and services are qualified where they do not come from the main
file: `default-wrr@kubernetescrd`; see `qualify`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le

from streamlb.config.naming import SETTINGS, Derived
from streamlb.config.observation import (
    INTERNAL_ENTRY_POINT,
    AccessLog,
    Log,
    Metrics,
    Ping,
    RouterObservability,
    Steering,
    Tracing,
)
from streamlb.config.quantities import Duration, Percent, SignedDuration, StatusRanges, Times, Weight
from streamlb.config.static import Core, EntryPoint, Providers, ServersTransport, TcpServersTransport
from streamlb.config.tls import DEFAULT_OPTIONS, RouterTls, SentProxyProtocol, Tls

if TYPE_CHECKING:
    from collections.abc import Mapping
PROTOCOLS = ("http", "tcp", "udp")


# --- dynamic part ------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Timeouts:
    """What an HTTP exchange may take (streamlb's own): None is not said here, 0 is no limit.

    request: from the request's head to the last byte of its answer. first_byte: from the end of the request to the
    head of the answer. idle: without a byte in either direction, while a body or a tunnel is under way.
    """

    request: Duration | None = None
    first_byte: Duration | None = None
    idle: Duration | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Router:
    """A router of any protocol. `rule` is required for HTTP and TCP and forbidden for UDP (`config/check.py`).

    entry_points: empty means all entry points of the router's kind but the internal one.
    priority: 0 means the length of the rule in bytes (and -1 for TCP's ``HostSNI(`*`)``), as in Traefik.
    rule_syntax: which Traefik's words the rule is written in; see `Config.syntax_of`.
    tls: its presence makes it a router for TLS only. middlewares: of TCP routers, by name, the first one first.
    """

    service: str
    rule: str = ""
    entry_points: list[str] = field(default_factory=list)
    priority: int = 0
    rule_syntax: Literal["v3", "v2", "default"] = "default"
    timeouts: Timeouts | None = None
    tls: RouterTls | None = None
    middlewares: list[str] = field(default_factory=list)
    observability: RouterObservability | None = None

    __pydantic_config__ = SETTINGS

    def joins(self, entry_point: str) -> bool:
        """Whether it takes what comes in by an entry point of its kind."""
        return entry_point in self.entry_points if self.entry_points else entry_point != INTERNAL_ENTRY_POINT


@dataclass(slots=True, kw_only=True)
class Cookie:
    """A sticky cookie; an empty `name` is generated from the service's name as Traefik does."""

    name: str = ""
    secure: bool = False
    http_only: bool = False
    same_site: Literal["none", "lax", "strict"] | None = None
    max_age: int = 0
    path: str = "/"
    domain: str = ""

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Sticky:
    cookie: Cookie = field(default_factory=Cookie)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Server:
    """`url` for HTTP (`http://host:port`, `https://host:port`), `address` for TCP and UDP (`host:port`).

    preserve_path: put the path of the URL before that of each request; it is ignored otherwise.
    tls: speak TLS to this TCP server, as its transport says; HTTP servers say so in their URL.
    max_connections: requests (HTTP) or connections (TCP) at once, per worker; 0 is no limit (streamlb's own).
    resolve: whether a name is one server or each of its addresses is (streamlb's own). The servers of such a name are
    made by `resolution.py`; over HTTP they have both, the `url` as written and the numeric `address` of its host, over
    TCP `tls_name` keeps the name, which the certificate must have.
    in_maintenance: nobody gets to it, see `steering.py`.
    """

    url: str = ""
    address: str = ""
    weight: Weight = 1
    preserve_path: bool = False
    resolve: Literal["one", "all"] = "one"
    max_connections: Annotated[int, Ge(0)] = 0
    tls: bool = False
    tls_name: Annotated[str, Derived()] = ""
    in_maintenance: Annotated[bool, Derived()] = False

    __pydantic_config__ = SETTINGS

    @property
    def name(self) -> str:
        """How it is called in the log, and for stickiness."""
        if self.url and self.address:
            return f"{self.url} ({self.address})"
        return self.url or self.address


@dataclass(slots=True, kw_only=True)
class Queue:
    """Who waits while all servers have their `max_connections`, per worker (streamlb's own)."""

    max_size: Annotated[int, Ge(0), Le(1_000_000)] = 1_000
    timeout: Duration = 10.0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class ResponseForwarding:
    """Taken for Traefik's sake and without effect: every byte of an answer goes on as it comes."""

    flush_interval: SignedDuration = 0.1

    __pydantic_config__ = SETTINGS


Strategy = Literal["wrr", "p2c", "leastconn", "hrw", "leasttime"]
OnAllDown = Literal[503, "failOpen"]


@dataclass(slots=True, kw_only=True)
class HashBy:
    """What is hashed: a field or a cookie of the request, else the client's address (streamlb's own)."""

    header: str = ""
    cookie: str = ""

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class HealthCheck:
    """Probes of each server of a load balancer. What is legal for which protocol: `config/health.py`.

    rise, fall: results in a row that turn a verdict (streamlb's own). unhealthy_interval: None is `interval`.
    initial_state: what counts before the first result; `probe` is down until then (streamlb's own).
    HTTP: port 0 is the server's; status [] is 200 to 399; body is a part of the answer or a `/regexp/`.
    TCP and UDP: `send` is said first, the answer must begin with `expect`.
    """

    path: str = ""
    scheme: str = ""
    mode: Literal["http", "grpc"] = "http"
    port: Annotated[int, Ge(0), Le(65_535)] = 0
    hostname: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    status: StatusRanges = field(default_factory=list)
    follow_redirects: bool = True
    body: str = ""
    send: str = ""
    expect: str = ""
    interval: Duration = 30.0
    unhealthy_interval: Duration | None = None
    timeout: Duration = 5.0
    rise: Times = 1
    fall: Times = 1
    initial_state: Literal["up", "down", "probe"] = "up"

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class PassiveHealthCheck:
    """So many failures of clients' requests within the window take a server out, for as long as the window."""

    max_failed_attempts: Times = 1
    failure_window: Duration = 10.0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class LoadBalancer:
    """on_all_down: whether to pick among all servers when none is up (streamlb's own).
    slow_start: the time over which a server that has come back gets its full share again; 0 is at once.
    TCP: proxy_protocol and termination_delay (milliseconds) are Traefik's older words for what transports say;
    idle_timeout: silence in both directions after which a connection is given up, 0 for never (streamlb's own).
    """

    servers: list[Server] = field(default_factory=list)
    strategy: Strategy = "wrr"
    hash_by: HashBy | None = None
    sticky: Sticky | None = None
    on_all_down: OnAllDown = 503
    pass_host_header: bool = True
    servers_transport: str = ""
    response_forwarding: ResponseForwarding | None = None
    queue: Queue = field(default_factory=Queue)
    health_check: HealthCheck | None = None
    passive_health_check: PassiveHealthCheck | None = None
    slow_start: Duration = 0.0
    proxy_protocol: SentProxyProtocol | None = None
    termination_delay: int | None = None
    idle_timeout: Duration = 0.0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class WeightedChild:
    """A child of a `weighted` service; `name` refers to a service of the same protocol."""

    name: str
    weight: Weight = 1

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Propagation:
    """Traefik's `healthCheck: {}` of services without servers. Health always travels up here, so it says nothing."""


@dataclass(slots=True, kw_only=True)
class Criterion:
    """A field or a cookie of a request; without `value` any value will do."""

    name: str
    value: str | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Override:
    """Requests with this field or this cookie go to `service`, one of the children (streamlb's own)."""

    service: str
    header: Criterion | None = None
    cookie: Criterion | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Weighted:
    services: list[WeightedChild] = field(default_factory=list)
    overrides: list[Override] = field(default_factory=list)
    sticky: Sticky | None = None
    health_check: Propagation | None = None
    on_all_down: OnAllDown = 503

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class HighestRandomWeight:
    services: list[WeightedChild] = field(default_factory=list)
    hash_by: HashBy | None = None
    health_check: Propagation | None = None
    on_all_down: OnAllDown = 503

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class MirrorChild:
    name: str
    percent: Percent = 0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Mirroring:
    """`max_body_size` -1: no limit (memory stays bounded all the same, see docs/reference.md)."""

    service: str
    mirrors: list[MirrorChild] = field(default_factory=list)
    mirror_body: bool = True
    max_body_size: Annotated[int, Ge(-1)] = -1
    health_check: Propagation | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class FailoverErrors:
    """`status`: `503` or `500-504` each. `max_request_body_bytes` -1: streamlb's bound, see docs/reference.md."""

    status: list[str] = field(default_factory=list)
    max_request_body_bytes: Annotated[int, Ge(-1)] = -1

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Failover:
    """`service` answers; `fallback` does when nobody of it can, or its answer has one of the statuses of `errors`."""

    service: str
    fallback: str
    errors: FailoverErrors | None = None
    health_check: Propagation | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Service:
    """A service of any protocol: exactly one of the kinds is set. What is legal for which protocol: `check.py`.

    timeouts: HTTP only; what the router does not say itself.
    """

    load_balancer: LoadBalancer | None = None
    weighted: Weighted | None = None
    highest_random_weight: HighestRandomWeight | None = None
    failover: Failover | None = None
    mirroring: Mirroring | None = None
    timeouts: Timeouts | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Section:
    """`http`, `tcp` or `udp` at the root: the routers and services of one protocol, by name."""

    routers: dict[str, Router] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class HttpSection(Section):
    servers_transports: dict[str, ServersTransport] = field(default_factory=dict)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class IpAllowList:
    """Only clients in these ranges get through."""

    source_range: list[str] = field(default_factory=list)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class InFlightConn:
    """`amount`: connections at once per client address, per worker."""

    amount: Annotated[int, Ge(1)]

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class TcpMiddleware:
    """Exactly one of the kinds is set. Who is refused finds the connection closed."""

    ip_allow_list: IpAllowList | None = None
    in_flight_conn: InFlightConn | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class TcpSection(Section):
    middlewares: dict[str, TcpMiddleware] = field(default_factory=dict)
    servers_transports: dict[str, TcpServersTransport] = field(default_factory=dict)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Config:
    """The root. `workers`: worker processes, "auto" is one per core.

    worker_timeout: seconds a worker may say nothing before it is replaced, 0 for any time (streamlb's own).
    """

    entry_points: dict[str, EntryPoint] = field(default_factory=dict)
    workers: Annotated[int, Ge(1), Le(256)] | Literal["auto"] = 1
    worker_timeout: Duration = 10.0
    log: Log = field(default_factory=Log)
    access_log: AccessLog | None = None
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing | None = None
    ping: Ping | None = None
    ctl: Steering = field(default_factory=Steering)
    core: Core = field(default_factory=Core)
    servers_transport: ServersTransport = field(default_factory=ServersTransport)
    tcp_servers_transport: TcpServersTransport = field(default_factory=TcpServersTransport)
    providers: Providers = field(default_factory=Providers)
    http: HttpSection = field(default_factory=HttpSection)
    tcp: TcpSection = field(default_factory=TcpSection)
    udp: Section = field(default_factory=Section)
    tls: Tls = field(default_factory=Tls)

    __pydantic_config__ = SETTINGS

    def section(self, protocol: str) -> Section:
        sections: dict[str, Section] = {"http": self.http, "tcp": self.tcp, "udp": self.udp}
        return sections[protocol]

    def syntax_of(self, router: Router) -> Literal["v3", "v2"]:
        """The syntax of a router's rule."""
        return self.core.default_rule_syntax if router.rule_syntax == "default" else router.rule_syntax


# --- names -------------------------------------------------------------------------------------------------------

FILE_PROVIDER = "file"


def provider_of(name: str) -> str:
    """The provider of an object as the model names it: `app` -> `file`, `app@kubernetescrd` -> `kubernetescrd`."""
    return name.rpartition("@")[2] if "@" in name else FILE_PROVIDER


def bare(name: str) -> str:
    """The name without its provider: `default-wrr@kubernetescrd` -> `default-wrr`."""
    return name.partition("@")[0]


def qualify(reference: str, referrer: str) -> str:
    """The model's name of what `reference` means inside the object `referrer`.

    A reference without `@` stays with the provider of the referring object; `@file` is written without suffix.
    """
    provider = provider_of(reference) if "@" in reference else provider_of(referrer)
    return bare(reference) if provider == FILE_PROVIDER else f"{bare(reference)}@{provider}"


def tls_options_named(reference: str) -> str:
    """The name of the TLS options a reference means; nothing at all means those called `default`."""
    return bare(reference) or DEFAULT_OPTIONS if provider_of(reference) == FILE_PROVIDER else reference


def resolve(reference: str, referrer: str, services: Mapping[str, Service]) -> Service | None:
    """The service a reference means, or None."""
    return services.get(qualify(reference, referrer))
