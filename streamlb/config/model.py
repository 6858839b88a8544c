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
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOLS = ("http", "tcp", "udp")


def to_camel(name: str) -> str:
    """`entry_points` -> `entryPoints`: a field's name in YAML."""
    head, *rest = name.split("_")
    return head + "".join(SPELLINGS.get(word, word.capitalize()) for word in rest)


SPELLINGS = {"ips": "IPs", "cas": "CAs", "http2": "HTTP2"}


class Seconds:
    """Marks a float that YAML writes as a Go duration (`300ms`, `1m30s`) or a bare number of seconds."""

    def __init__(self, *, signed: bool = False) -> None:
        self.signed = signed


Duration = Annotated[float, Seconds()]
SignedDuration = Annotated[float, Seconds(signed=True)]
Weight = Annotated[int, Ge(0), Le(1_000_000)]
Percent = Annotated[int, Ge(0), Le(100)]

SETTINGS: Any = {"extra": "forbid", "alias_generator": to_camel}
"""How pydantic reads the classes below: YAML's spelling, no unknown keys."""


# --- static part -------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class LifeCycle:
    """What happens after a stop signal: first new connections are still taken, then work in flight may finish."""

    request_accept_grace_timeout: Duration = 0.0
    grace_time_out: Duration = 10.0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class RespondingTimeouts:
    """Patience with clients; 0 is no limit. `read_timeout` and `write_timeout` are between bytes, not over all."""

    read_header_timeout: Duration = 10.0
    read_timeout: Duration = 60.0
    write_timeout: Duration = 0.0
    idle_timeout: Duration = 180.0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class EntryPointTransport:
    """`max_connections`: at once, per worker; more wait to be accepted (streamlb's own). 0 is no limit."""

    life_cycle: LifeCycle = field(default_factory=LifeCycle)
    responding_timeouts: RespondingTimeouts = field(default_factory=RespondingTimeouts)
    keep_alive_max_requests: Annotated[int, Ge(0)] = 0
    keep_alive_max_time: Duration = 0.0
    max_connections: Annotated[int, Ge(0)] = 0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class ForwardedHeaders:
    """Whose `X-Forwarded-*` are believed: nobody's by default.

    connection: names of fields that go on to the server although the client's `Connection` lists them.
    """

    insecure: bool = False
    trusted_ips: list[str] = field(default_factory=list)
    connection: list[str] = field(default_factory=list)
    not_append_x_forwarded_for: bool = False
    add_x_forwarded_scheme_headers: bool = False

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class EncodedCharacters:
    """Escapes that a path may hold; one that may not makes the answer 400."""

    allow_encoded_slash: bool = True
    allow_encoded_back_slash: bool = True
    allow_encoded_null_character: bool = True
    allow_encoded_semicolon: bool = True
    allow_encoded_percent: bool = True
    allow_encoded_question_mark: bool = True
    allow_encoded_hash: bool = True

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class EntryPointHttp:
    """What is done to requests before they are routed.

    sanitize_path: resolve `.`, `..` and `//`. encode_query_semicolons: `;` becomes `%3B` instead of `&`.
    underscore_headers_strategy: what becomes of fields with `_` in their names.
    max_header_bytes: of a request's head, its request line included.
    """

    sanitize_path: bool = True
    encoded_characters: EncodedCharacters = field(default_factory=EncodedCharacters)
    encode_query_semicolons: bool = False
    underscore_headers_strategy: Literal["keep", "delete", "reject"] = "keep"
    max_header_bytes: Annotated[int, Ge(1024), Le(1_048_576)] = 32_768

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class UdpOptions:
    """`timeout`: idle life of a flow. `max_flows`: flows at once per entry point and worker (streamlb's own)."""

    timeout: Duration = 3.0
    max_flows: Annotated[int, Ge(1), Le(1_000_000)] = 10_000

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class EntryPoint:
    """`address` as written: `host:port`, `:port`, `[::1]:port`, with `/tcp` (default) or `/udp` behind it."""

    address: str
    transport: EntryPointTransport = field(default_factory=EntryPointTransport)
    forwarded_headers: ForwardedHeaders = field(default_factory=ForwardedHeaders)
    http: EntryPointHttp = field(default_factory=EntryPointHttp)
    udp: UdpOptions = field(default_factory=UdpOptions)

    __pydantic_config__ = SETTINGS

    @property
    def kind(self) -> Literal["tcp", "udp"]:
        return "udp" if self.address.lower().endswith("/udp") else "tcp"


@dataclass(slots=True, kw_only=True)
class Log:
    """`format`: `common` is for people, `json` one object a line; absent: common on a terminal, else json."""

    level: Literal["DEBUG", "INFO", "WARN", "ERROR"] = "INFO"
    format: Literal["common", "json"] | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class ForwardingTimeouts:
    """`read_timeout`: silence allowed inside an answer, 0 for any (streamlb's own)."""

    dial_timeout: Duration = 30.0
    response_header_timeout: Duration = 60.0
    read_timeout: Duration = 0.0
    idle_conn_timeout: Duration = 90.0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Certificate:
    """A certificate chain and its key: paths or PEM text in YAML, PEM text once `transports.py` has read them."""

    cert_file: str
    key_file: str = field(repr=False)

    __pydantic_config__ = SETTINGS


