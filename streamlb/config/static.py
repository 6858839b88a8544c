"""The static part of the model: entry points, transports, providers, and the types all options are made of.

What lives here: dataclasses with Traefik's names (snake_case here, camelCase in YAML), their defaults and ranges.
What must not: validation code, file access, heavy imports. Others import these names from `config/model.py`.
Specified by Traefik's reference pages of entry points, transports and providers. Seconds are floats, sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from streamlb.config.naming import SETTINGS
from streamlb.config.observation import Observability
from streamlb.config.quantities import Duration, SignedDuration
from streamlb.config.tls import (
    AcceptedProxyProtocol,
    ClientTls,
    EntryPointTls,
    Redirections,
    SentProxyProtocol,
    Trust,
)


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
    tls: makes every router of the entry point one for TLS.
    request_id: the name of a field that gives each request a number of its own, kept where one comes from a trusted
    peer; empty: none (streamlb's own).
    """

    sanitize_path: bool = True
    encoded_characters: EncodedCharacters = field(default_factory=EncodedCharacters)
    encode_query_semicolons: bool = False
    underscore_headers_strategy: Literal["keep", "delete", "reject"] = "keep"
    max_header_bytes: Annotated[int, Ge(1024), Le(1_048_576)] = 32_768
    tls: EntryPointTls | None = None
    redirections: Redirections | None = None
    request_id: str = ""

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class UdpOptions:
    """`timeout`: idle life of a flow. What follows is streamlb's own.

    mode: `datagram` makes every datagram a flow of its own, which its first answer ends.
    max_flows: at once, per entry point and worker; max_flows_per_client: of these, of one client; 0 is no limit.
    """

    timeout: Duration = 3.0
    mode: Literal["flow", "datagram"] = "flow"
    max_flows: Annotated[int, Ge(1), Le(1_000_000)] = 10_000
    max_flows_per_client: Annotated[int, Ge(0), Le(1_000_000)] = 1_000

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class EntryPoint:
    """`address` as written: `host:port`, `:port`, `[::1]:port`, with `/tcp` (default) or `/udp` behind it."""

    address: str
    transport: EntryPointTransport = field(default_factory=EntryPointTransport)
    proxy_protocol: AcceptedProxyProtocol | None = None
    forwarded_headers: ForwardedHeaders = field(default_factory=ForwardedHeaders)
    http: EntryPointHttp = field(default_factory=EntryPointHttp)
    udp: UdpOptions = field(default_factory=UdpOptions)
    observability: Observability = field(default_factory=Observability)

    __pydantic_config__ = SETTINGS

    @property
    def kind(self) -> Literal["tcp", "udp"]:
        return "udp" if self.address.lower().endswith("/udp") else "tcp"


@dataclass(slots=True, kw_only=True)
class ForwardingTimeouts:
    """`read_timeout`: silence allowed inside an answer, 0 for any (streamlb's own)."""

    dial_timeout: Duration = 30.0
    response_header_timeout: Duration = 60.0
    read_timeout: Duration = 0.0
    idle_conn_timeout: Duration = 90.0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class ServersTransport(ClientTls):
    """How HTTP servers are reached, those of `https://` URLs with the TLS of the base.

    max_idle_conns_per_host: idle connections kept per server and worker.
    """

    max_idle_conns_per_host: Annotated[int, Ge(0)] = 200
    forwarding_timeouts: ForwardingTimeouts = field(default_factory=ForwardingTimeouts)
    disable_http2: bool = False
    cipher_suites: list[str] = field(default_factory=list)
    proxy_protocol: SentProxyProtocol | None = None

    __pydantic_config__ = SETTINGS

    @property
    def trust(self) -> Trust:
        """What a TLS context for these servers is made of."""
        return self._trust(tuple(self.cipher_suites))

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes a connection the one it is: with anything else, another one is needed."""
        return self.server_name, *self.trust, self.proxy_protocol and self.proxy_protocol.version


@dataclass(slots=True, kw_only=True)
class TcpServersTransport:
    """How TCP and UDP servers are reached; a datagram needs nothing of it.

    dial_keep_alive: seconds of silence before the kernel asks whether the server is still there; negative: never.
    termination_delay: how long, after one side has ended, the other may be silent; negative: any time.
    """

    dial_timeout: Duration = 30.0
    dial_keep_alive: SignedDuration = 15.0
    termination_delay: SignedDuration = 3600.0
    proxy_protocol: SentProxyProtocol | None = None
    tls: ClientTls | None = None

    __pydantic_config__ = SETTINGS

    @property
    def identity(self) -> tuple[object, ...]:
        """Nothing is kept between connections to these servers."""
        return ()


@dataclass(slots=True, kw_only=True)
class KubernetesManifests:
    """Kubernetes documents read from files: `paths` are files or directories, `endpoints` maps `namespace/service`
    (or `namespace/service:port`) to `host:port` addresses on this VM."""

    paths: list[str] = field(default_factory=list)
    endpoints: dict[str, list[str]] = field(default_factory=dict)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class FileProvider:
    """Dynamic configuration in more files: `filename` or all YAML files below `directory`, seen from the main file."""

    filename: str = ""
    directory: str = ""
    watch: bool = True

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Providers:
    """`providers_throttle_duration`: how long changes of files are collected before they are taken over."""

    file: FileProvider | None = None
    kubernetes_manifests: KubernetesManifests | None = None
    providers_throttle_duration: Duration = 2.0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Core:
    """`default_rule_syntax`: how rules are read whose router does not say."""

    default_rule_syntax: Literal["v3", "v2"] = "v3"

    __pydantic_config__ = SETTINGS