TlsVersion = Literal["VersionTLS12", "VersionTLS13"]


@dataclass(slots=True, kw_only=True)
class ServersTransport:
    """How HTTP servers are reached. `max_idle_conns_per_host`: idle connections kept per server and worker.

    For `https://` servers: the name their certificate must have (empty: the URL's), who may have signed it (paths or
    PEM text, as in `Certificate`; none: whom the system trusts), and what certificates we show when asked.
    """

    max_idle_conns_per_host: Annotated[int, Ge(0)] = 200
    forwarding_timeouts: ForwardingTimeouts = field(default_factory=ForwardingTimeouts)
    server_name: str = ""
    root_cas: list[str] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    insecure_skip_verify: bool = False
    min_version: TlsVersion = "VersionTLS12"
    max_version: TlsVersion = "VersionTLS13"
    disable_http2: bool = False

    __pydantic_config__ = SETTINGS

    @property
    def tls(self) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...], bool, str, str]:
        """What makes a TLS connection the one it is: with anything else, another one is needed.

        The server's name, authorities, certificates shown, whether the server's is verified, versions.
        """
        shown = tuple((certificate.cert_file, certificate.key_file) for certificate in self.certificates)
        verified = not self.insecure_skip_verify
        return self.server_name, tuple(self.root_cas), shown, verified, self.min_version, self.max_version


@dataclass(slots=True, kw_only=True)
class TcpServersTransport:
    """How TCP and UDP servers are reached; a datagram needs nothing of it."""

    dial_timeout: Duration = 30.0

    __pydantic_config__ = SETTINGS

    @property
    def tls(self) -> tuple[object, ...]:
        """No TLS is spoken to these servers."""
        return ()


@dataclass(slots=True, kw_only=True)
class KubernetesManifests:
    """Kubernetes documents read from files: `paths` are files or directories, `endpoints` maps `namespace/service`
    (or `namespace/service:port`) to `host:port` addresses on this VM."""

    paths: list[str] = field(default_factory=list)
    endpoints: dict[str, list[str]] = field(default_factory=dict)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Providers:
    kubernetes_manifests: KubernetesManifests | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Core:
    """`default_rule_syntax`: how rules are read whose router does not say."""

    default_rule_syntax: Literal["v3", "v2"] = "v3"

    __pydantic_config__ = SETTINGS


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

    entry_points: empty means all entry points of the router's kind.
    priority: 0 means the length of the rule in bytes (and -1 for TCP's ``HostSNI(`*`)``), as in Traefik.
    rule_syntax: which Traefik's words the rule is written in; see `Config.syntax_of`.
    """

    service: str
    rule: str = ""
    entry_points: list[str] = field(default_factory=list)
    priority: int = 0
    rule_syntax: Literal["v3", "v2", "default"] = "default"
    timeouts: Timeouts | None = None

    __pydantic_config__ = SETTINGS


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
    max_connections: requests (HTTP) or connections (TCP) at once, per worker; 0 is no limit (streamlb's own).
    resolve: whether a name is one server or each of its addresses is (streamlb's own). The servers of such a name are
    made by `resolution.py`; over HTTP they have both, the `url` as written and the numeric `address` of its host.
    """

    url: str = ""
    address: str = ""
    weight: Weight = 1
    preserve_path: bool = False
    resolve: Literal["one", "all"] = "one"
    max_connections: Annotated[int, Ge(0)] = 0

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


Strategy = Literal["wrr", "p2c", "hrw", "leasttime"]
OnAllDown = Literal[503, "failOpen"]


@dataclass(slots=True, kw_only=True)
class HashBy:
    """What is hashed: a field or a cookie of the request, else the client's address (streamlb's own)."""

    header: str = ""
    cookie: str = ""

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class LoadBalancer:
    """`on_all_down`: whether to pick among all servers when none is up (streamlb's own)."""

    servers: list[Server] = field(default_factory=list)
    strategy: Strategy = "wrr"
    hash_by: HashBy | None = None
    sticky: Sticky | None = None
    on_all_down: OnAllDown = 503
    pass_host_header: bool = True
    servers_transport: str = ""
    response_forwarding: ResponseForwarding | None = None
    queue: Queue = field(default_factory=Queue)

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
class TcpSection(Section):
    servers_transports: dict[str, TcpServersTransport] = field(default_factory=dict)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Config:
    """The root. `workers`: worker processes, "auto" is one per core."""

    entry_points: dict[str, EntryPoint] = field(default_factory=dict)
    workers: Annotated[int, Ge(1), Le(256)] | Literal["auto"] = 1
    log: Log = field(default_factory=Log)
    core: Core = field(default_factory=Core)
    servers_transport: ServersTransport = field(default_factory=ServersTransport)
    tcp_servers_transport: TcpServersTransport = field(default_factory=TcpServersTransport)
    providers: Providers = field(default_factory=Providers)
    http: HttpSection = field(default_factory=HttpSection)
    tcp: TcpSection = field(default_factory=TcpSection)
    udp: Section = field(default_factory=Section)

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


def resolve(reference: str, referrer: str, services: Mapping[str, Service]) -> Service | None:
    """The service a reference means, or None."""
    return services.get(qualify(reference, referrer))
